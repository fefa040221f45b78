"""The engine on a lab that is kept in the database: the same cycles, and workers that die between them."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management import call_command

from inventory.drivers import forget_platforms
from inventory.lab import worlds
from inventory.lab.models import LabWorld
from inventory.lab.world import GuestBehaviour, Round, Update
from inventory.models import Host, ManagementServer
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.clock import JumpingClock
from ovmst_site.faults import GiveUp
from servicing.models import Event, RunTarget
from tests.factories import LabSite, make_lab_site

pytestmark = pytest.mark.django_db

Outcome = RunTarget.Outcome
TWO_ROUNDS = [Round((Update("linux", "2"),), restart=True), Round((Update("ssl", "2", security=True),))]


@pytest.fixture(params=[True, False], ids=["library keeps it", "fetching moves it"])
def site(request: pytest.FixtureRequest, jumping_clock: JumpingClock) -> Iterator[LabSite]:
    forget_platforms()
    yield make_lab_site(jumping_clock, keeps_original=request.param, in_database=True)
    worlds.forget()


def serviced(site: LabSite) -> RunTarget:
    site.run_through_deaths(site.start())
    return site.serviced()


def assert_quiet(site: LabSite) -> None:
    assert site.world.violations == []
    assert site.world.lost_machines() == []
    assert site.world.awake() == []
    assert site.world.residue() == []
    assert not Host.objects.exclude(slots_used=0, memory_used_mb=0).exists()


@pytest.mark.django_db(transaction=True)  # a real transaction for each call: none may be inside the engine's own
def test_a_machine_is_woken_updated_and_stored(site: LabSite):
    site.machine("m1", rounds=TWO_ROUNDS)
    target = serviced(site)
    assert target.outcome == Outcome.SUCCEEDED, target.reason
    assert_quiet(site)
    assert site.world.published("m1") != site.world.original("m1")


@pytest.mark.parametrize("call", ["fetch", "start", "install", "store", "unmark"])
def test_a_crash_right_after_an_effect_does_not_cause_it_twice(site: LabSite, call: str):
    site.machine("m1")
    site.world.faults.crash_after(call)
    target = serviced(site)
    assert target.outcome == Outcome.SUCCEEDED, target.reason
    assert site.deaths == 1
    assert site.world.effects(call, "m1") == 1
    assert_quiet(site)


@pytest.mark.parametrize("call", ["fetch", "shut_down", "store"])
def test_a_call_that_succeeds_after_its_time_out_is_not_repeated(site: LabSite, call: str):
    site.machine("m1")
    site.world.faults.succeeds_late(call, after=1)
    assert serviced(site).outcome == Outcome.SUCCEEDED
    assert_quiet(site)


def test_what_fails_is_restored(site: LabSite):
    site.machine("m1", guest=GuestBehaviour(failing_installs=9))
    target = serviced(site)
    assert target.outcome == Outcome.RESTORED, target.reason
    assert site.world.published("m1") == site.world.original("m1")
    assert_quiet(site)


def test_in_a_world_whose_time_runs_faster_guests_are_not_off_by_hours(site: LabSite, jumping_clock: JumpingClock):
    with site.world.together() as state:
        state.time_scale = 60
    jumping_clock.jump(timedelta(hours=3))
    with site.world.together() as state:
        assert state.now - state.wall > 100 * 3600
    site.machine("m1", guest=GuestBehaviour(clock_skew=2))
    target = serviced(site)
    assert target.outcome == Outcome.SUCCEEDED, target.reason
    assert Event.objects.filter(target=target, text__contains="clock: +2 s").exists()


def test_a_lab_that_is_not_there_is_named(site: LabSite, capsys: pytest.CaptureFixture[str]):
    server = ManagementServer.objects.get()
    server.address = "nowhere"
    server.save()
    forget_platforms()
    with pytest.raises(GiveUp, match=r"There is no lab of this name: nowhere\. There is: x\."):
        sync(server, clock.now())
    with pytest.raises(SystemExit):
        call_command("doctor")
    assert "BAD management server" in (out := capsys.readouterr().out)
    assert "There is no lab of this name: nowhere" in out


def test_a_lab_that_is_taken_away_is_named_too(site: LabSite):
    site.machine("m1")
    sync(site.server, clock.now())
    LabWorld.objects.all().delete()
    with pytest.raises(GiveUp, match=r"There is no lab of this name: x\. There is: none yet"):
        sync(site.server, clock.now())
