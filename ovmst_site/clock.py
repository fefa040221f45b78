"""The time, from one place: the database's clock in service, a clock that jumps in tests and simulation.

Deadlines of single calls are not the clock's business: they are monotonic.
"""

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
        # When it was asked, and what it said: replaced as a whole. There is no lock, because asking may wait for a
        # connection, and whoever has one may want to know the time.
        self._known: tuple[float, datetime] | None = None

    def now(self) -> datetime:
        if connection.vendor != "postgresql":
            return datetime.now(UTC)
        known = self._known
        if known is None or _uptime() - known[0] > self.ASK_AGAIN_AFTER:
            known = self._known = self._ask()
        at, base = known
        return base + timedelta(seconds=_uptime() - at)

    @staticmethod
    def _ask() -> tuple[float, datetime]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            base: datetime = cursor.fetchone()[0]
        return _uptime(), base.astimezone(UTC)


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
