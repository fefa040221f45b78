"""The time, from one place: the database's clock in service, a clock that jumps in tests and simulation.

Deadlines of single calls are not the clock's business: they are monotonic.
"""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from django.db import connection


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...


class JumpingClock:
    """A clock that only moves when told to, for tests and simulation."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 12, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def jump(self, by: timedelta) -> None:
        self._now += by


class DatabaseClock:
    """The database server's clock, so that workers whose own clocks differ agree on leases.

    Asks the database every few seconds and counts on in between, by a clock that goes on while the machine
    sleeps. One whose hypervisor stops it can't tell: after that, it may believe in a lease for those few
    seconds. On SQLite database and worker are one machine, and the machine's clock serves.
    """

    ASK_AGAIN_AFTER = 10.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = 0.0
        self._base: datetime | None = None

    def now(self) -> datetime:
        if connection.vendor != "postgresql":
            return datetime.now(UTC)
        with self._lock:
            elapsed = _uptime() - self._at
            if self._base is None or elapsed > self.ASK_AGAIN_AFTER:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT clock_timestamp()")
                    self._base = cursor.fetchone()[0].astimezone(UTC)
                self._at, elapsed = _uptime(), 0.0
            return self._base + timedelta(seconds=elapsed)


def _uptime() -> float:
    """Seconds that never jump back; where the system can, those in which it was suspended count."""
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


_current: Clock = DatabaseClock()


def now() -> datetime:
    """The time by the clock in use."""
    return _current.now()


def use(clock: Clock) -> Clock:
    """Put another clock in use (tests, simulation); returns the one before."""
    global _current
    before, _current = _current, clock
    return before
