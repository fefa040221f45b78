"""A worker's own look for due work."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from ovmst_site import pool
from ovmst_site.clock import JumpingClock
from servicing import engine, presence, timer
from servicing.ledger import Lease
from tests.factories import LabSite


class Worker:
    """A worker whose pool is real threads, as far as the timer knows it."""

    pool_cls = type("Threads", (), {"__module__": "celery.concurrency.thread"})

    def __init__(self, concurrency: int = 1) -> None:
        self.pool, self.concurrency = self, concurrency
        self.threads = ThreadPoolExecutor(concurrency)
        self.submitted = 0

    def apply_async(self, function: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> None:
        self.submitted += 1
        self.threads.submit(function, *arguments)


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch, jumping_clock: JumpingClock) -> threading.Event:
    """Due work is there all the time; nobody has told the engine to stop."""
    lease = Lease(1, "me", 1, jumping_clock.now() + timedelta(seconds=90))
    monkeypatch.setattr(engine, "STOPPING", threading.Event())
    monkeypatch.setattr(presence, "perform_until_the_end", lambda: None)
    monkeypatch.setattr(timer, "close_old_connections", lambda: None)
    monkeypatch.setattr("servicing.ledger.next_due", lambda queue, now: True)
    monkeypatch.setattr("servicing.ledger.claim", lambda *_, **__: [lease])
    monkeypatch.setattr(engine, "advance", lambda lease, stop: None)
    return engine.STOPPING


def test_a_stop_that_comes_while_the_worker_starts_is_not_forgotten(stopping: threading.Event):
    worker = Worker()
    stopping.set()
    step = timer.LookForDueWork(worker)
    step.start(worker)
    assert stopping.is_set()
    step.stop(worker)
    assert worker.submitted == 0


def test_however_much_is_due_a_planned_start_gets_a_thread(
    stopping: threading.Event, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.POLL_SECONDS = 0.01
    monkeypatch.setattr(engine, "SLICE", 0.05)
    began, started = threading.Event(), threading.Event()
    monkeypatch.setattr(engine, "advance", lambda lease, stop: began.set())
    worker = Worker()
    step = timer.LookForDueWork(worker)
    step.start(worker)
    try:
        assert began.wait(30)
        worker.apply_async(started.set)
        assert started.wait(30)
        before = worker.submitted
        began.clear()
        assert began.wait(30)  # and what is due goes on
        assert worker.submitted >= before
    finally:
        step.stop(worker)
        worker.threads.shutdown()


def test_a_worker_that_ends_meanwhile_begins_no_further_slice(
    stopping: threading.Event, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.POLL_SECONDS = 0.01
    monkeypatch.setattr(engine, "SLICE", 0.0)
    worker = Worker()
    step = timer.LookForDueWork(worker)
    step.start(worker)
    step.stop(worker)
    worker.threads.shutdown()
    submitted = worker.submitted
    step._advance(worker, "servicing")
    assert worker.submitted == submitted


def test_a_slice_ends_between_two_machines(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    for n in range(4):
        lab.machine(f"m{n}", name=f"machine {n}")
    lab.start()
    moments = iter(range(100))
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    assert engine.advance_due("servicing", longest=2.5) == 2


def test_a_worker_with_more_threads_than_connections_does_not_start(
    stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
):
    kept = {"OPTIONS": {"pool": {"max_size": 6}}}
    monkeypatch.setattr(pool, "connection", SimpleNamespace(vendor="postgresql", settings_dict=kept))
    assert pool.too_many(2) == ""
    worker = Worker(concurrency=3)
    with pytest.raises(ImproperlyConfigured, match="OVMST_DATABASE_POOL=7, or use at most 2 threads"):
        timer.LookForDueWork(worker).start(worker)
