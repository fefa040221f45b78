"""How a machine is now, in a word or two: what the list and the machine's own page show."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch

from inventory.models import StoredResource
from ovmst_site.access.gate import Actor, visible
from ovmst_site.web.templatetags.web import in_words
from servicing.models import RunTarget

OPEN = "open_targets"  # where `with_open_targets` leaves them: one at most, says the database


@dataclass(frozen=True, slots=True)
class MachineState:
    """A badge and what stands beside it. `target` is the open target where there is one and it may be seen."""

    slug: str
    label: str
    detail: str = ""
    since: datetime | None = None
    target: RunTarget | None = None


def with_open_targets() -> "Prefetch[str]":
    """What `state_of` needs of each machine, in one query for all of them."""
    targets = RunTarget.objects.filter(finished_at=None).select_related("host", "run__job")
    return Prefetch("run_targets", queryset=targets, to_attr=OPEN)


def may_be_seen(machines: Iterable[StoredResource], by: Actor) -> set[int]:
    """The open targets of these machines that `by` may see: a machine's share may have gone to another team
    while a job of the former one services it."""
    ids = [target.pk for machine in machines for target in getattr(machine, OPEN)]
    return set(visible(by, RunTarget.objects.filter(pk__in=ids)).values_list("pk", flat=True)) if ids else set()


def state_of(machine: StoredResource, seen: set[int]) -> MachineState:
    """`machine` as `with_open_targets` fetched it. What goes on comes before where it lies: a machine that is
    being serviced may well be missing from its library."""
    target: RunTarget | None = next(iter(getattr(machine, OPEN)), None)
    if target is not None:
        shown = target if target.pk in seen else None
        if target.state == RunTarget.State.ATTENTION:
            return MachineState("attention", "needs attention", target=shown)
        if target.state == RunTarget.State.QUEUED or (target.direction, target.step) == ("forward", "place"):
            return MachineState("queued", "waiting for its turn", target=shown)
        return MachineState("active", "being serviced", detail=step_words(target), target=shown)
    if machine.missing_since is not None:
        return MachineState("missing", "missing", since=machine.missing_since)
    if machine.handed_out_to:
        return MachineState("handed-out", "handed out", detail=f"to {machine.handed_out_to}")
    if machine.share_id is None:
        return MachineState("on-host", "on a host", detail="in no library")
    return MachineState("library", "in its library")


def step_words(target: RunTarget) -> str:
    """Its step for people: "shut down", "way back: rewind"."""
    step = in_words(target.step)
    return f"way back: {step}" if target.direction == "return" else step
