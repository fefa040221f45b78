"""A worker's own look for due work."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from servicing import engine, presence, timer


class Pool:
    """A worker and its pool, as far as the timer knows them; what is submitted is performed by `perform`."""

    pool_cls = type("Threads", (), {"__module__": "celery.concurrency.thread"})

    def __init__(self, concurrency: int = 1) -> None:
        self.pool, self.concurrency = self, concurrency
        self.submitted: list[Callable[[], Any]] = []

    def apply_async(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.submitted.append(lambda: function(*arguments))


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    monkeypatch.setattr(engine, "STOPPING", threading.Event())
    monkeypatch.setattr(presence, "perform_until_the_end", lambda: None)
    return engine.STOPPING


def test_a_stop_that_comes_while_the_worker_starts_is_not_forgotten(
    stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
):
    worker = Pool()
    # Due work is there all the time: a look would take it.
    monkeypatch.setattr("servicing.ledger.next_due", lambda queue, now: True)
    stopping.set()
    step = timer.LookForDueWork(worker)
    step.start(worker)
    assert stopping.is_set()
    step.stop(worker)
    assert worker.submitted == []
