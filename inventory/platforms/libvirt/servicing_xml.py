"""The description under which a machine is serviced, and whether what runs is what was asked for.

Identity stays (UUID, MAC addresses, machine type, SMBIOS, firmware, TPM); what reaches outside goes: disks are
overlays, adapters are on the servicing network with isolated ports, nothing listens, nothing restarts it.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from inventory.platforms.base import Adapter, AdapterId
from inventory.platforms.libvirt import domain_xml
from inventory.platforms.libvirt.domain_xml import OVMST, Description

AGENT = "org.qemu.guest_agent.0"
TCG_CACHE_MIB = "128"  # QEMU's own default grows a small guest by a gigabyte
# Placement on the host's processors and memory belongs to the host it came from.
# The title is for people, and may hold what libvirt refuses in one.
DROPPED = (
    "title",
    "description",
    "cputune",
    "numatune",
    "resource",
    "memoryBacking",
    "seclabel",
    "blkiotune",
    "perf",
    "idmap",
)
KEPT_OF_AN_INTERFACE = ("mac", "model", "boot", "address", "mtu", "acpi")


@dataclass(frozen=True, slots=True)
class Plan:
    """All that turns a description into the one that is started."""

    name: str
    owner: str  # installation/target
    op: str
    disks: Mapping[str, Sequence[Path]]  # target -> overlay, then what it backs on, down to the end
    nvram: Path | None
    network: str
    accelerator: str  # "kvm" or "qemu"
    agent: bool


def domain_name(uuid: str) -> str:
    """The name of a machine while it is serviced: safe in file names and logs, whatever its own name is."""
    return f"ovmst-{uuid}"


def build(description: Description, plan: Plan) -> str:
    """The description to create the transient domain from."""
    root = deepcopy(description.root)
    _set(root, "name", plan.name)
    for tag in DROPPED:
        for element in root.findall(tag):
            root.remove(element)
    vcpu = root.find("vcpu")
    if vcpu is not None:
        vcpu.attrib.pop("cpuset", None)
    for tag, value in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _set(root, tag, value)
    _metadata(root, plan)
    _firmware(root, plan)
    _accelerator(root, plan.accelerator)
    devices = root.find("devices")
    if devices is None:
        devices = ET.SubElement(root, "devices")
    for element in list(devices):
        match element.tag:
            case "disk":
                _disk(element, plan)
            case "interface":
                _interface(element, plan.network)
            case "tpm":
                backend = element.find("backend")
                if backend is not None:
                    backend.set("persistent_state", "yes")
            case "serial" | "console" | "parallel" | "channel":
                _character_device(element)
            case "graphics":
                _graphics(element)
            case "audio":
                element.attrib = {"id": element.get("id", "1"), "type": "none"}
                _clear(element)
            case "rng":
                _random(element)
    if plan.agent and devices.find(f"channel/target[@name='{AGENT}']") is None:
        channel = ET.SubElement(devices, "channel", {"type": "unix"})
        ET.SubElement(channel, "target", {"type": "virtio", "name": AGENT})
    return ET.tostring(root, encoding="unicode")


def _set(root: ET.Element, tag: str, text: str) -> None:
    element = root.find(tag)
    if element is None:
        element = ET.SubElement(root, tag)
    element.text = text


def _clear(element: ET.Element, *, keep: Sequence[str] = ()) -> None:
    for child in list(element):
        if child.tag not in keep:
            element.remove(child)


def _metadata(root: ET.Element, plan: Plan) -> None:
    metadata = root.find("metadata")
    if metadata is None:
        metadata = ET.SubElement(root, "metadata")
    for element in metadata.findall(f"{{{OVMST}}}servicing"):
        metadata.remove(element)
    ET.SubElement(metadata, f"{{{OVMST}}}servicing", {"owner": plan.owner, "op": plan.op})


def _firmware(root: ET.Element, plan: Plan) -> None:
    os_element = root.find("os")
    if os_element is None:
        return
    nvram = os_element.find("nvram")
    if nvram is not None and plan.nvram is not None:
        # Named loader and nvram: automatic choice would put another pair in their place.
        os_element.attrib.pop("firmware", None)
        for element in os_element.findall("firmware"):
            os_element.remove(element)
        # No template: the file is there, and a missing one must be an error, not a blank start.
        nvram.attrib.clear()
        _clear(nvram)
        nvram.text = str(plan.nvram)


def _accelerator(root: ET.Element, accelerator: str) -> None:
    root.set("type", accelerator)
    if accelerator == "kvm":
        return
    features = root.find("features")
    if features is None:
        features = ET.SubElement(root, "features")
    for tag in ("kvm", "hyperv", "tcg"):
        for element in features.findall(tag):
            features.remove(element)
    cache = ET.SubElement(ET.SubElement(features, "tcg"), "tb-cache", {"unit": "MiB"})
    cache.text = TCG_CACHE_MIB
    cpu = root.find("cpu")
    if cpu is not None:
        # Emulation can't give a host's or a named processor in full.
        _clear(cpu, keep=("topology", "numa"))
        cpu.attrib = {"mode": "maximum"}
    clock = root.find("clock")
    if clock is not None:
        for timer in clock.findall("timer"):
            if timer.get("name") in ("kvmclock", "hypervclock", "tsc"):
                clock.remove(timer)


def _disk(element: ET.Element, plan: Plan) -> None:
    target = element.find("target")
    chain = plan.disks.get(target.get("dev", "") if target is not None else "")
    for tag in ("backingStore", "mirror", "backenddomain"):
        for child in element.findall(tag):
            element.remove(child)
    source = element.find("source")
    if chain is None:  # a medium: read only, and left in its owner's hands
        if source is not None and source.get("file"):
            source.attrib = {"file": source.get("file", "")}
            _clear(source)
            ET.SubElement(source, "seclabel", {"model": "dac", "relabel": "no"})
            if element.find("readonly") is None:
                ET.SubElement(element, "readonly")
        return
    driver = element.find("driver")
    if driver is None:
        driver = ET.SubElement(element, "driver", {"name": "qemu"})
    driver.set("type", "qcow2")
    driver.attrib.pop("iothread", None)
    if driver.get("cache") == "unsafe":
        driver.attrib.pop("cache")  # what the guest flushed must be on disk when it is published
    if source is not None:
        element.remove(source)
    element.set("type", "file")
    ET.SubElement(element, "source", {"file": str(chain[0])})
    above = element
    for path in chain[1:]:
        store = ET.SubElement(above, "backingStore", {"type": "file"})
        ET.SubElement(store, "format", {"type": "qcow2"})
        backing = ET.SubElement(store, "source", {"file": str(path)})
        # Without this libvirt hands the library's files to the emulator's user, and leaves them so.
        ET.SubElement(backing, "seclabel", {"model": "dac", "relabel": "no"})
        above = store
    ET.SubElement(above, "backingStore")


def _interface(element: ET.Element, network: str) -> None:
    queues = element.find("driver")
    _clear(element, keep=KEPT_OF_AN_INTERFACE)
    if queues is not None and queues.get("queues"):
        ET.SubElement(element, "driver", {"queues": queues.get("queues", "")})
    element.attrib = {"type": "network"}
    ET.SubElement(element, "source", {"network": network})
    ET.SubElement(element, "port", {"isolated": "yes"})


def _character_device(element: ET.Element) -> None:
    target = element.find("target")
    agent = target is not None and target.get("name") == AGENT
    _clear(element, keep=("target", "address", "alias"))
    if agent:
        element.attrib = {"type": "unix"}
    elif element.get("type") not in ("pty", "null", "spicevmc"):
        element.attrib = {"type": "null" if element.tag == "parallel" else "pty"}
    else:
        element.attrib = {"type": element.get("type", "pty")}


def _graphics(element: ET.Element) -> None:
    kind = element.get("type", "vnc")
    _clear(element)
    if kind in ("vnc", "spice"):
        element.attrib = {"type": kind, "autoport": "yes", "listen": "127.0.0.1"}
        ET.SubElement(element, "listen", {"type": "address", "address": "127.0.0.1"})
    else:  # a display of the host's own desktop
        element.attrib = {"type": "vnc", "autoport": "yes", "listen": "127.0.0.1"}


def _random(element: ET.Element) -> None:
    backend = element.find("backend")
    if backend is not None and backend.get("model") != "builtin":
        backend.attrib = {"model": "random"}
        _clear(backend)
        backend.text = "/dev/urandom"


# --- What runs ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Live:
    """A running domain as libvirt describes it."""

    name: str
    uuid: str
    owner: str  # of the domain's own servicing mark; "" for none
    adapters: Mapping[AdapterId, Adapter]
    disks: Mapping[str, str]  # target -> file of every disk that isn't a medium
    odd: tuple[str, ...]  # what shouldn't be there


def read_live(content: str) -> Live:
    """Raises BadDescription."""
    description = domain_xml.parse(content.encode())
    root = description.root
    adapters: dict[AdapterId, Adapter] = {}
    odd = []
    for interface in root.iterfind("devices/interface"):
        mac = interface.find("mac")
        port = interface.find("port")
        source = interface.find("source")
        of_network = interface.get("type") == "network" and source is not None
        # libvirt shows a network's bridge under type "bridge" in some releases: both are read.
        network = source.get("network", "") if source is not None and of_network else ""
        adapters[(mac.get("address", "") if mac is not None else "").lower()] = Adapter(
            network=network or domain_xml.network_of(interface),
            isolated=of_network and port is not None and port.get("isolated") == "yes",
        )
    for tag in ("hostdev", "redirdev", "filesystem", "shmem"):
        if root.find(f"devices/{tag}") is not None:
            odd.append(f"a device <{tag}>")
    if root.find(f"{{{domain_xml.QEMU}}}commandline") is not None:
        odd.append("arguments of its own for QEMU")
    mark = root.find(f"metadata/{{{OVMST}}}servicing")
    return Live(
        name=description.name,
        uuid=description.uuid,
        owner=mark.get("owner", "") if mark is not None else "",
        adapters=adapters,
        disks={d.target: d.file for d in description.writable},
        odd=tuple(odd),
    )


def differences(live: Live, plan: Plan, macs: Sequence[AdapterId]) -> list[str]:
    """Why what was created isn't what was asked for; empty when it is. Read before its first instruction."""
    found = [f"it has {thing}" for thing in live.odd]
    if live.owner != plan.owner or live.name != plan.name:
        found.append("it doesn't carry our mark")
    if set(live.adapters) != set(macs):
        found.append(f"its adapters are {sorted(live.adapters)}, not {sorted(macs)}")
    for mac, adapter in live.adapters.items():
        if adapter.network != plan.network:
            found.append(f"adapter {mac} is on {adapter.network!r}, not on {plan.network!r}")
        elif not adapter.isolated:
            found.append(f"the port of adapter {mac} on {plan.network!r} is not isolated")
    wanted = {target: str(chain[0]) for target, chain in plan.disks.items()}
    if dict(live.disks) != wanted:
        found.append(f"its disks are {dict(live.disks)}, not {wanted}")
    return found
