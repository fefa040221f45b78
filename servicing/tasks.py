"""What Celery workers do. Messages are hints: a duplicate finds nothing due, a lost one costs a second."""

from celery import shared_task

from ovmst_site import clock
from servicing import alarms, engine


@shared_task(name="servicing.advance_due", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def advance_due(queue: str) -> None:
    """Take the due targets of this queue on until none is due, or this worker is told to stop."""
    engine.advance_due(queue, stop=engine.STOPPING.is_set)


@shared_task(name="servicing.repeat_alarms", ignore_result=True)
def repeat_alarms() -> None:
    """Name the machines that still need attention, and send what could not be sent."""
    alarms.send_due(clock.now())
