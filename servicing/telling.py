"""A run in words, for terminals: its log as it grows, and the line it ends with."""

from collections.abc import Callable

from ovmst_site.text import printable
from servicing.models import Event, Run, RunTarget

Outcome = RunTarget.Outcome
OPEN = (RunTarget.State.QUEUED, RunTarget.State.ACTIVE)
LONGEST_NAME = 40  # characters of a machine's name in a terminal


class Teller:
    """Says each line of a run's log once."""

    def __init__(self, run: Run, say: Callable[[str], object]) -> None:
        self._run = run
        self._say = say
        self._told: dict[int, int] = {}

    def skip(self) -> None:
        """What there is already isn't told."""
        self._told = dict(self._run.targets.values_list("pk", "events"))

    def tell(self) -> bool:
        """Say what is new; False once nothing more comes: everything is over, or needs a person."""
        is_open = self._run.targets.filter(state__in=OPEN).exists()
        # Each target's events are numbered without gaps: what is new is what follows the last one told.
        for target in self._run.targets.filter(events__gt=0).select_related("resource"):
            last = self._told.get(target.pk, 0)
            if target.events > last:
                for event in Event.objects.filter(target=target, n__gt=last).order_by("n"):
                    name = " ".join(target.resource.name.split())[:LONGEST_NAME]
                    text = event.text.replace("\n", "\n    ")  # no line of a guest's looks like one of ours
                    self._say(printable(f"{event.at:%H:%M:%S} {name}: {event.step}: {text}"))
                    self._told[target.pk] = event.n
        return is_open


def closing_line(run: Run, awake: int) -> str:
    """The line that people and programs read; its numbers add up to the targets."""
    count = dict.fromkeys(Outcome, 0)
    for outcome in run.targets.values_list("outcome", flat=True):
        count[Outcome(outcome)] += 1
    attention = count[Outcome.ATTENTION] + count[Outcome.RESOLVED] + count[Outcome.NONE]
    return (
        f"run {run.pk}: {sum(count.values())} targets, {count[Outcome.SUCCEEDED]} succeeded, "
        f"{count[Outcome.PARTIAL]} partial, {count[Outcome.RESTORED]} restored, {count[Outcome.SKIPPED]} skipped, "
        f"{attention} need attention, {awake} awake"
    )
