"""Machines and journal of a simulated world as rows: loaded when asked for, written when changed."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from django.db.models import Count, Min, Q, QuerySet

from inventory.lab.models import LONGEST_ID, LONGEST_NAME, LabJournal, LabMachine, LabWorld
from inventory.lab.records import NEVER, Entry, Machine
from inventory.lab.state import Machines, Tally, in_words
from ovmst_site.text import clean

WRITTEN_AT_ONCE = 500  # rows of one statement, where the database takes that many
FORGETS_EVERY = 500  # lines
KEPT_VIOLATIONS = 1000

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Machine)
_WHERE = {
    "": Q(),
    "library": Q(is_on_host=False, is_lost=False),
    "host": Q(is_on_host=True),
    "awake": Q(is_awake=True),
    "working": Q(is_working=True),
    "marked": Q(is_marked=True),
    "lost": Q(is_lost=True),
}


def _columns(machine: Machine) -> dict[str, Any]:
    copy, work, foreign = machine.copy, machine.work, machine.outsiders_instance
    event = machine.next_event()
    return {
        "name": clean(machine.name, LONGEST_NAME),
        "uuid": clean(machine.uuid, 64),
        "host": clean(copy.host if copy else (work and work.arguments.host) or "", 500),
        "outsiders_host": clean(foreign.host if foreign else "", 500),
        "next_event": None if event == NEVER else event,
        "is_on_host": copy is not None or foreign is not None,
        "is_awake": machine.is_awake(),
        "is_working": work is not None,
        "is_marked": machine.marker is not None,
        "is_lost": machine.is_lost(),
        "is_gone": bool(machine.gone),
    }


_WRITTEN = [*_columns(Machine("", "", "")), "record"]


class StoredMachines(Machines):
    """Those of one world whose row is locked. What was loaded is the truth; each question loads the rows
    that may belong to the answer, and is answered from what is loaded then."""

    def __init__(self, world: LabWorld) -> None:
        self._world = world
        self._loaded: dict[str, Machine] = {}
        self._places: dict[str, int] = {}  # their order: the rows' keys, then as they were added
        self._before: dict[str, bytes] = {}  # as they were loaded or last written
        self._complete = False

    def __getitem__(self, machine: str) -> Machine:
        if machine not in self._loaded and not self._complete and _may_be_an_id(machine):
            self._load(Q(external_id=machine))
        return self._loaded[machine]

    def __setitem__(self, machine: str, record: Machine) -> None:
        if not _may_be_an_id(machine):
            raise ValueError(f"A machine's id has 1 to {LONGEST_ID} characters, and no NUL: {machine[:80]!r}")
        _encoder.encode(record)  # refuses now, and not when all is written, what can't be kept
        if machine not in self:
            self._places[machine] = 2**63 + len(self._places)
        self._loaded[machine] = record

    def __delitem__(self, machine: str) -> None:
        del self._loaded[self[machine].id]
        self._before.pop(machine, None)
        LabMachine.objects.filter(world=self._world, external_id=machine).delete()

    def __iter__(self) -> Iterator[str]:
        if not self._complete:
            self._load(Q())
            self._complete = True
        return iter(sorted(self._loaded, key=self._places.__getitem__))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def on(self, host: str) -> list[Machine]:
        there = clean(host, 500)
        self._load(Q(host=there) | Q(outsiders_host=there))
        return [m for m in self._in_order() if m.is_on(host)]

    def with_uuid(self, uuid: str) -> list[Machine]:
        self._load(Q(uuid=clean(uuid, 64)))
        return [m for m in self._in_order() if m.uuid == uuid]

    def due(self, now: float) -> Iterable[Machine]:
        self._load(Q(next_event__lte=now))
        return [m for m in self._in_order() if m.next_event() <= now]

    def next_event(self) -> float:
        self.flush()
        first = self._rows().aggregate(at=Min("next_event"))["at"]
        return NEVER if first is None else float(first)

    def awake(self) -> list[Machine]:
        self._load(Q(is_on_host=True))
        return [m for m in self._in_order() if m.is_awake()]

    def on_any_host(self) -> list[Machine]:
        self._load(Q(is_on_host=True))
        return [m for m in self._in_order() if m.copy or m.outsiders_instance]

    def working(self) -> list[Machine]:
        self._load(Q(is_working=True))
        return [m for m in self._in_order() if m.work]

    def lost(self) -> list[Machine]:
        self._load(Q(is_lost=True))
        return [m for m in self._in_order() if m.is_lost()]

    def tally(self) -> Tally:
        self.flush()
        counts = {where or "all": Count("pk", filter=filter_) for where, filter_ in _WHERE.items() if where}
        return Tally(**_named(self._rows().filter(is_gone=False).aggregate(machines=Count("pk"), **counts)))

    def page(self, first: int, number: int, *, where: str = "", search: str = "") -> tuple[list[Machine], int]:
        self.flush()
        rows = self._rows().filter(_WHERE[where], is_gone=False)
        if sought := clean(search, LONGEST_ID):
            rows = rows.filter(Q(name__icontains=sought) | Q(external_id__icontains=sought))
        found = rows.order_by("name", "pk").values_list("pk", "external_id", "record")[first : first + number]
        ids = [self._take(*row) for row in found]
        return [self._loaded[machine] for machine in ids], rows.count()

    def flush(self) -> None:
        """Write those that changed."""
        rows = []
        for machine, record in self._loaded.items():
            encoded = _encoder.encode(record)
            if encoded != self._before.get(machine):
                columns = _columns(record)
                rows.append(LabMachine(world=self._world, external_id=machine, record=encoded, **columns))
                self._before[machine] = encoded
        LabMachine.objects.bulk_create(
            rows,
            batch_size=WRITTEN_AT_ONCE,
            update_conflicts=True,
            unique_fields=["world", "external_id"],
            update_fields=_WRITTEN,
        )

    def _rows(self) -> QuerySet[LabMachine]:
        return LabMachine.objects.filter(world=self._world)

    def _load(self, which: Q) -> None:
        if not self._complete:
            for row in self._rows().filter(which).order_by("pk").values_list("pk", "external_id", "record"):
                self._take(*row)

    def _take(self, key: int, machine: str, record: bytes | memoryview) -> str:
        """Keep what was loaded first: it may have been changed since."""
        if machine not in self._loaded:
            self._loaded[machine] = loaded = _decoder.decode(record)
            # Not the row's own bytes: an earlier version may have written the same thing in another way.
            self._before[machine] = _encoder.encode(loaded)
            self._places[machine] = key
        return machine

    def _in_order(self) -> list[Machine]:
        return [self._loaded[m] for m in sorted(self._loaded, key=self._places.__getitem__)]


def _named(counts: dict[str, int]) -> dict[str, int]:
    return {{"library": "in_library", "host": "on_host"}.get(name, name): n for name, n in counts.items()}


def _may_be_an_id(machine: str) -> bool:
    return 0 < len(machine) <= LONGEST_ID and clean(machine) == machine


class StoredJournal:
    """The lines of one world whose row is locked. The row counts them; the oldest are forgotten."""

    def __init__(self, world: LabWorld) -> None:
        self._world = world
        self._new: list[Entry] = []
        self.grew = False

    def append(self, entry: Entry) -> None:
        self._new.append(entry)
        self._world.counts[entry.what] = self._world.counts.get(entry.what, 0) + 1

    def __iter__(self) -> Iterator[Entry]:
        return map(_entry, self._rows())

    def times(self, what: str, machine: str = "") -> int:
        """In all, ever; for one machine, as far as the journal goes back."""
        if not machine:
            return int(self._world.counts.get(what, 0))
        return self._rows().filter(machine=clean(machine, LONGEST_ID), what=clean(what, 200)).count()

    def violations(self, newest: int | None = None) -> list[str]:
        rows = self._rows().filter(what="violation")
        return [in_words(_entry(row)) for row in (rows if newest is None else rows.order_by("-pk")[:newest])]

    def last(self, number: int, machine: str = "") -> list[Entry]:
        rows = self._rows().filter(machine=clean(machine, LONGEST_ID)) if machine else self._rows()
        return [_entry(row) for row in rows.order_by("-pk")[:number]]

    def flush(self) -> None:
        """Write the new lines. When it `grew`, the world's row has other counts."""
        if not self._new:
            return
        self.grew = True
        before, self._world.lines = self._world.lines, self._world.lines + len(self._new)
        rows = [
            LabJournal(
                world=self._world,
                at=entry.at,
                machine=clean(entry.machine, LONGEST_ID),
                what=clean(entry.what, 200),
                detail=clean(entry.detail),
            )
            for entry in self._new
        ]
        self._new = []
        LabJournal.objects.bulk_create(rows, batch_size=WRITTEN_AT_ONCE)
        if before // FORGETS_EVERY != self._world.lines // FORGETS_EVERY:
            self._forget()

    def _forget(self) -> None:
        all_lines = LabJournal.objects.filter(world=self._world)
        violations = all_lines.filter(what="violation")
        for lines, kept in (
            (all_lines.exclude(what="violation"), self._world.kept_lines),
            (violations, KEPT_VIOLATIONS),
        ):
            last = lines.order_by("-pk").values_list("pk", flat=True)[kept : kept + 1].first()
            if last is not None:
                lines.filter(pk__lte=last).delete()

    def _rows(self) -> QuerySet[LabJournal]:
        self.flush()
        return LabJournal.objects.filter(world=self._world).order_by("pk")


def _entry(row: LabJournal) -> Entry:
    return Entry(row.at, row.machine, row.what, row.detail)
