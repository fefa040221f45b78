"""One tailer for each run and process: who comes late, who is slow, and a database that goes away."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError, connection

from servicing import log, tail
from servicing.models import Event, Run
from tests.factories import LabSite

PATIENCE = 30.0


@pytest.fixture
def run(shared_lab: LabSite) -> Run:
    shared_lab.machine("m1")
    return shared_lab.start()


class Speaker:
    def __init__(self, run: Run) -> None:
        self.run, self.target, self.said = run, run.targets.get().pk, 0

    def say(self, number: int) -> None:
        Event.objects.bulk_create(
            Event(run=self.run, target_id=self.target, n=n, at=datetime.now(UTC), step="x", text=str(n))
            for n in range(self.said + 1, self.said + number + 1)
        )
        self.said += number


@pytest.fixture
def speaker(run: Run) -> Speaker:
    return Speaker(run)


def follow(watcher: Callable[[], Awaitable[Any]]) -> Any:
    """Run an event loop in a thread of its own, as a web server does."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(watcher())))  # type: ignore[arg-type]
    thread.start()
    return thread, found


async def lines_of(viewer: tail.Viewer, number: int) -> list[int]:
    found: list[int] = []
    while len(found) < number:
        batch = await viewer.next(PATIENCE)
        assert batch is not None
        found += [cursor.id for cursor, _ in batch.lines]
    return found


def wait_until_nobody_watches() -> None:
    end = time.monotonic() + PATIENCE
    while tail.watched() or any(t.name.startswith("tail-") for t in threading.enumerate()):
        assert time.monotonic() < end, tail.watched()
        time.sleep(0.02)


def test_many_viewers_share_one_tailer_which_ends_with_the_last(run: Run, speaker: Speaker):
    there = threading.Event()

    async def watch() -> list[list[int]]:
        viewers = [tail.watch(run.pk, log.START) for _ in range(20)]
        assert tail.watched() == {run.pk: 20}
        assert [t.name for t in threading.enumerate()].count(f"tail-{run.pk}") == 1
        there.set()
        found = [await lines_of(viewer, 3) for viewer in viewers]
        for viewer in viewers:
            tail.leave(run.pk, viewer)
        return found

    thread, found = follow(watch)
    assert there.wait(PATIENCE)
    speaker.say(3)
    thread.join()
    assert found[0] == [list(Event.objects.order_by("pk").values_list("pk", flat=True))] * 20
    wait_until_nobody_watches()


def test_who_joins_late_begins_where_history_ends(run: Run, speaker: Speaker):
    joined, asked = threading.Event(), threading.Event()

    async def watch() -> tuple[log.Cursor, list[int]]:
        early = tail.watch(run.pk, log.START)
        joined.set()
        await lines_of(early, 2)
        late = tail.watch(run.pk, log.START)
        since = late.since
        asked.set()
        rest = await lines_of(late, 2)
        tail.leave(run.pk, early)
        tail.leave(run.pk, late)
        return since, rest

    thread, found = follow(watch)
    assert joined.wait(PATIENCE)
    speaker.say(2)
    assert asked.wait(PATIENCE)
    speaker.say(2)
    thread.join()
    ids = list(Event.objects.order_by("pk").values_list("pk", flat=True))
    since, rest = found[0]
    assert since.id == ids[1]
    assert rest == ids[2:]
    wait_until_nobody_watches()


def test_a_viewer_that_is_too_slow_is_let_go_and_the_others_are_not(
    run: Run, speaker: Speaker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tail, "BUFFER", 10)
    there, more = threading.Event(), threading.Event()

    async def watch() -> Any:
        slow, quick = tail.watch(run.pk, log.START), tail.watch(run.pk, log.START)
        there.set()
        first = await lines_of(quick, 8)
        more.set()
        second = await lines_of(quick, 8)
        async with asyncio.timeout(PATIENCE):
            while not slow.is_cut:  # its turn comes when the loop has time
                await asyncio.sleep(0.01)
        cut = await slow.next(PATIENCE)
        tail.leave(run.pk, slow)
        tail.leave(run.pk, quick)
        return first + second, cut

    thread, found = follow(watch)
    assert there.wait(PATIENCE)
    speaker.say(8)
    assert more.wait(PATIENCE)
    speaker.say(8)
    thread.join()
    lines, cut = found[0]
    assert len(lines) == 16
    assert cut is None
    wait_until_nobody_watches()


def test_a_database_that_goes_away_for_a_while_costs_no_line(
    run: Run, speaker: Speaker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tail, "AFTER_FAILURE", 0.05)
    read, failures, there = log.after, iter(range(3)), threading.Event()

    def read_or_fail(*args: Any, **kwargs: Any) -> Any:
        if next(failures, None) is not None:
            raise OperationalError("the server closed the connection unexpectedly")
        return read(*args, **kwargs)

    monkeypatch.setattr(log, "after", read_or_fail)

    async def watch() -> list[int]:
        viewer = tail.watch(run.pk, log.START)
        there.set()
        found = await lines_of(viewer, 5)
        tail.leave(run.pk, viewer)
        return found

    thread, found = follow(watch)
    assert there.wait(PATIENCE)
    speaker.say(5)
    thread.join()
    assert found[0] == list(Event.objects.order_by("pk").values_list("pk", flat=True))
    assert next(failures, None) is None
    wait_until_nobody_watches()


def test_a_tailer_holds_no_connection_of_a_pool_between_its_looks(run: Run):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no pool")
    pool = connection.pool  # type: ignore[attr-defined]
    looked = threading.Event()

    async def watch() -> int:
        viewers = [tail.watch(number, log.START) for number in range(run.pk, run.pk + 1)]
        looked.set()
        await asyncio.sleep(1)
        fewest = 99
        for _ in range(50):
            await asyncio.sleep(0.01)
            stats = pool.get_stats()
            fewest = min(fewest, stats["pool_size"] - stats["pool_available"])
        for viewer in viewers:
            tail.leave(run.pk, viewer)
        return fewest

    connection.close()
    stats = pool.get_stats()
    others = stats["pool_size"] - stats["pool_available"]  # of threads that other tests left behind
    thread, found = follow(watch)
    thread.join()
    assert looked.is_set()
    assert found[0] <= others
    wait_until_nobody_watches()


def test_who_comes_right_after_the_last_left_is_not_followed_in_haste(run: Run, monkeypatch: pytest.MonkeyPatch):
    looks: list[int] = []
    read = log.after

    def count(*args: Any, **kwargs: Any) -> Any:
        looks.append(1)
        return read(*args, **kwargs)

    monkeypatch.setattr(log, "after", count)

    async def watch() -> None:
        first = tail.watch(run.pk, log.START)
        await asyncio.sleep(0.3)
        tail.leave(run.pk, first)
        second = tail.watch(run.pk, log.START)  # before the tailer has noticed: no await in between
        looks.clear()
        await asyncio.sleep(1)
        tail.leave(run.pk, second)

    thread, _ = follow(watch)
    thread.join()
    assert 1 <= len(looks) <= 1 / tail.EVERY + 2
    wait_until_nobody_watches()


def test_nothing_begins_once_the_process_stops(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tail, "_stopping", False)

    async def watch() -> Any:
        before = tail.watch(run.pk, log.START)
        tail.stop_all()
        ended = await before.next(PATIENCE)
        after = await tail.watch(run.pk, log.START).next(PATIENCE)
        return ended, after

    thread, found = follow(watch)
    thread.join()
    assert found == [(None, None)]
    wait_until_nobody_watches()
