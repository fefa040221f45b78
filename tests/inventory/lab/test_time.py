"""The world takes clock time, and only calls and the clock move it."""

from datetime import timedelta

import pytest

from inventory.lab.records import GuestBehaviour
from inventory.platforms.base import Place, Power
from ovmst_site.faults import TryLater
from tests.contracts.lab_bench import LabBench
from tests.contracts.servicing import Servicing


def jump(bench: LabBench, seconds: float) -> None:
    bench.clock.jump(timedelta(seconds=seconds))


def test_a_transfer_is_over_at_its_end_and_not_before(bench: LabBench, servicing: Servicing) -> None:
    servicing.mark()
    servicing.platform.fetch(servicing.machine, servicing.host, "f")
    jump(bench, 29.9)
    seen = servicing.see()
    assert (seen.place, seen.operation) == (Place.LIBRARY, "fetch")
    jump(bench, 0.1)
    seen = servicing.see()
    assert (seen.place, seen.operation) == (Place.HOST, "")


def test_the_next_event_is_where_to_jump_to(bench: LabBench, servicing: Servicing) -> None:
    assert bench.world.next_event() is None
    servicing.mark()
    servicing.platform.fetch(servicing.machine, servicing.host, "f")
    assert bench.world.next_event() == bench.clock.now().timestamp() + 30
    jump(bench, 30)
    assert bench.world.next_event() is None


def test_a_guest_answers_when_it_is_up(bench: LabBench, servicing: Servicing) -> None:
    servicing.ready_to_start().start()
    guest = bench.platform.guest(servicing.machine, servicing.host)
    jump(bench, 19)
    with pytest.raises(TryLater):
        guest.ping()
    jump(bench, 1)
    guest.ping()
    with pytest.raises(TryLater):
        bench.platform.guest(servicing.machine, bench.host_without_network()).ping()


def test_shutting_down_takes_its_time(bench: LabBench, up: Servicing) -> None:
    up.platform.shut_down(up.machine)
    jump(bench, 9)
    assert up.see().power is Power.ON
    jump(bench, 1)
    assert up.see().power is Power.OFF


def test_what_is_busy_takes_no_second_order(bench: LabBench, servicing: Servicing) -> None:
    servicing.mark()
    servicing.platform.fetch(servicing.machine, servicing.host, "f")
    for call in (
        lambda: servicing.platform.fetch(servicing.machine, servicing.host, "f2"),
        lambda: servicing.platform.protect(servicing.machine, "p"),
        lambda: servicing.platform.rewind(servicing.machine, servicing.origin),
        lambda: servicing.platform.store(servicing.machine, servicing.origin, "s"),
    ):
        with pytest.raises(TryLater):
            call()


def test_where_fetching_moves_the_library_is_empty_only_at_its_end() -> None:
    bench = LabBench(keeps_original=False)
    servicing = Servicing(bench, bench.machine()).mark()
    servicing.platform.fetch(servicing.machine, servicing.host, "f")
    jump(bench, 29)
    assert bench.world.published("m1") == bench.world.original("m1")
    jump(bench, 1)
    assert bench.world.published("m1") is None
    assert bench.world.lost_machines() == []


def test_looking_often_or_never_makes_no_difference() -> None:
    """The same script, once looked at every second and once only at its end."""
    ends = []
    for looks in (True, False):
        bench = LabBench(keeps_original=True)
        bench.world.add_machine("x", share="gold", guest=GuestBehaviour(own_updater_seconds=7))
        servicing = Servicing(bench, bench.machine()).ready_to_start()
        bench.world.faults.succeeds_late("shut_down", 70, machine="m1")
        servicing.start()
        jump(bench, 20)
        guest = bench.platform.guest(servicing.machine, servicing.host)
        guest.run(["lab-install", "i"])
        with pytest.raises(TryLater):
            servicing.platform.shut_down(servicing.machine)
        for _ in range(100):
            jump(bench, 1)
            if looks:
                servicing.see()
        entries = [e for e in bench.world.journal if not e.what.startswith("call observe")]
        ends.append((servicing.see(), bench.world.machine("m1"), [(e.what, e.at) for e in entries]))
    assert ends[0] == ends[1]
    assert ends[0][0].power is Power.OFF
