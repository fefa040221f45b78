"""What preflight refuses, each with a sentence, and what may not start."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inventory.platforms.base import (
    Damaged,
    FoundHost,
    FoundMachine,
    MachineRef,
    ObstacleKind,
    Place,
    Power,
    ServerConfig,
)
from inventory.platforms.libvirt import backing, domain_xml, servicing_xml, waking
from inventory.platforms.libvirt.driver import LibvirtPlatform
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater
from tests.inventory.platforms.libvirt import files, machines
from tests.inventory.platforms.libvirt.conftest import Machine
from tests.inventory.platforms.libvirt.hosts import TestHost

pytestmark = pytest.mark.vm
Make = Callable[..., Machine]


def refusals(machine: Machine) -> str:
    backing.forget()
    facts = machine.platform.inspect(machine.ref)
    return "\n".join(o.reason for o in facts.obstacles if o.kind is ObstacleKind.REFUSED)


def disk_of(machine: Machine) -> Path:
    return machine.folder.generations / "g000001" / "disk-0.qcow2"


def rewrite(machine: Machine, old: str, new: str) -> None:
    """Put another description in the library's place, as somebody with an editor would."""
    path = machine.folder.generations / "g000001" / "domain.xml"
    text = path.read_text()
    assert old in text
    path.chmod(0o600)
    path.write_text(text.replace(old, new))
    manifest = machine.folder.generations / "g000001" / "manifest.json"
    manifest.chmod(0o600)
    size = len(text.replace(old, new).encode())
    value = json.loads(manifest.read_text())
    value["files"]["domain.xml"]["size"] = size
    manifest.write_text(json.dumps(value))


def test_a_sound_machine_is_eligible_with_its_facts(adopted: Make) -> None:
    machine = adopted()
    facts = machine.platform.inspect(machine.ref)
    assert facts.obstacles == ()
    assert (facts.generation, facts.memory_mb, facts.adapters) == ("g000001", 64, machine.marker.adapters)


@pytest.mark.parametrize(
    ("devices", "sentence"),
    [
        ("<filesystem type='mount'><source dir='/etc'/><target dir='x'/></filesystem>", "folder of its host"),
        ("<redirdev bus='usb' type='tcp'><source mode='connect' host='x' service='1'/></redirdev>", "USB"),
        ("<hostdev mode='subsystem' type='usb'><source><address bus='1' device='1'/></source></hostdev>", "host"),
        ("<shmem name='x'/>", "shares memory"),
        ("<weird/>", "unknown here"),
        ("<disk type='block' device='lun'><source dev='/dev/sda'/><target dev='sdz'/></disk>", "passes a device"),
        ("<disk type='network'><source protocol='nbd' name='x'/><target dev='vdz'/></disk>", "not a file"),
        ("<disk type='file'><source file='/x'/><target dev='vdz'/><shareable/></disk>", "shared with other"),
        ("<disk type='file'><source file='/x'/><target dev='vdz'/></disk>", "isn't in its library directory"),
        ("<disk type='file' device='cdrom'><source file='/etc/passwd'/><target dev='sdz'/></disk>", "media"),
        ("<tpm model='tpm-tis'><backend type='passthrough'/></tpm>", "device of its host"),
        ("<interface type='network'><source network='x'/></interface>", "no MAC address"),
    ],
)
def test_what_reaches_outside_is_refused(adopted: Make, devices: str, sentence: str) -> None:
    machine = adopted()
    rewrite(machine, "</devices>", devices + "</devices>")
    assert sentence in refusals(machine)


def test_arguments_for_qemu_itself_are_refused(adopted: Make) -> None:
    machine = adopted()
    command = (
        "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='-nic'/></q:commandline>"
    )
    rewrite(machine, "</domain>", command + "</domain>")
    assert "<commandline>" in refusals(machine)


def test_a_medium_is_allowed_where_the_administrator_says(adopted: Make, ground: Path) -> None:
    machine = adopted()
    (ground / "media").mkdir(exist_ok=True)
    (ground / "media" / "x.iso").write_bytes(bytes(2048))
    rewrite(machine, "</devices>", f"<disk type='file' device='cdrom'><source file='{ground}/media/x.iso'/>"
            "<target dev='sdz' bus='sata'/><readonly/></disk></devices>")  # fmt: skip
    assert "media" in refusals(machine)
    machine.platform.media = [str(ground / "media")]
    assert refusals(machine) == ""


def test_internal_snapshots_are_refused(adopted: Make) -> None:
    machine = adopted()
    disk_of(machine).chmod(0o600)
    subprocess.run(["qemu-img", "snapshot", "-c", "before", str(disk_of(machine))], check=True)
    assert "internal snapshots" in refusals(machine)


def test_a_disk_that_an_image_outside_backs_on_is_refused(adopted: Make, share: Path) -> None:
    machine = adopted()
    (share / "clones").mkdir()
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(disk_of(machine)), "-F", "qcow2",
         str(share / "clones" / "clone.qcow2")], check=True,
    )  # fmt: skip
    assert "an image outside of this machine needs its disk" in refusals(machine)


@pytest.mark.parametrize("seen_by", ["pool", "shut-off domain"])
def test_a_clone_on_a_host_that_backs_on_the_library_is_found(adopted: Make, seen_by: str) -> None:
    machine = adopted()
    folder = machine.host.base / f"clones-{seen_by[:4]}"
    folder.mkdir()
    clone = folder / "clone.qcow2"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(disk_of(machine)), "-F", "qcow2"]
    subprocess.run([*command, str(clone)], check=True)
    if seen_by == "pool":
        machine.host.virsh("pool-create-as", "clones", "dir", "--target", str(folder))
    else:
        machine.host.define(machines.xml("clone", clone))
    try:
        assert "clone.qcow2 backs on" in refusals(machine)
    finally:
        if seen_by == "pool":
            machine.host.virsh("pool-destroy", "clones")


def test_a_disk_that_backs_on_something_outside_is_refused(adopted: Make, share: Path) -> None:
    machine = adopted()
    outside = machines.make_disk(share / "outside.qcow2", "deaf")
    disk_of(machine).chmod(0o600)
    subprocess.run(
        ["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", str(outside), "-F", "qcow2", str(disk_of(machine))],
        check=True,
    )
    assert "outside this machine's generations" in refusals(machine)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda m: os.truncate(disk_of(m), 100), "cut short"),
        (lambda m: disk_of(m).write_bytes(b"rubbish" * 100), "not a qcow2"),
        (lambda m: (m.folder.generations / "g000001/domain.xml").write_text("<domain"), "not XML"),
        (lambda m: (m.folder.path / "current").unlink(), "no current generation"),
        (lambda m: (m.folder.generations / "g000001/manifest.json").write_text("{"), "not JSON"),
    ],
)
def test_damage_is_told_and_the_others_are_listed(
    adopted: Make, damage: Callable[[Machine], object], sentence: str
) -> None:
    broken, sound = adopted(), adopted()
    for file in (broken.folder.generations / "g000001").iterdir():
        file.chmod(0o600)
    damage(broken)
    assert sentence in refusals(broken)
    found = list(broken.platform.inventory())
    assert [f.external_id for f in found if isinstance(f, FoundMachine)] == [sound.ref.external_id]
    assert [f.reason for f in found if isinstance(f, Damaged) and sentence in f.reason]
    assert len([f for f in found if isinstance(f, FoundHost)]) == 2
    broken.observe()


def test_a_link_in_place_of_a_disk_is_not_followed(adopted: Make, ground: Path) -> None:
    machine = adopted()
    elsewhere = ground / "elsewhere.qcow2"
    os.rename(disk_of(machine), elsewhere)
    os.symlink(elsewhere, disk_of(machine))
    assert "symbolic link" in refusals(machine)


def test_too_little_room_is_told_with_the_figures(adopted: Make) -> None:
    machine = adopted()
    machine.platform.fraction = 1e9
    assert "MiB free; servicing it may need" in refusals(machine)


def test_a_share_that_isnt_there_is_told(host: TestHost, ground: Path) -> None:
    gone = LibvirtPlatform(ServerConfig("gone", "", (host.ref(),), (f"{ground}/nowhere",), ""))
    with pytest.raises(NeedsAttention, match="nowhere"):
        list(gone.inventory())
    ref = MachineRef("x", "x", f"{ground}/nowhere")
    with pytest.raises(NeedsAttention, match="mounted"):
        gone.inspect(ref)
    assert gone.observe(ref).place is Place.UNKNOWN
    assert [c.ok for c in gone.check() if "nowhere" in c.what] == [False]


def test_a_key_that_climbs_out_of_the_share_is_refused(platform: LibvirtPlatform, share: Path) -> None:
    for key in ("../etc", "a/b", ".", "", "x\0y", "lock\n"):
        with pytest.raises(NeedsAttention):
            platform.inspect(MachineRef(key, "x", str(share)))
        assert platform.observe(MachineRef(key, "x", str(share))).power is Power.UNKNOWN


@pytest.mark.parametrize("network", ["nowhere", "", "$(reboot)"])
def test_a_host_without_the_servicing_network_starts_nothing(adopted: Make, network: str) -> None:
    machine = adopted("deaf")
    where = replace(machine.host.ref(), servicing_network=network)
    machine.platform.mark(machine.ref, machine.marker)
    machine.platform.fetch(machine.ref, where, machine.op("fetch"))
    with pytest.raises(GiveUp, match="network"):
        machine.platform.connect(machine.ref, dict.fromkeys(machine.marker.adapters, network), isolated=True)
    machine.platform.protect(machine.ref, machine.op("protect"))
    with pytest.raises(GiveUp, match="not prepared"):
        machine.platform.start(machine.ref, machine.op("start"))
    assert machine.host.domains() == []


def test_a_network_that_stopped_after_isolate_starts_nothing(adopted: Make) -> None:
    machine = adopted("deaf")
    machine.platform.mark(machine.ref, machine.marker)
    machine.platform.fetch(machine.ref, machine.host.ref(), machine.op("fetch"))
    machine.isolate()
    machine.platform.protect(machine.ref, machine.op("protect"))
    machine.host.virsh("net-destroy", "servicing")
    try:
        with pytest.raises(GiveUp, match="not active"):
            machine.platform.start(machine.ref, machine.op("start"))
        assert machine.host.domains() == []
    finally:
        machine.host.virsh("net-start", "servicing")


def test_what_reads_back_otherwise_is_ended_before_its_first_instruction(
    adopted: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = adopted("deaf")
    real = servicing_xml.build
    monkeypatch.setattr(servicing_xml, "build", lambda d, p: real(d, p).replace('isolated="yes"', 'isolated="no"'))
    with pytest.raises(GiveUp, match="not isolated"):
        machine.wake()
    assert machine.host.domains() == []
    assert machines.second_sector(machine.wip() / "disk-0.qcow2") == bytes(512)
    assert machine.observe().power is Power.OFF


def test_a_start_that_died_before_it_let_the_guest_run_is_finished_by_the_next(
    adopted: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = adopted("deaf")

    def dies(*_: object) -> None:
        raise TryLater("the worker died here")

    with monkeypatch.context() as patched:
        patched.setattr(waking, "verify_and_resume", dies)
        with pytest.raises(TryLater):
            machine.wake()
    assert "paused" in machine.host.virsh("list", "--all")
    machine.platform.start(machine.ref, machine.op("start"))
    assert "running" in machine.host.virsh("list", "--all")
    machine.until_written()
    machine.platform.start(machine.ref, machine.op("start"))
    assert len(machine.host.domains()) == 1


def test_hostile_names_are_data(adopted: Make, share: Path) -> None:
    name = "a\";$(reboot)`x`'&<>🐴\u202e" + "x" * 60
    made = files.make(share)
    found = {f.external_id: f for f in adopted().platform.inventory() if isinstance(f, FoundMachine)}
    assert "$(reboot)" in found[made.folder.key].name
    title = "<title>" + name.replace("&", "&amp;").replace("<", "&lt;") + "</title>"
    assert domain_xml.parse(machines.xml("x", Path("/x"), top=title).encode()).title == name
