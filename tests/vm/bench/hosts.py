"""Libvirt hosts on one machine: each has a libvirtd, networks and folders of its own.

A host is a network and a mount namespace. Its own /run, /etc/libvirt, /var/lib/libvirt, /var/cache/libvirt
and /var/log/libvirt lie under its folder, where they can be seen from outside; the rest of the file system
is the machine's, so a share lies at the same path on all hosts and here.

Networks of host N:
- `servicing`: 10.87.N.0/24, no forwarding, DHCP. The bridge answers as 10.87.N.1 and serves packages over
  HTTP as http://repository.bench:8080/VARIANT; the root namespace is 10.87.N.254 (so a worker reaches guests),
  by a leg that a hook of libvirt's puts into the bridge whenever the network is created again.
- `production`: 10.88.N.0/24, no forwarding, DHCP. A named address, 10.88.N.10, answers ping and TCP port 7.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

import libvirt

from . import kvm, namespaces
from .commands import HERE, BenchError, require_programs, run

# "run" and the rest of them: what is bound over the machine's own, with its mode.
FOLDERS = {
    "run": 0o755,
    "etc": 0o755,
    "lib": 0o755,
    "cache": 0o755,
    "log": 0o755,
    "localca": 0o750,
    "swtpm-log": 0o755,
}
REPOSITORY_PORT = 8080
PRODUCTION_PORT = 7
LONGEST_SOCKET = 107  # sun_path, unix(7)

LIBVIRTD_CONF = """\
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
host_uuid = "{uuid}"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
# Ownership of images is libvirt's to change, as on any host; the bench has no AppArmor profile to load.
QEMU_CONF = """\
security_driver = "none"
dynamic_ownership = 1
"""
NETWORK = """\
<network>
  <name>{name}</name>
  <bridge name='{bridge}' stp='off' delay='0'/>
  {dns}
  <ip address='{prefix}.1' netmask='255.255.255.0'>
    <dhcp><range start='{prefix}.100' end='{prefix}.250'/></dhcp>
  </ip>
</network>
"""
DNS = "<dns enable='yes'><host ip='{prefix}.1'><hostname>repository.bench</hostname></host></dns>"


class BenchHost:
    """One libvirt host. Start it with `with` or start(); stop() ends everything that runs on it.

    `name` is for people. `folder` is this host's alone, is emptied at the start, and stays afterwards (its
    logs are worth reading). A guest's logs lie in `log_directory`, TPM states in `tpm_directory`/UUID, EFI
    variables in `nvram_directory`.
    """

    def __init__(self, name: str, folder: Path | str, *, repositories: dict[str, Path] | None = None) -> None:
        self.name = name
        self.folder = Path(folder).absolute()
        self.repositories = repositories or {}
        self.log_directory = self.folder / "log" / "qemu"
        self.tpm_directory = self.folder / "lib" / "swtpm"
        self.nvram_directory = self.folder / "lib" / "qemu" / "nvram"
        self.socket = self.folder / "run" / "libvirt" / "libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={quote(str(self.socket))}"
        self.number = 0
        self._lock: IO[str] | None = None
        self._holder: subprocess.Popen[bytes] | None = None
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._servers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def namespace(self) -> str:
        return namespaces.namespace(self.number)

    @property
    def servicing_prefix(self) -> str:
        return f"10.87.{self.number}"

    @property
    def production_prefix(self) -> str:
        return f"10.88.{self.number}"

    @property
    def bridge_address(self) -> str:
        """What a guest on the servicing network may reach."""
        return f"{self.servicing_prefix}.1"

    @property
    def production_address(self) -> str:
        """What no guest on the servicing network may reach."""
        return f"{self.production_prefix}.10"

    def start(self) -> None:
        """Start the host and wait until it answers. Raises BenchError; then nothing of it is left running."""
        require_programs()
        if len(str(self.socket)) > LONGEST_SOCKET:
            raise BenchError(f"{self.folder} is too long a path: a socket's may have {LONGEST_SOCKET} bytes")
        self.number, self._lock = namespaces.claim()
        try:
            self._prepare_folder()
            self._make_namespaces()
            self._mount()
            self._start_daemons()
            self._define_networks()
            self._connect_networks()
            self._start_servers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all processes of the host and delete its namespaces. Harmless when it isn't running."""
        if self._lock is None:
            return
        namespaces.clean_up(self.number)
        for child in [*self._daemons.values(), *self._servers, *([self._holder] if self._holder else [])]:
            child.kill()  # one that had not got into its namespace yet
            child.wait(timeout=30)
        self._daemons.clear()
        self._servers.clear()
        self._holder = None
        self._lock.close()
        self._lock = None

    def reboot(self) -> None:
        """End everything that runs on it, as a power failure does, and start libvirt again."""
        assert self._holder is not None
        keep = frozenset([self._holder.pid, *(server.pid for server in self._servers)])
        namespaces.end_processes(self.namespace, but=keep)
        for daemon in self._daemons.values():
            daemon.wait(timeout=30)
        shutil.rmtree(self.folder / "run" / "libvirt", ignore_errors=True)
        for bridge in ("servicing", "production"):  # as after a boot, libvirt makes its bridges itself
            run(["ip", "-n", self.namespace, "link", "delete", bridge], timeout=30)
        self._start_daemons()
        self._connect_networks()

    def pause_libvirtd(self) -> None:
        """Make libvirtd hang: it keeps its socket and answers nothing."""
        os.kill(self._daemons["libvirtd"].pid, signal.SIGSTOP)

    def resume_libvirtd(self) -> None:
        os.kill(self._daemons["libvirtd"].pid, signal.SIGCONT)

    def qemu_pid(self, domain: str) -> int:
        """The process that runs a domain, by name or UUID. Raises BenchError when none does.

        Read from the processes themselves: it needs no answer from libvirtd, and names hold anything.
        """
        called = f"guest={domain.replace(',', ',,')},debug-threads=on"
        for pid in namespaces.pids(self.namespace):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            pairs = list(pairwise(words))
            if ("-name", called) in pairs or ("-uuid", domain) in pairs:
                return pid
        raise BenchError(f"{domain} doesn't run on {self.name}")

    def running(self) -> list[str]:
        """Names of the domains that are on, asked of libvirt."""
        connection = libvirt.open(self.uri)
        try:
            return sorted(domain.name() for domain in connection.listAllDomains(1))
        finally:
            connection.close()

    def macs_seen_on_production(self) -> set[str]:
        """MAC addresses that sent something on the production network since the start, lower case."""
        text = (self.folder / "seen").read_text() if (self.folder / "seen").exists() else ""
        own = run(["ip", "-n", self.namespace, "-br", "link"], timeout=30).decode().split()
        return set(text.split()) - set(own)

    def lease(self, mac: str, *, deadline: float = 30) -> str:
        """The address that the servicing network gave to a MAC address. Raises BenchError when it gave none
        within `deadline` seconds."""
        connection = libvirt.open(self.uri)
        try:
            network = connection.networkLookupByName("servicing")
            end = time.monotonic() + deadline
            while time.monotonic() < end:
                for lease in network.DHCPLeases(mac.lower()):
                    return str(lease["ipaddr"])
                time.sleep(0.3)
        finally:
            connection.close()
        raise BenchError(f"{mac} has no address on {self.name}")

    def _prepare_folder(self) -> None:
        mark = self.folder / ".ovmst-bench-host"
        if self.folder.exists() and any(self.folder.iterdir()) and not mark.exists():
            raise BenchError(f"{self.folder} isn't empty and isn't a bench host's")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        mark.touch()
        for folder, mode in FOLDERS.items():
            (self.folder / folder).mkdir()
            (self.folder / folder).chmod(mode)
        for folder in ("images", "qemu", "dnsmasq", "swtpm"):
            (self.folder / "lib" / folder).mkdir(mode=0o711)
        tpm_user = pwd.getpwnam("tss")
        os.chown(self.folder / "localca", tpm_user.pw_uid, tpm_user.pw_gid)
        self.log_directory.mkdir()
        (self.folder / "run" / "lock").mkdir()
        identity = str(uuid5(NAMESPACE_URL, str(self.folder)))
        (self.folder / "etc" / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(uuid=identity))
        (self.folder / "etc" / "qemu.conf").write_text(QEMU_CONF)
        (self.folder / "etc" / "hooks").mkdir()
        shutil.copy(HERE / "data" / "network-hook.sh", self.folder / "etc" / "hooks" / "network")
        (self.folder / "etc" / "hooks" / "network").chmod(0o755)
        kvm.make_node(self.folder / "kvm")

    def _make_namespaces(self) -> None:
        for name in (self.namespace, f"{self.namespace}-prod"):
            run(["ip", "netns", "add", name], timeout=30)
            run(["ip", "-n", name, "link", "set", "lo", "up"], timeout=30)
            run(["ip", "netns", "exec", name, "sysctl", "-q", "-w", "net.ipv4.ip_forward=0"], timeout=30)
            # No guest is to find a way by addresses that nobody gave it.
            run(["ip", "netns", "exec", name, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1"], timeout=30)

    def _mount(self) -> None:
        for place in ("/var/log/swtpm", "/var/lib/swtpm-localca", "/var/log/libvirt", "/var/cache/libvirt"):
            Path(place).mkdir(parents=True, exist_ok=True)
        script = HERE / "data" / "host-mounts.sh"
        argv = ["ip", "netns", "exec", self.namespace, "unshare", "-m", "--propagation", "private"]
        self._holder = self._spawn([*argv, "sh", str(script), str(self.folder)], "mounts")
        self._wait_for(lambda: (self.folder / "mounted").exists(), self._holder, "mounts")

    def _start_daemons(self) -> None:
        assert self._holder is not None
        enter = ["nsenter", "-t", str(self._holder.pid), "-m", "-n", "--"]
        self.socket.unlink(missing_ok=True)
        self._daemons["virtlogd"] = self._spawn([*enter, "virtlogd"], "virtlogd")
        self._daemons["libvirtd"] = self._spawn([*enter, "libvirtd"], "libvirtd")
        self._wait_for(self._answers, self._daemons["libvirtd"], "libvirtd")

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            connection = libvirt.open(self.uri)
        except libvirt.libvirtError:
            return False
        connection.close()
        return True

    def _define_networks(self) -> None:
        connection = libvirt.open(self.uri)
        try:
            for name, prefix in (("servicing", self.servicing_prefix), ("production", self.production_prefix)):
                dns = DNS.format(prefix=prefix) if name == "servicing" else ""
                text = NETWORK.format(name=name, bridge=name, prefix=prefix, dns=dns)
                network = connection.networkDefineXML(text)
                network.setAutostart(1)
                network.create()
        finally:
            connection.close()

    def _connect_networks(self) -> None:
        """A leg of the servicing network into the root namespace, and the named address on production."""
        name, inside = self.namespace, f"{self.namespace}-prod"
        if not Path(f"/sys/class/net/{name}").exists():
            run(["ip", "link", "add", name, "type", "veth", "peer", "name", "worker", "netns", name], timeout=30)
            run(["ip", "addr", "add", f"{self.servicing_prefix}.254/24", "dev", name], timeout=30)
            run(["ip", "link", "set", name, "up"], timeout=30)
            run(
                ["ip", "-n", name, "link", "add", "named", "type", "veth", "peer", "name", "eth0", "netns", inside],
                timeout=30,
            )
            run(["ip", "-n", inside, "addr", "add", f"{self.production_address}/24", "dev", "eth0"], timeout=30)
            run(["ip", "-n", inside, "link", "set", "eth0", "up"], timeout=30)
        for link, bridge in (("worker", "servicing"), ("named", "production")):
            run(["ip", "-n", name, "link", "set", link, "master", bridge, "up"], timeout=30)

    def _start_servers(self) -> None:
        tree = self.folder / "http"
        tree.mkdir()
        for variant, repository in self.repositories.items():
            (tree / variant).symlink_to(repository / "tree")
        serve = [sys.executable, str(HERE / "serve.py")]
        production = [
            *serve,
            "production",
            self.production_address,
            str(PRODUCTION_PORT),
            str(self.folder / "seen"),
        ]
        packages = [*serve, "repository", self.bridge_address, str(REPOSITORY_PORT), str(tree)]
        for name, argv in ((f"{self.namespace}-prod", production), (self.namespace, packages)):
            server = self._spawn(["ip", "netns", "exec", name, *argv], argv[2])
            self._servers.append(server)
            said = self.folder / f"{argv[2]}.out"
            self._wait_for(partial(_says_ready, said), server, argv[2])

    def _spawn(self, argv: list[str], what: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{what}.out").open("ab") as said:
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )

    def _wait_for(self, ready: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
        end = time.monotonic() + 60
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                said = (self.folder / f"{what}.out").read_text(errors="replace")[-2000:]
                raise BenchError(f"{what} of {self.name} doesn't start: {said}")
            time.sleep(0.05)


def _says_ready(file: Path) -> bool:
    return file.read_bytes() == b"ready\n"
