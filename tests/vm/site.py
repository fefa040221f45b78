"""Two real libvirt hosts, a library on a shared pool, and OVMST's rows for them, driven by its commands."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt

from inventory.models import (
    Credential,
    Host,
    HostGroup,
    LibraryServer,
    LibraryShare,
    ManagementServer,
    StoredResource,
)
from ovmst_site.access.models import Team
from servicing.models import Event, Group, Job, RunTarget, UpdateSystem
from tests.vm.bench import agent, keys
from tests.vm.bench.domains import Machine, define_guest
from tests.vm.bench.hosts import BenchHost

PROJECT = Path(__file__).resolve().parents[2]
LONGEST_COMMAND = 3000  # seconds; only limits, for machines that do other work too


@dataclass
class RealSite:
    """What `make vm-test` services. Machines are defined on a host, adopted, and serviced by jobs."""

    folder: Path
    hosts: list[BenchHost]
    server: ManagementServer
    share: LibraryShare
    small: LibraryShare  # on a disk that is easily filled
    host_group: HostGroup
    machines: dict[str, Machine] = field(default_factory=dict)

    @property
    def pool(self) -> Path:
        return self.folder / "pool"

    @property
    def library(self) -> Path:
        return Path(self.share.path)

    def adopt(self, name: str, kind: str, *, host: int = 0, **options: Any) -> StoredResource:
        """Define a guest on a host as an administrator would have it, and bring it into the library."""
        machine = define_guest(self.hosts[host], name, kind, self.pool, **options)
        self.machines[name] = machine
        if kind == "uefi":  # EFI variables and TPM state come with the first start
            start_once(self.hosts[host], machine)
        manage("adopt_machine", f"host-{host + 1}", name, self.share.path, "--yes")
        return StoredResource.objects.get(external_id=machine.uuid)

    def adopt_into(self, share: str, name: str, kind: str) -> StoredResource:
        """The same, into another share."""
        machine = define_guest(self.hosts[0], name, kind, self.pool)
        self.machines[name] = machine
        manage("adopt_machine", "host-1", name, share, "--yes")
        return StoredResource.objects.get(external_id=machine.uuid)

    def only_host(self, number: int | None) -> None:
        """Let only this host take machines; None: all of them."""
        for n, host in enumerate(Host.objects.filter(group=self.host_group).order_by("name")):
            Host.objects.filter(pk=host.pk).update(in_maintenance=number is not None and n != number)

    def job(self, name: str, resources: Sequence[StoredResource], **options: Any) -> Job:
        group = Group.objects.create(team=self.share.team, name=name)
        group.resources.set(resources)
        return Job.objects.create(
            team=self.share.team,
            name=name,
            group=group,
            update_system=UpdateSystem.objects.get(kind="apt"),
            host_group=self.host_group,
            **options,
        )

    def by_ssh(self, resource: StoredResource, host_key: str = "") -> StoredResource:
        """Reach this machine by SSH from now on."""
        credential, made = Credential.objects.get_or_create(team=self.share.team, name="root's key", user="root")
        if made:
            credential.seal(keys.keys().client_private.read_text())
            credential.save()
        resource.channel_kind = "ssh"
        resource.credential = credential
        resource.channel_host_key = host_key or self.machines[resource.name].guest.host_key
        resource.save()
        return resource

    def current(self, resource: StoredResource) -> Path:
        """The folder of the generation that the library publishes."""
        return (self.library / resource.external_id / "current").resolve(strict=True)

    def image(self, resource: StoredResource) -> Path:
        (image,) = self.current(resource).glob("disk-*")
        return image

    def running(self) -> list[str]:
        return [name for host in self.hosts for name in host.running()]


def start_once(host: BenchHost, machine: Machine) -> None:
    """Start it as its administrator would, and shut it down."""
    connection = libvirt.open(host.uri)
    try:
        domain = connection.lookupByUUIDString(machine.uuid)
        domain.create()
        agent.wait_for_agent(domain, 600)
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
        end = time.monotonic() + 300
        while domain.isActive() and time.monotonic() < end:
            time.sleep(0.5)
        assert not domain.isActive()
    finally:
        connection.close()


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own, there before the hosts are: they see what was mounted at their start."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "none", str(folder)]
    subprocess.run(mount, check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, timeout=30)


@contextmanager
def real_site(folder: Path) -> Iterator[RealSite]:
    """Start two hosts and make the rows. `folder` and all its parents are passable for the emulator's user."""
    for name in ("pool", "library", "small"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(0o755)
    with (
        _small_disk(folder / "small"),
        BenchHost("one", folder / "one") as one,
        BenchHost("two", folder / "two") as two,
    ):
        team = Team.objects.create(name="Virtualization")
        server = ManagementServer.objects.create(
            name="libvirt",
            kind="libvirt",
            options={"media_directories": str(folder / "pool" / "media"), "accelerator": "qemu"},
        )
        library = LibraryServer.objects.create(management_server=server, name="library")
        share = LibraryShare.objects.create(library_server=library, path=str(folder / "library"), team=team)
        small = LibraryShare.objects.create(library_server=library, path=str(folder / "small"), team=team)
        group = HostGroup.objects.create(name="Maintenance hosts", team=team)
        for n, host in enumerate((one, two), 1):
            Host.objects.create(
                management_server=server,
                group=group,
                name=f"host-{n}",
                external_id=host.uri,
                slots=3,
                memory_mb=4096,
                servicing_network="servicing",
                options={
                    "log_directory": str(host.log_directory),
                    "tpm_directory": str(host.tpm_directory),
                },
            )
        UpdateSystem.objects.create(name="apt", kind="apt")
        yield RealSite(folder, [one, two], server, share, small, group)


def manage(*argv: str, ok: bool = True, timeout: float = LONGEST_COMMAND) -> str:
    """Run a command of manage.py as a process of its own; returns what it printed."""
    done = subprocess.run(
        [sys.executable, str(PROJECT / "manage.py"), *argv],
        cwd=PROJECT,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    said = done.stdout + done.stderr
    print(said)
    assert not ok or done.returncode == 0, said
    return said


def log_of(target: RunTarget) -> str:
    lines = Event.objects.filter(target=target).order_by("n")
    return "\n".join(f"{e.at:%H:%M:%S.%f} {e.step}: {e.text}"[:400] for e in lines)
