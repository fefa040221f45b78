"""Web, worker and beat in one process, so that a small installation is one command.

The web server has the main thread; worker and beat have one each. Signals are ours: the first SIGINT or
SIGTERM ends everything within `LONGEST_STOP` seconds, whatever is under way.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from celery import beat
from celery.worker import state as worker_state
from django.conf import settings
from django.db import connections

from ovmst_site.celery import app
from ovmst_site.locks import FileLock

log = logging.getLogger(__name__)

CONNECTIONS_STAY = 2  # seconds that open connections get once everything is to end
WORKER_STAYS = 5.0  # seconds that the steps under way get; those that take longer are given up
LONGEST_STOP = 10.0  # seconds until the process ends, whatever hangs
LOOK_EVERY = 0.1  # seconds: whether everything is to end
BEAT_LOOKS_EVERY = 1  # seconds
BEAT_AGAIN_AFTER = 5.0  # seconds after beat failed


class CannotServe(Exception):
    """Says why, and what to do."""


def is_default() -> bool:
    """Whether no other process can be reached by messages, so that this one does all."""
    return bool(settings.CELERY_BROKER_URL.startswith("memory"))


def server_lock() -> FileLock:
    """Held by the process that serves this data folder; its text is the process's number."""
    return FileLock(Path(settings.DATA) / "serve.lock")


@contextlib.contextmanager
def only_server() -> Iterator[None]:
    """While this lasts, no other process serves this data folder. Raises CannotServe."""
    with server_lock() as lock:
        try:
            free = lock.take(patience=1.0)
            if free:
                lock.write(str(os.getpid()))
        except OSError as error:
            raise CannotServe(f"{settings.DATA} can't be written: {error}") from error
        if not free:
            raise CannotServe(
                f"OVMST already runs on {settings.DATA} (process {lock.holder() or 'that just ended'}). "
                "Stop that one, or name another folder in OVMST_DATA."
            )
        yield


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 is any free one. Raises CannotServe."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise CannotServe(f"Can't listen on {host}, port {port}: {error}. Another one: --port N") from error


def address(bound: socket.socket) -> str:
    """The URL of what a bound socket serves, as this machine's browser reaches it."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class Embedded:
    """One process's web server, and its worker and beat where `threads` isn't 0.

    `run` returns the exit status after all has ended: 0 when it was asked to (`stop`, or a signal). `ready` is
    called once the pages answer, in a thread of its own; `stopping` at the first moment of the end.
    """

    def __init__(
        self,
        bound: socket.socket,
        *,
        threads: int,
        ready: Callable[[], None],
        stopping: Callable[[], None],
    ) -> None:
        self._bound = bound
        self._threads = threads
        self._stopping = stopping
        self._stop = threading.Event()
        self._over = threading.Event()
        self._status = 0
        self._beat: beat.Service | None = None
        config = uvicorn.Config(
            "ovmst_site.asgi:application",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=CONNECTIONS_STAY,
        )
        self._ready = ready
        self._web = _Web(config, self._begin_ready)

    def stop(self, status: int = 0) -> None:
        """End everything; may be called from any thread, more than once. The first one's status holds."""
        if not self._web.should_exit:
            self._status = status
            self._web.should_exit = True

    def wait(self, seconds: float) -> bool:
        """Wait so many seconds; True at once when everything is to end."""
        return self._stop.wait(seconds)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        # Nothing here may take a lock: the main thread may hold it.
        if self._web.should_exit:
            self._web.force_exit = True  # a second time: don't wait for open connections
        self.stop()

    def run(self) -> int:
        parts = []
        if self._web.should_exit:  # a signal that came while the database was migrated
            return self._status
        if self._threads:
            worker = _worker(self._threads)
            parts = [
                threading.Thread(target=self._work, args=(worker,), name="worker", daemon=True),
                threading.Thread(target=self._beat_until_stopped, name="beat", daemon=True),
            ]
        ending = threading.Thread(target=self._end, args=(parts,), name="ending", daemon=True)
        ending.start()
        for part in parts:
            part.start()
        try:
            asyncio.run(self._web.serve(sockets=[self._bound]))
        finally:
            self.stop(status=1)  # where nobody asked for it, the web server failed
            ending.join()
            self._over.set()
        return self._status

    def _begin_ready(self) -> None:
        threading.Thread(target=self._be_ready, name="ready", daemon=True).start()

    def _be_ready(self) -> None:
        try:
            self._ready()
        except Exception:
            log.exception("The server ends")
            self.stop(status=1)
        finally:
            connections.close_all()

    def _work(self, worker: object) -> None:
        try:
            worker.start()  # type: ignore[attr-defined]
        finally:
            connections.close_all()
            if not self._web.should_exit:
                log.critical("The worker ended; so does the server, for whoever starts it again.")
                self.stop(status=1)

    def _beat_until_stopped(self) -> None:
        while not self._stop.is_set():
            # Built like this because celery.beat.EmbeddedService dies with the first error.
            # A name is as good as a class there.
            scheduler: Any = settings.CELERY_BEAT_SCHEDULER
            self._beat = beat.Service(app, max_interval=BEAT_LOOKS_EVERY, scheduler_cls=scheduler)
            if self._stop.is_set():  # too late for `_end` to see it
                break
            try:
                self._beat.start()
            except Exception as error:  # noqa: BLE001 - whatever it was, schedules must go on
                log.warning("Beat failed (%s: %s); it starts again.", type(error).__name__, error)
                self._stop.wait(BEAT_AGAIN_AFTER)
            finally:
                connections.close_all()

    def _end(self, parts: list[threading.Thread]) -> None:
        while not self._web.should_exit:
            time.sleep(LOOK_EVERY)
        self._stop.set()
        until = time.monotonic() + WORKER_STAYS
        # What is cut off now was told to end: no news.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        threading.Thread(target=self._end_in_any_case, name="end in any case", daemon=True).start()
        self._stopping()
        if self._beat is not None:
            self._beat.stop()
        if parts:
            vars(worker_state)["should_stop"] = 0  # the exit status
            if is_default():
                # It looks every two seconds whether it shall end, and after every message; then it takes one more.
                for _ in range(2):
                    app.send_task("servicing.advance_due", args=["nobody"], retry=False, ignore_result=True)
        for part in parts:
            part.join(timeout=max(0.0, until - time.monotonic()))
            if part.is_alive():
                log.warning("The %s didn't end within %.0f s; what it was at is given up.", part.name, WORKER_STAYS)
        connections.close_all()

    def _end_in_any_case(self) -> None:
        if not self._over.wait(LONGEST_STOP):
            log.warning("Something didn't end within %.0f s.", LONGEST_STOP)
            leave(self._status)


class _Web(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are Embedded's


def _worker(threads: int) -> object:
    try:
        return app.WorkController(
            pool="threads",
            concurrency=threads,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
    except (KeyError, ImportError, ValueError) as error:  # what kombu says of a URL that it can't read
        raise CannotServe(f"OVMST_BROKER_URL names no broker that OVMST knows: {error}") from error


def catch_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def leave(status: int) -> NoReturn:
    """End this process now. Python itself would wait for every pool's threads, those that were given up too."""
    logging.shutdown()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
