"""People and accidents: what they do shows, and what is lost is listed as lost."""

from datetime import timedelta

import pytest

from inventory.platforms.base import Ended, Place, Power
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater
from tests.contracts.lab_bench import LabBench
from tests.contracts.servicing import Servicing


def test_a_crashed_host_takes_its_guests_along(bench: LabBench, up: Servicing) -> None:
    bench.world.outsiders.crash("h1")
    assert bench.world.awake() == []
    assert up.see().place is Place.UNKNOWN
    with pytest.raises(TryLater):
        up.platform.shut_down(up.machine)
    bench.world.outsiders.back("h1")
    seen = up.see()
    assert (seen.place, seen.power, seen.ended) == (Place.HOST, Power.OFF, Ended.CRASHED)
    up.bring_back()
    assert bench.world.published("m1") == bench.world.original("m1")


def test_a_host_that_is_cut_off_goes_on(bench: LabBench, up: Servicing) -> None:
    bench.world.outsiders.cut_off("h1")
    assert bench.world.awake() == ["m1"]
    bench.world.outsiders.back("h1")
    assert up.see().power is Power.ON


@pytest.mark.parametrize("call", ["fetch", "store"])
def test_a_transfer_that_loses_its_host_breaks_off(bench: LabBench, servicing: Servicing, call: str) -> None:
    servicing.mark()
    if call == "fetch":
        servicing.platform.fetch(servicing.machine, servicing.host, "f")
    else:
        servicing.fetch().platform.store(servicing.machine, servicing.origin, "s")
    bench.clock.jump(timedelta(seconds=1))
    bench.world.outsiders.crash("h1")
    bench.world.outsiders.back("h1")
    bench.clock.jump(timedelta(seconds=100))
    seen = servicing.see()
    assert seen.failed_operation.startswith(call)
    assert seen.place is (Place.LIBRARY if call == "fetch" else Place.HOST)
    assert bench.world.lost_machines() == []


def test_a_destroyed_host_takes_an_only_copy_along(bench: LabBench, up: Servicing) -> None:
    bench.world.outsiders.destroy("h1")
    if up.platform.keeps_original:
        assert bench.world.lost_machines() == []
        assert up.see().place is Place.LIBRARY
        assert bench.world.published("m1") == bench.world.original("m1")
    else:
        assert bench.world.lost_machines() == ["m1"]
        assert up.see().place is Place.ABSENT


def test_a_deleted_machine_is_lost(bench: LabBench, up: Servicing) -> None:
    bench.world.outsiders.delete("m1")
    assert bench.world.lost_machines() == ["m1"]
    assert bench.world.awake() == []
    with pytest.raises(GiveUp):
        up.platform.start(up.machine, "s")


def test_a_machine_that_was_moved_to_another_share_is_not_stored_over(bench: LabBench, up: Servicing) -> None:
    bench.world.add_share("silver")
    bench.world.outsiders.move("m1", share="silver")
    up.force_off().reconnect()
    with pytest.raises(NeedsAttention, match="silver"):
        up.store()
    assert up.see().place is Place.HOST


def test_a_machine_that_was_moved_to_another_host_is_seen_there(bench: LabBench, up: Servicing) -> None:
    bench.world.outsiders.move("m1", host="h2")
    assert up.see().host == "h2"
    with pytest.raises(TryLater):
        bench.platform.guest(up.machine, up.host).ping()
    bench.platform.guest(up.machine, bench.host_without_network()).ping()


def test_a_host_that_lies_about_isolation_is_found_out(bench: LabBench, servicing: Servicing) -> None:
    bench.world.outsiders.break_isolation("h1")
    servicing.mark().fetch().isolate().protect()
    assert not servicing.see().is_isolated_on("servicing")
    with pytest.raises(GiveUp):
        servicing.start()


def test_adapters_lose_a_network_that_goes_away(bench: LabBench, up: Servicing) -> None:
    bench.world.outsiders.remove_network("h1", "servicing")
    assert not up.see().is_isolated_on("servicing")
    assert up.see().power is Power.ON


def test_who_is_reconnected_while_running_shows_it(bench: LabBench, up: Servicing) -> None:
    bench.world.outsiders.reconnect("m1", "production")
    assert not up.see().is_isolated_on("servicing")


def test_a_share_that_does_not_answer_makes_unknown(bench: LabBench, servicing: Servicing) -> None:
    bench.world.outsiders.share_answers("gold", False)
    assert servicing.see().place is Place.UNKNOWN
    servicing.mark()
    with pytest.raises(TryLater):
        servicing.platform.fetch(servicing.machine, servicing.host, "f")
    bench.world.outsiders.share_answers("gold", True)
    assert servicing.fetch().see().place is Place.HOST


def test_somebody_pulls_the_plug(bench: LabBench, up: Servicing) -> None:
    bench.world.outsiders.power_off("m1")
    assert (up.see().power, up.see().ended) == (Power.OFF, Ended.FORCED)


def test_the_library_changes_while_it_is_being_stored(bench: LabBench, up: Servicing) -> None:
    up.force_off().reconnect()
    up.platform.store(up.machine, up.origin, "s")
    theirs = bench.world.outsiders.publish("m1")
    seen = up.work_is_over()
    assert (seen.place, seen.generation) == (Place.HOST, theirs)
    assert "both are kept" in seen.failed_operation


@pytest.mark.parametrize("call", ["fetch", "protect", "store"])
def test_what_is_started_while_the_platform_is_at_it_goes_on_running(
    bench: LabBench, servicing: Servicing, call: str
) -> None:
    original = bench.world.original("m1")
    servicing.mark()
    if call == "fetch":
        servicing.platform.fetch(servicing.machine, servicing.host, "f")
    elif call == "protect":
        servicing.fetch().platform.protect(servicing.machine, "p")
    else:
        servicing.fetch().platform.store(servicing.machine, servicing.origin, "s")
    bench.world.outsiders.start("m1", "h2")
    seen = servicing.work_is_over()
    assert bench.world.awake() == ["m1"]
    assert (seen.power, seen.own_disks, seen.protected) == (Power.ON, False, False)
    if call != "fetch" or not servicing.platform.keeps_original:
        assert seen.failed_operation.startswith(call)
    assert servicing.platform.keeps_original is (bench.world.published("m1") == original)


def test_who_marks_it_while_it_is_being_fetched_is_not_taken_for_us(bench: LabBench, servicing: Servicing) -> None:
    servicing.mark()
    servicing.platform.fetch(servicing.machine, servicing.host, "f")
    bench.world.outsiders.mark("m1")
    assert servicing.work_is_over().place is Place.HOST
    with pytest.raises(NeedsAttention):
        servicing.isolate()


def test_a_copy_that_an_outsider_made_is_never_ours() -> None:
    bench = LabBench(keeps_original=False)
    servicing = Servicing(bench, bench.machine()).mark()
    bench.world.outsiders.start("m1", "h1")
    bench.world.outsiders.stop("m1")
    seen = servicing.see()
    assert (seen.place, seen.power, seen.own_disks) == (Place.HOST, Power.OFF, False)
    for call in (
        lambda: servicing.platform.fetch(servicing.machine, servicing.host, "f"),
        lambda: servicing.platform.rewind(servicing.machine, servicing.origin),
        lambda: servicing.platform.store(servicing.machine, servicing.origin, "s"),
    ):
        with pytest.raises(NeedsAttention):
            call()


def test_what_is_left_over_is_named(bench: LabBench, up: Servicing) -> None:
    assert bench.world.residue() == ["m1 is on a host", "m1 is marked"]
    up.force_off().bring_back()
    assert bench.world.residue() == []
