"""What is wrong on a real site gets a clear message where it belongs, and changes nothing."""

import contextlib
import shutil
import uuid
from pathlib import Path

import pytest

from inventory.drivers import forget_platforms
from inventory.lab import worlds
from inventory.models import Host, LibraryShare, StoredResource
from ovmst_site import clock
from tests.factories import make_lab_site
from tests.vm import stepping
from tests.vm.bench import keys
from tests.vm.serviced import published
from tests.vm.site import RealSite, log_of, manage

pytestmark = [pytest.mark.vm, pytest.mark.long]


@pytest.fixture(scope="module")
def stored(site: RealSite) -> StoredResource:
    return site.adopt("for bad input", "tiny")


def copy_of(site: RealSite, resource: StoredResource) -> Path:
    """Another machine in the library: its folder, to be damaged."""
    folder = site.library / str(uuid.uuid4())
    shutil.copytree(site.library / resource.external_id, folder, symlinks=True)
    return folder


def rewrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_share_that_does_not_exist(site: RealSite, stored: StoredResource):
    share = LibraryShare.objects.create(
        library_server=site.share.library_server, path="/no/such/share", team=site.share.team
    )
    try:
        said = manage("sync_inventory", "libvirt", ok=False)
        assert "/no/such/share" in said
        assert "nothing changed" in said
        assert StoredResource.objects.get(pk=stored.pk).missing_since is None
        assert "BAD" in manage("doctor", ok=False)
    finally:
        share.delete()


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("domain.xml", b"this is no XML <", "XML"),
        ("domain.xml", b"<!DOCTYPE d [<!ENTITY a 'b'>]><domain>&a;</domain>", ""),
        ("disk-0.qcow2", b"QFI\xfb" + b"\xff" * 600, "disk-0"),
        ("manifest.json", b"{", "manifest"),
    ],
)
def test_a_damaged_machine_is_named_and_the_others_are_found(
    site: RealSite, stored: StoredResource, file: str, content: bytes, says: str
):
    folder = copy_of(site, stored)
    rewrite((folder / "current").resolve(strict=True) / file, content)
    try:
        said = manage("sync_inventory", "libvirt")
        resource = StoredResource.objects.filter(external_id=folder.name).first()
        if resource is None:
            assert folder.name in said
            assert says in said
        else:  # what a sync doesn't look into, preflight does
            StoredResource.objects.filter(pk=stored.pk).update(uuid="")
            run = stepping.start(site.job(f"damaged {file} {len(content)}", [resource]))
            stepping.run_to_end(run)
            target = run.targets.get()
            assert target.outcome == "skipped", log_of(target)
            assert says in target.reason
        assert StoredResource.objects.get(pk=stored.pk).missing_since is None
    finally:
        shutil.rmtree(folder)
        manage("sync_inventory", "libvirt")


def test_twins_are_for_a_person_to_decide(site: RealSite, stored: StoredResource):
    folder = copy_of(site, stored)
    try:
        manage("sync_inventory", "libvirt")
        run = stepping.start(site.job("twins", [StoredResource.objects.get(pk=stored.pk)]))
        stepping.run_to_end(run)
        target = run.targets.get()
        assert target.outcome == "skipped", log_of(target)
        assert "identity" in target.reason
    finally:
        shutil.rmtree(folder)
        manage("sync_inventory", "libvirt")


def test_a_hostile_name_is_only_a_name(site: RealSite, stored: StoredResource):
    name = 'a"; $(reboot)\n\u202e\U0001f4a5' + "x" * 300
    description = site.current(stored) / "domain.xml"
    before = description.read_bytes()
    StoredResource.objects.filter(pk=stored.pk).update(name=name)
    run = stepping.start(site.job("hostile", [stored]))
    stepping.run_to_end(run)
    target = run.targets.get()
    assert target.outcome == "succeeded", log_of(target)
    assert (site.current(stored) / "domain.xml").read_bytes() == before
    manage("sync_inventory", "libvirt")


@pytest.mark.parametrize("key", ["changed", "unknown"])
def test_a_host_key_that_is_not_the_pinned_one(site: RealSite, key: str):
    pinned = keys.another_host_key(site.pool) if key == "changed" else ""
    resource = site.adopt(f"{key} host key", "systemd")
    site.by_ssh(resource, pinned)
    if not pinned:
        StoredResource.objects.filter(pk=resource.pk).update(channel_host_key="")
    before = published(site.library / resource.external_id / "generations")
    run = stepping.start(site.job(f"{key} host key", [resource]))
    stepping.run_to_end(run)
    target = run.targets.get()
    assert target.outcome == "restored", log_of(target)
    assert "host key" in target.reason
    assert published(site.library / resource.external_id / "generations") == before
    assert site.running() == []


def test_a_full_disk_while_storing_leaves_the_library_as_it_was(site: RealSite):
    mount = Path(site.small.path)
    resource = site.adopt_into(site.small.path, "full", "tiny")
    before = published(mount / resource.external_id / "generations")
    run = stepping.start(site.job("full disk", [resource]))
    stepping.step_until(run, stepping.at("store"))
    filler = mount / "filler"
    fill(filler)
    try:
        stepping.run_to_end(run)
    finally:
        filler.unlink()
    target = run.targets.get()
    assert target.outcome == "restored", log_of(target)
    assert "store" in target.reason
    assert "space" in target.reason
    assert published(mount / resource.external_id / "generations") == before
    assert (mount / resource.external_id / "current").resolve().name == "g000001"


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)


def test_a_hanging_libvirtd_holds_up_its_own_machines_only(site: RealSite, stored: StoredResource):
    real = stepping.start(site.job("hanging", [StoredResource.objects.get(pk=stored.pk)]))
    site.hosts[0].pause_libvirtd()
    try:
        world = make_lab_site(clock, name="beside")  # type: ignore[arg-type]
        world.machine("m1", guest=_quick(), fetch_seconds=1, store_seconds=1)
        other = world.start()
        stepping.run_to_end(other)
        assert other.targets.get().outcome == "succeeded"
        waiting = real.targets.get()
        assert waiting.state in ("queued", "active")
    finally:
        site.hosts[0].resume_libvirtd()
    forget_platforms()
    stepping.run_to_end(real)
    assert real.targets.get().outcome == "succeeded", log_of(real.targets.get())
    worlds.forget()
    assert not Host.objects.exclude(slots_used=0).exists()


def _quick() -> object:
    from inventory.lab.world import GuestBehaviour

    return GuestBehaviour(boot_seconds=1, scan_seconds=1, install_seconds=1, shut_down_seconds=1)
