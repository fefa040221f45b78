"""Each worker's own look for due work, at least every second: the broker may be down, messages lost."""

import logging
import threading
from typing import Any

from celery import bootsteps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, close_old_connections

from ovmst_site import clock, pool
from servicing import engine, ledger, presence

log = logging.getLogger(__name__)
EVERY = 1.0  # seconds, or OVMST_POLL_SECONDS where that is less


class LookForDueWork(bootsteps.StartStopStep):
    """A thread beside the worker's consumer, so that neither a broker nor a database that hangs stops the
    other's work; what is found goes to the worker's pool.

    It stops before the pool does, and has the engine stop then: a warm shutdown waits for steps, not for work
    to run out. Told to end while it starts, it ends: nobody takes that back in a process's life.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._stop = engine.STOPPING
        self._free: threading.Semaphore | None = None
        self._thread: threading.Thread | None = None

    def start(self, worker: Any) -> None:
        if worker.pool_cls.__module__ != "celery.concurrency.thread":
            raise ImproperlyConfigured("Start workers with --pool threads: steps wait for others, not for a CPU.")
        if reason := pool.too_many(worker.concurrency):
            raise ImproperlyConfigured(reason)
        presence.perform_until_the_end()
        close_old_connections()
        self._free = threading.Semaphore(worker.concurrency)
        self._thread = threading.Thread(target=self._look_until_stopped, args=(worker,), daemon=True)
        self._thread.start()

    def close(self, worker: Any) -> None:
        # Called first of all, while messages still come in: a warm shutdown waits for no more than a step.
        self._stop.set()

    def stop(self, worker: Any) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def terminate(self, worker: Any) -> None:
        self.stop(worker)

    def _look_until_stopped(self, worker: Any) -> None:
        queue = settings.CELERY_TASK_DEFAULT_QUEUE
        while not self._stop.wait(min(EVERY, settings.POLL_SECONDS)):
            try:
                due = ledger.next_due(queue, clock.now())
            except Exception as error:  # noqa: BLE001 - whatever it was, the next look may find work
                log.warning("Looking for due work failed (%s); looking again.", type(error).__name__)
                continue
            finally:
                close_old_connections()
            if due and self._free is not None and self._free.acquire(blocking=False):
                self._submit(worker, queue)

    def _submit(self, worker: Any, queue: str) -> None:
        try:
            worker.pool.apply_async(self._advance, (worker, queue))
        except RuntimeError:  # the pool takes nothing more: the worker ends
            self._release()

    def _advance(self, worker: Any, queue: str) -> None:
        goes_on = False
        try:
            engine.advance_due(queue, stop=self._stop.is_set, longest=engine.SLICE)
            goes_on = not self._stop.is_set() and ledger.next_due(queue, clock.now())
        except DatabaseError as error:
            log.warning("The database went away (%s); leases run out and are taken again.", type(error).__name__)
        finally:
            close_old_connections()
            if not goes_on:
                self._release()
        if goes_on:
            # Behind what else waits for a thread: a planned start comes first now, however much is due.
            self._submit(worker, queue)

    def _release(self) -> None:
        if self._free is not None:
            self._free.release()
