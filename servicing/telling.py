"""A run in words, for terminals: its log as it grows, and the line it ends with."""

from collections.abc import Callable

from ovmst_site.text import printable
from servicing.models import Event, Run, RunTarget
from servicing.tally import tally

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


def closing_line(run: Run, awake: int | None = None) -> str:
    """The line that people and programs read; its numbers add up to the targets. Without `awake` it says
    nothing about it: only the platforms could tell, and a page doesn't ask them about ten thousand machines."""
    counted = tally(run.pk)
    count = counted.counts
    attention = count["attention"] + count["resolved"] + counted.open
    line = (
        f"run {run.pk}: {counted.total} targets, {count['succeeded']} succeeded, {count['partial']} partial, "
        f"{count['restored']} restored, {count['skipped']} skipped, {attention} need attention"
    )
    return line if awake is None else f"{line}, {awake} awake"
