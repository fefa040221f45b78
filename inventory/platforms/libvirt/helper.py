"""The only process that talks to libvirt: one per host, started and killed by `hosts`.

Reads requests as lines of JSON from its input, answers on its output, tells of domains' lives in between. It
knows no Django and nothing of OVMST; whoever asks gives the deadline and kills this process when it passes.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
import uuid as uuids
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import libvirt
import libvirt_qemu

OVMST = "urn:ovmst:servicing:1"
_out = threading.Lock()
_connecting = threading.Lock()
_connection: Any = None
_reboots: set[str] = set()  # UUIDs of probes whose firmware ran


def say(message: dict[str, Any]) -> None:
    line = json.dumps(message).encode() + b"\n"
    with _out:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def connection(uri: str) -> Any:
    """The connection, opened at first use; keepalive ends it when the other side falls silent."""
    global _connection
    with _connecting:
        if _connection is None:
            opened = libvirt.open(uri)
            opened.setKeepAlive(5, 3)
            opened.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, _lifecycle, None)
            opened.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, _rebooted, None)
            _connection = opened
        return _connection


def _lifecycle(_conn: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
    say({"event": event, "detail": detail, "uuid": domain.UUIDString(), "at": time.time()})


def _rebooted(_conn: Any, domain: Any, _opaque: Any) -> None:
    _reboots.add(domain.UUIDString())


def _ours(conn: Any, uuid: str, name: str, owner: str) -> Any:
    """The running domain with this UUID, only if its name and its mark are ours."""
    domain = conn.lookupByUUIDString(uuid)
    if domain.name() == name:
        try:
            mark = ET.fromstring(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, OVMST, 0))  # noqa: S314
        except libvirt.libvirtError:
            mark = ET.Element("none")
        if mark.get("owner") == owner:
            return domain
    raise PermissionError(f"domain {uuid} is not the one that this servicing started")


def _files(element: ET.Element) -> list[str]:
    return [s.get("file", "") for s in element.iter("source") if s.get("file")]


def info(conn: Any) -> dict[str, Any]:
    networks = [n for n in conn.listAllNetworks() if n.isActive()]
    return {
        "hostname": conn.getHostname(), "memory_mb": conn.getInfo()[1], "version": conn.getLibVersion(),
        "networks": sorted(n.name() for n in networks),
    }  # fmt: skip


def look(conn: Any, uuid: str, under: str) -> list[dict[str, Any]]:
    """Every domain with this UUID, and every one that has a file below `under` open or in its description."""
    found = []
    real = os.path.realpath(under)
    for domain in conn.listAllDomains():
        try:
            active = bool(domain.isActive())
            xml = domain.XMLDesc(0)
            by_uuid = domain.UUIDString() == uuid
            files = [f for d in ET.fromstring(xml).iterfind("devices/disk") for f in _files(d)]  # noqa: S314
            by_disk = any(
                os.path.normpath(f).startswith(under + "/") or os.path.realpath(f).startswith(real + "/")
                for f in files
            )
            if by_uuid or by_disk:
                found.append(
                    {"uuid": domain.UUIDString(), "name": domain.name(), "active": active, "xml": xml,
                     "by_uuid": by_uuid, "by_disk": by_disk, "persistent": bool(domain.isPersistent()),
                     "saved": bool(domain.isPersistent() and domain.hasManagedSaveImage()),
                     "paused": domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED}
                )  # fmt: skip
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # it ended while we looked
                raise
    return found


def users_of(conn: Any, file: str) -> list[str]:
    """The names of the domains that have this file in their description."""
    return [
        d.name() for d in conn.listAllDomains()
        if file in [f for e in ET.fromstring(d.XMLDesc(0)).iterfind("devices/disk") for f in _files(e)]  # noqa: S314
    ]  # fmt: skip


def backings(conn: Any) -> dict[str, str]:
    """What images back on, of the volumes in this host's pools, as libvirt knows it."""
    found = {}
    for pool in conn.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        for volume in pool.listAllVolumes():
            with contextlib.suppress(libvirt.libvirtError):  # it was deleted while we looked
                path = ET.fromstring(volume.XMLDesc()).findtext("backingStore/path")  # noqa: S314
                if path:
                    found[volume.path()] = path
    return found


def disks_of_stopped(conn: Any) -> list[str]:
    """The files of the shut-off domains, whose backing files no description names."""
    flags = libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE
    return [
        f for d in conn.listAllDomains(flags)
        for e in ET.fromstring(d.XMLDesc(0)).iterfind("devices/disk") for f in _files(e)  # noqa: S314
    ]  # fmt: skip


def stopped(conn: Any) -> list[dict[str, str]]:
    """The shut-off domains that are defined here."""
    flags = libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE | libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT
    inactive = libvirt.VIR_DOMAIN_XML_INACTIVE
    return [{"name": d.name(), "xml": d.XMLDesc(inactive)} for d in conn.listAllDomains(flags)]


def describe(conn: Any, name: str) -> dict[str, Any]:
    """One defined domain, for an adoption; with its secrets, because its description is kept whole."""
    domain = conn.lookupByName(name)
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    return {
        "uuid": domain.UUIDString(), "xml": domain.XMLDesc(flags), "active": bool(domain.isActive()),
        "persistent": bool(domain.isPersistent()), "saved": bool(domain.hasManagedSaveImage()),
        "snapshots": domain.snapshotNum(), "checkpoints": len(domain.listAllCheckpoints()),
        "autostart": bool(domain.autostart()),
    }  # fmt: skip


def network(conn: Any, name: str) -> dict[str, Any]:
    try:
        found = conn.networkLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return {"exists": False, "active": False, "xml": ""}
        raise
    return {"exists": True, "active": bool(found.isActive()), "xml": found.XMLDesc(0)}


def create(conn: Any, xml: str) -> None:
    """A transient domain, paused before its first instruction."""
    conn.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED)


def resume(conn: Any, uuid: str, name: str, owner: str) -> None:
    domain = _ours(conn, uuid, name, owner)
    if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
        domain.resume()


def destroy(conn: Any, uuid: str, name: str, owner: str) -> None:
    _ours(conn, uuid, name, owner).destroy()


def shut_down(conn: Any, uuid: str, name: str, owner: str) -> str:
    """Through the agent when it answers, by the power button otherwise; says which."""
    domain = _ours(conn, uuid, name, owner)
    try:
        libvirt_qemu.qemuAgentCommand(domain, '{"execute":"guest-ping"}', 2, 0)
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
    except libvirt.libvirtError:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        return "acpi"
    return "agent"


def agent(conn: Any, uuid: str, name: str, owner: str, command: str, seconds: int) -> str:
    answer: str = libvirt_qemu.qemuAgentCommand(_ours(conn, uuid, name, owner), command, seconds, 0)
    return answer


def leases(conn: Any, name: str, mac: str) -> list[str]:
    """Addresses that the network's DHCP server gave to this adapter, newest first."""
    found = conn.networkLookupByName(name).DHCPLeases(mac)
    return [entry["ipaddr"] for entry in sorted(found, key=lambda entry: -entry["expirytime"])]


def define(conn: Any, xml: str) -> None:
    conn.defineXML(xml)


def undefine(conn: Any, uuid: str) -> None:
    """Forget a shut-off domain's description. Its disks, its NVRAM and its TPM state stay where they are."""
    domain = conn.lookupByUUIDString(uuid)
    if domain.isActive():
        raise PermissionError(f"domain {uuid} is running")
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM)


def firmware_runs(conn: Any, accelerator: str, seconds: float) -> bool:
    """Whether a guest really runs with this accelerator: firmware without a disk soon reboots by itself.

    Capabilities don't tell: /dev/kvm may be there and QEMU abort, or the guest hang.
    """
    uuid = str(uuids.uuid4())
    xml = (
        f"<domain type='{accelerator}'><name>ovmst-probe-{uuid}</name><uuid>{uuid}</uuid><memory>65536</memory>"
        "<os><type arch='x86_64' machine='pc'>hvm</type><bios rebootTimeout='0'/></os></domain>"
    )
    until = time.monotonic() + seconds
    try:
        domain = conn.createXML(xml, libvirt.VIR_DOMAIN_START_AUTODESTROY)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
                                      libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_OPERATION_FAILED):  # fmt: skip
            return False
        raise
    try:
        while time.monotonic() < until and uuid not in _reboots:
            time.sleep(0.05)
        return uuid in _reboots
    finally:
        _reboots.discard(uuid)
        with contextlib.suppress(libvirt.libvirtError):  # it may have ended by itself
            domain.destroy()


METHODS: dict[str, Callable[..., Any]] = {
    method.__name__: method
    for method in (
        info, look, users_of, backings, disks_of_stopped, stopped, describe, network, create, resume, destroy,
        shut_down, agent, leases, define, undefine, firmware_runs,
    )
}  # fmt: skip


def answer(uri: str, request: dict[str, Any]) -> None:
    """Do one request and say how it went; a broken connection ends this process, the next use starts anew."""
    reply: dict[str, Any] = {"id": request["id"]}
    lost = False
    try:
        reply["result"] = METHODS[request["call"]](connection(uri), **request["with"])
    except libvirt.libvirtError as error:
        lost = _connection is None or not _connection.isAlive()
        reply["error"] = {"kind": "connection" if lost else "libvirt", "code": error.get_error_code() or 0,
                          "message": str(error)}  # fmt: skip
    except PermissionError as error:
        reply["error"] = {"kind": "refused", "code": 0, "message": str(error)}
    except Exception as error:  # noqa: BLE001  (whoever asked must get an answer, whatever it was)
        reply["error"] = {"kind": "bug", "code": 0, "message": repr(error)}
    say(reply)
    if lost:
        os._exit(3)


def main() -> None:
    uri = sys.argv[1]
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv[2]):
        os._exit(2)  # whoever started this died before the line above
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def events() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=events, daemon=True).start()
    pool = ThreadPoolExecutor(16)
    for line in sys.stdin.buffer:
        pool.submit(answer, uri, json.loads(line))
    os._exit(0)  # the other end is gone; threads may hang in libvirt


if __name__ == "__main__":
    main()
