"""How machines come into a library and leave it: adopt and hand out. Both copy, neither deletes a disk."""

import datetime
import os
import secrets
import shutil
import xml.etree.ElementTree as ET
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inventory.platforms.base import HostRef, MachineRef
from inventory.platforms.libvirt import (
    domain_xml,
    images,
    layout,
    manifest,
    publish,
    qcow2,
    reach,
    records,
    tpm,
)
from inventory.platforms.libvirt.domain_xml import Description
from inventory.platforms.libvirt.driver import LibvirtPlatform
from inventory.platforms.libvirt.faults import plain_faults
from inventory.platforms.libvirt.hosts import LibvirtError
from inventory.platforms.libvirt.layout import Folder
from inventory.platforms.libvirt.manifest import DISK_FILE, DiskFile, Manifest
from ovmst_site.faults import GiveUp, NeedsAttention

COPYING = 12 * 3600.0  # seconds for one disk
FIRST = "g000001"


@dataclass(frozen=True, slots=True)
class DiskToCopy:
    """One disk of a machine that is to be adopted."""

    target: str
    source: str
    format: str
    virtual_size: int  # bytes
    images: tuple[tuple[str, int, int], ...]  # of its chain: path, size, time of the last change (ns)


@dataclass(frozen=True, slots=True)
class AdoptPlan:
    """What an adoption would do. Nothing has been changed."""

    host: HostRef
    domain: str
    share: str
    uuid: str
    xml: str  # byte for byte what the library will hold; may contain a console password
    disks: tuple[DiskToCopy, ...]
    nvram: str
    tpm: str
    autostart: bool
    obstacles: tuple[str, ...]

    @property
    def left_on_host(self) -> tuple[str, ...]:
        """The files that stay on the host, for a person to remove when the library's copy is trusted."""
        return tuple(path for path in (*(i[0] for d in self.disks for i in d.images), self.nvram, self.tpm) if path)


def plan_adopt(platform: LibvirtPlatform, host: HostRef, domain: str, share: str) -> AdoptPlan:
    """Look at a domain that is to be adopted. Raises TryLater, or GiveUp where there is no such domain."""
    with plain_faults():
        return _plan_adopt(platform, host, domain, share)


def _plan_adopt(
    platform: LibvirtPlatform, host: HostRef, domain: str, share: str, *, copied: bool = False
) -> AdoptPlan:
    try:
        about: dict[str, Any] = platform.host_of(host.external_id).call("describe", deadline=30, name=domain)
    except LibvirtError as error:
        raise GiveUp(f"{host} has no domain {domain!r} to adopt: {error}") from error
    description = domain_xml.parse(about["xml"].encode())
    wrong = [
        sentence
        for holds, sentence in (
            (about["active"], "it is running: shut it down first"),
            (not about["persistent"], "it isn't defined persistently"),
            (about["saved"], "it has a saved state: start and shut it down, or discard that state"),
            (about["snapshots"], f"it has {about['snapshots']} snapshots, which the library can't carry"),
            (about["checkpoints"], f"it has {about['checkpoints']} checkpoints, which the library can't carry"),
            (share not in platform.config.shares, f"{share!r} is no library share of {platform.config.name}"),
        )
        if holds
    ]
    wrong += reach.objections(description, platform.media_of_all())
    disks: list[DiskToCopy] = []
    for disk in description.writable:
        if disk.kind == "file" and disk.file:
            wrong += _disk_to_copy(disk.target, disk.file, disk.format, disks)
    if share in platform.config.shares and not copied:
        wrong += _room(platform, share, description, disks)
    state = ""
    if description.tpm:
        state = str(tpm.directory_of(host) / description.uuid)
        if not layout.is_directory(Path(state)):
            wrong.append(f"its TPM state {state} can't be read from this worker")
    if description.nvram and not os.path.isfile(description.nvram):
        wrong.append(f"its NVRAM {description.nvram!r} can't be read from this worker")
    wrong += _elsewhere(platform, host, domain, description)
    return AdoptPlan(
        host, domain, share, description.uuid, about["xml"], tuple(disks), description.nvram, state,
        about["autostart"], tuple(wrong),
    )  # fmt: skip


def _disk_to_copy(target: str, source: str, form: str, disks: list[DiskToCopy]) -> list[str]:
    """Add the disk; return what speaks against it."""
    chain: list[tuple[str, int, int]] = []
    path, size = source, 0
    while True:
        try:
            status = os.stat(path)
            chain.append((path, status.st_size, status.st_mtime_ns))
            if form == "raw":
                size = size or status.st_size
                break
            if form != "qcow2":
                return [f"its disk {target!r} has format {form!r}; qcow2 and raw can be adopted"]
            header = qcow2.read_header(Path(os.path.realpath(path)))
        except (OSError, qcow2.BadImage) as error:
            return [f"its disk {target!r} can't be read from this worker: {error}"]
        if header.snapshots or header.encrypted or header.external_data or header.corrupt:
            return [f"{path} holds internal snapshots, is encrypted, damaged, or has its data elsewhere"]
        size = size or header.virtual_size
        if not header.backing:
            break
        if ":" in header.backing.partition("/")[0] or len(chain) > 32:
            return [f"{path} backs on {header.backing!r}, which isn't a file"]
        path = os.path.join(os.path.dirname(os.path.realpath(path)), header.backing)
        form = header.backing_format or "qcow2"
    disks.append(DiskToCopy(target, source, "raw" if len(chain) == 1 and form == "raw" else "qcow2", size,
                            tuple(chain)))  # fmt: skip
    return []


def _room(platform: LibvirtPlatform, share: str, description: Description, disks: list[DiskToCopy]) -> list[str]:
    folder = Folder(share, description.uuid)
    if not folder.share.is_dir():  # an empty one will do: its first machine comes
        return [f"the library share {share} isn't there"]
    found = []
    for each in platform.config.shares:
        if os.path.lexists(Folder(each, description.uuid).path):
            found.append(f"a machine with its UUID is in the library already: {each}/{description.uuid}")
    wanted = sum(os.stat(path).st_blocks * 512 for d in disks for path, _size, _at in d.images)
    status = os.statvfs(share)
    if status.f_bavail * status.f_frsize < wanted:
        found.append(f"{share} has {status.f_bavail * status.f_frsize >> 20} MiB free; it needs {wanted >> 20} MiB")
    return found


def _elsewhere(platform: LibvirtPlatform, host: HostRef, domain: str, description: Description) -> list[str]:
    """Other domains with its UUID, and others on the same disks."""
    found = []
    for ref, each in platform.hosts:
        for seen in each.call("look", deadline=15, uuid=description.uuid, under="/nonexistent"):
            if (ref.external_id, seen["name"]) != (host.external_id, domain):
                found.append(f"a domain {seen['name']!r} on {ref} has its UUID")
        for disk in description.writable:
            for seen in each.call("users_of", deadline=15, file=disk.file):
                if (ref.external_id, seen) != (host.external_id, domain):
                    found.append(f"a domain {seen!r} on {ref} uses its disk {disk.file}")
    return found


def adopt(platform: LibvirtPlatform, plan: AdoptPlan) -> str:
    """Copy the machine into its share as its first generation, then make the host forget its description.

    Returns its external id. Disks, NVRAM and TPM state on the host stay (`plan.left_on_host`). Raises GiveUp,
    with nothing left in the share, when it is refused or was used meanwhile; NeedsAttention when it is in the
    library and the host may still start it.
    """
    with plain_faults():
        fresh = _plan_adopt(platform, plan.host, plan.domain, plan.share)
        if fresh.obstacles:
            raise GiveUp("; ".join(fresh.obstacles))
        if fresh != plan:
            raise GiveUp("the domain changed since the plan was made: plan it again")
        folder = Folder(plan.share, plan.uuid)
        aside = folder.share / f".adopt-{secrets.token_hex(8)}"
        try:
            _copy_in(aside, plan, folder)
            if _plan_adopt(platform, plan.host, plan.domain, plan.share, copied=True) != plan:
                raise GiveUp(f"{plan.domain!r} was used while it was copied: nothing was adopted")
            if os.path.lexists(folder.path):
                raise GiveUp(f"{folder.path} has appeared meanwhile: nothing was adopted")
            folder.sign_share()
            os.rename(aside, folder.path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        layout.sync_directory(folder.share)
        _forget_on_host(platform, plan, folder)
        return folder.key


def _copy_in(aside: Path, plan: AdoptPlan, folder: Folder) -> None:
    """The whole machine, complete and synced, under a name that nobody looks at."""
    place = aside / "generations" / FIRST
    place.mkdir(parents=True)
    disks = []
    for number, disk in enumerate(plan.disks):
        file = place / DISK_FILE.format(number)
        images.convert(Path(disk.source), disk.format, file, deadline=COPYING)
        wrong = images.check(file, deadline=600)
        if wrong:
            raise GiveUp(f"the copy of {disk.source} is damaged: {wrong}")
        disks.append(DiskFile(disk.target, file.name, disk.virtual_size))
    if plan.nvram:
        layout.copy_file(Path(os.path.realpath(plan.nvram)), place / "nvram.fd")
    if plan.tpm:
        layout.copy_tree(Path(plan.tpm), place / "tpm")
        for stray in [*(place / "tpm").rglob(".lock"), place / "tpm" / tpm.OURS]:
            stray.unlink(missing_ok=True)
    (place / "domain.xml").write_bytes(plan.xml.encode())
    publish.seal(folder, place)
    description = domain_xml.parse(plan.xml.encode())
    record = Manifest(
        uuid=plan.uuid, name=description.name, published_by="", owner="", base="",
        created=_now(), macs=tuple(description.adapters), disks=tuple(disks),
        nvram="nvram.fd" if plan.nvram else "", tpm=bool(plan.tpm), files=manifest.fingerprint(place),
    )  # fmt: skip
    layout.write_whole(place / "manifest.json", record.to_json(), mode=0o444)
    os.symlink(f"generations/{FIRST}", aside / "current")
    for path in (place, place.parent, aside):
        path.chmod(0o755)  # the emulator's user must get to the images, whatever this process's mask is
        layout.sync_directory(path)


def _forget_on_host(platform: LibvirtPlatform, plan: AdoptPlan, folder: Folder) -> None:
    """Undefine it, so that it isn't started beside its twin; then look whether it was."""
    try:
        platform.host_of(plan.host.external_id).call("undefine", deadline=30, uuid=plan.uuid)
    except Exception as error:
        raise NeedsAttention(
            f"{plan.domain!r} is in the library now ({folder.path}), but {plan.host} still has it defined: {error};"
            " virsh undefine --keep-nvram --keep-tpm ends that"
        ) from error
    for disk in plan.disks:
        for path, size, changed in disk.images:
            status = os.stat(path)
            if (status.st_size, status.st_mtime_ns) != (size, changed):
                raise NeedsAttention(
                    f"{path} changed after it was copied: {plan.domain!r} was started on {plan.host} meanwhile,"
                    f" and the library's copy in {folder.path} is older than it"
                )


# --- Hand out -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HandOutPlan:
    """What handing out would do. Nothing has been changed."""

    machine: MachineRef
    host: HostRef
    directory: str  # of the copies, on the host and on this worker
    name: str
    generation: str
    obstacles: tuple[str, ...]


def plan_hand_out(
    platform: LibvirtPlatform, machine: MachineRef, host: HostRef, target_directory: str
) -> HandOutPlan:
    """Look whether a machine's current generation can be given to a host for use."""
    with plain_faults():
        stored = platform.stored(machine)
        wrong = []
        if records.read_marker(stored.folder) is not None:
            wrong.append("it is being serviced")
        if stored.folder.handed_out.exists():
            wrong.append(f"it was handed out before: {stored.folder.handed_out} says where")
        if not os.path.isabs(target_directory) or not os.path.isdir(target_directory):
            wrong.append(f"{target_directory!r} is no directory that this worker sees")
        directory = os.path.join(target_directory, stored.description.uuid)
        if os.path.lexists(directory):
            wrong.append(f"{directory} is there already")
        wrong += [str(seen) for seen in platform.sights_of(stored).seen]
        wrong += manifest.objections(stored.folder, stored.generation, stored.manifest)
        for each in platform.host_of(host.external_id).call("stopped", deadline=30):
            if each["name"] == stored.description.name:
                wrong.append(f"{host} has a domain of that name: {each['name']!r}")
        return HandOutPlan(machine, host, directory, stored.description.name, stored.generation, tuple(wrong))


def hand_out(platform: LibvirtPlatform, plan: HandOutPlan) -> str:
    """Define the machine on the host, on full copies of its disks; nothing is started.

    Returns the directory of the copies. The library keeps the machine, with the record that it left.
    """
    with plain_faults():
        stored = platform.stored(plan.machine)
        with stored.folder.lock():
            fresh = plan_hand_out(platform, plan.machine, plan.host, os.path.dirname(plan.directory))
            if fresh.obstacles or fresh != plan:
                raise GiveUp("; ".join(fresh.obstacles) or "the machine changed since the plan was made")
            place = Path(plan.directory)
            place.mkdir()
            place.chmod(0o711)
            files: dict[str, str] = {}
            for disk in stored.manifest.disks:
                files[disk.target] = str(place / disk.file)
                source = stored.place / disk.file
                manifest.chain(stored.folder, stored.generation, disk.file)
                images.convert(source, "qcow2", place / disk.file, deadline=COPYING)
                layout.sync_file(place / disk.file)
            nvram = ""
            if stored.manifest.nvram:
                nvram = str(place / "nvram.fd")
                layout.copy_file(stored.place / stored.manifest.nvram, Path(nvram))
            if stored.manifest.tpm:
                tpm.put(plan.host, stored.description.uuid, stored.place / "tpm", "")
            layout.sync_directory(place)
            record = {
                "host": plan.host.external_id, "directory": plan.directory, "generation": plan.generation,
                "at": _now(),
            }  # fmt: skip
            layout.write_whole(stored.folder.handed_out, layout.to_json(record))
            xml = _for_use(stored.description, files, nvram)
            try:
                platform.host_of(plan.host.external_id).call("define", deadline=60, xml=xml)
            except LibvirtError as error:
                stored.folder.handed_out.unlink()
                shutil.rmtree(place)
                raise GiveUp(f"{plan.host} doesn't take its description: {error}") from error
        return plan.directory


def _for_use(description: Description, files: dict[str, str], nvram: str) -> str:
    """The original description, on the copied files."""
    root = deepcopy(description.root)
    for element in root.iterfind("devices/disk"):
        target = element.find("target")
        file = files.get(target.get("dev", "") if target is not None else "")
        source, driver = element.find("source"), element.find("driver")
        if file is None or source is None:
            continue
        source.attrib = {"file": file}
        for child in element.findall("backingStore"):
            element.remove(child)
        if driver is None:
            driver = ET.SubElement(element, "driver", {"name": "qemu"})
        driver.set("type", "qcow2")
    store = root.find("os/nvram")
    if store is not None and nvram:
        for child in list(store):
            store.remove(child)
        store.attrib.pop("type", None)
        store.text = nvram
    return ET.tostring(root, encoding="unicode")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
