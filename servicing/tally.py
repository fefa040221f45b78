"""How many targets of a run are where: queued, being serviced, or over with which outcome."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import Count, Q

from servicing.models import RunTarget

State, Outcome = RunTarget.State, RunTarget.Outcome

# What a target is, in one word for pages and their addresses: its outcome once it has one, else its state.
# In the order in which people count: what went well first, what hasn't begun last.
STANDINGS: dict[str, tuple[str, Q]] = {
    "succeeded": ("succeeded", Q(outcome=Outcome.SUCCEEDED)),
    "partial": ("partial", Q(outcome=Outcome.PARTIAL)),
    "restored": ("restored", Q(outcome=Outcome.RESTORED)),
    "skipped": ("skipped", Q(outcome=Outcome.SKIPPED)),
    "attention": ("needs attention", Q(outcome=Outcome.ATTENTION)),
    "resolved": ("resolved by a person", Q(outcome=Outcome.RESOLVED)),
    "active": ("being serviced", Q(outcome=Outcome.NONE) & ~Q(state=State.QUEUED)),
    "queued": ("queued", Q(outcome=Outcome.NONE, state=State.QUEUED)),
}
NOT_SUCCEEDED = ("partial", "restored", "skipped", "attention", "resolved")

_BY_OUTCOME = {
    Outcome.SUCCEEDED.value: "succeeded",
    Outcome.PARTIAL.value: "partial",
    Outcome.RESTORED.value: "restored",
    Outcome.SKIPPED.value: "skipped",
    Outcome.ATTENTION.value: "attention",
    Outcome.RESOLVED.value: "resolved",
}

# What a retry takes up again: over, not succeeded, and not in a person's hands.
RETRIED = (Outcome.PARTIAL, Outcome.RESTORED, Outcome.SKIPPED, Outcome.RESOLVED)


def standing(state: str, outcome: str) -> str:
    """The key in STANDINGS of a target of this state and outcome."""
    return _BY_OUTCOME.get(outcome) or ("queued" if state == State.QUEUED else "active")


@dataclass(frozen=True, slots=True)
class Part:
    """One standing's share of a run, as a figure and as a piece of a bar that is 1000 wide."""

    key: str
    label: str
    count: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of one run. They add up to its targets."""

    counts: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def open(self) -> int:
        """Queued or being serviced: what a cancel asks, and what the run's end waits for."""
        return self.counts["queued"] + self.counts["active"]

    @property
    def over(self) -> int:
        return self.total - self.open

    @property
    def retried(self) -> int:
        """What `retry_failed` takes up again."""
        return sum(self.counts[_BY_OUTCOME[outcome]] for outcome in RETRIED)

    @property
    def parts(self) -> list[Part]:
        """All standings in their order, the empty ones too: figures don't jump about while a run goes on."""
        made, x = [], 0.0
        for key, (label, _) in STANDINGS.items():
            count = self.counts[key]
            width = 1000 * count / self.total if self.total else 0.0
            made.append(Part(key, label, count, round(x, 2), round(width, 2)))
            x += width
        return made

    @property
    def segments(self) -> list[Part]:
        return [part for part in self.parts if part.count]

    def __str__(self) -> str:
        said = ", ".join(f"{part.count} {part.label}" for part in self.segments)
        return f"{self.over} of {self.total} ended: {said}" if said else "no targets"


def tallies(runs: Iterable[int]) -> dict[int, Tally]:
    """The counts of each of these runs, in one query that an index alone answers."""
    found = {run: Tally() for run in runs}
    rows = (
        RunTarget.objects.filter(run__in=list(found))
        .order_by()
        .values_list("run", "state", "outcome")
        .annotate(n=Count("pk"))
    )
    for run, state, outcome, n in rows:
        found[run].counts[standing(state, outcome)] += n
    return found


def tally(run: int) -> Tally:
    return tallies([run])[run]
