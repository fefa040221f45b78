"""What others do meanwhile: they start it, save it, sit on its disks, write their own marker, hang."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from inventory.platforms.base import Ended, ObstacleKind, Place, Power, ServerConfig
from inventory.platforms.libvirt import hosts, sights
from inventory.platforms.libvirt.driver import LibvirtPlatform
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater
from tests.inventory.platforms.libvirt import machines
from tests.inventory.platforms.libvirt.conftest import Machine
from tests.inventory.platforms.libvirt.hosts import TestHost

pytestmark = pytest.mark.vm
Make = Callable[..., Machine]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def outsider(machine: Machine, name: str = "outsider", uuid: str = "") -> str:
    """A domain on a copy of the machine's disk, with its UUID unless told otherwise."""
    copy = machine.host.base / f"{name}.qcow2"
    machines.make_disk(copy, "deaf")
    return machines.xml(name, copy, uuid=uuid or machine.ref.external_id, network="servicing")


def test_a_machine_that_somebody_else_started_by_its_uuid_is_left_alone(
    adopted: Make, other_host: TestHost
) -> None:
    machine = adopted("deaf")
    machine.platform.mark(machine.ref, machine.marker)
    machine.platform.fetch(machine.ref, machine.host.ref(), machine.op("fetch"))
    machine.isolate()
    machine.platform.protect(machine.ref, machine.op("protect"))
    other_host.create(outsider(machine))
    seen = machine.observe()
    assert (seen.power, seen.own_disks, seen.host) == (Power.ON, False, other_host.uri)
    assert "outsider" in seen.detail
    for call in (
        lambda: machine.platform.start(machine.ref, machine.op("start")),
        lambda: machine.platform.shut_down(machine.ref, force=True),
        lambda: machine.platform.rewind(machine.ref, machine.origin),
        lambda: machine.platform.store(machine.ref, machine.origin, machine.op("store")),
    ):
        with pytest.raises(NeedsAttention, match="outsider"):
            call()
    assert other_host.domains() == ["outsider"]
    assert machine.wip().is_dir()


def test_a_machine_whose_library_disk_runs_under_another_uuid_is_seen(adopted: Make, other_host: TestHost) -> None:
    machine = adopted("deaf")
    overlay = machine.host.base / "sneaky.qcow2"
    base = machine.folder.generations / "g000001" / "disk-0.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "qcow2", str(overlay)], check=True
    )
    other_host.create(machines.xml("sneaky", overlay, network="servicing"))
    seen = machine.observe()
    assert (seen.power, seen.own_disks) == (Power.ON, False)
    obstacles = machine.platform.inspect(machine.ref).obstacles
    assert any("sneaky" in o.reason and o.kind is ObstacleKind.REFUSED for o in obstacles)


def test_a_domain_with_our_name_and_uuid_but_not_our_mark_is_not_ours(adopted: Make) -> None:
    machine = adopted("deaf")
    machine.wake()
    name = f"ovmst-{machine.ref.external_id}"
    machine.host.virsh("destroy", name)
    machine.host.create(outsider(machine, name=name))
    assert not machine.observe().is_ours(machine.marker)
    with pytest.raises(NeedsAttention):
        machine.platform.shut_down(machine.ref, force=True)
    assert machine.host.domains() == [name]


def test_a_domain_on_our_own_overlay_without_our_mark_is_not_ours(adopted: Make) -> None:
    machine = adopted("deaf")
    machine.wake()
    name = f"ovmst-{machine.ref.external_id}"
    copied = machine.host.virsh("dumpxml", name)
    machine.host.virsh("destroy", name)
    assert 'owner="here/' in copied or "owner='here/" in copied
    machine.host.create(copied.replace("here/", "elsewhere/"))
    assert not machine.observe().is_ours(machine.marker)
    with pytest.raises(NeedsAttention):
        machine.platform.shut_down(machine.ref, force=True)
    assert machine.host.domains() == [name]


def test_a_saved_state_is_refused_and_seen(adopted: Make) -> None:
    machine = adopted("deaf")
    machine.host.define(outsider(machine))
    machine.host.virsh("start", "outsider")
    machine.host.virsh("managedsave", "outsider")
    assert machine.observe().power is Power.SAVED
    reasons = [o.reason for o in machine.platform.inspect(machine.ref).obstacles if o.kind is ObstacleKind.REFUSED]
    assert any("saved state" in r for r in reasons)
    machine.platform.mark(machine.ref, machine.marker)
    with pytest.raises(GiveUp, match="saved state"):
        machine.platform.fetch(machine.ref, machine.host.ref(), machine.op("fetch"))


def test_a_shut_off_twin_needs_a_decision_and_its_host_is_refused(adopted: Make, other_host: TestHost) -> None:
    machine = adopted("deaf")
    machine.host.define(outsider(machine))
    assert [o.kind for o in machine.platform.inspect(machine.ref).obstacles] == [ObstacleKind.DECISION]
    machine.platform.mark(machine.ref, machine.marker)
    with pytest.raises(GiveUp, match="one UUID"):
        machine.platform.fetch(machine.ref, machine.host.ref(), machine.op("fetch"))
    machine.platform.fetch(machine.ref, other_host.ref(), machine.op("fetch"))
    assert machine.observe().host == other_host.uri


def test_anothers_marker_stays_and_nothing_is_written(adopted: Make) -> None:
    machine = adopted()
    theirs = replace(machine.marker, installation="elsewhere")
    machine.platform.mark(machine.ref, theirs)
    before = machine.folder.marker.read_bytes()
    with pytest.raises(NeedsAttention, match="elsewhere"):
        machine.platform.mark(machine.ref, machine.marker)
    machine.platform.unmark(machine.ref, machine.marker)
    assert machine.folder.marker.read_bytes() == before
    assert sorted(p.name for p in machine.folder.path.iterdir()) == [
        "current",
        "generations",
        "lock",
        "marker.json",
    ]
    machine.platform.mark(machine.ref, theirs)
    machine.platform.unmark(machine.ref, theirs)
    assert machine.observe().marker is None


def test_a_hanging_libvirtd_blocks_nobody_else(
    adopted: Make, other_host: TestHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = adopted("deaf")
    monkeypatch.setattr(sights, "LOOK", 1.0)
    monkeypatch.setattr(hosts, "PAUSE", 2.0)
    elsewhere = LibvirtPlatform(
        ServerConfig(
            "other pool", "", (other_host.ref(),), machine.platform.config.shares, "", {"accelerator": "qemu"}
        )
    )
    with stopped(machine.host.libvirtd()):
        for _ref, host in machine.platform.hosts:
            host.close()  # connecting to it hangs as well
        monkeypatch.setattr(hosts, "CONNECT", 1.0)
        began = time.monotonic()
        seen = machine.observe()
        assert (seen.place, seen.power) == (Place.UNKNOWN, Power.UNKNOWN)
        assert machine.host.uri in seen.detail
        with pytest.raises(TryLater, match="asked again in"):
            machine.platform.inspect(machine.ref)
        assert time.monotonic() - began < 6
        assert elsewhere.observe(machine.ref).place is Place.LIBRARY
    machine.until(lambda seen: seen.place is Place.LIBRARY)


def test_a_machine_that_is_seen_running_is_on_although_another_host_is_silent(
    adopted: Make, other_host: TestHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = adopted("deaf")
    machine.wake()
    monkeypatch.setattr(sights, "LOOK", 1.0)
    monkeypatch.setattr(hosts, "PAUSE", 1.0)
    with stopped(other_host.libvirtd()):
        seen = machine.observe()
        assert (seen.power, seen.place) == (Power.ON, Place.HOST)
        assert seen.is_ours(machine.marker)
    machine.until(lambda seen: not seen.detail)


def test_a_machine_that_vanished_without_a_trace_is_not_called_clean(adopted: Make) -> None:
    machine = adopted("obedient")
    machine.wake()
    machine.until_written()
    for _ref, host in machine.platform.hosts:
        host.close()
    machine.host.virsh("shutdown", f"ovmst-{machine.ref.external_id}")
    end = time.monotonic() + 30
    while machine.host.domains():
        assert time.monotonic() < end
        time.sleep(0.1)
    log = machine.host.base / "log/qemu" / f"ovmst-{machine.ref.external_id}.log"
    log.unlink()
    assert machine.observe().ended is Ended.UNKNOWN


def test_the_helper_dies_with_the_process_that_uses_it(host: TestHost) -> None:
    script = (
        "import sys, time\n"
        "from inventory.platforms.libvirt import hosts\n"
        "h = hosts.Host(sys.argv[1], 2)\n"
        "h.call('info', deadline=10)\n"
        "print(h._life.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, host.uri], stdout=subprocess.PIPE, cwd=os.getcwd())
    assert process.stdout is not None
    with process.stdout:
        helper = int(process.stdout.readline())
    os.kill(helper, signal.SIGSTOP)  # even one that can't read its pipe
    process.kill()
    process.wait()
    end = time.monotonic() + 5
    while (status := Path(f"/proc/{helper}/stat")).exists() and " Z " not in status.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
