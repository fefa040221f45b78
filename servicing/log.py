"""Reads the log of a run: its events in one order that never changes, in ranges, never all of them at once.

The order is (tx, id), and only what every earlier transaction has committed is there yet (see
`models.transactions`). So whoever has read up to a cursor reads on after it, and neither skips nor doubles a
line, however many write. A line is there some milliseconds after its commit; one long transaction, anywhere on
the database server, holds all later lines back until it is over.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.lookups import GreaterThan, LessThan, LessThanOrEqual

from servicing.models import Event, Run, RunTarget
from servicing.models.transactions import Future, Horizon, Row

LARGEST = 2**63 - 1  # what a bigint holds
AT_A_TIME = 1000  # lines


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in a run's log: right after the line that it names. As text "12-345"."""

    tx: int
    id: int

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises ValueError for what is no cursor."""
        if not re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", text):
            raise ValueError(f"{text[:60]!r} is no place in a log; one looks like 12-345")
        tx, number = (int(part) for part in text.split("-"))
        if max(tx, number) > LARGEST:
            raise ValueError(f"{text!r} is no place in a log: too large")
        return cls(tx, number)

    def __str__(self) -> str:
        return f"{self.tx}-{self.id}"


START = Cursor(0, 0)


@dataclass(frozen=True, slots=True)
class Line:
    """One event as it is shown."""

    cursor: Cursor
    at: datetime
    target: int
    machine: str
    step: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Only:
    """Which lines are wanted: with this text (upper and lower case alike), of this target, of this level, of
    machines with this in their name."""

    text: str = ""
    target: int | None = None
    level: str = ""
    machine: str = ""

    def __bool__(self) -> bool:
        return bool(self.text or self.target is not None or self.level or self.machine)


EVERYTHING = Only()
# What is committed, while an earlier transaction isn't over.
_HELD_BACK = Q(tx__gte=Horizon(), tx__lt=Future())


def after(
    run: int, cursor: Cursor, limit: int = AT_A_TIME, only: Only = EVERYTHING, *, until: Cursor | None = None
) -> list[Line]:
    """Up to `limit` lines that follow the cursor, oldest first; with `until`, none beyond it."""
    events = _events(run, only).filter(_compared(GreaterThan, cursor))
    if until is not None:
        events = events.filter(_compared(LessThanOrEqual, until))
    return _lines(events.order_by("tx", "pk")[:limit])


def before(run: int, cursor: Cursor, limit: int = AT_A_TIME, only: Only = EVERYTHING) -> list[Line]:
    """The last `limit` lines ahead of the one that the cursor names, oldest first."""
    events = _events(run, only).filter(_compared(LessThan, cursor))
    return _lines(events.order_by("-tx", "-pk")[:limit])[::-1]


def latest(run: int, limit: int = AT_A_TIME, only: Only = EVERYTHING) -> list[Line]:
    """The last `limit` lines, oldest first. The last one's cursor is where a live log goes on; START if there
    is none."""
    return _lines(_events(run, only).order_by("-tx", "-pk")[:limit])[::-1]


def search(
    run: int, text: str, target: int | None = None, level: str | None = None, *, limit: int = AT_A_TIME
) -> list[Line]:
    """The last `limit` lines with this text, oldest first."""
    return latest(run, limit, Only(text, target, level or ""))


def count(run: int, only: Only = EVERYTHING) -> int:
    return _events(run, only).count()


def each(run: int, only: Only = EVERYTHING, *, at_a_time: int = AT_A_TIME) -> Iterator[list[Line]]:
    """All lines there are, oldest first, in batches."""
    cursor = START
    while lines := after(run, cursor, at_a_time, only):
        yield lines
        cursor = lines[-1].cursor


def newest(run: int) -> Cursor:
    """Where the log ends now."""
    last = _events(run).order_by("-tx", "-pk").values_list("tx", "pk").first()
    return Cursor(*last) if last else START


def is_over(run: int) -> bool:
    """Whether the run has ended and all its lines can be read: what `after` gives from now on is the rest.
    True also for a run that isn't there."""
    # In this order: lines that were written before the end was are there, or are seen to be missing.
    if Run.objects.filter(pk=run, finished_at=None).exists():
        return False
    return connection.vendor != "postgresql" or not Event.objects.filter(_HELD_BACK, run=run).exists()


def state_of(run: int) -> Any:
    """Differs from the one before when the run's counts, its targets' steps or its end have changed."""
    changes = RunTarget.objects.filter(run=run).values("state", "outcome").order_by("state", "outcome")
    counts = changes.annotate(
        visits=Sum("visit"), asked=Max("cancel_requested_at"), entered=Max("entered_at"), over=Max("finished_at")
    )
    return list(counts), Run.objects.filter(pk=run).values_list("finished_at", flat=True).first()


def mend() -> None:
    """Make lines whole that were written elsewhere; once, before serving. Harmless when there are none, and cheap.

    A worker of an old version wrote them without their run. In a database that was restored into another
    cluster, numbers of transactions are that one's future: once this one comes as far, such lines would lie
    behind newer ones. They lose their number, and the rest of their run with them: their ids tell the order.
    """
    of_its_target = RunTarget.objects.filter(pk=OuterRef("target")).values("run")[:1]
    Event.objects.filter(run=None).update(run=Subquery(of_its_target))
    if connection.vendor != "postgresql":
        return
    from_elsewhere = Event.objects.filter(run=OuterRef("pk"), tx__gte=Future())
    runs = list(Run.objects.filter(Exists(from_elsewhere)).values_list("pk", flat=True))
    Event.objects.filter(run__in=runs).exclude(tx=0).update(tx=0)


def _events(run: int, only: Only = EVERYTHING) -> QuerySet[Event]:
    events = Event.objects.filter(run=run)
    events = events.exclude(_HELD_BACK) if connection.vendor == "postgresql" else events.filter(tx=0)
    if only.text:
        events = events.filter(text__icontains=only.text)
    if only.target is not None:
        events = events.filter(target=only.target)
    if only.level:
        events = events.filter(level=only.level)
    if only.machine:
        events = events.filter(target__resource__name__icontains=only.machine)
    return events


def _compared(how: Any, cursor: Cursor) -> Any:
    """The place of an event, against a cursor, so that the index gives the range."""
    if connection.vendor == "postgresql":
        return how(Row(F("tx"), F("pk")), Row(cursor.tx, cursor.id))
    return how(F("pk"), cursor.id)  # of a pair SQLite's index would use the first alone, which is always 0


def _lines(events: QuerySet[Event]) -> list[Line]:
    rows: Any = events.values_list("tx", "pk", "at", "target", "target__resource__name", "step", "level", "text")
    return [Line(Cursor(tx, pk), *rest) for tx, pk, *rest in rows]
