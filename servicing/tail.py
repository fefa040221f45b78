"""Follows the logs of runs for those who watch: one tailer for each run and process, however many viewers.

A tailer is a thread that looks for new lines while it has viewers, and hands each to all of them. A viewer's
buffer is bounded: one that is too slow is let go, and comes back with its cursor. While a viewer waits it holds
no database connection; a tailer holds none of a pool between its looks, and none at all once the last has left.

`stop_all` is for whoever stops the process: a web server that waits for its open streams would wait for ever.
"""

import asyncio
import json
import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from django.db import connection
from django.utils import timezone

from ovmst_site.text import printable
from ovmst_site.threads import give_back
from servicing import log as run_log
from servicing.log import Cursor, Line

log = logging.getLogger(__name__)
EVERY = 0.2  # seconds between looks for lines
STATE_EVERY = 1.0  # seconds between looks for what changes without a line
AFTER_FAILURE = 2.0  # seconds
NOTICE_STOP = 0.5  # seconds
BUFFER = 5000  # lines that a viewer may be behind


@dataclass(frozen=True, slots=True)
class Batch:
    """What a tailer hands out: lines as they go over the wire, or that counts or targets changed."""

    lines: tuple[tuple[Cursor, bytes], ...] = ()
    changed: bool = False
    over: bool = False  # the run has ended, and every line was handed out


class Viewer:
    """One who watches, in an event loop. `since` is where its batches begin: all up to there is history."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._batches: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._waiting = 0
        self.is_cut = False
        self.since = run_log.START

    async def next(self, timeout: float) -> Batch | None:
        """The next batch; an empty one after `timeout` seconds without; None when the stream is cut."""
        end = time.monotonic() + timeout
        while not _stopping and (left := end - time.monotonic()) > 0:
            try:
                # In short waits: a tailer that hangs in a database that went away can't say that all stops.
                batch = await asyncio.wait_for(self._batches.get(), min(left, NOTICE_STOP))
            except TimeoutError:
                continue
            if batch is not None:
                self._waiting -= len(batch.lines)
            return batch
        return None if _stopping else Batch()

    def hand(self, batch: Batch | None) -> bool:
        """From the tailer's thread. False when this viewer's loop has ended."""
        try:
            self._loop.call_soon_threadsafe(self._put, batch)
        except RuntimeError:
            return False
        return True

    def _put(self, batch: Batch | None) -> None:
        if self.is_cut:
            return
        if batch is None or self._waiting + len(batch.lines) > BUFFER:
            # What it hasn't taken yet it reads again, from its cursor.
            self.is_cut = True
            self._batches = _emptied(self._batches)
            self._batches.put_nowait(None)
            return
        self._waiting += len(batch.lines)
        self._batches.put_nowait(batch)


def _emptied(queue: asyncio.Queue[Any]) -> asyncio.Queue[Any]:
    while not queue.empty():
        queue.get_nowait()
    return queue


@dataclass
class _Tailer:
    run: int
    cursor: Cursor
    viewers: set[Viewer] = field(default_factory=set)
    wake: threading.Event = field(default_factory=threading.Event)

    def follow(self) -> None:
        """Until nobody watches any more, the run is over, or the process stops."""
        state: Any = None
        looked = 0.0
        try:
            while not _stopping and self._is_watched():
                try:
                    over = run_log.is_over(self.run)
                    lines = run_log.after(self.run, self.cursor)
                    before = state
                    if lines or over or time.monotonic() - looked > STATE_EVERY:
                        state, looked = run_log.state_of(self.run), time.monotonic()
                except Exception as error:  # noqa: BLE001 - whatever it was, the next look may work
                    log.warning(
                        "The log of run %s can't be read (%s); looking again.", self.run, type(error).__name__
                    )
                    give_back()
                    self.wake.wait(AFTER_FAILURE)
                    self.wake.clear()
                    continue
                if connection.vendor == "postgresql":  # others want the pool's connection meanwhile
                    give_back()
                ends = over and not lines
                self._hand_out(lines, changed=before is not None and state != before, over=ends)
                if ends:
                    return
                if len(lines) < run_log.AT_A_TIME:
                    self.wake.wait(EVERY)
                    self.wake.clear()  # somebody may have come after the last one left: no haste then
        finally:
            self._let_all_go()
            give_back()

    def _is_watched(self) -> bool:
        with _lock:
            if not self.viewers:
                _forget(self)
            return bool(self.viewers)

    def _hand_out(self, lines: list[Line], *, changed: bool, over: bool) -> None:
        if not (lines or changed or over):
            return
        batch = Batch(tuple((line.cursor, encode(line)) for line in lines), changed or over, over)
        with _lock:  # whoever joins now gets these lines either as history or from here, never both or neither
            if lines:
                self.cursor = lines[-1].cursor
            self.viewers = {viewer for viewer in self.viewers if viewer.hand(batch)}
            if over:  # they were told, and needn't be let go
                _forget(self)
                self.viewers.clear()

    def _let_all_go(self) -> None:
        with _lock:
            _forget(self)
            for viewer in self.viewers:
                viewer.hand(None)


_lock = threading.Lock()
_tailers: dict[int, _Tailer] = {}
_stopping = False


def watch(run: int, newest: Cursor) -> Viewer:
    """Begin to watch; `newest` is a place up to which the log can be read. For an event loop's thread.

    Read the history up to the viewer's `since`, then its batches, and `leave` in the end.
    """
    viewer = Viewer(asyncio.get_running_loop())
    with _lock:
        if _stopping:
            viewer.hand(None)
            return viewer
        tailer = _tailers.get(run)
        if tailer is None:
            tailer = _tailers[run] = _Tailer(run, newest)
            threading.Thread(target=tailer.follow, name=f"tail-{run}", daemon=True).start()
        tailer.viewers.add(viewer)
        viewer.since = tailer.cursor
    return viewer


def leave(run: int, viewer: Viewer) -> None:
    """Harmless when it has left."""
    with _lock:
        tailer = _tailers.get(run)
        if tailer is not None:
            tailer.viewers.discard(viewer)
            if not tailer.viewers:
                tailer.wake.set()


def watched() -> dict[int, int]:
    """How many watch each run, in this process."""
    with _lock:
        return {run: len(tailer.viewers) for run, tailer in _tailers.items()}


def stop_all() -> None:
    """The process stops: every stream ends within a moment, and none begins. Safe in a signal handler, which
    is why it waits for nothing."""
    global _stopping
    _stopping = True


def is_stopping() -> bool:
    return _stopping


def encode(line: Line) -> bytes:
    """A line as a server-sent event; its id is the cursor right after it."""
    data = {
        "id": str(line.cursor),
        "at": line.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "time": timezone.localtime(line.at).strftime("%H:%M:%S"),
        "target": line.target,
        "machine": printable(line.machine),
        "step": line.step,
        "level": line.level,
        "text": printable(line.text),
    }
    return f"id: {line.cursor}\nevent: line\ndata: {json.dumps(data)}\n\n".encode()


def _forget(tailer: _Tailer) -> None:
    # Under the lock. One that began again for the same run is not this one.
    if _tailers.get(tailer.run) is tailer:
        del _tailers[tailer.run]
