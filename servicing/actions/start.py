"""Start runs. Ten thousand machines become ten thousand targets in a constant number of queries a thousand."""

from collections import Counter
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from inventory.models import Host, StoredResource
from ovmst_site import clock
from ovmst_site.access.gate import Actor
from ovmst_site.access.models import Person
from ovmst_site.text import clean
from servicing import cycle, groups
from servicing.actions.fitness import HELD, NAMED, REASONS, none_is_fit, with_reasons
from servicing.actions.permission import must_be_allowed
from servicing.models import Job, Run, RunTarget
from servicing.nudge import QUEUE, nudge
from servicing.tally import RETRIED

BATCH = 1000  # rows; a database that takes fewer at once splits them


def start_run(job: Job, by: Actor, *, name_each: bool = False) -> Run:
    """A run of this job over its group's machines, as its filter finds them now. Machines that inventory
    misses, that were handed out or that another run holds become targets that are skipped, so that the run
    names them. Raises ValidationError when there is nothing to service, nowhere to service it, the job is
    switched off, or `by` may not run it; and when none of its machines can be serviced, unless the caller asks
    for a run that is over at once and names each."""
    must_be_allowed(job, by)
    must_be_enabled(job)
    machines = groups.members(job.group)
    must_be_startable(job, machines)
    return _start(job, machines, by, retry_of=None, name_each=name_each)


def retry_failed(run: Run, by: Actor) -> Run:
    """A new run of the same job over the machines of `run` that didn't succeed and are free again. Raises
    ValidationError while `run` goes on."""
    must_be_allowed(run.job, by)
    must_be_enabled(run.job)
    if Run.objects.filter(pk=run.pk, finished_at=None).exists():
        raise ValidationError("This run isn't over yet: cancel it, or wait for its end.")
    machines = StoredResource.objects.filter(pk__in=run.targets.filter(outcome__in=RETRIED).values("resource"))
    if not machines.exists():
        raise ValidationError(f"Nothing in {run} is left to retry.")
    must_be_startable(run.job, machines)
    return _start(run.job, machines, by, retry_of=run)


def must_be_enabled(job: Job) -> None:
    if not job.enabled:
        raise ValidationError(f"The job {job} is switched off.")


def must_be_startable(job: Job, machines: QuerySet[StoredResource]) -> None:
    """Raises ValidationError where a run over these machines could service none of them: it would only wait.
    So it does where what the job uses went to another team since it was saved."""
    job.must_use_its_teams_own()
    servers = set(machines.order_by().values_list("management_server", flat=True).distinct())
    if not servers:
        raise ValidationError(f"The group {job.group} of job {job} has no machines.")
    hosts = list(Host.objects.filter(group=job.host_group).values_list("management_server", "in_maintenance"))
    useful = [in_maintenance for server, in_maintenance in hosts if server in servers]
    if not hosts:
        raise ValidationError(f"The host group {job.host_group} has no hosts.")
    if not useful:
        raise ValidationError(
            f"The host group {job.host_group} has no host of the management servers of these machines."
        )
    if all(useful):
        raise ValidationError(
            f"All hosts of {job.host_group} that could service these machines are in maintenance."
        )


def _start(
    job: Job, machines: QuerySet[StoredResource], by: Actor, retry_of: Run | None, *, name_each: bool = False
) -> Run:
    now = clock.now()
    asked = with_reasons(machines, job.team, job.host_group).order_by("-first_in_line", "pk")
    with transaction.atomic():
        # Whoever deletes or switches it off at this moment comes before, or after.
        locked = Job.objects.select_for_update().filter(pk=job.pk, archived_at=None).first()
        if locked is None:
            raise ValidationError(f"The job {job} was deleted.")
        must_be_enabled(locked)
        run = Run.objects.create(
            job=job, started_at=now, started_by=by if isinstance(by, Person) else None, retry_of=retry_of
        )
        rows = list(asked.values(*NAMED, "unfit"))
        fit = [RunTarget(due_at=now, **_new(run, row)) for row in rows if not row["unfit"]]
        # The database holds "one open target per machine", whoever asks at once: what it refuses isn't written.
        RunTarget.objects.bulk_create(fit, batch_size=BATCH, ignore_conflicts=True)
        written = set(RunTarget.objects.filter(run=run).values_list("resource", flat=True))
        unfit = [(row, row["unfit"] or HELD) for row in rows if row["pk"] not in written]
        if not written and not name_each:
            raise ValidationError(none_is_fit(Counter(key for _, key in unfit)))
        left_out = [_skipped(run, row, clean(f"refused: {REASONS[key].of_one(row)}")) for row, key in unfit]
        RunTarget.objects.bulk_create(left_out, batch_size=BATCH)
        if not written:
            Run.objects.filter(pk=run.pk).update(finished_at=now)
        nudge(QUEUE)
    run.refresh_from_db()
    return run


def _new(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": run,
        "resource_id": row["pk"],
        "cycle_version": cycle.VERSION,
        "created_at": run.started_at,
        "queue": QUEUE,
    }


def _skipped(run: Run, row: dict[str, Any], reason: str) -> RunTarget:
    return RunTarget(
        state=RunTarget.State.FINISHED,
        outcome=RunTarget.Outcome.SKIPPED,
        reason=reason,
        finished_at=run.started_at,
        **_new(run, row),
    )
