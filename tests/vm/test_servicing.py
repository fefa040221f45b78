"""Real guests are serviced by jobs: on two hosts that share a pool, from adoption to hand-out."""

import xml.etree.ElementTree as ET

import libvirt
import pytest

from servicing.models import Generation, PackageReport
from tests.vm.bench import agent, offline
from tests.vm.serviced import HOSTILE, RESTORED, SUCCEED, Serviced, published
from tests.vm.site import log_of, manage

pytestmark = pytest.mark.vm


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
    good = len(SUCCEED)  # of these jobs' machines, `silent` alone is in another run
    numbers = f"{good + 3} targets, {good} succeeded, 0 partial, 2 restored, 1 skipped, 0 need attention, 0 awake"
    assert numbers in serviced.said


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
        agent.wait_for_agent(domain, 300)
        code, said = agent.execute(domain, "/bin/cat", "/usr/share/toy/version")
        assert (code, said.strip()) == (0, "2.0")
    finally:
        domain.destroy()
        connection.close()
    refused = manage("run_job", site.job("handed out", [resource]).name, "--wait", ok=False)
    assert "1 skipped" in refused
