"""The whole simulated world as one call sees it, and how its machines and its journal are reached.

A world may have tens of thousands of machines. Whoever looks for some of them asks `Machines` a question
that a storage can answer without loading them all.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Protocol

from inventory.lab.records import Entry, Fault, Host, Machine, Share

WHERE = ("", "library", "host", "awake", "working", "marked", "lost")


@dataclass(frozen=True, slots=True)
class Tally:
    """How many machines there are, and where. Those that somebody deleted don't count."""

    machines: int
    in_library: int  # and nowhere else
    on_host: int
    awake: int
    working: int  # the platform is doing something with them
    marked: int
    lost: int


class Machines(MutableMapping[str, Machine]):
    """The machines by their ids, in the order in which they were added."""

    @abstractmethod
    def on(self, host: str) -> list[Machine]:
        """Those that are on this host: a copy, or what somebody else runs there."""

    @abstractmethod
    def with_uuid(self, uuid: str) -> list[Machine]: ...

    @abstractmethod
    def due(self, now: float) -> Iterable[Machine]:
        """At least those to which something has happened by now."""

    @abstractmethod
    def next_event(self) -> float:
        """When something happens by itself next."""

    @abstractmethod
    def awake(self) -> list[Machine]: ...

    @abstractmethod
    def on_any_host(self) -> list[Machine]: ...

    @abstractmethod
    def working(self) -> list[Machine]:
        """Those that the platform is doing something with."""

    @abstractmethod
    def lost(self) -> list[Machine]: ...

    @abstractmethod
    def tally(self) -> Tally: ...

    @abstractmethod
    def page(self, first: int, number: int, *, where: str = "", search: str = "") -> tuple[list[Machine], int]:
        """Some of those that aren't deleted, by name, and how many there are in all. `where` is one of WHERE,
        `search` a part of the name or the id."""


class MachinesInMemory(Machines):
    """All of them, always there."""

    def __init__(self) -> None:
        self._all: dict[str, Machine] = {}

    def __getitem__(self, machine: str) -> Machine:
        return self._all[machine]

    def __setitem__(self, machine: str, record: Machine) -> None:
        self._all[machine] = record

    def __delitem__(self, machine: str) -> None:
        del self._all[machine]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def on(self, host: str) -> list[Machine]:
        return [m for m in self._all.values() if m.is_on(host)]

    def with_uuid(self, uuid: str) -> list[Machine]:
        return [m for m in self._all.values() if m.uuid == uuid]

    def due(self, now: float) -> Iterable[Machine]:
        return list(self._all.values())

    def next_event(self) -> float:
        return min((m.next_event() for m in self._all.values()), default=float("inf"))

    def awake(self) -> list[Machine]:
        return [m for m in self._all.values() if m.is_awake()]

    def on_any_host(self) -> list[Machine]:
        return [m for m in self._all.values() if m.copy or m.outsiders_instance]

    def working(self) -> list[Machine]:
        return [m for m in self._all.values() if m.work]

    def lost(self) -> list[Machine]:
        return [m for m in self._all.values() if m.is_lost()]

    def tally(self) -> Tally:
        there = [m for m in self._all.values() if not m.gone]
        return Tally(len(there), *(sum(is_where(m, where) for m in there) for where in WHERE[1:]))

    def page(self, first: int, number: int, *, where: str = "", search: str = "") -> tuple[list[Machine], int]:
        sought = search.lower()
        found = [
            m
            for m in self._all.values()
            if not m.gone and is_where(m, where) and (sought in m.name.lower() or sought in m.id.lower())
        ]
        found.sort(key=lambda m: m.name)
        return found[first : first + number], len(found)


def is_where(machine: Machine, where: str) -> bool:
    """What the words of WHERE mean."""
    on_host = machine.copy is not None or machine.outsiders_instance is not None
    return {
        "": True,
        "library": not on_host and not machine.is_lost(),
        "host": on_host,
        "awake": machine.is_awake(),
        "working": machine.work is not None,
        "marked": machine.marker is not None,
        "lost": machine.is_lost(),
    }[where]


class Journal(Protocol):
    """Everything that happened. A storage may forget the oldest lines; what it counted stays counted."""

    def append(self, entry: Entry) -> None: ...

    def __iter__(self) -> Iterator[Entry]: ...

    def times(self, what: str, machine: str = "") -> int:
        """How often this happened, to one machine or in all."""
        ...

    def violations(self, newest: int | None = None) -> list[str]:
        """The promises that were broken, in words, oldest first; or so many of the newest, newest first."""
        ...

    def last(self, number: int, machine: str = "") -> list[Entry]:
        """The newest lines, newest first; of one machine (or host) only, or of all."""
        ...


class JournalInMemory:
    """All of it."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._counts: Counter[tuple[str, str]] = Counter()

    def append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._counts[entry.what, ""] += 1
        if entry.machine:
            self._counts[entry.what, entry.machine] += 1

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries))

    def times(self, what: str, machine: str = "") -> int:
        return self._counts[what, machine]

    def violations(self, newest: int | None = None) -> list[str]:
        words = [in_words(entry) for entry in self._entries if entry.what == "violation"]
        return words if newest is None else words[: -newest - 1 : -1]

    def last(self, number: int, machine: str = "") -> list[Entry]:
        found = [e for e in self._entries if machine in ("", e.machine)]
        return found[: -number - 1 : -1]


def in_words(violation: Entry) -> str:
    return f"{violation.machine}: {violation.detail}"


@dataclass(slots=True)
class State:
    """The whole world."""

    keeps_original: bool
    machines: Machines = field(default_factory=MachinesInMemory)
    hosts: dict[str, Host] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    damaged: list[tuple[str, str]] = field(default_factory=list)  # where, reason
    faults: list[Fault] = field(default_factory=list)
    journal: Journal = field(default_factory=JournalInMemory)
    numbers: int = 0
    time_scale: float = 1  # how much faster than OVMST's own clock the world's runs
    now: float = 0  # by the world's clock, as of the call under way
    wall: float = 0  # by OVMST's own clock

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def note(self, machine: str, what: str, detail: str = "", *, at: float | None = None) -> None:
        self.journal.append(Entry(self.now if at is None else at, machine, what, detail))

    def violate(self, machine: str, what: str) -> None:
        """Record that a promise was broken."""
        self.note(machine, "violation", what)

    def effect(self, call: str, machine: str, detail: str = "") -> None:
        self.note(machine, f"effect {call}", detail)
