"""Real guests with outdated packages, serviced by jobs on two hosts that share a pool."""

import hashlib
import os
import signal
import threading
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest
from django.db import connection

from inventory.models import StoredResource
from servicing.models import Generation, PackageReport, RunTarget
from tests.vm.bench import agent, offline
from tests.vm.bench.commands import BenchError
from tests.vm.site import RealSite, log_of, manage

pytestmark = pytest.mark.vm

HOSTILE = "a\"; $(reboot) 'x' \U0001f4a5 \u0645\u0631\u062d\u0628\u0627"
SUCCEED = ["without network", HOSTILE, "by ssh", "uefi", "agent upgrade"]
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


@pytest.fixture(scope="module")
def serviced(site: RealSite) -> Serviced:
    resources = {
        "without network": site.adopt("without network", "tiny", network=None),
        HOSTILE: site.adopt(HOSTILE, "systemd", host=1),
        "by ssh": site.by_ssh(site.adopt("by ssh", "systemd")),
        "uefi": site.adopt("uefi", "uefi", repo="kernel"),
        "agent upgrade": site.adopt("agent upgrade", "systemd", host=1, repo="agent"),
        "failing": site.adopt("failing", "tiny", repo="failing"),
        "silent": site.adopt("silent", "silent", repo=None),
        "killed": site.adopt("killed", "tiny", files=slow_to_stop()),
        "saved": site.adopt("saved", "tiny"),
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


@pytest.mark.parametrize("name", SUCCEED)
def test_it_succeeds_and_its_stored_image_holds_the_new_versions(serviced: Serviced, name: str):
    target = serviced.target(name)
    assert target.outcome == "succeeded", log_of(target)
    assert offline.package_version(serviced.site.image(target.resource), "toy") == "2.0"
    assert target.resource.compliance == "compliant"
    after = PackageReport.objects.get(target=target, moment="after")
    assert after.packages["toy"] == "2.0"
    assert PackageReport.objects.get(target=target, moment="before").packages["toy"] == "1.0"


def test_a_held_package_is_an_exception_and_a_security_update_is_not(serviced: Serviced):
    after = PackageReport.objects.get(target=serviced.target(HOSTILE), moment="after")
    held = {p["name"]: p for p in after.pending}
    assert held["toy-held"]["held"] == "hold"
    assert after.packages["toy-secure"] == "2.0"


def test_the_uefi_guest_restarted_into_its_new_kernel(serviced: Serviced):
    log = log_of(serviced.target("uefi"))
    assert "restart: again: restarted" in log
    packages = PackageReport.objects.get(target=serviced.target("uefi"), moment="after").packages
    assert packages["linux-image-cloud-amd64"] == "99", log


@pytest.mark.parametrize("name", SUCCEED)
def test_the_generation_before_is_there_and_was_never_written(serviced: Serviced, name: str):
    resource = serviced.resources[name]
    now = published(serviced.site.library / resource.external_id / "generations")
    for path, file in serviced.before[name].items():
        assert now[path] == file, path
    assert Generation.objects.get(resource=resource).name == resource.generation
    assert serviced.site.current(resource).name == resource.generation


@pytest.mark.parametrize("name", SUCCEED)
def test_its_identity_is_equal_before_and_after(serviced: Serviced, name: str):
    resource = serviced.resources[name]
    first, current = (
        serviced.site.library / resource.external_id / "generations/g000001",
        serviced.site.current(resource),
    )
    assert current != first
    assert (first / "domain.xml").read_bytes() == (current / "domain.xml").read_bytes()
    domain = ET.fromstring((current / "domain.xml").read_text())  # noqa: S314 - libvirt wrote it
    assert domain.findtext("uuid") == resource.uuid
    assert [m.get("address") for m in domain.iterfind("devices/interface/mac")] == resource.mac_addresses


def test_nvram_and_tpm_are_carried_as_the_guest_left_them(serviced: Serviced):
    resource = serviced.resources["uefi"]
    first, current = (
        serviced.site.library / resource.external_id / "generations/g000001",
        serviced.site.current(resource),
    )
    assert (current / "nvram.fd").stat().st_size == (first / "nvram.fd").stat().st_size
    assert (current / "nvram.fd").read_bytes() != (first / "nvram.fd").read_bytes()  # firmware writes at each boot
    assert [p for p in (current / "tpm").rglob("*") if p.is_file()]


@pytest.mark.parametrize("name", RESTORED)
def test_what_goes_wrong_ends_restored_bit_for_bit(serviced: Serviced, name: str):
    target = serviced.target(name)
    assert target.outcome == "restored", log_of(target)
    resource = serviced.resources[name]
    assert published(serviced.site.library / resource.external_id / "generations") == serviced.before[name]
    assert serviced.site.current(resource).name == "g000001"


def test_each_reason_says_what_went_wrong(serviced: Serviced):
    assert "toy" in serviced.target("failing").reason
    assert "does not answer" in serviced.target("silent").reason
    assert "crashed" in serviced.target("killed").reason or "nothing shows" in serviced.target("killed").reason


def test_a_saved_state_is_refused_and_nothing_is_touched(serviced: Serviced):
    target = serviced.target("saved")
    assert target.outcome == "skipped", log_of(target)
    assert "saved state" in target.reason
    resource = serviced.resources["saved"]
    assert published(serviced.site.library / resource.external_id / "generations") == serviced.before["saved"]


def test_nothing_runs_on_the_hosts_and_the_numbers_add_up(serviced: Serviced):
    assert serviced.site.running() == []
    assert "8 targets, 5 succeeded, 0 partial, 2 restored, 1 skipped, 0 need attention, 0 awake" in serviced.said


def test_one_is_handed_out_and_starts_as_it_was_stored(serviced: Serviced):
    site, resource = serviced.site, serviced.resources["without network"]
    out = site.folder / "handed-out"
    out.mkdir(mode=0o755)
    assert "dry run" in manage("hand_out", resource.external_id, "host-2", str(out))
    manage("hand_out", resource.external_id, "host-2", str(out), "--yes")
    connection = libvirt.open(site.hosts[1].uri)
    domain = connection.lookupByUUIDString(resource.external_id)
    domain.create()
    try:
        agent.wait_for_agent(domain, 120)
        code, said = agent.execute(domain, "/bin/cat", "/usr/share/toy/version")
        assert (code, said.strip()) == (0, "2.0")
    finally:
        domain.destroy()
        connection.close()
    refused = manage("run_job", site.job("handed out", [resource]).name, "--wait", ok=False)
    assert "1 skipped" in refused
