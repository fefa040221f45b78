"""The real guests that are serviced in one go, and what became of each.

VM_GUESTS=few leaves out those that take long under emulation: reached by SSH, booted by UEFI into a new
kernel, upgrading their own agent. `make check` does; `make vm-test` and `make long` have all of them.
"""

import hashlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import libvirt
from django.db import connection

from inventory.models import StoredResource
from servicing.models import RunTarget
from tests.vm.bench.commands import BenchError
from tests.vm.site import RealSite, manage

GUESTS = os.environ.get("VM_GUESTS") or "all"
if GUESTS not in ("few", "all"):
    raise ValueError(f"VM_GUESTS is few or all, not {GUESTS!r}")

HOSTILE = "a\"; $(reboot) 'x' \U0001f4a5 \u0645\u0631\u062d\u0628\u0627"
SUCCEED = ["without network", HOSTILE]
if GUESTS == "all":
    SUCCEED += ["by ssh", "uefi", "agent upgrade"]
RESTORED = ["failing", "silent", "killed"]


@dataclass(frozen=True)
class File:
    """All that must not change about a published file."""

    digest: str
    owner: tuple[int, int]
    mode: int
    changed: int  # ns

    @classmethod
    def of(cls, path: Path) -> "File":
        status = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(digest, (status.st_uid, status.st_gid), status.st_mode, status.st_mtime_ns)


def published(folder: Path) -> dict[str, File]:
    return {str(p.relative_to(folder)): File.of(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@dataclass
class Serviced:
    """What the library held before the jobs, and what became of each machine."""

    site: RealSite
    resources: dict[str, StoredResource]
    before: dict[str, dict[str, File]]
    said: str

    def target(self, name: str) -> RunTarget:
        return RunTarget.objects.get(resource=self.resources[name], run__job__name__in=("all", "silent"))


def service_all(site: RealSite) -> Serviced:
    """Adopt every machine of the set, service them all in one go, and tell what was said."""
    resources = {
        "without network": site.adopt("without network", "tiny", network=None),
        HOSTILE: site.adopt(HOSTILE, "systemd", host=1),
        "failing": site.adopt("failing", "tiny", repo="failing"),
        "silent": site.adopt("silent", "silent", repo=None),
        "killed": site.adopt("killed", "tiny", files=slow_to_stop()),
        "saved": site.adopt("saved", "tiny"),
    }
    if GUESTS == "all":
        resources |= {
            "by ssh": site.by_ssh(site.adopt("by ssh", "systemd")),
            "uefi": site.adopt("uefi", "uefi", repo="kernel"),
            "agent upgrade": site.adopt("agent upgrade", "systemd", host=1, repo="agent"),
        }
    save_state_of(site, resources["saved"])
    before = {n: published(site.library / r.external_id / "generations") for n, r in resources.items()}
    silent = resources["silent"]
    site.job("all", [r for r in resources.values() if r != silent])
    site.job("silent", [silent], patience={"ready": 1})
    killer = threading.Thread(target=kill_while_it_shuts_down, args=(site, resources["killed"]))
    killer.start()
    other = threading.Thread(target=manage, args=("run_job", "silent", "--wait"), kwargs={"ok": False})
    other.start()
    said = manage("run_job", "all", "--wait", ok=False)
    other.join()
    killer.join()
    forget_saved_state(site, resources["saved"])
    one_more = {n: StoredResource.objects.get(pk=r.pk) for n, r in resources.items()}
    return Serviced(site, one_more, before, said)


def slow_to_stop() -> dict[str, bytes]:
    """A tiny guest whose shut-down takes long enough to be interrupted."""
    inittab = (Path(__file__).parent / "bench/data/tiny/etc/inittab").read_bytes()
    return {"/etc/inittab": b"::shutdown:/bin/busybox sleep 60\n" + inittab}


def kill_while_it_shuts_down(site: RealSite, resource: StoredResource) -> None:
    name = f"ovmst-{resource.external_id}"
    try:
        while True:
            target = RunTarget.objects.filter(resource=resource).first()
            if target is not None and target.finished_at is not None:
                return
            if target is not None and (target.step, target.note) == ("shut_down", "shutting down"):
                for host in site.hosts:
                    try:
                        os.kill(host.qemu_pid(name), signal.SIGKILL)
                    except BenchError:
                        continue
                    return
            time.sleep(0.1)
    finally:
        connection.close()


def save_state_of(site: RealSite, resource: StoredResource) -> None:
    """An administrator defines the machine on a host again, starts it and saves its state."""
    connection = libvirt.open(site.hosts[0].uri)
    domain = connection.defineXML(site.machines["saved"].xml)
    domain.create()
    domain.managedSave()
    connection.close()


def forget_saved_state(site: RealSite, resource: StoredResource) -> None:
    connection = libvirt.open(site.hosts[0].uri)
    domain = connection.lookupByUUIDString(resource.external_id)
    domain.managedSaveRemove()
    domain.undefine()
    connection.close()
