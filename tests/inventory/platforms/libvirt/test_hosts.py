"""Hosts: accelerators found by trying, limits, what doctor says."""

import threading
import time
from pathlib import Path

import pytest

from inventory.platforms.base import ServerConfig
from inventory.platforms.libvirt import checks, hosts
from inventory.platforms.libvirt.driver import LibvirtPlatform
from ovmst_site.faults import TryLater
from tests.inventory.platforms.libvirt.hosts import TestHost


@pytest.mark.vm
def test_an_accelerator_works_when_a_guests_firmware_runs(host: TestHost) -> None:
    its_host = hosts.host(host.uri, 4)
    assert its_host.call("firmware_runs", deadline=60, accelerator="qemu", seconds=30) is True
    assert its_host.call("firmware_runs", deadline=60, accelerator="xen", seconds=2) is False
    assert host.domains() == []


@pytest.mark.vm
def test_kvm_is_judged_by_trying_it(platform: LibvirtPlatform, host: TestHost) -> None:
    """Whatever this machine has, the verdict is the one that a real start gives, and it is kept."""
    its_host = platform.host_of(host.uri)
    platform = LibvirtPlatform(ServerConfig("auto", "", (host.ref(),), platform.config.shares, ""))
    its_host.accelerator = ""
    found = platform._accelerator(host.ref(), its_host)
    assert found in ("kvm", "qemu")
    if not Path("/dev/kvm").exists():
        assert found == "qemu"
    began = time.monotonic()
    assert platform._accelerator(host.ref(), its_host) == found
    assert time.monotonic() - began < 0.1
    assert host.domains() == []


@pytest.mark.vm
def test_doctor_has_a_line_for_each_part(platform: LibvirtPlatform, host: TestHost) -> None:
    found = {c.what: c for c in platform.check()}
    assert found[f"host {host.name}"].ok
    assert found[f"servicing network servicing on {host.name}"].ok
    assert any("library share" in what for what in found)
    assert found[f"servicing network servicing on {host.name}"].advice == ""
    routed = host.base / "routed.xml"
    routed.write_text(
        "<network><name>routed</name><forward mode='route'/><bridge name='virbr72'/>"
        "<ip address='192.168.79.1' netmask='255.255.255.0'/></network>"
    )
    host.virsh("net-create", str(routed))
    try:
        assert checks._network(host.ref("routed"), platform.host_of(host.uri)).advice.startswith(
            "it forwards (route)"
        )
    finally:
        host.virsh("net-destroy", "routed")
    host.virsh("net-destroy", "servicing")
    try:
        found = {c.what: c for c in platform.check()}
        assert "net-start" in found[f"servicing network servicing on {host.name}"].advice
    finally:
        host.virsh("net-start", "servicing")


def test_a_host_that_isnt_there_is_tried_later(tmp_path: Path) -> None:
    host = hosts.Host(f"qemu+unix:///system?socket={tmp_path}/nowhere", 2)
    with pytest.raises(TryLater, match="nowhere"):
        host.call("info", deadline=10)
    host.close()


def test_kvm_that_the_emulator_may_not_open_has_a_remedy(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch(0o600)
    pytest.importorskip("pwd")
    found = checks.kvm(device)
    if not found.ok:
        assert "chgrp kvm" in found.advice
    device.chmod(0o666)
    assert checks.kvm(device).ok
    assert "none" in checks.kvm(tmp_path / "absent").advice


def test_no_more_calls_than_allowed_at_once() -> None:
    limit = hosts.Limit("a server of this test", 2)
    inside, most = 0, 0
    lock = threading.Lock()

    def call() -> None:
        nonlocal inside, most
        with limit.slot():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2
    same = hosts.Limit("a server of this test", 2)
    with same.slot(), same.slot(), pytest.raises(TryLater), limit.slot(patience=0.05):
        pass
