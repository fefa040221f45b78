"""What in a description reaches outside the machine: told before it is woken, in a sentence each."""

import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from inventory.platforms.libvirt.domain_xml import Description, Disk
from inventory.platforms.libvirt.manifest import Manifest

# What a description may hold. A list of the known, because what isn't known can't be shown to be harmless.
DEVICES = {
    "emulator", "disk", "controller", "interface", "serial", "parallel", "console", "channel", "input", "tpm",
    "graphics", "sound", "audio", "video", "watchdog", "memballoon", "rng", "panic", "hub", "vsock", "iommu",
    "memory",
}  # fmt: skip
TOP = {
    "name", "uuid", "genid", "title", "description", "metadata", "memory", "maxMemory", "currentMemory",
    "memoryBacking", "memtune", "vcpu", "vcpus", "iothreads", "iothreadids", "defaultiothread", "cputune",
    "numatune", "blkiotune", "resource", "sysinfo", "os", "features", "cpu", "clock", "on_poweroff",
    "on_reboot", "on_crash", "on_lockfailure", "pm", "perf", "devices", "seclabel", "idmap",
}  # fmt: skip
SENTENCES = {
    "hostdev": "passes a device of its host through to the guest",
    "redirdev": "redirects USB devices of a client into the guest",
    "filesystem": "passes a folder of its host through to the guest",
    "smartcard": "passes a smart card through to the guest",
    "shmem": "shares memory with other machines",
    "lease": "holds a lease of a lock manager",
    "nvram": "holds a device that needs the host's own files",
}


def objections(description: Description, media: Sequence[str]) -> list[str]:
    """Why this description mustn't be started on a maintenance host; empty when nothing speaks against it.

    `media` are the folders that installation media and kernels may lie in.
    """
    root = description.root
    found = [f"its description has an element <{_short(e.tag)}>, which this tool doesn't know or could let"
             " it reach outside" for e in root if e.tag not in TOP]  # fmt: skip
    for device in root.iterfind("devices/*"):
        if device.tag not in DEVICES:
            found.append(f"it {SENTENCES.get(device.tag, f'has a device <{_short(device.tag)}>, unknown here')}")
    if description.adapters_without_mac:
        found.append("an adapter has no MAC address, or shares it with another: it would get a new one")
    for disk in description.disks:
        found += _disk_objections(disk, media)
    found += _firmware(root, media)
    found += _tpm(root)
    for memory in root.iterfind("devices/memory"):
        if memory.get("model") not in ("dimm", "virtio-mem") or memory.find("source/path") is not None:
            found.append("it has a memory device that lies in a file or device of its host")
    if root.find("sysinfo[@type='fwcfg']/entry[@file]") is not None:
        found.append("it hands a file of its host to the firmware (sysinfo)")
    if root.find("launchSecurity") is not None:
        found.append("its memory is encrypted by its host (launchSecurity)")
    return found


def mapping_objections(description: Description, manifest: Manifest) -> list[str]:
    """Where description and manifest don't fit together."""
    found = []
    if description.uuid != manifest.uuid:
        found.append(f"its description has UUID {description.uuid}, its manifest {manifest.uuid}")
    listed = {d.target for d in manifest.disks}
    described = {d.target for d in description.writable}
    found += [f"its disk {t!r} isn't in its library directory" for t in sorted(described - listed)]
    found += [f"its manifest has a disk {t!r}, its description hasn't" for t in sorted(listed - described)]
    if bool(description.nvram) != bool(manifest.nvram):
        found.append("its description and its manifest disagree about NVRAM")
    if description.tpm and not manifest.tpm:
        found.append("it has a TPM, but its TPM state isn't in the library")
    return found


def _disk_objections(disk: Disk, media: Sequence[str]) -> list[str]:
    name = f"its disk {disk.target!r}"
    if disk.device == "lun":
        return [f"{name} passes a device of its host through (lun)"]
    if disk.is_medium and disk.kind in ("file", "block", "network", "volume") and not disk.file:
        return [] if disk.kind == "file" else [f"{name} is a medium that isn't a file"]
    if disk.kind != "file":
        return [f"{name} is not a file ({disk.kind or 'of unknown kind'})"]
    if disk.shareable:
        return [f"{name} is shared with other machines"]
    if disk.transient:
        return [f"{name} is transient: what the guest writes would be thrown away"]
    if disk.encrypted:
        return [f"{name} is encrypted by its host"]
    if disk.is_medium and not lies_in(disk.file, media):
        where = f"the medium {disk.file!r} of {disk.target!r}"
        return [f"{where} lies outside the media directories (option media_directories): eject it or allow it"]
    return []


def _firmware(root: ET.Element, media: Sequence[str]) -> list[str]:
    found = []
    for tag in ("kernel", "initrd", "dtb"):
        path = (root.findtext(f"os/{tag}") or "").strip()
        if path and not lies_in(path, media):
            found.append(f"its {tag} {path!r} lies outside the media directories (option media_directories)")
    os_element = root.find("os")
    if os_element is None or (os_element.findtext("type") or "").strip() != "hvm":
        found.append("it isn't a fully virtualized machine")
        return found
    nvram = os_element.find("nvram")
    if nvram is not None and nvram.get("type", "file") != "file":
        found.append("its NVRAM is not a file")
    loader = os_element.find("loader")
    if os_element.get("firmware") == "efi" and (loader is None or nvram is None):
        found.append("its UEFI firmware is chosen anew at each start: name its loader and nvram in its description")
    if loader is not None and loader.get("readonly") != "yes" and loader.get("type") == "pflash":
        found.append("its firmware itself is writable")
    return found


def _tpm(root: ET.Element) -> list[str]:
    for tpm in root.iterfind("devices/tpm"):
        backend = tpm.find("backend")
        if backend is None or backend.get("type") != "emulator":
            return ["its TPM is a device of its host or an outside service"]
        if backend.find("encryption") is not None:
            return ["its TPM state is encrypted with a secret that lies on its host"]
    return []


def lies_in(path: str, folders: Sequence[str]) -> bool:
    """Whether a path lies below one of the folders, links resolved as far as they can be seen from here."""
    real = os.path.realpath(path)
    return any(real.startswith(os.path.realpath(f).rstrip("/") + "/") for f in folders if f)


def _short(tag: str) -> str:
    return tag.rpartition("}")[2][:40]
