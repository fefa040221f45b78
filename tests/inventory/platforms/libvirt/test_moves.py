"""Machines that come into the library and leave it, with all that belongs to them: NVRAM and TPM state too."""

import hashlib
import os
import shutil
import uuid as uuids
from pathlib import Path

import pytest

from inventory.platforms.base import MachineRef, Marker, ObstacleKind, Power
from inventory.platforms.libvirt import images, library_moves, manifest
from inventory.platforms.libvirt.driver import LibvirtPlatform
from inventory.platforms.libvirt.layout import Folder
from ovmst_site.faults import GiveUp, NeedsAttention
from tests.inventory.platforms.libvirt import machines
from tests.inventory.platforms.libvirt.conftest import Machine
from tests.inventory.platforms.libvirt.hosts import TestHost

pytestmark = pytest.mark.vm
FIRMWARE = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader><nvram>{}</nvram>"
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
MAC = "52:54:00:bb:00:01"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def defined(host: TestHost) -> str:
    """A machine with UEFI and a TPM that has run on its host once and is shut off."""
    uuid = str(uuids.uuid4())
    disk = machines.make_disk(host.base / f"{uuid}.qcow2", "deaf")
    nvram = host.base / f"{uuid}.fd"
    shutil.copy("/usr/share/OVMF/OVMF_VARS_4M.fd", nvram)
    host.define(machines.xml("uefi", disk, uuid=uuid, mac=MAC, os=FIRMWARE.format(nvram), devices=TPM))
    host.virsh("start", "uefi")
    state = host.base / "lib/swtpm" / uuid
    assert any(state.rglob("*permall"))
    host.virsh("destroy", "uefi")
    return uuid


def test_a_machine_with_uefi_and_tpm_goes_the_whole_way(
    platform: LibvirtPlatform, host: TestHost, other_host: TestHost, share: Path, ground: Path, defined: str
) -> None:
    disk, nvram = host.base / f"{defined}.qcow2", host.base / f"{defined}.fd"
    before = {p: digest(p) for p in (disk, nvram)}
    on_host = tree(host.base / "lib/swtpm" / defined)

    # Adopt: all of it comes along, the host forgets the description and keeps the files.
    plan = library_moves.plan_adopt(platform, host.ref(), "uefi", str(share))
    assert plan.obstacles == ()
    assert host.domains() == ["uefi"]
    assert list(share.iterdir()) == []
    key = library_moves.adopt(platform, plan)
    assert key == defined
    assert host.domains() == []
    assert {p: digest(p) for p in before} == before
    assert tree(host.base / "lib/swtpm" / defined) == on_host
    assert set(plan.left_on_host) == {str(disk), str(nvram), str(host.base / "lib/swtpm" / defined)}
    first = Folder(str(share), key).generations / "g000001"
    assert (first / "domain.xml").read_text() == plan.xml
    assert digest(first / "nvram.fd") == before[nvram]
    state = {name: sum_ for name, sum_ in on_host.items() if not name.endswith(".lock")}
    assert tree(first / "tpm") == state
    carried = tree(first)

    # Wake on the other host: firmware writes its variables and its measurements there.
    marker = Marker("here", "t1", str(share), "g000001", {MAC: "production"})
    ref = MachineRef(key, "uefi", str(share))
    machine = Machine(platform, other_host, ref, marker, Folder(str(share), key))
    machine.wake()
    live = other_host.virsh("dumpxml", f"ovmst-{key}")
    assert str(machine.wip() / "nvram.fd") in live
    assert "persistent_state='yes'" in live
    machine.until(lambda _: digest(machine.wip() / "nvram.fd") != before[nvram], seconds=60)
    platform.shut_down(ref, force=True)
    machine.until(lambda seen: seen.power is Power.OFF)
    there = other_host.base / "lib/swtpm" / key
    left = {n: s for n, s in tree(there).items() if n not in (".ovmst-owner",) and not n.endswith(".lock")}
    assert left
    seen = machine.store()
    assert (seen.generation, seen.failed_operation) == ("g000002", "")
    second = machine.folder.generations / "g000002"
    assert tree(second / "tpm") == left
    assert digest(second / "nvram.fd") != before[nvram]
    assert not there.exists()
    assert tree(first) == carried
    platform.unmark(ref, marker)

    # Hand out: defined on full copies, nothing started; the library keeps it and says so.
    target = ground / f"handed-{key}"
    target.mkdir()
    leaving = library_moves.plan_hand_out(platform, ref, other_host.ref(), str(target))
    assert leaving.obstacles == ()
    directory = Path(library_moves.hand_out(platform, leaving))
    assert other_host.domains() == ["uefi"]
    assert "shut off" in other_host.virsh("list", "--all")
    described = other_host.virsh("dumpxml", "uefi")
    assert f"<uuid>{key}</uuid>" in described
    assert MAC in described
    assert images.check(directory / "disk-0.qcow2") == ""
    assert str(directory / "disk-0.qcow2") in described
    assert manifest.read(second).disks[0].depth == 2
    assert b"generations" not in (directory / "disk-0.qcow2").read_bytes()[:4096]
    kinds = [o.kind for o in platform.inspect(ref).obstacles if "handed out" in o.reason]
    assert kinds == [ObstacleKind.DECISION]
    other_host.virsh("start", "uefi")
    assert "running" in other_host.virsh("list", "--all")
    assert tree(first) == carried
    again = library_moves.plan_hand_out(platform, ref, host.ref(), str(target))
    assert any("handed out before" in o for o in again.obstacles)


def test_a_running_machine_is_not_adopted(
    platform: LibvirtPlatform, host: TestHost, share: Path, defined: str
) -> None:
    plan = library_moves.plan_adopt(platform, host.ref(), "uefi", str(share))
    host.virsh("start", "uefi")
    with pytest.raises(GiveUp, match="running"):
        library_moves.adopt(platform, plan)
    assert list(share.iterdir()) == []
    assert "running" in host.virsh("list", "--all")


def test_a_machine_that_was_used_while_it_was_copied_is_not_adopted(
    platform: LibvirtPlatform, host: TestHost, share: Path, defined: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = library_moves.plan_adopt(platform, host.ref(), "uefi", str(share))
    real = images.convert

    def used_meanwhile(source: Path, *rest: object, **more: object) -> None:
        real(source, *rest, **more)  # type: ignore[arg-type]
        os.utime(source)

    monkeypatch.setattr(images, "convert", used_meanwhile)
    with pytest.raises(GiveUp, match="used while it was copied"):
        library_moves.adopt(platform, plan)
    assert list(share.iterdir()) == []
    assert host.domains() == ["uefi"]


def test_what_cant_be_carried_is_an_obstacle(platform: LibvirtPlatform, host: TestHost, share: Path) -> None:
    disk = machines.make_disk(host.base / "snapshots.qcow2", "deaf")
    host.define(machines.xml("snapshots", disk))
    host.virsh("snapshot-create", "snapshots")
    try:
        plan = library_moves.plan_adopt(platform, host.ref(), "snapshots", str(share))
        assert any("1 snapshots" in o for o in plan.obstacles)
        assert any("internal snapshots" in o for o in plan.obstacles)
    finally:
        host.virsh("undefine", "snapshots", "--snapshots-metadata")
    with pytest.raises(GiveUp, match="no domain"):
        library_moves.plan_adopt(platform, host.ref(), "nobody", str(share))


def test_two_domains_on_one_disk_are_not_adopted(platform: LibvirtPlatform, host: TestHost, share: Path) -> None:
    disk = machines.make_disk(host.base / "both.qcow2", "deaf")
    for name in ("one", "two"):
        host.define(machines.xml(name, disk))
    plan = library_moves.plan_adopt(platform, host.ref(), "one", str(share))
    assert any("'two'" in o and "uses its disk" in o for o in plan.obstacles)


def test_a_raw_disk_and_a_chain_are_adopted_as_full_images(
    platform: LibvirtPlatform, host: TestHost, share: Path
) -> None:
    base = machines.make_disk(host.base / "chain-base.qcow2", "deaf")
    images.create_overlay(host.base / "chain-top.qcow2", "chain-base.qcow2", 4 << 20)
    raw = host.base / "second.raw"
    raw.write_bytes(b"x" * 4096)
    inside = f"<driver name='qemu' type='raw'/><source file='{raw}'/><target dev='vdb' bus='virtio'/>"
    second = f"<disk type='file'>{inside}</disk>"
    host.define(machines.xml("chain", host.base / "chain-top.qcow2", devices=second))
    plan = library_moves.plan_adopt(platform, host.ref(), "chain", str(share))
    assert plan.obstacles == ()
    assert [len(d.images) for d in plan.disks] == [2, 1]
    place = Folder(str(share), library_moves.adopt(platform, plan)).generations / "g000001"
    assert [d.depth for d in manifest.read(place).disks] == [1, 1]
    assert machines.sector("deaf") == _first_sector(place / "disk-0.qcow2")
    assert _first_sector(place / "disk-1.qcow2") == b"x" * 512
    assert base.exists()


def test_a_twin_in_the_library_is_an_obstacle(
    platform: LibvirtPlatform, host: TestHost, share: Path, defined: str
) -> None:
    plan = library_moves.plan_adopt(platform, host.ref(), "uefi", str(share))
    (share / defined).mkdir()
    with pytest.raises(GiveUp, match="in the library already"):
        library_moves.adopt(platform, plan)


def test_when_the_host_keeps_the_description_a_person_is_told(
    platform: LibvirtPlatform, host: TestHost, share: Path, defined: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = library_moves.plan_adopt(platform, host.ref(), "uefi", str(share))
    its_host = platform.host_of(host.uri)
    real = its_host.call

    def call(method: str, **more: object) -> object:
        if method == "undefine":
            raise TimeoutError("no answer")
        return real(method, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(its_host, "call", call)
    with pytest.raises(NeedsAttention, match="undefine --keep-nvram --keep-tpm"):
        library_moves.adopt(platform, plan)
    assert (share / defined / "current").exists()


def _first_sector(image: Path) -> bytes:
    out = image.with_name("look.raw")
    images.qemu_img(["convert", "-O", "raw", str(image), str(out)], deadline=30)
    try:
        return out.read_bytes()[:512]
    finally:
        out.unlink()
