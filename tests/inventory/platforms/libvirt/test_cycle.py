"""One machine through the whole cycle on a real libvirt host, and each way in which it can end."""

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from inventory.platforms.base import Adapter, Ended, Place, Power
from inventory.platforms.libvirt import evidence, manifest
from tests.inventory.platforms.libvirt import machines
from tests.inventory.platforms.libvirt.conftest import Machine

pytestmark = pytest.mark.vm
Make = Callable[..., Machine]


def state_of(folder: Path) -> dict[str, tuple[str, int, int, int]]:
    """Content, owner and mode of every file."""
    return {
        str(p.relative_to(folder)): (hashlib.sha256(p.read_bytes()).hexdigest(), s.st_uid, s.st_gid, s.st_mode)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
        for s in [p.stat()]
    }


def test_a_machine_is_woken_written_to_shut_down_and_stored(adopted: Make) -> None:
    machine = adopted("obedient")
    first = machine.folder.generations / "g000001"
    before = state_of(first)
    assert machine.observe().place is Place.LIBRARY

    machine.wake()
    seen = machine.observe()
    assert (seen.place, seen.power, seen.host) == (Place.HOST, Power.ON, machine.host.uri)
    assert seen.is_ours(machine.marker)
    assert seen.is_isolated_on("servicing")
    assert seen.protected
    machine.until_written()
    assert state_of(first) == before

    machine.platform.shut_down(machine.ref)
    seen = machine.until(lambda seen: seen.power is Power.OFF)
    assert seen.ended is Ended.CLEAN
    assert state_of(first) == before

    seen = machine.store()
    assert (seen.place, seen.generation) == (Place.LIBRARY, "g000002")
    assert seen.published_by == machine.op("store")
    assert seen.failed_operation == ""
    machine.platform.unmark(machine.ref, machine.marker)
    assert machine.observe().marker is None

    second = machine.folder.generations / "g000002"
    assert machines.second_sector(second / "disk-0.qcow2")[:18] == machines.WRITE
    assert state_of(first) == before
    assert (second / "domain.xml").read_bytes() == (first / "domain.xml").read_bytes()
    record = manifest.read(second)
    assert (record.base, record.disks[0].backing, record.disks[0].depth) == (
        "g000001", "../g000001/disk-0.qcow2", 2,
    )  # fmt: skip
    assert machine.host.domains() == []


def test_a_worker_with_a_strict_mask_makes_what_the_emulator_can_read(adopted: Make) -> None:
    before = os.umask(0o077)
    try:
        machine = adopted("obedient")
        machine.wake()
        machine.platform.shut_down(machine.ref, force=True)
        machine.until(lambda seen: seen.power is Power.OFF)
        assert machine.store().generation == "g000002"
    finally:
        os.umask(before)


def test_a_rewound_machine_is_as_before_bit_for_bit(adopted: Make) -> None:
    machine = adopted("deaf")
    before = state_of(machine.folder.generations)
    machine.wake()
    machine.until_written()
    machine.platform.shut_down(machine.ref, force=True)
    seen = machine.until(lambda seen: seen.power is Power.OFF)
    assert seen.ended is Ended.FORCED
    machine.platform.rewind(machine.ref, machine.origin)
    machine.platform.connect(machine.ref, machine.marker.adapters, isolated=False)
    machine.platform.store(machine.ref, machine.origin, machine.op("store"))
    seen = machine.observe()
    assert (seen.place, seen.generation, seen.operation) == (Place.LIBRARY, "g000001", "")
    assert state_of(machine.folder.generations) == before
    machine.platform.unmark(machine.ref, machine.marker)


@pytest.mark.parametrize(("number", "ended"), [(signal.SIGKILL, Ended.CRASHED), (signal.SIGTERM, Ended.FORCED)])
def test_a_killed_emulator_is_no_clean_end(adopted: Make, number: int, ended: Ended) -> None:
    machine = adopted("obedient")
    machine.wake()
    os.kill(machine.host.qemu(f"ovmst-{machine.ref.external_id}"), number)
    assert machine.until(lambda seen: seen.power is Power.OFF).ended is ended


@pytest.mark.parametrize(("number", "ended"), [(signal.SIGKILL, Ended.CRASHED), (signal.SIGTERM, Ended.FORCED)])
def test_the_log_tells_the_same_when_no_event_was_heard(adopted: Make, number: int, ended: Ended) -> None:
    machine = adopted("obedient")
    machine.wake()
    pid = machine.host.qemu(f"ovmst-{machine.ref.external_id}")
    for _ref, host in machine.platform.hosts:
        host.close()
    os.kill(pid, number)
    assert machine.until(lambda seen: seen.power is Power.OFF).ended is ended


@pytest.mark.parametrize("number", [0, signal.SIGKILL, signal.SIGTERM])
def test_events_alone_tell_where_the_log_cant_be_read(
    adopted: Make, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "log_directory", lambda _host: "")
    machine = adopted("obedient")
    machine.wake()
    machine.until_written()
    if number:
        os.kill(machine.host.qemu(f"ovmst-{machine.ref.external_id}"), number)
    else:
        machine.platform.shut_down(machine.ref)
    ended = {0: Ended.CLEAN, signal.SIGKILL: Ended.CRASHED, signal.SIGTERM: Ended.FORCED}[number]
    assert machine.until(lambda seen: seen.power is Power.OFF).ended is ended


def test_the_log_shows_a_clean_end_too(adopted: Make) -> None:
    machine = adopted("obedient")
    machine.wake()
    machine.until_written()
    machine.host.virsh("shutdown", f"ovmst-{machine.ref.external_id}")
    for _ref, host in machine.platform.hosts:
        host.close()
    assert machine.until(lambda seen: seen.power is Power.OFF).ended is Ended.CLEAN


def test_adapters_are_isolated_in_the_kernel_too(adopted: Make) -> None:
    machine = adopted("deaf")
    machine.wake()
    import subprocess

    shown = subprocess.run(
        ["ip", "netns", "exec", machine.host.name, "bridge", "-d", "link"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "isolated on" in shown
    assert machine.observe().adapters == dict.fromkeys(machine.marker.adapters, Adapter("servicing", True))
