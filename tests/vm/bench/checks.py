"""What the self-test checks, one guest after the other (python -m tests.vm.bench.selftest)."""

import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import libvirt

from . import agent, domains, offline
from .commands import BenchError, run
from .guests import build_guest
from .hosts import PRODUCTION_PORT, BenchHost
from .kernel import boot_files
from .keys import another_host_key, keys
from .repositories import VARIANTS, repository

READY = {"tiny": 120, "systemd": 300, "uefi": 600}  # seconds; many times what an idle machine needs


@dataclass
class Results:
    """What is printed, line by line, as it is found."""

    rows: list[tuple[str, bool]] = field(default_factory=list)

    def check(self, what: str, test: Callable[[], object]) -> bool:
        """Run a test: it passes unless it raises or returns False. A text that it returns is printed too."""
        start = time.monotonic()
        try:
            answer = test()
            good = answer is not False
            said = answer if isinstance(answer, str) else ""
        except (BenchError, libvirt.libvirtError, OSError, subprocess.TimeoutExpired, AssertionError) as error:
            good, said = False, str(error)
        self.rows.append((what, good))
        took = time.monotonic() - start
        say(f"{'ok  ' if good else 'FAIL'} {took:6.1f} s  {what}{': ' if said else ''}{said}")
        return good


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def check_all(kinds: list[str]) -> int:
    """Build, start, look and clean up; returns how many checks failed."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    results = Results()
    results.check("build the kernel", boot_files)
    for variant in VARIANTS:
        results.check(f"build the repository {variant}", partial(repository, variant))
    for kind in kinds:
        results.check(f"build the guest {kind}", partial(build_guest, kind))
    work = Path(tempfile.mkdtemp(prefix="ovmst-bench-", dir="/var/tmp"))
    work.chmod(0o755)
    try:
        pool = work / "pool"
        pool.mkdir()
        served = {"plain": repository("plain")}
        with (
            BenchHost("one", work / "one", repositories=served) as one,
            BenchHost("two", work / "two", repositories=served) as two,
        ):
            results.check("two hosts answer", lambda: _hosts(one, two))
            for kind in kinds:
                _guest(results, one, two, pool, kind)
            results.check("nothing runs any more", lambda: [*one.running(), *two.running()] == [])
            spaces = one.namespace, two.namespace
        results.check("the namespaces are gone", lambda: _gone(spaces))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    failed = [what for what, good in results.rows if not good]
    say(f"{len(results.rows)} checks, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}")
    return len(failed)


def _hosts(one: BenchHost, two: BenchHost) -> str:
    for host in (one, two):
        connection = libvirt.open(host.uri)
        try:
            found = sorted(network.name() for network in connection.listAllNetworks(2))
        finally:
            connection.close()
        assert found == ["production", "servicing"], found
        _in(host, "busybox", "nc", "-w", "5", host.production_address, str(PRODUCTION_PORT))
        forwarding = _in(host, "cat", "/proc/sys/net/ipv4/ip_forward").strip()
        assert forwarding == b"0", f"{host.name} forwards packets"
        text = _in(
            host,
            "busybox",
            "wget",
            "-q",
            "-O",
            "-",
            f"http://{host.bridge_address}:8080/plain/dists/bookworm/Release",
        )
        assert b"Suite: stable" in text, text
    assert one.log_directory != two.log_directory
    return f"{one.uri}, {two.uri}"


def _in(host: BenchHost, *argv: str) -> bytes:
    return run(["ip", "netns", "exec", host.namespace, *argv], timeout=30)


def _guest(results: Results, one: BenchHost, two: BenchHost, pool: Path, kind: str) -> None:
    """One guest and a neighbour of it, both on host one (`silent` alone: there is nothing to talk to)."""
    machine = domains.define_guest(one, f"{kind} of the bench", kind, pool)
    results.check(f"{kind}: is defined on {one.name}, shut off", lambda: _is_off(one, machine))
    connection = libvirt.open(one.uri)
    try:
        connection.lookupByUUIDString(machine.uuid).undefineFlags(4)  # with its EFI variables
        domain = _create(connection, pool, machine)
        try:
            if kind == "silent":
                results.check("silent: never answers (20 s)", lambda: _never_answers(domain))
                results.check("silent: doesn't react to the power button", lambda: _stays_on(domain))
            elif results.check(f"{kind}: the agent answers", lambda: _answers(domain, kind)):
                _talk(results, one, connection, pool, domain, machine)
                results.check(f"{kind}: shuts down cleanly", lambda: _shut_down(one, domain, machine.name))
        finally:
            _destroy(domain)
    finally:
        connection.close()
    if kind == "uefi":
        states = list((one.tpm_directory / machine.uuid).rglob("tpm2-00.permall"))
        results.check("uefi: the TPM state outlived the domain", lambda: len(states) == 1)
        results.check("uefi: so did the EFI variables", lambda: any(one.nvram_directory.iterdir()))
    if kind != "silent":
        results.check(f"{kind}: holds toy 1.0, looked at offline", lambda: _offline(machine.image))


def _create(connection: "libvirt.virConnect", pool: Path, machine: domains.Machine) -> "libvirt.virDomain":
    kind = machine.guest.kind
    kernel = domains.kernel_media(pool) if kind in ("tiny", "systemd") else None
    iso = domains.media(pool, "plain")
    text = domains.domain_xml(
        machine.name, machine.uuid, machine.mac, machine.image, kind, iso, "servicing", kernel=kernel, isolated=True
    )
    return connection.createXML(text, 0)


def _talk(
    results: Results,
    host: BenchHost,
    connection: "libvirt.virConnect",
    pool: Path,
    domain: "libvirt.virDomain",
    machine: domains.Machine,
) -> None:
    kind = machine.guest.kind
    inside = _speaker(domain)
    results.check(f"{kind}: its port is isolated", lambda: _isolated(host, domain))
    results.check(f"{kind}: has an address", lambda: host.lease(machine.mac, deadline=60))
    address = host.lease(machine.mac, deadline=60)
    results.check(f"{kind}: apt refreshes from the CD and finds toy 2.0", lambda: _apt(inside))
    results.check(f"{kind}: reaches the bridge", lambda: inside(f"ping -c 1 -W 5 {host.bridge_address}") == 0)
    # A guest without a route reaches nothing anyway: give it one, as an unfriendly guest would have.
    inside(f"ip route replace default via {host.bridge_address}")
    named = host.production_address
    results.check(f"{kind}: doesn't reach production", lambda: inside(f"ping -c 2 -W 2 {named}") == 1)
    results.check(
        f"{kind}: production never heard of it", lambda: machine.mac not in host.macs_seen_on_production()
    )
    results.check(f"{kind}: SSH from here, host key pinned", lambda: _ssh(address, machine.guest.host_key))
    results.check(f"{kind}: SSH refuses another host key", lambda: _ssh_refuses(address, pool))
    other = domains.define_guest(host, f"neighbour of {kind}", "tiny", pool, uuid="")
    connection.lookupByUUIDString(other.uuid).undefine()
    neighbour = _create(connection, pool, other)
    try:
        agent.wait_for_agent(neighbour, READY["tiny"])
        there = host.lease(other.mac, deadline=60)
        results.check(f"{kind}: doesn't reach its neighbour", lambda: inside(f"ping -c 2 -W 2 {there}") == 1)
        results.check(f"{kind}: which answers from here", lambda: _ping_from_here(there))
        port = _port(neighbour)
        _in(host, "bridge", "link", "set", "dev", port, "isolated", "off")
        results.check(
            f"{kind}: and would answer, were it not isolated", lambda: inside(f"ping -c 2 -W 5 {there}") == 0
        )
    finally:
        _destroy(neighbour)
        other.image.unlink()


def _speaker(domain: "libvirt.virDomain") -> Callable[[str], int]:
    """Runs a line of shell in the guest and returns its exit code."""
    return lambda line: agent.execute(domain, "/bin/sh", "-c", line)[0]


def _is_off(host: BenchHost, machine: domains.Machine) -> bool:
    connection = libvirt.open(host.uri)
    try:
        domain = connection.lookupByUUIDString(machine.uuid)
        return not domain.isActive() and bool(domain.isPersistent())
    finally:
        connection.close()


def _answers(domain: "libvirt.virDomain", kind: str) -> str:
    return f"after {agent.wait_for_agent(domain, READY[kind]):.1f} s"


def _never_answers(domain: "libvirt.virDomain") -> bool:
    try:
        agent.wait_for_agent(domain, 20)
    except BenchError:
        return bool(domain.isActive())
    return False


def _stays_on(domain: "libvirt.virDomain") -> bool:
    domain.shutdown()
    time.sleep(5)
    return bool(domain.isActive())


def _port(domain: "libvirt.virDomain") -> str:
    """The name of the guest's end on the bridge."""
    for element in ET.fromstring(domain.XMLDesc()).iterfind("./devices/interface/target"):  # noqa: S314
        return element.get("dev", "")
    raise BenchError("the domain has no network port")


def _isolated(host: BenchHost, domain: "libvirt.virDomain") -> bool:
    return b"isolated on" in _in(host, "bridge", "-d", "link", "show", "dev", _port(domain))


def _apt(inside: Callable[[str], int]) -> bool:
    return (
        inside("apt-get -q update") == 0
        and inside("apt-get -q -s --with-new-pkgs upgrade | grep -q '^Inst toy .*(2.0 '") == 0
    )


def _ping_from_here(address: str) -> None:
    run(["busybox", "ping", "-c", "1", "-W", "5", address], timeout=20)


def _ssh(address: str, host_key: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".known_hosts") as known:
        known.write(f"{address} {host_key}\n")
        known.flush()
        options = ["-F", "none", "-o", f"UserKnownHostsFile={known.name}", "-o", "StrictHostKeyChecking=yes"]
        options += ["-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-i", str(keys().client_private)]
        said = run(["ssh", *options, f"root@{address}", "cat /etc/hostname"], timeout=60)
    return said.decode().strip()


def _ssh_refuses(address: str, folder: Path) -> bool:
    try:
        _ssh(address, another_host_key(folder))
    except BenchError as error:
        return "Host key verification failed" in str(error)
    return False


def _shut_down(host: BenchHost, domain: "libvirt.virDomain", name: str) -> str:
    start = time.monotonic()
    domain.shutdownFlags(2)  # by its agent
    while time.monotonic() - start < 90:
        try:
            domain.isActive()
        except libvirt.libvirtError:  # it was transient: gone
            break
        if name not in host.running():
            break
        time.sleep(0.2)
    last = (host.log_directory / f"{name}.log").read_text(errors="replace").splitlines()[-1]
    assert "reason=shutdown" in last, last
    return last


def _destroy(domain: "libvirt.virDomain") -> None:
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
            raise


def _offline(image: Path) -> bool:
    offline.check_filesystem(image)
    return offline.package_version(image, "toy") == "1.0" and offline.read_file(image, "/nothing") is None


def _gone(spaces: tuple[str, ...]) -> bool:
    return not any(Path("/run/netns", space).exists() for space in spaces)
