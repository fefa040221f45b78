"""What people do with a run that goes on: cancel it, resolve what needs attention, count what is awake."""

import logging

from django.core.exceptions import ValidationError
from django.db import transaction

from inventory.drivers import platform_for
from inventory.platforms.base import Place, Power
from ovmst_site import clock
from ovmst_site.access.gate import Actor
from ovmst_site.batches import batched
from ovmst_site.faults import Fault
from ovmst_site.text import clean
from servicing import cycle, ledger
from servicing.actions.permission import must_be_allowed as _must_be_allowed
from servicing.ledger import Line
from servicing.models import Installation, Run, RunTarget
from servicing.nudge import QUEUE, nudge

log = logging.getLogger(__name__)


def cancel_run(run: Run, by: Actor) -> int:
    """Ask every open target of this run to turn back; returns how many were asked. Those that are being
    published finish; those that need attention stay with their person."""
    _must_be_allowed(run.job, by)
    now = clock.now()
    with transaction.atomic():
        open_targets = run.targets.select_for_update().filter(
            state__in=(RunTarget.State.QUEUED, RunTarget.State.ACTIVE), cancel_requested_at=None
        )
        asked = list(open_targets.order_by("pk").values_list("pk", flat=True))
        for some in batched(asked):
            RunTarget.objects.filter(pk__in=some).update(
                cancel_requested_at=now, cancel_requested_by=clean(str(by), 200), due_at=now
            )
        ledger.tell(asked, Line(clean(f"{by} asks for it to be cancelled")), now)
        nudge(QUEUE)
    return len(asked)


def resolve_attention(target: RunTarget, by: Actor, reason: str, *, bring_back: bool) -> None:
    """A person has looked. Either OVMST brings the machine back as it was before (`bring_back`), or they have
    done what was needed and the target is closed: our marker and its reservation are given back, and nothing
    else on the platform is touched.

    Raises ValidationError without a reason, when the target doesn't need attention (any more), or when it is
    to be closed while the platform says that the machine still runs or can't say.
    """
    _must_be_allowed(target.run.job, by)
    if not reason.strip():
        raise ValidationError("Say why: the reason is kept with the machine's history.")
    now = clock.now()
    if not bring_back:
        _must_be_home(target)
    with transaction.atomic():
        locked = RunTarget.objects.select_for_update().get(pk=target.pk)
        if locked.state != RunTarget.State.ATTENTION:
            raise ValidationError("This machine doesn't need attention any more.")
        locked.resolved_by, locked.resolution = clean(str(by), 200), clean(reason)
        locked.lease_owner, locked.lease_until = "", None
        if bring_back:
            first = cycle.RETURN[0]
            locked.state, locked.outcome = RunTarget.State.ACTIVE, RunTarget.Outcome.NONE
            locked.direction, locked.step, locked.visit = "return", first.name, locked.visit + 1
            locked.tries, locked.entered_at, locked.due_at = 0, None, now
        else:
            locked.state, locked.outcome = RunTarget.State.FINISHED, RunTarget.Outcome.RESOLVED
            locked.finished_at, locked.due_at = now, None
            ledger.free(locked)
            locked.reserved_mb, locked.transfers_on = None, None
        locked.epoch += 1  # whoever may still think that they hold it records nothing
        locked.save()
        becomes = "it is to be brought back" if bring_back else "it is closed"
        ledger.tell([locked.pk], Line(clean(f"resolved by {by}, {becomes}: {reason}")), now)
        if bring_back:  # last, as the engine's records lock the run last
            Run.objects.filter(pk=locked.run_id).update(finished_at=None)
        nudge(QUEUE)
    if not bring_back:
        _take_marker_off(locked)


def count_awake(run: Run) -> int:
    """How many of this run's machines the platforms say are awake. One whose platform can't say counts:
    "could not tell" is never "fine"."""
    awake = 0
    targets = run.targets.select_related(
        "resource__management_server__credential", "resource__share", "resource__credential"
    )
    for target in targets:
        try:
            seen = platform_for(target.resource.management_server).observe(target.resource.ref())
        except Fault:
            awake += 1
        else:
            awake += seen.power in (Power.ON, Power.UNKNOWN)  # a saved state is for preflight to refuse
    return awake


def _must_be_home(target: RunTarget) -> None:
    """What a person closes is off and back in its library, or gone for good by their own doing."""
    resource = target.resource
    try:
        seen = platform_for(resource.management_server).observe(resource.ref())
    except Fault as fault:
        raise ValidationError(f"The platform doesn't say how it is: {fault}") from fault
    if seen.power is not Power.OFF:
        raise ValidationError(f"It is {seen.power} ({seen.detail}): stop it first, or have it brought back.")
    if seen.place not in (Place.LIBRARY, Place.ABSENT):
        raise ValidationError(f"It is not in its library but on {seen.host or 'a host'}: have it brought back.")


def _take_marker_off(target: RunTarget) -> None:
    """Ours alone. One that stays after a fault is taken off by the machine's next preflight."""
    resource = target.resource
    platform = platform_for(resource.management_server)
    try:
        marker = platform.observe(resource.ref()).marker
        ours = marker is not None and marker.installation == Installation.current_name()
        if marker is not None and ours and marker.target == str(target.pk):
            platform.unmark(resource.ref(), marker)
    except Fault as fault:
        log.warning("The marker of target %s stays for now: %s", target.pk, fault)
