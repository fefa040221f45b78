"""The one step that changes what the library says: killed everywhere, on a full disk, beside another's publish."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from inventory.platforms.libvirt import backing, filework, layout, manifest, publish, records
from inventory.platforms.libvirt.library import read_stored
from ovmst_site.faults import TryLater
from tests.inventory.platforms.libvirt import files
from tests.inventory.platforms.libvirt.files import OP, Stored

pytestmark = pytest.mark.vm

# What Python tells before it happens, of all that changes something outside the process; fsync it doesn't tell.
CHANGES = ("os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown",
           "os.truncate", "subprocess.Popen")  # fmt: skip


def is_a_change(event: str, args: tuple[Any, ...]) -> bool:
    if event == "open":
        return isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in CHANGES


def in_a_process(work: Callable[[], object], *, die_before: int = 0, log: Path | None = None) -> int:
    """Run work in a forked process, killed before its n-th change of the outside. Returns the wait status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    try:
        counter = itertools.count(1)

        def watch(event: str, args: tuple[Any, ...]) -> None:
            if is_a_change(event, args) and next(counter) == die_before:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        real_fsync = os.fsync

        def fsync(fd: int) -> None:
            watch("os.truncate", ())
            real_fsync(fd)

        os.fsync = fsync  # type: ignore[assignment]
        work()
        if log is not None:
            log.write_text(str(next(counter) - 1))
    except BaseException:  # noqa: BLE001
        os._exit(9)
    os._exit(0)


def content(machine: Stored) -> list[int]:
    """What a guest would see on the disks that the library publishes."""
    stored = read_stored(machine.folder)
    return [files.read(stored.place / d.file) for d in stored.manifest.disks]


def is_whole(machine: Stored) -> None:
    stored = read_stored(machine.folder)
    assert manifest.objections(machine.folder, stored.generation, stored.manifest) == []
    assert manifest.fingerprint(stored.place) == stored.manifest.files


@pytest.fixture
def machine(share: Path) -> Stored:
    made = files.make(share)
    made.serviced(2)
    return made


def test_publishing_makes_the_servicing_current(machine: Stored) -> None:
    base = machine.folder.generations / "g000001"
    before = manifest.fingerprint(base)
    assert publish.publish(machine.order) == "g000002"
    stored = read_stored(machine.folder)
    assert (stored.generation, stored.manifest.published_by, stored.manifest.base) == ("g000002", OP, "g000001")
    assert content(machine) == [2, 2]
    is_whole(machine)
    assert manifest.fingerprint(base) == before
    assert (stored.place / "nvram.fd").read_bytes() == b"\2" * 100
    assert (stored.place / "tpm/tpm2/state").read_bytes() == b"sealed"
    assert publish.publish(machine.order) == "g000002"
    assert machine.folder.names() == ["g000001", "g000002"]


@pytest.mark.parametrize("flatten", [False, True], ids=["overlay", "full image"])
def test_killed_anywhere_the_library_is_old_or_new_and_a_second_run_finishes(
    share: Path, flatten: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flatten:
        monkeypatch.setattr(manifest, "MAX_DEPTH", 1)
    counted = share / "counted"
    rehearsal = files.make(share)
    rehearsal.serviced(2)
    assert in_a_process(lambda: publish.publish(rehearsal.order), log=counted) == 0
    changes = int(counted.read_text())
    assert changes > 25
    seen = set()
    for number in range(1, changes + 1):
        machine = files.make(share, disks=1)
        machine.serviced(2)
        status = in_a_process(partial(publish.publish, machine.order), die_before=number)
        if status == 0:
            continue  # one disk has fewer changes than the rehearsal's two
        assert os.WTERMSIG(status) == signal.SIGKILL
        current = machine.folder.current()
        seen.add(current)
        assert content(machine) == ([1] if current == "g000001" else [2]), number
        is_whole(machine)
        assert publish.publish(machine.order) == "g000002", number
        assert content(machine) == [2], number
        is_whole(machine)
        assert not machine.folder.hidden(".wip-")
        assert [p.name for p in machine.folder.path.glob(".current*")] == []
        depth = read_stored(machine.folder).manifest.disks[0].depth
        assert depth == (1 if flatten else 2)
    assert seen == {"g000001", "g000002"}


def test_killed_in_another_attempts_middle_the_next_attempt_publishes_under_its_own_name(machine: Stored) -> None:
    found = 0
    for number in itertools.count(1):
        status = in_a_process(lambda: publish.publish(machine.order), die_before=number)
        if machine.folder.names() == ["g000001", "g000002"] and machine.folder.current() == "g000001":
            found = number
            break
        assert status != 0
    assert found
    again = replace(machine.order, op="t1-2-store")
    assert publish.unfinished(machine.folder, "here/t1") == "g000002"
    assert publish.publish(again) == "g000002"
    assert read_stored(machine.folder).manifest.published_by == "t1-2-store"


def test_everything_is_on_disk_before_it_gets_its_name(machine: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    real_fsync, real_rename = os.fsync, os.rename
    moved: list[str] = []

    def fsync(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        real_fsync(fd)

    def rename(old: Any, new: Any) -> None:
        if Path(new).name == "g000002":
            inside = {p.stat().st_ino for p in [Path(old), *Path(old).rglob("*")] if p.name != "servicing.json"}
            assert inside <= synced
            moved.append("generation")
        if Path(new).name == "current":
            assert machine.folder.generations.stat().st_ino in synced
            moved.append("current")
            synced.clear()
        real_rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    publish.publish(machine.order)
    assert moved == ["generation", "current"]
    assert machine.folder.path.stat().st_ino in synced


def test_a_long_chain_is_stored_as_a_full_image_and_nothing_below_it_is_touched(share: Path) -> None:
    machine = files.make(share, disks=1)
    depths = []
    for round_ in range(2, 12):
        machine.serviced(round_, target=f"t{round_}")
        order = publish.Order(
            str(share), machine.folder.key, f"t{round_}-1-store", machine.marker.generation, "now"
        )
        publish.publish(order)
        machine.folder.marker.unlink()
        depths.append(read_stored(machine.folder).manifest.disks[0].depth)
        assert content(machine) == [round_]
    assert depths == [2, 3, 4, 5, 6, 7, 8, 1, 2, 3]
    for name in machine.folder.names():
        record = manifest.read(machine.folder.generations / name)
        assert manifest.fingerprint(machine.folder.generations / name) == record.files


def test_a_library_that_changed_meanwhile_keeps_both(machine: Stored) -> None:
    publish.publish(machine.order)
    os.rename(machine.folder.generations / "g000002", machine.folder.generations / ".aside")
    other = files.make(machine.folder.share)
    other.serviced(3)
    os.rename(other.folder.generations / "g000001", machine.folder.generations / "g000007")
    os.rename(machine.folder.generations / ".aside", machine.folder.generations / ".wip-t1-1-fetch")
    (machine.folder.path / "current").unlink()
    os.symlink("generations/g000007", machine.folder.path / "current")
    with pytest.raises(publish.LibraryChanged, match="decide which"):
        publish.publish(machine.order)
    assert machine.folder.current() == "g000007"
    assert machine.folder.names() == ["g000001", "g000007"]
    assert files.read(machine.wip() / "disk-0.qcow2") == 2


def test_a_damaged_overlay_is_not_published(machine: Stored) -> None:
    overlay = machine.wip() / "disk-0.qcow2"
    with overlay.open("r+b") as file:
        file.seek(0x10000)
        file.write(os.urandom(0x20000))
    with pytest.raises(Exception, match=r"damaged|corruptions|can't be published"):
        publish.publish(machine.order)
    assert machine.folder.current() == "g000001"
    assert content(machine) == [1, 1]


def test_a_changed_description_is_not_published(machine: Stored) -> None:
    description = machine.wip() / "domain.xml"
    description.write_bytes(description.read_bytes() + b"\n")
    with pytest.raises(publish.CannotPublish, match="original"):
        publish.publish(machine.order)


@pytest.fixture
def small_share(ground: Path) -> Iterator[Path]:
    path = ground / f"small-{time.monotonic_ns()}"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(path)], check=True)
    backing.forget()
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def finish(machine: Stored) -> records.Work:
    """Publish as the driver does, in a process of its own, and wait for its word."""
    with machine.folder.lock() as lock:
        filework.start(machine.folder, lock, machine.order)
    until = time.monotonic() + 60
    while machine.folder.is_locked():
        assert time.monotonic() < until
        time.sleep(0.05)
    said = records.read_work(machine.folder)
    assert said is not None
    return said


def test_the_process_of_its_own_publishes_and_says_so(machine: Stored) -> None:
    assert finish(machine).state == "done"
    assert content(machine) == [2, 2]


def test_a_full_disk_leaves_the_library_as_it_was_and_is_said(small_share: Path) -> None:
    machine = files.make(small_share, size="64M", disks=1)
    machine.serviced(2)
    base = machine.folder.generations / "g000001"
    before = manifest.fingerprint(base)
    # One free page: room for the record of the work that is begun, not for what the work writes.
    room = os.statvfs(small_share)
    filler = small_share / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    os.posix_fallocate(fd, 0, (room.f_bavail - 1) * room.f_bsize)
    os.close(fd)
    machine.folder.path.joinpath("lock").touch()
    said = finish(machine)
    assert said.state == "failed"
    assert "disk is full" in said.reason
    assert machine.folder.current() == "g000001"
    assert manifest.fingerprint(base) == before
    assert machine.wip().is_dir()
    filler.unlink()
    assert finish(machine).state == "done"
    assert content(machine) == [2]


def test_a_full_disk_while_flattening_leaves_no_half_image(
    small_share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = files.make(small_share, size="64M", disks=1)
    machine.serviced(2)
    files.write(machine.wip() / "disk-0.qcow2", 2, length="12M")
    monkeypatch.setattr(manifest, "MAX_DEPTH", 1)
    with pytest.raises(Exception, match="No space left"):
        publish.publish(machine.order)
    assert list(machine.wip().glob("*.full-*")) == []
    assert machine.folder.current() == "g000001"


def test_nobody_else_may_touch_the_machine_while_its_files_are_worked_on(machine: Stored) -> None:
    with machine.folder.lock():
        assert machine.folder.is_locked()
        with pytest.raises(TryLater), machine.folder.lock(patience=0.1):
            pass
    assert not machine.folder.is_locked()


def test_the_generation_is_not_writable_and_its_secrets_are_private(machine: Stored) -> None:
    publish.publish(machine.order)
    place = machine.folder.generations / "g000002"
    modes = {n: (place / n).stat().st_mode & 0o777 for n in layout.files_below(place) if n != "servicing.json"}
    assert modes["disk-0.qcow2"] == 0o444
    assert modes["domain.xml"] == modes["nvram.fd"] == modes["tpm/tpm2/state"] == 0o400
