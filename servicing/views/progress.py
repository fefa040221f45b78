"""How far runs are, for lists: counts by outcome and the bar that shows them, in one query for all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count

from ovmst_site import clock
from servicing.models import Run, RunTarget

State, Outcome = RunTarget.State, RunTarget.Outcome
# In the order of the bar: what is settled comes first, what waits last.
PARTS = {
    Outcome.SUCCEEDED.value: "succeeded",
    Outcome.PARTIAL.value: "partial",
    Outcome.RESTORED.value: "restored",
    Outcome.SKIPPED.value: "skipped",
    Outcome.RESOLVED.value: "resolved by a person",
    Outcome.ATTENTION.value: "needs attention",
    "active": "being serviced",
    "queued": "queued",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of the bar, in hundredths of its length."""

    key: str
    label: str
    count: int
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Progress:
    run: Run
    total: int
    parts: tuple[Part, ...]

    @property
    def settled(self) -> int:
        return sum(part.count for part in self.parts if part.key not in ("active", "queued"))

    @property
    def line(self) -> str:
        """The run in one line: "58 succeeded, 2 restored"."""
        return ", ".join(f"{part.count} {part.label}" for part in self.parts) or "no machines"

    @property
    def took(self) -> timedelta:
        return (self.run.finished_at or clock.now()) - self.run.started_at


def progress_of(runs: Iterable[Run]) -> dict[int, Progress]:
    """By the runs' primary keys."""
    by_pk = {run.pk: run for run in runs}
    counts: dict[int, dict[str, int]] = {pk: {} for pk in by_pk}
    rows = RunTarget.objects.filter(run__in=by_pk).order_by().values_list("run", "state", "outcome")
    for pk, state, outcome, number in rows.annotate(n=Count("pk")):
        key = state if state in (State.QUEUED, State.ACTIVE) else outcome
        counts[pk][key] = counts[pk].get(key, 0) + number
    return {pk: _progress(run, counts[pk]) for pk, run in by_pk.items()}


def _progress(run: Run, counts: dict[str, int]) -> Progress:
    total = sum(counts.values())
    parts, before = [], 0
    for key, label in PARTS.items():
        if number := counts.get(key, 0):
            parts.append(Part(key, label, number, 100 * before / total, 100 * number / total))
            before += number
    return Progress(run, total, tuple(parts))
