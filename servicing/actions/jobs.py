"""Create, edit, copy and delete jobs, and plan their next start."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from ovmst_site import clock
from ovmst_site.access.gate import Actor
from ovmst_site.access.models import Team
from ovmst_site.text import clean, clean_json
from servicing import schedules
from servicing.actions.groups import free_name
from servicing.actions.names import one_of_a_name
from servicing.actions.permission import must_act_for, must_be_allowed
from servicing.models import Job, RunTarget

EDITABLE = (
    *("name", "enabled", "group", "update_system", "host_group", "credential"),
    *("on_failure", "allow_force_off", "rounds", "checks", "patience"),
)


class _Keep:
    """Leaves a planned start as it is."""


KEEP = _Keep()


def create_job(by: Actor, *, team: Team | None, start_at: datetime | None = None, **fields: Any) -> Job:
    """A job of this team; `fields` are EDITABLE. With `start_at` it starts once by itself."""
    job = Job(team=must_act_for(team, by))
    _fill(job, fields)
    with transaction.atomic():
        with one_of_a_name(Job):
            job.save()
        if start_at is not None:
            schedules.plan_start(job, start_at, by)
    return job


def edit_job(job: Job, by: Actor, *, version: int, start_at: datetime | _Keep | None = KEEP, **fields: Any) -> Job:
    """Change these fields of the job that was read at this `version`. Raises ValidationError, saving nothing,
    when somebody else has changed it since."""
    must_be_allowed(job, by)
    with transaction.atomic():
        fresh = Job.objects.select_for_update().get(pk=job.pk)
        if fresh.archived_at is not None or fresh.version != version:
            raise ValidationError(
                f"Somebody else changed {fresh.name!r} while you edited it. Nothing of yours was saved: "
                "open it again, and make your change to what it says now.",
                code="conflict",
            )
        _fill(fresh, fields)
        fresh.version += 1
        # What plans and occurrences keep isn't edited here.
        with one_of_a_name(Job):
            fresh.save(update_fields=[*fields, "version"])
        if not isinstance(start_at, _Keep) and start_at != fresh.next_start_at:
            if start_at is None:
                schedules.cancel_planned(fresh)
            else:
                schedules.plan_start(fresh, start_at, by)
    return fresh


def plan_job(job: Job, at: datetime, by: Actor) -> Job:
    """Start it once, at this moment, by itself; in place of what was planned before."""
    must_be_allowed(job, by)
    schedules.plan_start(job, at, by)
    return job


def unplan_job(job: Job, by: Actor) -> Job:
    """Take its planned start back; harmless when there is none."""
    must_be_allowed(job, by)
    schedules.cancel_planned(job)
    return job


def copy_job(job: Job, by: Actor, *, name: str = "") -> Job:
    """The same job again under another name, without its runs and its planned start."""
    must_be_allowed(job, by)
    fields = {field: getattr(job, field) for field in EDITABLE}
    taken = set(Job.objects.current().filter(team=job.team).values_list("name", flat=True))
    return create_job(by, team=job.team, **(fields | {"name": name or free_name(job.name, taken)}))


def delete_job(job: Job, by: Actor) -> bool:
    """Delete it; or archive it, so that its history stays, when it has runs: returns whether it was archived.
    Raises ValidationError while machines of it are open."""
    must_be_allowed(job, by)
    with transaction.atomic():
        fresh = Job.objects.select_for_update().get(pk=job.pk)
        open_targets = RunTarget.objects.filter(run__job=fresh, finished_at=None).count()
        if open_targets:
            raise ValidationError(
                f"{open_targets} machines are still in a run of {fresh}: cancel it, or wait for its end."
            )
        schedules.cancel_planned(fresh)
        schedules.remove(fresh)
        if not fresh.runs.exists():
            fresh.delete()
            return False
        fresh.archived_at, fresh.enabled, fresh.version = clock.now(), False, fresh.version + 1
        fresh.save(update_fields=["archived_at", "enabled", "version"])
    return True


def _fill(job: Job, fields: dict[str, Any]) -> None:
    if unknown := sorted(set(fields) - set(EDITABLE)):
        raise TypeError(f"A job has no {', '.join(unknown)} to edit")
    for name, value in fields.items():
        if name == "name":
            value = clean(str(value or "").strip(), 1000)
        elif name in ("checks", "patience"):
            value = clean_json(value)
        setattr(job, name, value)
    job.full_clean()
