"""The libvirt driver keeps the contract of platforms: real libvirt hosts, guests of one boot sector."""

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from inventory.platforms.base import HostRef, MachineRef, Marker, ServerConfig
from inventory.platforms.libvirt import hosts, records, sights
from inventory.platforms.libvirt.driver import LibvirtPlatform
from inventory.platforms.libvirt.layout import Folder
from tests.contracts.platform_contract import PlatformContract
from tests.inventory.platforms.libvirt import files, machines
from tests.inventory.platforms.libvirt.hosts import TestHost

pytestmark = pytest.mark.vm


class LibvirtBench:
    guests_listen = True

    def __init__(self, share: Path, first: TestHost, second: TestHost) -> None:
        self.share, self.first, self.second = share, first, second
        self.bare = replace(second.ref(), servicing_network="not-there")
        self.stopped: set[str] = set()
        self.without: set[str] = set()
        config = ServerConfig("contract", "", (first.ref(), self.bare), (str(share),), "", {"accelerator": "qemu"})
        self.platform = LibvirtPlatform(config)

    def folder(self, machine: MachineRef) -> Folder:
        return Folder(machine.share, machine.external_id)

    def machine(self, name: str = "a machine") -> MachineRef:
        made = files.make(self.share, disks=1, name=escape(name), guest="obedient", whole=False)
        made.folder.sign_share()  # as adopting does
        return MachineRef(made.folder.key, name, str(self.share))

    def host(self) -> HostRef:
        return self.first.ref()

    def host_without_network(self) -> HostRef:
        return self.bare

    def other_network(self) -> str:
        return "production"

    def until(self, reached: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 60
        while not reached():
            assert time.monotonic() < end, what
            time.sleep(0.1)

    def content(self, machine: MachineRef) -> Hashable:
        return self.kept(machine, self.folder(machine).current())

    def kept(self, machine: MachineRef, generation: str) -> Hashable:
        place = self.folder(machine).generations / generation
        return tuple(
            (p.name, hashlib.sha256(p.read_bytes()).hexdigest())
            for p in sorted(place.iterdir())
            if p.suffix in (".qcow2", ".xml", ".fd")
        )

    def domains(self, machine: MachineRef) -> list[tuple[TestHost, str]]:
        return [
            (host, name)
            for host in (self.first, self.second)
            for name in host.virsh("list", "--name").split()
            if machine.external_id in host.virsh("domuuid", name)
        ]

    def host_has(self, machine: MachineRef) -> bool:
        return bool(self.domains(machine) or self.folder(machine).hidden(".wip-"))

    def running(self, machine: MachineRef) -> int:
        return len(self.domains(machine))

    def guest_writes(self, machine: MachineRef) -> None:
        overlay = self.folder(machine).hidden(".wip-")[0] / "disk-0.qcow2"
        self.until(lambda: machines.second_sector(overlay)[:4] == machines.WRITE[:4], "the guest has written")

    def outsider_starts(self, machine: MachineRef) -> None:
        disk = machines.make_disk(self.second.base / "outsiders.qcow2", "deaf")
        self.second.create(machines.xml("outsiders", disk, uuid=machine.external_id))

    def outsider_stops(self, machine: MachineRef) -> None:
        self.second.virsh("destroy", "outsiders")

    def outsider_marks(self, machine: MachineRef) -> None:
        folder = self.folder(machine)
        folder.marker.unlink(missing_ok=True)
        records.write_marker(folder, Marker("elsewhere", "theirs", machine.share, "g000001", {}))

    def outsider_publishes(self, machine: MachineRef) -> str:
        folder = self.folder(machine)
        theirs = folder.generations / folder.next_name()
        shutil.copytree(folder.generations / folder.current(), theirs)
        record = json.loads((theirs / "manifest.json").read_text())
        (theirs / "manifest.json").write_text(json.dumps({**record, "published_by": "", "owner": ""}))
        (folder.path / "current").unlink()
        os.symlink(f"generations/{theirs.name}", folder.path / "current")
        return theirs.name

    def outsider_deletes(self, machine: MachineRef) -> None:
        shutil.rmtree(self.folder(machine).path)

    def kill(self, machine: MachineRef) -> None:
        [(host, name)] = self.domains(machine)
        os.kill(host.qemu(name), signal.SIGKILL)

    def remove_network(self, host: HostRef) -> None:
        self.first.virsh("net-destroy", host.servicing_network)
        self.without.add(host.servicing_network)

    def _daemon(self, host: HostRef) -> int:
        return next(h for h in (self.first, self.second) if h.uri == host.external_id).libvirtd()

    def host_down(self, host: HostRef) -> None:
        os.kill(self._daemon(host), signal.SIGSTOP)
        self.stopped.add(host.external_id)

    def host_up(self, host: HostRef) -> None:
        os.kill(self._daemon(host), signal.SIGCONT)
        self.stopped.discard(host.external_id)

    def fill_share(self, machine: MachineRef) -> bool:
        room = os.statvfs(self.share)
        fd = os.open(self.share / "filler", os.O_WRONLY | os.O_CREAT)
        os.posix_fallocate(fd, 0, room.f_bavail * room.f_bsize)
        os.close(fd)
        return True

    def empty_share(self, machine: MachineRef) -> None:
        (self.share / "filler").unlink()

    def close(self) -> None:
        for ref in (self.first.ref(), self.bare):
            if ref.external_id in self.stopped:
                self.host_up(ref)
        for _ref, each in self.platform.hosts:
            each._asked_again_at = 0
        for network in self.without:
            self.first.virsh("net-start", network)


class TestLibvirt(PlatformContract):
    @pytest.fixture
    def bench(
        self, limited_share: Path, host: TestHost, other_host: TestHost, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[LibvirtBench]:
        monkeypatch.setattr(sights, "LOOK", 2.0)
        monkeypatch.setattr(hosts, "PAUSE", 2.0)
        bench = LibvirtBench(limited_share, host, other_host)
        yield bench
        bench.close()
        host.clean()
        other_host.clean()
