"""Planned starts: one row that says so, one that beat reads, and the job's own note of it, kept in step.

A job has one planned occurrence at most. Its row of django-celery-beat (clocked, one-off) makes it punctual;
the occurrence's own row makes it happen: a look every minute finds what beat's message didn't start.

Beat keeps copies of its rows and writes them back whole. So a job's row is switched off and used again, and
only deleted with the job: a copy of a deleted row would be inserted again, or stop beat when it can't be.
"""

import json
from datetime import UTC, datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django_celery_beat.models import ClockedSchedule, PeriodicTask

from ovmst_site import clock
from ovmst_site.access.gate import Actor
from servicing.models import Job, Occurrence

LONGEST_AHEAD = timedelta(days=3653)
AGAIN = (Occurrence.State.CANCELLED, Occurrence.State.REFUSED)  # what came to nothing may be planned again
TASK = "servicing.start_occurrence"


def plan_start(job: Job, at: datetime, by: Actor) -> Occurrence:
    """Start `job` once at `at`, in place of what was planned before. Raises ValidationError with the field
    "start_at" for a moment without a time zone, in the past or too far ahead, for one that was started already
    (a minute early), and for a job that is off."""
    if at.utcoffset() is None:
        raise ValidationError({"start_at": "Say in which time zone."})
    if not at - clock.now() < LONGEST_AHEAD:
        raise ValidationError({"start_at": "This moment is more than ten years ahead."})
    due = at.astimezone(UTC).replace(microsecond=0)
    with transaction.atomic():
        locked = Job.objects.select_for_update().get(pk=job.pk)
        if due <= clock.now():
            raise ValidationError({"start_at": "This moment is in the past."})
        if not locked.enabled:
            raise ValidationError({"start_at": "The job is switched off: switch it on first."})
        cancel_planned(locked)
        planned, made = Occurrence.objects.get_or_create(job=job, due_at=due, defaults={"planned_by": str(by)})
        if not made:
            if planned.state not in AGAIN:
                raise ValidationError({"start_at": f"This start is settled already: {planned.state}."})
            planned.state, planned.planned_by = Occurrence.State.PLANNED, str(by)
            planned.settled_at, planned.reason = None, ""
            planned.save()
        _tell_beat(job, due)
        _note(job, due)
    return planned


def cancel_planned(job: Job) -> None:
    """Take the planned start back; harmless when there is none."""
    with transaction.atomic():
        Occurrence.objects.filter(job=job, state=Occurrence.State.PLANNED).update(
            state=Occurrence.State.CANCELLED, settled_at=clock.now()
        )
        forget(job)


def forget(job: Job) -> None:
    """Nothing is planned any more: neither beat nor the job's lists know of a start."""
    task = PeriodicTask.objects.filter(name=_name(job), enabled=True).first()
    if task is not None:
        task.enabled = False
        task.save()
    _note(job, None)


def remove(job: Job) -> None:
    """Before a job goes: its row of beat goes too."""
    for task in PeriodicTask.objects.filter(name=_name(job)).select_related("clocked"):
        task.delete()
        if task.clocked is not None:
            task.clocked.delete()


def _tell_beat(job: Job, due: datetime) -> None:
    task = PeriodicTask.objects.filter(name=_name(job)).select_related("clocked").first()
    if task is None:
        task = PeriodicTask(name=_name(job), clocked=ClockedSchedule(), task=TASK, one_off=True)
        task.description = "Made by OVMST from the job's planned start; change it there."
    task.clocked.clocked_time = due
    task.clocked.save()
    task.args = json.dumps([job.pk, due.isoformat()])
    task.enabled, task.total_run_count, task.last_run_at = True, 0, None
    task.save()


def _note(job: Job, due: datetime | None) -> None:
    Job.objects.filter(pk=job.pk).update(next_start_at=due)
    job.next_start_at = due


def _name(job: Job) -> str:
    return f"servicing: next start of job {job.pk}"
