"""Runs in lists: each with its counts and how long it has taken."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ovmst_site import clock
from servicing.models import Run
from servicing.tally import Tally, tallies


@dataclass(frozen=True, slots=True)
class Row:
    """One run of a list."""

    run: Run
    tally: Tally
    now: datetime

    @property
    def lasted(self) -> timedelta:
        return (self.run.finished_at or self.now) - self.run.started_at


def rows_of(runs: Iterable[Run]) -> list[Row]:
    """In the same order; all of them are counted in one query."""
    listed = list(runs)
    counted, now = tallies(run.pk for run in listed), clock.now()
    return [Row(run, counted[run.pk], now) for run in listed]
