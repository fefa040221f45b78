"""Two libvirt hosts for the whole test run, and a share that both see."""

import itertools
import os
import shutil
import subprocess
import tempfile
import time
import uuid as uuids
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from inventory.platforms.base import MachineRef, Marker, Observed, Origin, ServerConfig
from inventory.platforms.libvirt import backing, library_moves
from inventory.platforms.libvirt.driver import LibvirtPlatform
from inventory.platforms.libvirt.layout import Folder
from tests.inventory.platforms.libvirt import machines
from tests.inventory.platforms.libvirt.hosts import TestHost, start_host

_number = itertools.count(1)


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A folder that the emulator's user may enter."""
    path = Path(tempfile.mkdtemp(prefix="ovmst-libvirt-", dir="/var/tmp"))
    path.chmod(0o755)
    # Mounted before the hosts start: their mount namespaces are copies of this one.
    (path / "limited").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "tmpfs", path / "limited"], check=True)
    yield path
    subprocess.run(["umount", "-l", path / "limited"], check=True)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def both_hosts(ground: Path) -> Iterator[tuple[TestHost, TestHost]]:
    a = start_host(f"ovmst{os.getpid()}a", ground / "a")
    try:
        b = start_host(f"ovmst{os.getpid()}b", ground / "b")
        try:
            yield a, b
        finally:
            b.stop()
    finally:
        a.stop()


@pytest.fixture
def host(both_hosts: tuple[TestHost, TestHost]) -> Iterator[TestHost]:
    yield both_hosts[0]
    both_hosts[0].clean()


@pytest.fixture
def other_host(both_hosts: tuple[TestHost, TestHost]) -> Iterator[TestHost]:
    yield both_hosts[1]
    both_hosts[1].clean()


@pytest.fixture
def share(ground: Path) -> Path:
    path = ground / f"share-{next(_number)}"
    path.mkdir(mode=0o755)
    backing.forget()
    return path


@pytest.fixture
def limited_share(ground: Path) -> Iterator[Path]:
    """A share on a file system of 200 MiB."""
    path = ground / "limited" / f"share-{next(_number)}"
    path.mkdir(mode=0o755)
    backing.forget()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def platform(host: TestHost, other_host: TestHost, share: Path, ground: Path) -> LibvirtPlatform:
    return LibvirtPlatform(
        ServerConfig(
            name="pool", address="", hosts=(host.ref(), other_host.ref()), shares=(str(share),),
            work_folder=str(ground), options={"accelerator": "qemu"},
        )
    )  # fmt: skip


@dataclass
class Machine:
    """An adopted machine, and the calls of a cycle on it."""

    platform: LibvirtPlatform
    host: TestHost
    ref: MachineRef
    marker: Marker
    folder: Folder
    epoch: int = 1

    @property
    def origin(self) -> Origin:
        return Origin(self.marker.share, self.marker.generation, self.marker.adapters)

    def op(self, step: str) -> str:
        return f"{self.marker.target}-{self.epoch}-{step}"

    def observe(self) -> Observed:
        return self.platform.observe(self.ref)

    def isolate(self) -> None:
        where = self.host.ref()
        networks = dict.fromkeys(self.marker.adapters, where.servicing_network)
        self.platform.connect(self.ref, networks, isolated=True)

    def wake(self) -> None:
        where = self.host.ref()
        self.platform.mark(self.ref, self.marker)
        self.platform.fetch(self.ref, where, self.op("fetch"))
        self.isolate()
        self.platform.protect(self.ref, self.op("protect"))
        self.platform.start(self.ref, self.op("start"))

    def until(self, holds: Callable[[Observed], bool], *, seconds: float = 30) -> Observed:
        end = time.monotonic() + seconds
        while not holds(seen := self.observe()):
            assert time.monotonic() < end, seen
            time.sleep(0.1)
        return seen

    def until_written(self) -> None:
        """Until the guest has written its sector into the overlay."""
        overlay = self.wip() / "disk-0.qcow2"
        end = time.monotonic() + 30
        while machines.second_sector(overlay)[:4] != machines.WRITE[:4]:
            assert time.monotonic() < end
            time.sleep(0.2)

    def wip(self) -> Path:
        return self.folder.hidden(".wip-")[0]

    def store(self) -> Observed:
        """Store as the step does: reconnect, publish, wait."""
        self.platform.connect(self.ref, self.marker.adapters, isolated=False)
        self.platform.store(self.ref, self.origin, self.op("store"))
        return self.until(lambda seen: not seen.operation)


@pytest.fixture
def adopted(platform: LibvirtPlatform, host: TestHost, share: Path) -> Callable[..., Machine]:
    """Adopt a machine whose guest is one boot sector."""

    def make(guest: str = "obedient", name: str = "", **more: str) -> Machine:
        number = next(_number)
        name = name or f"guest-{number}"
        uuid = str(uuids.uuid4())
        mac = f"52:54:00:aa:{number // 256:02x}:{number % 256:02x}"
        disk = machines.make_disk(host.base / "lib" / "images" / f"{number}.qcow2", guest)
        os.rename(disk, images := host.base / f"{number}.qcow2")  # seen at one path by worker and host
        host.define(machines.xml(name, images, uuid=uuid, mac=mac, **more))
        plan = library_moves.plan_adopt(platform, host.ref(), name, str(share))
        assert plan.obstacles == ()
        key = library_moves.adopt(platform, plan)
        ref = MachineRef(key, name, str(share))
        marker = Marker("here", f"t{number}", str(share), "g000001", {mac: "production"})
        return Machine(platform, host, ref, marker, Folder(str(share), key))

    return make
