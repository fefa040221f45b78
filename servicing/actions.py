"""What people do: start, cancel, retry, resolve. Each checks, acts in one transaction, and nudges the workers."""

import logging
from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from inventory.drivers import platform_for
from inventory.models import StoredResource
from inventory.platforms.base import Place, Power
from ovmst_site import clock
from ovmst_site.access.gate import Actor, visible
from ovmst_site.access.models import Person
from ovmst_site.faults import Fault
from ovmst_site.text import clean
from servicing import cycle, ledger
from servicing.ledger import Line
from servicing.models import Installation, Job, Run, RunTarget
from servicing.nudge import nudge

log = logging.getLogger(__name__)
QUEUE = "servicing"


def start_run(job: Job, by: Actor) -> Run:
    """A run of this job over its group's machines. Machines that inventory misses, that were handed out or
    that another run holds become targets that are skipped, so that the run names them. Raises
    ValidationError when there is nothing to service or `by` may not run this job."""
    _must_be_allowed(job, by)
    resources = list(
        job.group.resources.select_related("share", "management_server").order_by("-first_in_line", "pk")
    )
    if not resources:
        raise ValidationError(f"The group {job.group} of job {job} has no machines.")
    return _start(job, resources, by, retry_of=None)


def retry_failed(run: Run, by: Actor) -> Run:
    """A new run of the same job over the machines of `run` that didn't succeed and are free again."""
    _must_be_allowed(run.job, by)
    settled = (RunTarget.Outcome.SUCCEEDED, RunTarget.Outcome.NONE, RunTarget.Outcome.ATTENTION)
    resources = [
        t.resource
        for t in run.targets.exclude(outcome__in=settled).select_related(
            "resource__share", "resource__management_server"
        )
    ]
    if not resources:
        raise ValidationError(f"Nothing in {run} is left to retry.")
    return _start(run.job, resources, by, retry_of=run)


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
        RunTarget.objects.filter(pk__in=asked).update(
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


def _start(job: Job, resources: Iterable[StoredResource], by: Actor, retry_of: Run | None) -> Run:
    now = clock.now()
    with transaction.atomic():
        run = Run.objects.create(
            job=job, started_at=now, started_by=by if isinstance(by, Person) else None, retry_of=retry_of
        )
        for resource in resources:
            _queue(run, resource)
        if not run.targets.exclude(state=RunTarget.State.FINISHED).exists():
            Run.objects.filter(pk=run.pk).update(finished_at=now)
        nudge(QUEUE)
    run.refresh_from_db()
    return run


def _queue(run: Run, resource: StoredResource) -> None:
    now = clock.now()
    target = RunTarget(
        run=run, resource=resource, cycle_version=cycle.VERSION, created_at=now, due_at=now, queue=QUEUE
    )
    unfit = ""
    if resource.team_id != run.job.team_id:
        unfit = "refused: it belongs to another team"
    elif resource.missing_since is not None:
        unfit = "refused: inventory has not found it since " + resource.missing_since.isoformat(" ", "minutes")
    elif not resource.management_server.enabled:
        unfit = f"refused: its management server {resource.management_server} is disabled"
    elif resource.handed_out_to:
        unfit = f"refused: it was handed out to {resource.handed_out_to}"
    elif resource.share is None:
        unfit = "refused: it isn't in a library share; adopt it first"
    if not unfit:
        try:
            with transaction.atomic():
                target.save()
        except IntegrityError:  # the database holds "one open target per machine", whoever asks at once
            unfit = "refused: another run is servicing it"
    if unfit:
        target.state, target.outcome = RunTarget.State.FINISHED, RunTarget.Outcome.SKIPPED
        target.reason, target.due_at, target.finished_at = unfit, None, now
        target.save()


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


def _must_be_allowed(job: Job, by: Actor) -> None:
    if not visible(by, Job.objects.filter(pk=job.pk), "change").exists():
        raise ValidationError(f"There is no job {job.name!r} that you may run.")
