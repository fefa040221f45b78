"""libvirt hosts as a worker talks to them: each through a helper process that can be killed.

libvirt may block for ever (a stopped libvirtd, a lost network). So every request has a deadline here; when it
passes, the helper is killed, the host is left alone for a moment, and the next use starts a new helper.
"""

import atexit
import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovmst_site.faults import TryLater

PAUSE = 15.0  # seconds for which a host that didn't answer isn't asked again
CONNECT = 10.0  # seconds on top of the first request's deadline
TOP = Path(__file__).resolve().parents[3]


class LibvirtError(Exception):
    """libvirt said no. `code` is its VIR_ERR_* number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotOurs(Exception):
    """The domain isn't the one that this servicing started; nothing was done with it."""


@dataclass(frozen=True, slots=True)
class LifeEvent:
    """A domain's lifecycle event: VIR_DOMAIN_EVENT_* and its detail."""

    event: int
    detail: int
    at: float  # seconds since the epoch, by this machine's clock


class _Life(threading.Thread):
    """One life of a helper process. The thread starts it and reads from it to its end: the kernel ties the
    helper to the thread that started it."""

    def __init__(self, uri: str) -> None:
        super().__init__(name=f"libvirt {uri}", daemon=True)
        self.uri = uri
        self.started = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.waiting: dict[int, Future[Any]] = {}
        self.outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.events: dict[str, list[LifeEvent]] = {}
        self.lock = threading.Lock()
        self.ended = False
        self.used = False  # whether a request was answered: the connection stands

    def run(self) -> None:
        uri = self.uri
        if "+ssh" in uri.partition("://")[0] and "no_tty=" not in uri:
            uri += ("&" if "?" in uri else "?") + "no_tty=1"  # ssh must not wait for a password
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "inventory.platforms.libvirt.helper", uri, str(os.getpid())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=TOP,
                start_new_session=True,  # an interrupt from the keyboard is its parent's business
            )  # fmt: skip
        finally:
            self.started.set()
        threading.Thread(target=self._write, name="libvirt requests", daemon=True).start()
        assert self.process.stdout is not None  # noqa: S101  (it is a pipe)
        with contextlib.suppress(OSError, ValueError):
            for line in self.process.stdout:
                self._hear(json.loads(line))
        self.outbox.put(None)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with self.lock:
            self.ended = True
            waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            future.set_exception(ConnectionError("its libvirt helper ended"))

    def _write(self) -> None:
        process = self.process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError), process.stdin as pipe:
            while (line := self.outbox.get()) is not None:
                pipe.write(line)
                pipe.flush()

    def _hear(self, message: dict[str, Any]) -> None:
        if "event" in message:
            event = LifeEvent(message["event"], message["detail"], message["at"])
            with self.lock:
                self.events.setdefault(message["uuid"], []).append(event)
                del self.events[message["uuid"]][:-32]
            return
        self.used = True
        with self.lock:
            future = self.waiting.pop(message["id"], None)
        if future is not None:
            future.set_result(message)

    def ask(self, number: int, request: dict[str, Any]) -> Future[Any]:
        future: Future[Any] = Future()
        with self.lock:
            if self.ended:
                raise ConnectionError("its libvirt helper ended")
            self.waiting[number] = future
        self.outbox.put(json.dumps(request).encode() + b"\n")
        return future

    def kill(self) -> None:
        self.started.wait()
        if self.process is not None:
            self.process.kill()


class Host:
    """One libvirt host, shared by all threads of this process."""

    def __init__(self, uri: str, calls_at_once: int) -> None:
        self.uri = uri
        self._slots = threading.BoundedSemaphore(calls_at_once)
        self._lock = threading.Lock()
        self._life: _Life | None = None
        self._numbers = itertools.count(1)
        self._asked_again_at = 0.0
        self.accelerator = ""  # found by trying; kept as long as this process lives

    def call(self, method: str, *, deadline: float, **arguments: Any) -> Any:
        """Have the helper do something, within so many seconds.

        Raises LibvirtError for what libvirt refuses, NotOurs for a domain of somebody else, TryLater when the
        host can't be reached or the deadline passes (what was asked may still happen then).
        """
        until = time.monotonic() + deadline
        left = self._asked_again_at - time.monotonic()
        if left > 0:
            raise TryLater(f"{self.uri} did not answer; it is asked again in {left:.0f} s")
        if not self._slots.acquire(timeout=deadline):
            raise TryLater(f"{self.uri} is busy: too many calls at once")
        try:
            return self._call(method, until, arguments)
        finally:
            self._slots.release()

    def _call(self, method: str, until: float, arguments: dict[str, Any]) -> Any:
        life = self._alive()
        if not life.used:
            until += CONNECT
        number = next(self._numbers)
        try:
            future = life.ask(number, {"id": number, "call": method, "with": arguments})
            reply = future.result(timeout=max(0.0, until - time.monotonic()))
        except TimeoutError as error:
            life.kill()
            self._asked_again_at = time.monotonic() + PAUSE
            raise TryLater(f"{self.uri} did not answer in time ({method}); its helper was ended") from error
        except ConnectionError as error:
            raise TryLater(f"{self.uri}: {error} ({method})") from error
        if "error" not in reply:
            return reply["result"]
        kind, message = reply["error"]["kind"], reply["error"]["message"]
        if kind == "refused":
            raise NotOurs(message)
        if kind == "libvirt":
            raise LibvirtError(reply["error"]["code"], message)
        if kind == "connection":
            self._asked_again_at = time.monotonic() + 1
        raise TryLater(f"{self.uri}: {message}")

    def _alive(self) -> _Life:
        with self._lock:
            if self._life is None or self._life.ended or not self._life.is_alive():
                self._life = _Life(self.uri)
                self._life.start()
                self._life.started.wait()
            return self._life

    def watch(self, *, deadline: float = 10) -> None:
        """Make sure that lifecycle events are being heard from now on."""
        self.call("info", deadline=deadline)

    def events_of(self, uuid: str) -> list[LifeEvent]:
        """A domain's events since this helper's life began, oldest first.

        Those of an earlier life are forgotten: something may have happened in between.
        """
        life = self._life
        if life is None or life.ended:
            return []
        with life.lock:
            return list(life.events.get(uuid, ()))

    def close(self) -> None:
        """End the helper, if there is one."""
        life = self._life
        if life is not None:
            life.kill()
            life.join(timeout=5)


_hosts: dict[str, Host] = {}
_hosts_lock = threading.Lock()
_owner = os.getpid()


def host(uri: str, calls_at_once: int) -> Host:
    """The host at this address: one a process, whichever management server names it."""
    global _hosts, _owner
    with _hosts_lock:
        if os.getpid() != _owner:  # after a fork: the helpers are the parent's
            _hosts, _owner = {}, os.getpid()
        if uri not in _hosts:
            _hosts[uri] = Host(uri, calls_at_once)
        return _hosts[uri]


class Limit:
    """At most so many calls at once for one management server, across threads and driver objects."""

    _all: dict[str, threading.BoundedSemaphore] = {}
    _lock = threading.Lock()

    def __init__(self, name: str, calls_at_once: int) -> None:
        with self._lock:
            self._slots = self._all.setdefault(
                f"{name}\0{calls_at_once}", threading.BoundedSemaphore(max(1, calls_at_once))
            )

    @contextlib.contextmanager
    def slot(self, *, patience: float = 20) -> Iterator[None]:
        """Raises TryLater when none gets free within so many seconds."""
        if not self._slots.acquire(timeout=patience):
            raise TryLater("too many calls to this management server at once")
        try:
            yield
        finally:
            self._slots.release()


@atexit.register
def close_all() -> None:
    """End all helpers of this process."""
    for each in list(_hosts.values()) if os.getpid() == _owner else []:
        each.close()
