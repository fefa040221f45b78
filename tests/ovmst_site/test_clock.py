"""The database's clock, counted on in between."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from ovmst_site import clock

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Database:
    """Answers as PostgreSQL does, and counts how often it was asked."""

    vendor = "postgresql"
    asked = 0

    def cursor(self) -> "Database":
        return self

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def execute(self, statement: str) -> None:
        self.asked += 1

    def fetchone(self) -> tuple[datetime]:
        return (NOON + timedelta(hours=self.asked - 1),)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    made = Database()
    monkeypatch.setattr(clock, "connection", made)
    return made


def test_time_in_which_the_machine_slept_counts(database: Database, monkeypatch: pytest.MonkeyPatch):
    awake, asleep = 100.0, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: awake)
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr(time, "clock_gettime", lambda which: awake + asleep if which == 7 else awake)
    mine = clock.DatabaseClock()
    assert mine.now() == NOON
    asleep = 3
    assert mine.now() == NOON + timedelta(seconds=3)
    assert database.asked == 1
    asleep = 3600
    assert mine.now() == NOON + timedelta(hours=1)
    assert database.asked == 2


def test_where_there_is_no_such_clock_the_monotonic_one_serves(database: Database, monkeypatch: pytest.MonkeyPatch):
    at = 100.0
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "monotonic", lambda: at)
    mine = clock.DatabaseClock()
    assert mine.now() == NOON
    at += 5
    assert mine.now() == NOON + timedelta(seconds=5)
    assert database.asked == 1


def test_who_waits_for_a_connection_keeps_nobody_from_the_time(database: Database, monkeypatch: pytest.MonkeyPatch):
    """Those who have the connections may be the ones who want to know the time."""
    waits, may_go_on = threading.Event(), threading.Event()
    real = Database.execute

    def execute(self: Database, statement: str) -> None:
        real(self, statement)
        if self.asked == 1:
            waits.set()
            assert may_go_on.wait(30)

    monkeypatch.setattr(Database, "execute", execute)
    mine = clock.DatabaseClock()
    times: list[datetime] = []
    first, second = (threading.Thread(target=lambda: times.append(mine.now()), daemon=True) for _ in range(2))
    first.start()
    assert waits.wait(30)
    second.start()
    second.join(10)
    said = len(times)
    may_go_on.set()
    first.join(30)
    assert said == 1
