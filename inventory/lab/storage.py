"""Where the simulated world is kept, and how its time passes."""

import math
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from inventory.lab.state import State

FASTEST = 3600  # an hour in a second: beyond it, looks are too far apart to see anything


class Clock(Protocol):
    """What the world reads the time from; `ovmst_site.clock` has some."""

    def now(self) -> datetime: ...


class WallClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Pace:
    """How the world's time follows from OVMST's own: so many times faster, and shifted."""

    scale: float = 1
    offset: float = 0

    def time(self, wall: float) -> float:
        return wall * self.scale + self.offset

    def not_before(self, told: float, wall: float) -> "Pace":
        """Time that was told once doesn't come back: where OVMST's clock was set back, go on from there."""
        behind = told - self.time(wall)
        return Pace(self.scale, self.offset + behind) if behind > 0 else self

    def changed(self, scale: float, *, wall: float, now: float) -> "Pace":
        """From now on so much faster; without a jump."""
        return self if scale == self.scale else Pace(scale, now - wall * scale)


def checked_scale(scale: float) -> float:
    """Raises ValueError for one at which no world can run."""
    if not (math.isfinite(scale) and 0 < scale <= FASTEST):
        raise ValueError(f"A time scale is more than 0 and at most {FASTEST}, not {scale}")
    return scale


class Storage(Protocol):
    def open(self) -> AbstractContextManager[State]:
        """The world with `now` and `wall` set, exclusively; changes are kept when the block ends, however it
        ends. May be opened again inside by the same thread."""
        ...


class Memory:
    """The world in this process."""

    def __init__(self, clock: Clock, *, keeps_original: bool) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._depth = 0
        self._state = State(keeps_original)
        self._pace = Pace()

    @contextmanager
    def open(self) -> Iterator[State]:
        with self._lock:
            state = self._state
            if self._depth == 0:
                state.wall = self._clock.now().timestamp()
                state.now = self._pace.time(state.wall)
            self._depth += 1
            try:
                yield state
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._pace = self._pace.changed(state.time_scale, wall=state.wall, now=state.now)
