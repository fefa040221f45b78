"""Nothing stale is let loose: on the servicing network only, apart from its neighbours, or not started."""

import time
from collections.abc import Callable
from functools import partial

import libvirt
import pytest

from servicing.models import RunTarget
from tests.vm import stepping
from tests.vm.serviced import published
from tests.vm.site import RealSite, log_of

pytestmark = pytest.mark.vm


def reaches(target: RunTarget, address: str) -> bool:
    done = stepping.channel_to(target).run(["/bin/busybox", "ping", "-c", "2", "-W", "3", address], deadline=30)
    return done.exit_code == 0


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
    return True


def test_a_guest_reaches_neither_its_neighbour_nor_production(site: RealSite):
    one, other = site.adopt("lonely", "tiny"), site.adopt("lonely too", "tiny")
    job = site.job("isolation", [one, other])
    site.only_host(0)
    run = stepping.start(job)
    stepping.step_until(run, stepping.at("scan"))
    first, second = run.targets.order_by("pk")
    host = site.hosts[0]
    addresses = {t.pk: host.lease(t.resource.mac_addresses[0]) for t in (first, second)}
    try:
        for guest, neighbour in ((first, second), (second, first)):
            # The control: it reaches its servicing network's own address, once its adapter is set up.
            assert within(60, partial(reaches, guest, host.bridge_address)), log_of(guest)
            assert reaches(guest, addresses[guest.pk])
            assert not reaches(guest, addresses[neighbour.pk])
            assert not reaches(guest, host.production_address)
        assert (
            not set(first.resource.mac_addresses + second.resource.mac_addresses) & host.macs_seen_on_production()
        )
    finally:
        site.only_host(None)
        stepping.run_to_end(run)
    assert {t.outcome for t in run.targets.all()} == {"succeeded"}, [log_of(t) for t in run.targets.all()]
    assert site.running() == []


def test_without_its_servicing_network_nothing_is_started(site: RealSite):
    resource = site.adopt("no network", "tiny")
    before = published(site.library / resource.external_id / "generations")
    job = site.job("no network", [resource])
    site.only_host(1)
    run = stepping.start(job)
    stepping.step_until(run, stepping.at("start"))
    connection = libvirt.open(site.hosts[1].uri)
    network = connection.networkLookupByName("servicing")
    network.destroy()
    try:
        stepping.run_to_end(run)
        target = run.targets.get()
        assert target.outcome == "restored", log_of(target)
        assert "servicing" in target.reason
        assert "start: done" not in log_of(target)
    finally:
        network.create()
        connection.close()
        site.only_host(None)
    assert published(site.library / resource.external_id / "generations") == before
    assert site.running() == []


def test_a_machine_that_an_outsider_started_meanwhile_is_left_alone(site: RealSite):
    resource = site.adopt("outsider's", "tiny")
    run = stepping.start(site.job("outsider", [resource]))
    stepping.step_until(run, stepping.at("start"))
    connection = libvirt.open(site.hosts[1].uri)
    domain = connection.createXML(site.machines["outsider's"].xml)
    try:
        stepping.run_to_end(run)
        target = run.targets.get()
        assert target.outcome == "needs attention", log_of(target)
        assert domain.isActive()
        assert stepping.observe(resource).power == "on"
    finally:
        domain.destroy()
        connection.close()
    from ovmst_site.access.gate import SERVICE
    from servicing.actions import resolve_attention

    resolve_attention(target, SERVICE, "the outsider stopped it", bring_back=True)
    stepping.run_to_end(run)
    assert run.targets.get().outcome == "restored", log_of(run.targets.get())
    assert site.current(resource).name == "g000001"
