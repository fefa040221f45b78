"""The simulated world in the database: web, workers and commands share it, and it survives them.

One call is one transaction that holds the world's row: calls to one world come one after the other, as they
do in memory. A call loads the machines that it asks for and writes those that it changed, so that it costs
the same in a world of ten machines and of ten thousand.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from django.db import DatabaseError, OperationalError, transaction

from inventory.lab.models import LabWorld
from inventory.lab.records import Fault, Host, Share
from inventory.lab.rows import StoredJournal, StoredMachines
from inventory.lab.state import State
from inventory.lab.storage import Clock, Pace
from ovmst_site import clock
from ovmst_site.faults import GiveUp, TryLater


@dataclass(slots=True)
class Surroundings:
    """What a world consists of besides its machines."""

    hosts: dict[str, Host] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Surroundings)


class _Clock:
    """OVMST's clock, whichever is in use when it is asked."""

    def now(self) -> datetime:
        return clock.now()


class _Open(threading.local):
    """The worlds that this thread has open, by name."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}


_open = _Open()


class Database:
    """The world of this name. It must be there: `worlds.create` makes one.

    Raises GiveUp where it isn't, TryLater where the database doesn't answer, and RuntimeError inside a
    transaction: what happens in the world stays happened, whatever becomes of the caller's own changes.
    """

    def __init__(self, name: str, clock: Clock | None = None) -> None:
        self.name = name
        self._clock = clock or _Clock()

    @contextmanager
    def open(self) -> Iterator[State]:
        if (state := _open.states.get(self.name)) is not None:
            yield state
            return
        raised: BaseException | None = None
        try:
            with transaction.atomic(durable=True):
                visit = _Visit(self.name, self._clock)
                _open.states[self.name] = visit.state
                try:
                    yield visit.state
                except DatabaseError:
                    raise  # nothing more can be written in this transaction
                except BaseException as error:  # noqa: BLE001 - what happened is kept, then it goes on its way
                    raised = error
                visit.keep()
        except OperationalError as error:
            raise TryLater(f"The lab's database doesn't answer: {error}") from error
        finally:
            _open.states.pop(self.name, None)
        if raised is not None:
            raise raised


class _Visit:
    """The world's row, locked, and what is made of it."""

    def __init__(self, name: str, clock: Clock) -> None:
        row = LabWorld.objects.select_for_update().filter(name=name).first()
        if row is None:
            known = ", ".join(LabWorld.objects.values_list("name", flat=True)[:10])
            raise GiveUp(f"There is no lab of this name: {name}. There is: {known or 'none yet'}.")
        self._row = row
        self._around = _decoder.decode(row.record) if row.record else Surroundings()
        self._record = _encoder.encode(self._around)
        self._machines = StoredMachines(row)
        self._journal = StoredJournal(row)
        around = self._around
        self.state = State(
            row.keeps_original,
            self._machines,
            around.hosts,
            around.shares,
            around.damaged,
            around.faults,
            self._journal,
            row.numbers,
            row.time_scale,
        )
        self.state.wall = clock.now().timestamp()  # now that the row is locked: calls are in the order of time
        self._pace = Pace(row.time_scale, row.clock_offset).not_before(row.told, self.state.wall)
        self.state.now = self._pace.time(self.state.wall)

    def keep(self) -> None:
        """Write what changed; a look that changed nothing writes nothing."""
        state = self.state
        changes: dict[str, Any] = {}
        self._machines.flush()
        self._journal.flush()
        if self._journal.grew:
            changes |= {"counts": self._row.counts, "lines": self._row.lines}
        if state.numbers != self._row.numbers:
            changes["numbers"] = state.numbers
        pace = self._pace.changed(state.time_scale, wall=state.wall, now=state.now)
        if pace != Pace(self._row.time_scale, self._row.clock_offset):
            changes |= {"time_scale": pace.scale, "clock_offset": pace.offset}
        around = Surroundings(state.hosts, state.shares, state.damaged, state.faults)
        if (record := _encoder.encode(around)) != self._record:
            changes["record"] = record
        if changes:
            LabWorld.objects.filter(pk=self._row.pk).update(told=state.now, **changes)
