"""How a run ended, from traces that were recorded on libvirt 9.0 with QEMU 7.2."""

import pytest

from inventory.platforms.base import Ended
from inventory.platforms.libvirt.evidence import from_events, from_log, read_log
from inventory.platforms.libvirt.hosts import LifeEvent

START = b"2026-11-23 05:21:04.856+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4+deb12u2\nLC_ALL=C \\\n"
BY_LIBVIRT = b"2026-11-23T05:21:05.706880Z qemu-system-x86_64: terminating on signal 15 from pid 12096 (libvirtd)\n"
BY_OTHERS = b"2026-11-23T05:21:13.732082Z qemu-system-x86_64: terminating on signal 15 from pid 12088 (bash)\n"


def end(reason: bytes) -> bytes:
    return b"2026-11-23 05:21:06.936+0000: shutting down, reason=" + reason + b"\n"


@pytest.mark.parametrize(
    ("log", "ended"),
    [
        (START + BY_LIBVIRT + end(b"shutdown"), Ended.CLEAN),
        (START + end(b"shutdown"), Ended.CLEAN),
        (START + BY_OTHERS + end(b"shutdown"), Ended.FORCED),
        (START + end(b"crashed"), Ended.CRASHED),
        (START + end(b"failed"), Ended.CRASHED),
        (START + end(b"destroyed"), Ended.FORCED),
        (START + end(b"saved"), Ended.UNKNOWN),
        (START, Ended.UNKNOWN),
        (b"", Ended.UNKNOWN),
        (end(b"shutdown"), Ended.UNKNOWN),
        (START + end(b"shutdown") + START, Ended.UNKNOWN),
        (START + end(b"shutdown") + START + end(b"crashed"), Ended.CRASHED),
        (START + BY_OTHERS + end(b"shutdown") + START + BY_LIBVIRT + end(b"shutdown"), Ended.CLEAN),
        (START + b"guest says: " + end(b"shutdown"), Ended.UNKNOWN),
    ],
)
def test_the_log_counts_from_its_last_start(log: bytes, ended: Ended) -> None:
    assert from_log(log) is ended


STARTED, BY_GUEST, BY_HOST = (2, 0), (6, 1), (6, 2)


@pytest.mark.parametrize(
    ("events", "ended"),
    [
        ([STARTED, BY_GUEST, (5, 0)], Ended.CLEAN),
        ([STARTED, BY_HOST, (5, 0)], Ended.FORCED),
        ([STARTED, (5, 0)], Ended.UNKNOWN),
        ([STARTED, (5, 5)], Ended.CRASHED),
        ([STARTED, (5, 2)], Ended.CRASHED),
        ([STARTED, (5, 1)], Ended.FORCED),
        ([STARTED, BY_GUEST, (5, 1)], Ended.FORCED),
        ([STARTED, BY_GUEST], Ended.UNKNOWN),
        ([BY_GUEST, (5, 0)], Ended.UNKNOWN),
        ([STARTED, BY_GUEST, (5, 0), STARTED], Ended.UNKNOWN),
        ([], Ended.UNKNOWN),
    ],
)
def test_events_count_only_when_none_can_have_been_missed(events: list[tuple[int, int]], ended: Ended) -> None:
    assert from_events([LifeEvent(event, detail, 0.0) for event, detail in events]) is ended


def test_the_log_is_read_from_where_this_start_began(tmp_path) -> None:
    log = tmp_path / "ovmst-x.log"
    log.write_bytes(START + end(b"shutdown"))
    assert from_log(read_log(str(tmp_path), "ovmst-x", 0)) is Ended.CLEAN
    assert from_log(read_log(str(tmp_path), "ovmst-x", log.stat().st_size)) is Ended.UNKNOWN
    log.write_bytes(START)  # turned over since: shorter than where this start began
    assert from_log(read_log(str(tmp_path), "ovmst-x", 10_000)) is Ended.UNKNOWN
    assert read_log(str(tmp_path), "nobody", 0) == b""
    assert read_log("", "ovmst-x", 0) == b""
