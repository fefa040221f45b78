"""What Celery workers do. Messages are hints: a duplicate finds nothing due, a lost one costs a second."""

from datetime import datetime

from celery import shared_task

from ovmst_site import clock
from servicing import alarms, engine
from servicing.actions import occurrences


@shared_task(name="servicing.advance_due", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def advance_due(queue: str) -> None:
    """Take due targets of this queue on for a while; the workers' timers take on what is due then still."""
    engine.advance_due(queue, stop=engine.STOPPING.is_set, longest=engine.SLICE)


@shared_task(name="servicing.repeat_alarms", ignore_result=True)
def repeat_alarms() -> None:
    """Name the machines that still need attention, and send what could not be sent."""
    alarms.send_due(clock.now())


@shared_task(name="servicing.start_occurrence", acks_late=True, ignore_result=True)
def start_occurrence(job_id: int, due_at: str) -> None:
    """Start what was planned for this moment (ISO 8601); a duplicate finds it started."""
    occurrences.start_occurrence(job_id, datetime.fromisoformat(due_at))


@shared_task(name="servicing.start_due_occurrences", ignore_result=True)
def start_due_occurrences() -> None:
    """The safety net below beat's clocked messages."""
    occurrences.start_due_occurrences()
