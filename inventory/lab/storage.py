"""Where the simulated world is kept."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Protocol

from inventory.lab.records import State


class Clock(Protocol):
    """What the world reads the time from; `ovmst_site.clock` has some."""

    def now(self) -> datetime: ...


class WallClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class Storage(Protocol):
    def open(self) -> AbstractContextManager[State]:
        """The world with `now` set, exclusively; changes are kept when the block ends, however it ends.
        May be opened again inside by the same thread."""
        ...


class Memory:
    """The world in this process."""

    def __init__(self, clock: Clock, *, keeps_original: bool) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._depth = 0
        self._state = State(keeps_original)

    @contextmanager
    def open(self) -> Iterator[State]:
        with self._lock:
            if self._depth == 0:
                self._state.now = self._clock.now().timestamp()
            self._depth += 1
            try:
                yield self._state
            finally:
                self._depth -= 1
