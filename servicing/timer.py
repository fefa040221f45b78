"""Each worker's own look for due work, at least every second: the broker may be down, messages lost."""

import logging
from typing import Any

from celery import bootsteps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, close_old_connections

from ovmst_site import clock
from servicing import engine, ledger

log = logging.getLogger(__name__)
EVERY = 1.0  # seconds


class LookForDueWork(bootsteps.StartStopStep):
    """Runs on the worker's timer thread; the work itself goes to the worker's pool."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._entry: Any = None
        self._busy = 0

    def start(self, worker: Any) -> None:
        if worker.pool_cls.__module__ != "celery.concurrency.thread":
            raise ImproperlyConfigured("Start workers with --pool threads: steps wait for others, not for a CPU.")
        self._entry = worker.timer.call_repeatedly(EVERY, self._look, (worker,))

    def stop(self, worker: Any) -> None:
        if self._entry is not None:
            self._entry.cancel()

    def _look(self, worker: Any) -> None:
        try:
            due = ledger.next_due(settings.CELERY_TASK_DEFAULT_QUEUE, clock.now())
        except DatabaseError as error:
            log.warning("The database doesn't answer (%s); looking again in a second.", type(error).__name__)
            return
        finally:
            close_old_connections()
        if due and self._busy < worker.concurrency:
            self._busy += 1
            worker.pool.apply_async(self._advance, (settings.CELERY_TASK_DEFAULT_QUEUE,))

    def _advance(self, queue: str) -> None:
        try:
            engine.advance_due(queue)
        except DatabaseError as error:
            log.warning(
                "The database went away (%s); leases will run out and be taken again.", type(error).__name__
            )
        finally:
            self._busy -= 1
            close_old_connections()
