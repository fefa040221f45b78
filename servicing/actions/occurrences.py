"""Start what was planned: each occurrence at most once, however many messages say so, or how late."""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from servicing import schedules
from servicing.actions.start import start_run
from servicing.models import Job, Occurrence, Run

log = logging.getLogger(__name__)
EARLY = timedelta(seconds=60)  # beat's clock and the database's may differ


def start_occurrence(job_id: int, due_at: datetime) -> Run | None:
    """The run of this occurrence, if this call is the one that starts it. An occurrence that is found too
    late (OVMST was down, or had no thread free) is recorded as missed, one whose job can't start as refused, with
    the reason."""
    with transaction.atomic():
        # The job's row is locked first, as whoever plans does.
        job = Job.objects.select_for_update().filter(pk=job_id).first()
        if job is None:
            return None
        planned = Occurrence.objects.filter(job=job, due_at=due_at, state=Occurrence.State.PLANNED).first()
        now = clock.now()
        if planned is None or planned.due_at - now > EARLY:
            return None
        late, limit = now - planned.due_at, timedelta(hours=settings.START_LATE_HOURS)
        if late > limit:
            planned.state = Occurrence.State.MISSED
            found, most = (span.total_seconds() / 3600 for span in (late, limit))
            planned.reason = f"It was found {found:.1f} h late; more than {most:g} h is missed."
        else:
            try:
                with transaction.atomic():
                    planned.run = start_run(job, SERVICE)
                planned.state = Occurrence.State.STARTED
            except ValidationError as error:
                planned.state, planned.reason = Occurrence.State.REFUSED, " ".join(error.messages)
        planned.settled_at = now
        planned.save()
        schedules.forget(job)
    if planned.run is None:
        log.error("The planned start of job %s: %s: %s", job.pk, planned.state, planned.reason)
    return planned.run


def start_due_occurrences() -> int:
    """Start each planned occurrence whose time has come and whose message didn't; returns how many started.
    One that can't be started now stops no other."""
    started = 0
    due = Occurrence.objects.filter(state=Occurrence.State.PLANNED, due_at__lte=clock.now())
    for job_id, due_at in list(due.order_by("due_at").values_list("job", "due_at")):
        try:
            started += start_occurrence(job_id, due_at) is not None
        except Exception:
            log.exception("The planned start of job %s failed; the next look tries again", job_id)
    return started
