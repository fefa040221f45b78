"""A libvirt host of the tests' own: libvirtd in a network and a mount namespace, reached by its socket."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from inventory.platforms.base import HostRef
from tests.vm.bench import kvm

NETWORK = """<network><name>{name}</name><bridge name='{bridge}'/>
<ip address='192.168.77.1' netmask='255.255.255.0'><dhcp><range start='192.168.77.10'
 end='192.168.77.200'/></dhcp></ip></network>"""
# Folders on the test machine's own that the host must not share with it.
INSIDE = """
set -e
mount --bind "$1/run" /run
mount --bind "$1/lib" /var/lib/libvirt
mount --bind "$1/cache" /var/cache/libvirt
mount --bind "$1/log" /var/log/libvirt
cp -a /etc/libvirt/. "$1/etc"
rm -rf "$1/etc/qemu"
mount --bind "$1/etc" /etc/libvirt
if [ -e "$1/kvm" ]; then mount --bind "$1/kvm" /dev/kvm; fi
mkdir -p /run/libvirt /var/lib/libvirt/images /var/lib/libvirt/qemu /var/lib/libvirt/dnsmasq
mkdir -p /var/cache/libvirt /var/log/libvirt/qemu
virtlogd -d
exec libvirtd
"""


@dataclass
class TestHost:
    """One running host."""

    __test__ = False
    name: str
    base: Path
    process: subprocess.Popen[bytes]

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.base}/run/libvirt/libvirt-sock"

    def ref(self, network: str = "servicing") -> HostRef:
        return HostRef(
            self.uri,
            self.name,
            network,
            {"log_directory": f"{self.base}/log/qemu", "tpm_directory": f"{self.base}/lib/swtpm"},
        )

    def virsh(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            ["virsh", "-c", self.uri, *arguments],
            input=stdin, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def define(self, xml: str) -> None:
        file = self.base / "definition.xml"
        file.write_text(xml)
        self.virsh("define", str(file))

    def create(self, xml: str) -> None:
        file = self.base / "creation.xml"
        file.write_text(xml)
        self.virsh("create", str(file))

    def domains(self) -> list[str]:
        return self.virsh("list", "--all", "--name").split()

    def qemu(self, domain: str) -> int:
        return int((self.base / "run/libvirt/qemu" / f"{domain}.pid").read_text())

    def libvirtd(self) -> int:
        return int((self.base / "run/libvirtd.pid").read_text())

    def clean(self) -> None:
        for name in self.domains():
            self.virsh("destroy", name, check=False)
            self.virsh("undefine", name, "--managed-save", "--keep-nvram", check=False)

    def stop(self) -> None:
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        for pid in pids.stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(timeout=20)
        subprocess.run(["ip", "netns", "del", self.name], check=False)


def start_host(name: str, base: Path) -> TestHost:
    for part in ("run", "lib", "cache", "log", "etc"):
        (base / part).mkdir(parents=True)
    kvm.make_node(base / "kvm")
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    with (base / "output").open("wb") as output:
        process = subprocess.Popen(
            ["ip", "netns", "exec", name, "unshare", "-m", "--propagation", "private", "bash", "-c", INSIDE,
             "host", str(base)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    host = TestHost(name, base, process)
    try:
        _settle(host)
    except BaseException:
        host.stop()
        raise
    return host


def _settle(host: TestHost) -> None:
    until = time.monotonic() + 30
    while subprocess.run(["virsh", "-c", host.uri, "uri"], capture_output=True, check=False).returncode:
        assert time.monotonic() < until, (host.base / "output").read_text()
        time.sleep(0.1)
    for network, bridge, part in (("servicing", "virbr70", "77"), ("production", "virbr71", "78")):
        file = host.base / "network.xml"
        file.write_text(NETWORK.format(name=network, bridge=bridge).replace("77", part))
        host.virsh("net-define", str(file))
        host.virsh("net-start", network)
