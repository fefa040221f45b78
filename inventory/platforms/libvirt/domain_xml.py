"""A machine's description (libvirt's domain XML) read as facts. Nothing in it is trusted to be well meant."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from inventory.platforms.base import AdapterId, NetworkRef

LIBOSINFO = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
OVMST = "urn:ovmst:servicing:1"
for _prefix, _uri in (("libosinfo", LIBOSINFO), ("qemu", QEMU), ("ovmst", OVMST)):
    ET.register_namespace(_prefix, _uri)

UNITS = {
    "b": 1, "bytes": 1, "kb": 1000, "k": 1 << 10, "kib": 1 << 10, "mb": 10**6, "m": 1 << 20, "mib": 1 << 20,
    "gb": 10**9, "g": 1 << 30, "gib": 1 << 30, "tb": 10**12, "t": 1 << 40, "tib": 1 << 40,
}  # fmt: skip


class BadDescription(Exception):
    """Not a domain description that can be worked with; the message says why."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A <disk>: what it is and where its bytes are."""

    target: str
    device: str  # disk, cdrom, floppy, lun
    kind: str  # file, block, network, …
    file: str  # "" for none, or where it isn't a file
    readonly: bool
    shareable: bool
    transient: bool
    encrypted: bool
    format: str

    @property
    def is_medium(self) -> bool:
        """Read only: an installation medium or a package repository, which isn't the machine's own."""
        return self.readonly or self.device == "cdrom"


@dataclass(frozen=True, slots=True)
class Description:
    """What a domain description says."""

    root: ET.Element
    name: str
    title: str
    uuid: str
    memory_mb: int
    cpus: int
    operating_system: str
    adapters: dict[AdapterId, NetworkRef]
    adapters_without_mac: int
    disks: tuple[Disk, ...]
    nvram: str
    tpm: bool

    @property
    def writable(self) -> list[Disk]:
        return [d for d in self.disks if not d.is_medium]


def parse(content: bytes) -> Description:
    """Raises BadDescription."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise BadDescription("the domain description has a document type, which libvirt never writes")
    try:
        root = ET.fromstring(content)  # noqa: S314  (no document type: no entities to expand)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise BadDescription(f"the domain description is not XML: {error}") from error
    if root.tag != "domain":
        raise BadDescription(f"the domain description is a <{root.tag[:60]}>, not a <domain>")
    uuid = (root.findtext("uuid") or "").strip().lower()
    if len(uuid) != 36:
        raise BadDescription("the domain description has no UUID")
    adapters, nameless = _adapters(root)
    return Description(
        root=root,
        name=(root.findtext("name") or "").strip(),
        title=(root.findtext("title") or "").strip(),
        uuid=uuid,
        memory_mb=_bytes(root.find("memory")) >> 20,
        cpus=_number(root.findtext("vcpu"), 1),
        operating_system=_operating_system(root),
        adapters=adapters,
        adapters_without_mac=nameless,
        disks=tuple(_disk(e) for e in root.iterfind("devices/disk")),
        nvram=nvram_path(root),
        tpm=root.find("devices/tpm") is not None,
    )


def nvram_path(root: ET.Element) -> str:
    """Where the firmware's variables are; "" for none."""
    nvram = root.find("os/nvram")
    if nvram is None:
        return ""
    source = nvram.find("source")
    if source is not None:
        return source.get("file", "")
    return (nvram.text or "").strip()


def network_of(interface: ET.Element) -> NetworkRef:
    """What an interface is connected to: a libvirt network by its name, anything else by kind and source."""
    kind = interface.get("type", "")
    source = interface.find("source")
    link = interface.find("link")
    if link is not None and link.get("state") == "down":
        return ""
    if kind == "network":
        return source.get("network", "") if source is not None else ""
    attributes = source.attrib if source is not None else {}
    where = next((attributes[k] for k in ("bridge", "dev", "path", "address") if k in attributes), "")
    return f"{kind}:{where}" if where else kind


def _adapters(root: ET.Element) -> tuple[dict[AdapterId, NetworkRef], int]:
    adapters: dict[AdapterId, NetworkRef] = {}
    nameless = 0
    for interface in root.iterfind("devices/interface"):
        mac = interface.find("mac")
        address = (mac.get("address", "") if mac is not None else "").lower()
        if not address or address in adapters:
            nameless += 1
            continue
        adapters[address] = network_of(interface)
    return adapters, nameless


def _disk(element: ET.Element) -> Disk:
    target, source, driver = element.find("target"), element.find("source"), element.find("driver")
    kind = element.get("type", "")
    device = element.get("device", "disk")
    return Disk(
        target=target.get("dev", "") if target is not None else "",
        device=device,
        kind=kind,
        file=source.get("file", "") if source is not None and kind == "file" else "",
        readonly=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
        transient=element.find("transient") is not None,
        encrypted=element.find(".//encryption") is not None,
        format=driver.get("type", "raw") if driver is not None else "raw",
    )


def _operating_system(root: ET.Element) -> str:
    for element in root.iterfind("metadata/*"):
        if element.tag == f"{{{LIBOSINFO}}}libosinfo":
            system = element.find(f"{{{LIBOSINFO}}}os")
            return system.get("id", "") if system is not None else ""
    return ""


def _bytes(element: ET.Element | None) -> int:
    if element is None:
        return 0
    return _number(element.text, 0) * UNITS.get(element.get("unit", "KiB").lower(), 1 << 10)


def _number(text: str | None, otherwise: int) -> int:
    try:
        return int((text or "").strip())
    except ValueError:
        return otherwise
