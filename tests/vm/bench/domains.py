"""Machines as an administrator has them: a disk of their own and a persistent definition on a host."""

import shutil
import uuid as uuids
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import libvirt

from .commands import BenchError, run
from .disks import to_qcow2
from .guests import Guest, apt_sources, build_guest
from .hosts import REPOSITORY_PORT, BenchHost
from .kernel import boot_files
from .kvm import EMULATOR_USER
from .offline import write_files
from .repositories import repository

MACHINE = "pc-q35-7.2"
MEMORY_MIB = {"tiny": 256, "systemd": 512, "uefi": 768, "silent": 128}
COMMAND_LINE = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet panic=-1 mitigations=off"
FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that define_guest made."""

    name: str
    uuid: str
    mac: str  # "" where it has no network adapter
    image: Path
    guest: Guest
    xml: str  # as it was given to libvirt


def domain_xml(
    name: str,
    uuid: str,
    mac: str,
    image: Path,
    kind: str,
    repo_iso: Path | None,
    network: str = "production",
    *,
    kernel: Path | None = None,
    isolated: bool = False,
) -> str:
    """A domain description. All values are data, whatever characters they hold.

    `mac` "" makes a machine without network. `kernel` is the folder with vmlinux and initrd.gz that `tiny` and
    `systemd` need. A TPM's state outlives the domain, also a transient one.
    """
    domain = ET.Element("domain", type="qemu")
    _add(domain, "name", name)
    _add(domain, "uuid", uuid)
    _add(domain, "memory", str(MEMORY_MIB[kind]), unit="MiB")
    _add(domain, "vcpu", "1")
    system = _add(domain, "os")
    _add(system, "type", "hvm", arch="x86_64", machine=MACHINE)
    if kind in ("tiny", "systemd"):
        if kernel is None:
            raise BenchError(f"a {kind} guest needs a kernel to boot with")
        _add(system, "kernel", str(kernel / "vmlinux"))
        _add(system, "initrd", str(kernel / "initrd.gz"))
        _add(system, "cmdline", COMMAND_LINE)
    elif kind == "uefi":
        _add(system, "loader", FIRMWARE, readonly="yes", type="pflash")
        _add(system, "nvram", str(image.parent / f"{uuid}_VARS.fd"), template=VARIABLES)
    features = _add(domain, "features")
    _add(features, "acpi")
    _add(features, "apic")
    if kind == "uefi":
        _add(features, "smm", state="off")
    # Emulation: the default translation cache grew one guest to more than a GiB.
    _add(_add(features, "tcg"), "tb-cache", "128", unit="MiB")
    _add(domain, "cpu", mode="custom", match="exact").append(_text("model", "qemu64"))
    _add(domain, "clock", offset="utc")
    _add(domain, "on_poweroff", "destroy")
    _add(domain, "on_reboot", "restart")
    _add(domain, "on_crash", "destroy")
    _devices(_add(domain, "devices"), uuid, mac, image, kind, repo_iso, network, isolated)
    return ET.tostring(domain, encoding="unicode")


def _devices(
    devices: ET.Element,
    uuid: str,
    mac: str,
    image: Path,
    kind: str,
    repo_iso: Path | None,
    network: str,
    isolated: bool,
) -> None:
    _add(devices, "emulator", "/usr/bin/qemu-system-x86_64")
    disk = _add(devices, "disk", type="file", device="disk")
    _add(disk, "driver", name="qemu", type="qcow2", discard="unmap")
    _add(disk, "source", file=str(image))
    _add(disk, "target", dev="vda", bus="virtio")
    if repo_iso is not None:
        _add(devices, "controller", type="scsi", index="0", model="virtio-scsi")
        disk = _add(devices, "disk", type="file", device="cdrom")
        _add(disk, "driver", name="qemu", type="raw")
        _add(disk, "source", file=str(repo_iso))
        _add(disk, "target", dev="sda", bus="scsi")
        _add(disk, "readonly")
    if mac:
        interface = _add(devices, "interface", type="network")
        _add(interface, "mac", address=mac)
        _add(interface, "source", network=network)
        _add(interface, "model", type="virtio")
        if isolated:
            _add(interface, "port", isolated="yes")
    # The guest's console, by UUID because a name may hold anything; in the host's own log folder.
    serial = _add(devices, "serial", type="file")
    _add(serial, "source", path=f"/var/log/libvirt/qemu/serial-{uuid}.log", append="on")
    channel = _add(devices, "channel", type="unix")
    _add(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    if kind == "uefi":
        tpm = _add(devices, "tpm", model="tpm-crb")
        _add(tpm, "backend", type="emulator", version="2.0", persistent_state="yes")
    _add(devices, "memballoon", model="none")
    rng = _add(devices, "rng", model="virtio")
    _add(rng, "backend", "/dev/urandom", model="random")


def define_guest(
    host: BenchHost,
    name: str,
    kind: str,
    folder: Path,
    *,
    repo: str | None = "plain",
    http: bool = False,
    network: str | None = "production",
    uuid: str = "",
    mac: str = "",
    files: Mapping[str, bytes] | None = None,
) -> Machine:
    """Define a machine on a host, shut off, with a disk of its own: ready to be adopted, or to be started.

    `folder` is where its disk goes (FOLDER/UUID.qcow2) and where the kernel and the package CDs lie
    (FOLDER/media), for all hosts at the same path; the emulator's user must be able to get there.
    `repo` names the repository on its CD (see repositories.VARIANTS; None: no CD). With `http` it takes its
    packages from the repository.bench server of the servicing network instead, which must serve that variant.
    `network` None: a machine without network adapter. `files`: what to put into its disk, path -> content.
    """
    require_traversable(folder)
    uuid = uuid or str(uuids.uuid4())
    mac = "" if network is None else (mac or "52:54:00:" + uuids.UUID(uuid).bytes[:3].hex(":"))
    guest = build_guest(kind)
    iso = None if repo is None or http else media(folder, repo)
    kernel = kernel_media(folder) if kind in ("tiny", "systemd") else None
    # Debian's kernel recommends packages that no repository of the bench has: apt would keep it back for them.
    put = {"/etc/apt/apt.conf.d/60recommends": b'APT::Install-Recommends "false";\n'} if kind == "uefi" else {}
    put |= files or {}
    if http:
        put["/etc/apt/sources.list"] = apt_sources(f"http://repository.bench:{REPOSITORY_PORT}/{repo}").encode()
    image = folder / f"{uuid}.qcow2"
    copy_image(guest.image, image, put)
    text = domain_xml(name, uuid, mac, image, kind, iso, network or "", kernel=kernel)
    connection = libvirt.open(host.uri)
    try:
        connection.defineXML(text)
    finally:
        connection.close()
    return Machine(name, uuid, mac, image, guest, text)


def copy_image(source: Path, image: Path, files: Mapping[str, bytes] | None = None) -> None:
    """A disk of its own, no backing file; with these files in its root file system."""
    if not files:
        run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", source, image], timeout=300)
        return
    with TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder:
        raw = Path(folder) / "disk.raw"
        run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", source, raw], timeout=300)
        write_files(raw, files)
        to_qcow2(raw, image)


def media(folder: Path, variant: str) -> Path:
    """The package CD of a repository, at a place that all hosts and their emulators can read."""
    iso = folder / "media" / f"{variant}.iso"
    if not iso.exists():
        _place(repository(variant) / "repo.iso", iso)
    return iso


def kernel_media(folder: Path) -> Path:
    """The folder with the kernel of the guests that are booted directly."""
    for file in ("vmlinux", "initrd.gz"):
        if not (folder / "media" / file).exists():
            _place(boot_files() / file, folder / "media" / file)
    return folder / "media"


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    aside = target.with_name(f".{target.name}.{uuids.uuid4().hex}")
    shutil.copyfile(source, aside)
    aside.chmod(0o644)
    aside.rename(target)


def require_traversable(folder: Path) -> None:
    """Raise BenchError when the emulator's user can't get to a folder (pytest's tmp_path is such a place)."""
    for parent in (folder, *folder.parents):
        if not parent.stat().st_mode & 0o001:
            raise BenchError(f"{EMULATOR_USER} can't get to {folder}: {parent} isn't open to others (chmod o+x)")


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text or None
    return element


def _text(tag: str, text: str) -> ET.Element:
    element = ET.Element(tag)
    element.text = text
    return element
