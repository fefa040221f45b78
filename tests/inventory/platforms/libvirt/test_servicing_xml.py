"""The description under which a machine is serviced: what stays, what goes, what is noticed on reading back."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from inventory.platforms.libvirt import domain_xml, reach, servicing_xml
from inventory.platforms.libvirt.servicing_xml import Plan
from tests.inventory.platforms.libvirt import machines

UUID = "11111111-2222-3333-4444-555555555555"
MAC = "52:54:00:00:00:01"
WIP, BASE = Path("/share/m/generations/.wip-x"), Path("/share/m/generations/g000001")
PLAN = Plan(
    name=servicing_xml.domain_name(UUID),
    owner='here/"t1"',
    op="t1-1-start",
    disks={"vda": (WIP / "disk-0.qcow2", BASE / "disk-0.qcow2")},
    nvram=WIP / "nvram.fd",
    network="ser<vi>cing",
    accelerator="qemu",
    agent=True,
)
DEVICES = """
<serial type='tcp'><source mode='bind' host='0.0.0.0' service='7777'/><target port='0'/></serial>
<channel type='unix'><source mode='bind' path='/run/x'/><target type='virtio' name='org.example'/></channel>
<rng model='virtio'>
  <backend model='egd' type='tcp'><source mode='connect' host='10.0.0.1' service='1'/></backend>
</rng>
<audio id='1' type='pulseaudio' serverName='x'/>
<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
"""
OS = (
    "<loader readonly='yes' type='pflash'>/f</loader><nvram template='/t'>/var/nvram</nvram>"
    "<smbios mode='sysinfo'/>"
)


def built(plan: Plan = PLAN, **more: str) -> ET.Element:
    source = machines.xml("name", Path("/images/a"), uuid=UUID, mac=MAC, devices=DEVICES, os=OS, kind="kvm", **more)
    return ET.fromstring(servicing_xml.build(domain_xml.parse(source.encode()), plan))  # noqa: S314


def test_identity_stays() -> None:
    root = built()
    assert root.findtext("uuid") == UUID
    assert [m.get("address") for m in root.iterfind("devices/interface/mac")] == [MAC]
    machine = root.find("os/type")
    assert machine is not None
    assert machine.get("machine") == "q35"
    assert root.find("os/smbios") is not None
    model = root.find("devices/interface/model")
    assert model is not None
    assert model.get("type") == "virtio"


def test_nothing_restarts_it_and_it_ends_when_the_guest_ends() -> None:
    root = built()
    assert [root.findtext(t) for t in ("on_poweroff", "on_crash", "on_reboot")] == ["destroy", "destroy", "restart"]


def test_its_disks_are_overlays_whose_library_files_keep_their_owner() -> None:
    disk = built().find("devices/disk")
    assert disk is not None
    source = disk.find("source")
    assert source is not None
    assert source.get("file") == str(WIP / "disk-0.qcow2")
    label = disk.find("backingStore/source/seclabel")
    assert label is not None
    assert label.attrib == {"model": "dac", "relabel": "no"}
    assert disk.find("backingStore/backingStore") is not None


def test_its_firmware_variables_are_the_carried_ones_and_never_a_blank_template() -> None:
    nvram = built().find("os/nvram")
    assert nvram is not None
    assert (nvram.text, nvram.attrib) == (str(WIP / "nvram.fd"), {})


def test_nothing_listens_and_nothing_calls_out() -> None:
    text = ET.tostring(built(), encoding="unicode")
    for outside in ("0.0.0.0", "10.0.0.1", "/run/x", "pulseaudio", "7777"):  # noqa: S104
        assert outside not in text


def test_every_adapter_is_on_the_servicing_network_only() -> None:
    interface = built(network="production").find("devices/interface")
    assert interface is not None
    source, port = interface.find("source"), interface.find("port")
    assert source is not None
    assert port is not None
    assert source.attrib == {"network": "ser<vi>cing"}
    assert port.get("isolated") == "yes"
    assert {e.tag for e in interface} == {"mac", "model", "source", "port"}


def test_emulation_is_asked_for_in_words_that_it_knows() -> None:
    root = built(top="<cpu mode='host-passthrough'><topology sockets='1' cores='1' threads='1'/></cpu>")
    assert root.get("type") == "qemu"
    cpu = root.find("cpu")
    assert cpu is not None
    assert cpu.attrib == {"mode": "maximum"}
    assert root.findtext("features/tcg/tb-cache") == "128"
    kept = built(replace(PLAN, accelerator="kvm"), top="<cpu mode='host-passthrough'/>")
    assert kept.get("type") == "kvm"
    cpu = kept.find("cpu")
    assert cpu is not None
    assert cpu.get("mode") == "host-passthrough"


def live(root: ET.Element) -> list[str]:
    return servicing_xml.differences(servicing_xml.read_live(ET.tostring(root, encoding="unicode")), PLAN, [MAC])


def test_what_was_asked_for_reads_back_without_differences() -> None:
    assert live(built()) == []


@pytest.mark.parametrize(
    ("path", "attribute", "value", "sentence"),
    [
        ("devices/interface/source", "network", "production", "is on 'production'"),
        ("devices/interface/port", "isolated", "no", "not isolated"),
        ("devices/interface", "type", "bridge", "is on"),
        ("devices/interface/mac", "address", "52:54:00:00:00:02", "its adapters are"),
        ("devices/disk/source", "file", str(BASE / "disk-0.qcow2"), "its disks are"),
        (f"metadata/{{{domain_xml.OVMST}}}servicing", "owner", "x", "our mark"),
    ],
)
def test_any_difference_is_noticed(path: str, attribute: str, value: str, sentence: str) -> None:
    root = built()
    element = root.find(path)
    assert element is not None
    element.set(attribute, value)
    assert any(sentence in d for d in live(root))


@pytest.mark.parametrize("device", ["interface", "hostdev", "filesystem"])
def test_a_device_too_many_is_noticed(device: str) -> None:
    root = built()
    devices = root.find("devices")
    assert devices is not None
    ET.SubElement(devices, device)
    assert live(root)


def test_entities_are_not_expanded() -> None:
    bomb = b'<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><domain><name>&b;</name></domain>'
    with pytest.raises(domain_xml.BadDescription, match="document type"):
        domain_xml.parse(bomb)


def test_a_sound_description_has_nothing_that_reaches_outside() -> None:
    source = machines.xml("name", Path("/images/a"), uuid=UUID, devices=DEVICES, os=OS)
    assert reach.objections(domain_xml.parse(source.encode()), ()) == []
