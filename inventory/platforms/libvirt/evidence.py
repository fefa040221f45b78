"""How a transient domain came to its end. It is gone the moment it ends, so only traces tell.

First its lifecycle events, if they were heard without a gap since its start; then its log on the host. Seen on
libvirt 9.0 with QEMU 7.2:
- the guest powered off: SHUTDOWN/GUEST, STOPPED/SHUTDOWN; log `terminating on signal 15 from pid N (libvirtd)`,
  then `shutting down, reason=shutdown`
- QEMU got SIGTERM from somebody: SHUTDOWN/HOST, STOPPED/SHUTDOWN; the log too says `reason=shutdown`, only the
  line before it names another process than libvirt's
- QEMU was killed: STOPPED/FAILED; `reason=crashed`.  virsh destroy: STOPPED/DESTROYED; `reason=destroyed`
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from inventory.platforms.base import Ended, HostRef
from inventory.platforms.libvirt.hosts import LifeEvent

STARTED, STOPPED, SHUTDOWN = 2, 5, 6
BY_GUEST, BY_HOST = 1, 2  # details of SHUTDOWN
STOPPED_SHUTDOWN, STOPPED_DESTROYED, STOPPED_CRASHED, STOPPED_SAVED, STOPPED_FAILED = 0, 1, 2, 4, 5

START_LINE = re.compile(rb"^[0-9-]{10} [0-9:.]+\+0000: starting up libvirt version", re.MULTILINE)
REASON_LINE = re.compile(rb"^[0-9-]{10} [0-9:.]+\+0000: shutting down, reason=([a-z-]+)", re.MULTILINE)
SIGNAL_LINE = re.compile(rb"terminating on signal \d+ from pid \d+ \(([^)\n]*)\)")
LIBVIRT = (b"libvirtd", b"virtqemud", b"/usr/sbin/libvirtd", b"/usr/sbin/virtqemud")
MAX_LOG = 4 << 20  # virtlogd turns a log over at 2 MiB


def from_events(events: Sequence[LifeEvent]) -> Ended:
    """UNKNOWN unless the last start, and everything after it, was heard."""
    starts = [i for i, e in enumerate(events) if e.event == STARTED]
    if not starts:
        return Ended.UNKNOWN
    since = events[starts[-1] + 1 :]
    stopped = next((e for e in reversed(since) if e.event == STOPPED), None)
    if stopped is None:
        return Ended.UNKNOWN
    asked = {e.detail for e in since if e.event == SHUTDOWN}
    if stopped.detail == STOPPED_SHUTDOWN:
        if BY_HOST in asked:
            return Ended.FORCED
        return Ended.CLEAN if BY_GUEST in asked else Ended.UNKNOWN
    if stopped.detail == STOPPED_DESTROYED:
        return Ended.FORCED
    if stopped.detail in (STOPPED_CRASHED, STOPPED_FAILED):
        return Ended.CRASHED
    return Ended.UNKNOWN


def is_awaited(events: Sequence[LifeEvent]) -> bool:
    """Whether its start was heard and its end wasn't, so that the end should be heard any moment."""
    last = next((e.event for e in reversed(events) if e.event in (STARTED, STOPPED)), None)
    return last == STARTED


def from_log(content: bytes) -> Ended:
    """What a domain's log says about its last run."""
    starts = list(START_LINE.finditer(content))
    if not starts:
        return Ended.UNKNOWN
    last = content[starts[-1].end() :]
    reasons = REASON_LINE.findall(last)
    if not reasons:
        return Ended.UNKNOWN
    match reasons[-1]:
        case b"shutdown":
            strangers = [who for who in SIGNAL_LINE.findall(last) if who not in LIBVIRT]
            return Ended.FORCED if strangers else Ended.CLEAN
        case b"destroyed":
            return Ended.FORCED
        case b"crashed" | b"failed":
            return Ended.CRASHED
    return Ended.UNKNOWN


def log_directory(host: HostRef) -> str:
    """Where this worker reads the host's domain logs; "" where it can't: option log_directory, or the usual
    place for the libvirtd of this very machine."""
    usual = "/var/log/libvirt/qemu" if host.external_id == "qemu:///system" else ""
    return host.options.get("log_directory", usual)


def log_path(directory: str, domain: str) -> Path:
    return Path(directory) / f"{domain}.log"


def log_size(directory: str, domain: str) -> int:
    """Bytes in the domain's log before a start; 0 where there is none or it can't be seen from here."""
    try:
        return log_path(directory, domain).stat().st_size if directory else 0
    except OSError:
        return 0


def read_log(directory: str, domain: str, after: int) -> bytes:
    """The domain's log from an offset on (from the beginning, where it was turned over since)."""
    if not directory:
        return b""
    try:
        fd = os.open(log_path(directory, domain), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = after if after <= size else 0
        file.seek(max(start, size - MAX_LOG))
        return file.read(MAX_LOG)
