"""Faults come when they were asked for, once, and do what they are called."""

import threading
from datetime import timedelta

import pytest

from inventory.lab.world import WorkerDied
from inventory.platforms.base import Ended, Place, Power
from ovmst_site.faults import GiveUp, TryLater
from tests.contracts.lab_bench import LabBench
from tests.contracts.servicing import Servicing


def fetch(servicing: Servicing, op: str = "f") -> None:
    servicing.platform.fetch(servicing.machine, servicing.host, op)


def test_it_fails_n_times_without_an_effect(bench: LabBench, servicing: Servicing) -> None:
    bench.world.faults.fails("fetch", times=2, reason="a cable")
    servicing.mark()
    for _ in range(2):
        with pytest.raises(TryLater, match="a cable"):
            fetch(servicing)
    assert (bench.world.calls("fetch"), bench.world.effects("fetch")) == (2, 0)
    fetch(servicing)
    assert bench.world.effects("fetch", "m1") == 1
    assert bench.world.faults.left() == []


def test_it_fails_for_good(bench: LabBench, servicing: Servicing) -> None:
    bench.world.faults.gives_up("fetch")
    servicing.mark()
    for _ in range(3):
        with pytest.raises(GiveUp):
            fetch(servicing)


def test_it_gives_up_as_often_as_was_said(bench: LabBench, servicing: Servicing) -> None:
    bench.world.faults.gives_up("mark", times=1)
    with pytest.raises(GiveUp):
        servicing.mark()
    servicing.mark()


def test_a_fault_waits_for_its_machine(bench: LabBench, servicing: Servicing) -> None:
    other = Servicing(bench, bench.machine())
    bench.world.faults.fails("mark", machine=other.machine.external_id)
    servicing.mark()
    assert len(bench.world.faults.left()) == 1
    with pytest.raises(TryLater):
        other.mark()


def test_a_fault_of_a_call_that_does_not_exist_is_refused(bench: LabBench) -> None:
    with pytest.raises(ValueError, match="no call"):
        bench.world.faults.fails("fech")
    with pytest.raises(ValueError, match="takes no time"):
        bench.world.faults.slow("mark", 10)
    with pytest.raises(ValueError, match="no middle"):
        bench.world.faults.dies_half_way("mark")


def test_slow_takes_longer(bench: LabBench, servicing: Servicing) -> None:
    bench.world.faults.slow("fetch", 100)
    servicing.mark()
    fetch(servicing)
    bench.clock.jump(timedelta(seconds=129))
    assert servicing.see().operation == "fetch"
    bench.clock.jump(timedelta(seconds=1))
    assert servicing.see().place is Place.HOST


@pytest.mark.parametrize("effect", [True, False])
def test_a_killed_call_had_its_effect_or_not(bench: LabBench, servicing: Servicing, effect: bool) -> None:
    bench.world.faults.hangs("mark", effect=effect)
    with pytest.raises(TryLater):
        servicing.mark()
    assert (servicing.see().marker is not None) is effect


def test_a_call_that_was_killed_succeeds_late(bench: LabBench, up: Servicing) -> None:
    bench.world.faults.succeeds_late("shut_down", 60)
    with pytest.raises(TryLater):
        up.platform.shut_down(up.machine)
    bench.clock.jump(timedelta(seconds=69))
    assert up.see().power is Power.ON
    bench.clock.jump(timedelta(seconds=1))
    assert (up.see().power, up.see().ended) == (Power.OFF, Ended.CLEAN)


def test_a_late_start_finds_out_that_the_machine_is_not_isolated_any_more(
    bench: LabBench, servicing: Servicing
) -> None:
    servicing.ready_to_start()
    bench.world.faults.succeeds_late("start", 60)
    with pytest.raises(TryLater):
        servicing.start()
    servicing.reconnect()
    bench.clock.jump(timedelta(seconds=60))
    assert bench.world.awake() == []
    assert any(e.what == "late start refused" for e in bench.world.journal)


@pytest.mark.parametrize("call", ["fetch", "protect", "store"])
def test_what_dies_half_way_has_no_effect_says_so_and_can_be_repeated(
    bench: LabBench, servicing: Servicing, call: str
) -> None:
    original = bench.content(servicing.machine)
    servicing.mark()
    if call != "fetch":
        servicing.fetch()
    calls = {
        "fetch": lambda: fetch(servicing),
        "protect": lambda: servicing.platform.protect(servicing.machine, "p"),
        "store": lambda: servicing.platform.store(servicing.machine, servicing.origin, "s"),
    }
    before = servicing.see()
    bench.world.faults.dies_half_way(call)
    calls[call]()
    assert servicing.see().operation == call
    seen = servicing.work_is_over()
    assert seen.failed_operation.startswith(call)
    assert (seen.place, seen.protected, seen.generation) == (before.place, before.protected, before.generation)
    calls[call]()
    seen = servicing.work_is_over()
    assert seen.failed_operation == ""
    assert (seen.place, seen.protected) != (before.place, before.protected)
    assert bench.world.effects(call) == 2
    assert bench.world.original("m1") == original


def test_a_failure_is_forgotten_with_the_servicing_that_saw_it(bench: LabBench, servicing: Servicing) -> None:
    bench.world.faults.dies_half_way("fetch")
    servicing.mark()
    fetch(servicing)
    assert servicing.work_is_over().failed_operation
    servicing.platform.unmark(servicing.machine, servicing.marker)
    assert servicing.see().failed_operation == ""


def test_a_second_start_does_not_start_it_again(bench: LabBench, up: Servicing) -> None:
    guest = bench.platform.guest(up.machine, up.host)
    boot = guest.run(["lab-boot-id"]).stdout
    up.start()
    up.platform.start(up.machine, "another operation")
    assert guest.run(["lab-boot-id"]).stdout == boot
    assert (bench.world.calls("start"), bench.world.effects("start")) == (3, 1)


@pytest.mark.parametrize("call", ["start", "shut_down"])
def test_a_guest_dies_half_way(bench: LabBench, servicing: Servicing, call: str) -> None:
    servicing.ready_to_start()
    bench.world.faults.dies_half_way(call)
    servicing.start()
    if call == "shut_down":
        bench.guest_writes(servicing.machine)
        servicing.platform.shut_down(servicing.machine)
    assert servicing.wait(lambda s: s.power is Power.OFF, "gone").ended is Ended.CRASHED


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_worker_dies_at_that_line(bench: LabBench, servicing: Servicing, when: str) -> None:
    servicing.mark()
    getattr(bench.world.faults, f"crash_{when}")("fetch")
    with pytest.raises(WorkerDied):
        fetch(servicing)
    assert not issubclass(WorkerDied, Exception)
    assert (bench.world.calls("fetch"), bench.world.effects("fetch")) == (1, int(when == "after"))
    fetch(servicing)
    assert servicing.work_is_over().place is Place.HOST
    assert (bench.world.calls("fetch"), bench.world.effects("fetch")) == (2, 1)


def test_a_silent_platform_says_unknown_for_a_while(bench: LabBench, servicing: Servicing) -> None:
    servicing.ready_to_start()
    bench.world.faults.silent("m1", 60)
    assert (servicing.see().place, servicing.see().power) == (Place.UNKNOWN, Power.UNKNOWN)
    with pytest.raises(TryLater):
        servicing.platform.inspect(servicing.machine)
    bench.clock.jump(timedelta(seconds=60))
    assert servicing.see().place is Place.HOST


def test_a_stale_answer_is_the_one_from_before(bench: LabBench, up: Servicing) -> None:
    before = up.see()
    bench.world.faults.stale("m1", 60)
    up.platform.shut_down(up.machine, force=True)
    assert up.see() == before
    bench.clock.jump(timedelta(seconds=60))
    assert up.see().power is Power.OFF


def test_looking_can_fail_too(bench: LabBench, servicing: Servicing) -> None:
    bench.world.faults.fails("observe")
    with pytest.raises(TryLater):
        servicing.see()
    bench.world.faults.crash_before("observe")
    with pytest.raises(WorkerDied):
        servicing.see()
    assert servicing.see().place is Place.LIBRARY


@pytest.mark.parametrize("call", ["ping", "scan", "install", "boot_id", "put"])
def test_calls_into_the_guest_can_fail_and_crash(bench: LabBench, up: Servicing, call: str) -> None:
    guest = bench.platform.guest(up.machine, up.host)
    calls = {
        "ping": lambda: guest.ping(),
        "scan": lambda: guest.run(["lab-scan", "s"]),
        "install": lambda: guest.run(["lab-install", "i"]),
        "boot_id": lambda: guest.run(["lab-boot-id"]),
        "put": lambda: guest.put("/run/x", b""),
    }
    bench.world.faults.fails(call)
    with pytest.raises(TryLater):
        calls[call]()
    assert bench.world.effects(call) == 0
    bench.world.faults.crash_after(call)
    with pytest.raises(WorkerDied):
        calls[call]()
    calls[call]()
    assert bench.world.calls(call) == 3
    if call in ("scan", "install"):
        assert bench.world.effects(call) == 1, "the crash didn't double it"


@pytest.mark.parametrize("storage", ["memory"])  # threads and processes on the database: test_processes.py
def test_threads_do_not_lose_calls(bench: LabBench) -> None:
    machines = [Servicing(bench, bench.machine()) for _ in range(4)]

    def work(servicing: Servicing) -> None:
        for _ in range(50):
            servicing.mark()
            servicing.platform.unmark(servicing.machine, servicing.marker)

    threads = [threading.Thread(target=work, args=(machine,)) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.world.calls("mark") == bench.world.effects("unmark") == 200
