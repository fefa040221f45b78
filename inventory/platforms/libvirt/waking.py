"""From a stored machine to a running one: the servicing directory, its overlays, and the start on a host."""

import os
import secrets
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from inventory.platforms.base import AdapterId, HostRef, Marker, NetworkRef
from inventory.platforms.libvirt import (
    domain_xml,
    evidence,
    images,
    layout,
    manifest,
    qcow2,
    records,
    servicing_xml,
    tpm,
)
from inventory.platforms.libvirt.hosts import Host, LibvirtError, NotOurs
from inventory.platforms.libvirt.layout import Folder
from inventory.platforms.libvirt.library import Stored
from inventory.platforms.libvirt.records import Servicing
from inventory.platforms.libvirt.servicing_xml import Plan
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater

# A first start after libvirtd's own start probes QEMU; see the note on /dev/kvm in `checks`.
CREATE = 100.0  # seconds


def prepare(stored: Stored, marker: Marker, host: str, op: str) -> None:
    """Make the servicing directory: all but the disks. Whole, under its name, or not there."""
    folder = stored.folder
    for stray in [*folder.hidden(".new-"), *folder.hidden(".gone-")]:
        shutil.rmtree(stray)  # copies of ours that never got their name, servicings that were on their way out
    new = folder.generations / f".new-{secrets.token_hex(6)}"
    new.mkdir()
    new.chmod(0o755)  # the emulator's user must get to the overlays, whatever this process's mask is
    layout.copy_file(stored.place / "domain.xml", new / "domain.xml")
    if stored.manifest.nvram:
        layout.copy_file(stored.place / stored.manifest.nvram, new / stored.manifest.nvram)
    if stored.manifest.tpm:
        layout.copy_tree(stored.place / "tpm", new / "tpm")
    servicing = Servicing(records.owner_of(marker), op, host, stored.generation)
    servicing.save(new)
    os.rename(new, folder.generations / f".wip-{op}")
    layout.sync_directory(folder.generations)


def protect(stored: Stored, wip: Path, servicing: Servicing, op: str) -> None:
    """An overlay for each disk, over the generation that was woken."""
    disks = {}
    for disk in stored.manifest.disks:
        base = stored.place / disk.file
        size = qcow2.read_header(base).virtual_size
        aside = wip / f".{disk.file}.{secrets.token_hex(4)}"
        try:
            images.create_overlay(aside, f"../{stored.generation}/{disk.file}", size)
            layout.sync_file(aside)
            os.rename(aside, wip / disk.file)
        finally:
            aside.unlink(missing_ok=True)
        disks[disk.target] = disk.file
    layout.sync_directory(wip)
    servicing.but(disks=disks, protected_by=op).save(wip)


def check_network(host: Host, ref: HostRef, name: NetworkRef) -> str:
    """Its way of forwarding ("isolated" for none). Raises GiveUp, with the reason, for a network on which a
    guest couldn't be kept apart."""
    if not name:
        raise GiveUp(f"{ref} has no servicing network: name one in its settings")
    found = host.call("network", deadline=15, name=name)
    if not found["exists"]:
        raise GiveUp(f"{ref} has no network {name!r}: define it there, or name another as servicing network")
    if not found["active"]:
        raise GiveUp(f"the network {name!r} on {ref} is not active: start it there (virsh net-start)")
    root = ET.fromstring(found["xml"])  # noqa: S314  (libvirt's own)
    forward = root.find("forward")
    mode = forward.get("mode", "nat") if forward is not None else "isolated"
    virtual = root.find("virtualport")
    if root.find("bridge") is None or mode in ("private", "vepa", "passthrough", "hostdev"):
        raise GiveUp(f"the network {name!r} on {ref} has no bridge (mode {mode}): its ports can't be kept apart")
    if virtual is not None and virtual.get("type") == "openvswitch":
        raise GiveUp(f"the network {name!r} on {ref} is an Open vSwitch: libvirt can't isolate its ports")
    return mode


def connect(
    folder: Folder, wip: Path, servicing: Servicing, networks: Mapping[AdapterId, NetworkRef], isolated: bool
) -> None:
    """Record where each adapter is to be; every adapter of the machine must be named."""
    description = domain_xml.parse(layout.read_small(wip / "domain.xml"))
    if set(networks) != set(description.adapters):
        raise GiveUp(
            f"the machine in {folder.path} has adapters {sorted(description.adapters)}, not {sorted(networks)}"
        )
    servicing.but(networks=dict(networks), isolated=isolated).save(wip)


def plan_of(stored: Stored, wip: Path, servicing: Servicing, ref: HostRef, accelerator: str, agent: bool,
            op: str) -> Plan:  # fmt: skip
    """What is to be started. Raises GiveUp where isolation isn't prepared."""
    wanted = set(stored.description.adapters)
    if not servicing.protected_by:
        raise GiveUp("its disks are not protected by overlays")
    if wanted and not (
        servicing.isolated
        and set(servicing.networks) == wanted
        and set(servicing.networks.values()) == {ref.servicing_network}
    ):
        raise GiveUp("its adapters are not prepared for the servicing network: it isn't started")
    chains = {
        target: [path for path, _header in manifest.chain(stored.folder, wip.name, file)]
        for target, file in servicing.disks.items()
    }
    return Plan(
        name=servicing_xml.domain_name(stored.description.uuid),
        owner=servicing.owner,
        op=op,
        disks=chains,
        nvram=wip / stored.manifest.nvram if stored.manifest.nvram else None,
        network=ref.servicing_network,
        accelerator=accelerator,
        agent=agent,
    )


def start(stored: Stored, wip: Path, servicing: Servicing, ref: HostRef, host: Host, plan: Plan) -> None:
    """Create it paused, read it back, let it run; or end it and raise GiveUp."""
    description = stored.description
    if description.adapters:
        check_network(host, ref, plan.network)
    # The trace of this start in the domain's log begins here: written down before the start.
    offset = evidence.log_size(evidence.log_directory(ref), plan.name)
    servicing = servicing.but(
        started_by=plan.op, log_offset=offset, tpm_host=ref.external_id if stored.manifest.tpm else ""
    )
    servicing.save(wip)
    if stored.manifest.tpm:
        tpm.put(ref, description.uuid, wip / "tpm", servicing.owner)
    host.watch()
    try:
        host.call("create", deadline=CREATE, xml=servicing_xml.build(description, plan))
    except LibvirtError as error:
        raise GiveUp(f"{ref} can't start it: {error}") from error
    verify_and_resume(stored, servicing, ref, host, plan)


def verify_and_resume(stored: Stored, servicing: Servicing, ref: HostRef, host: Host, plan: Plan) -> None:
    """Read back what was created, before its first instruction; only what was asked for may run."""
    uuid = stored.description.uuid
    identity = {"uuid": uuid, "name": plan.name, "owner": servicing.owner}
    try:
        found = host.call("look", deadline=30, uuid=uuid, under=str(stored.folder.path))
        live = [servicing_xml.read_live(each["xml"]) for each in found if each["active"] and each["by_uuid"]]
        if len(live) != 1:
            raise TryLater(f"{ref} doesn't show the machine that it was asked to create")
        wrong = servicing_xml.differences(live[0], plan, list(stored.description.adapters))
        if wrong:
            host.call("destroy", deadline=30, **identity)
            raise GiveUp(f"{ref} didn't create what was asked for; it was ended, not started: {'; '.join(wrong)}")
        host.call("resume", deadline=30, **identity)
    except NotOurs as error:
        raise NeedsAttention(f"{ref}: {error}") from error
    except LibvirtError as error:
        raise TryLater(f"{ref}: {error}") from error


def discard(stored: Stored, wip: Path, servicing: Servicing, hosts: Mapping[str, HostRef]) -> None:
    """Remove the servicing directory of a machine that is off and wasn't published."""
    if servicing.tpm_host in hosts:
        tpm.remove(hosts[servicing.tpm_host], stored.description.uuid, servicing.owner)
    layout.remove_aside(wip)


def take_tpm_back(stored: Stored, wip: Path, servicing: Servicing, hosts: Mapping[str, HostRef]) -> Servicing:
    """The TPM state as the guest left it, from the host into the servicing. The machine is off."""
    if not servicing.tpm_host:
        return servicing
    ref = hosts.get(servicing.tpm_host)
    if ref is None:
        raise NeedsAttention(f"the TPM state is on {servicing.tpm_host}, which is no host of this server any more")
    uuid = stored.description.uuid
    tpm.take_back(ref, uuid, wip / "tpm", servicing.owner)
    done = servicing.but(tpm_host="")
    done.save(wip)
    tpm.remove(ref, uuid, servicing.owner)
    return done
