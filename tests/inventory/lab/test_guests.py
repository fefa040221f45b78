"""Guests of the lab behave as they were told to, well or badly."""

from datetime import timedelta

import pytest

from inventory.lab.records import GuestBehaviour, Machine, Round, Update
from inventory.platforms.base import Ended, Power
from inventory.remote.base import GuestChannel
from ovmst_site.faults import GiveUp, TryLater
from servicing.updaters.base import Installed, Scan, Verdict
from servicing.updaters.lab import LabUpdater
from tests.contracts.lab_bench import LabBench
from tests.contracts.servicing import Servicing

updater = LabUpdater()


class Guest:
    """A started machine and short words for what is done to it."""

    def __init__(self, bench: LabBench, behaviour: GuestBehaviour, *, up: bool = True) -> None:
        self.bench = bench
        self.bench.world.add_machine("g", share="gold", guest=behaviour, packages={"base-files": "12"})
        machine = bench.machine()  # for its reference only
        self.ref = type(machine)("g", "g", "gold")
        self.servicing = Servicing(bench, self.ref).ready_to_start().start()
        if up:
            self.wait(behaviour.boot_seconds)

    @property
    def channel(self) -> GuestChannel:
        return self.bench.platform.guest(self.ref, self.bench.host())

    @property
    def record(self) -> Machine:
        record = self.bench.world.machine("g")
        assert record is not None
        return record

    def wait(self, seconds: float) -> None:
        self.bench.clock.jump(timedelta(seconds=seconds))

    def scan(self, op: str) -> Scan:
        updater.scan(self.channel, op)
        self.wait(5)
        found = updater.scan(self.channel, op)
        assert isinstance(found, Scan)
        return found

    def install(self, op: str) -> Installed:
        updater.install(self.channel, op)
        self.wait(60)
        ended = updater.install(self.channel, op)
        assert isinstance(ended, Installed)
        return ended


def names(scan: Scan) -> list[str]:
    return [p.name for p in scan.pending]


def test_the_next_round_shows_only_after_the_restart(bench: LabBench) -> None:
    rounds = (
        Round((Update("kernel", "2"),), restart=True),
        Round((Update("ssl", "2"),)),
        Round((Update("x", "9"),)),
    )
    guest = Guest(bench, GuestBehaviour(rounds=rounds))
    assert names(guest.scan("s1")) == ["kernel"]
    assert guest.install("i1").restart_needed
    found = guest.scan("s2")
    assert (names(found), found.restart_needed) == ([], True)
    updater.restart(guest.channel)
    guest.wait(30)
    assert names(guest.scan("s3")) == ["ssl"]
    assert not guest.install("i2").restart_needed
    assert names(guest.scan("s4")) == ["x"]


def test_security_and_origin_come_through(bench: LabBench) -> None:
    update = Update("ssl", "2", origin="gold-security", security=True, held="phased")
    guest = Guest(bench, GuestBehaviour(rounds=(Round((update,)),)))
    [pending] = guest.scan("s1").pending
    assert (pending.origin, pending.security, pending.held) == ("gold-security", True, "phased")
    assert guest.scan("s2").verdict is Verdict.MISSING


def test_without_an_end_of_updates_there_is_always_one_more(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour(endless=True))
    for n in range(3):
        assert guest.scan(f"s{n}").verdict is Verdict.MISSING
        assert guest.install(f"i{n}").ok
    assert guest.scan("s9").verdict is Verdict.MISSING


def test_one_that_never_answers_runs_all_the_same(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour(never_answers=True))
    guest.wait(10_000)
    with pytest.raises(TryLater):
        guest.channel.ping()
    guest.bench.platform.shut_down(guest.ref)
    guest.wait(10_000)
    assert guest.servicing.see().power is Power.ON
    guest.servicing.force_off().bring_back()


def test_one_that_ignores_shut_down_goes_on(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour(ignores_shut_down=True))
    guest.bench.platform.shut_down(guest.ref)
    guest.wait(10_000)
    guest.channel.ping()


def test_after_its_update_it_starts_for_ever(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour(boot_loops_after_update=True))
    updater.restart(guest.channel)
    guest.wait(30)
    guest.channel.ping()
    guest.install("i1")
    updater.restart(guest.channel)
    guest.wait(10_000)
    with pytest.raises(TryLater):
        guest.channel.ping()
    assert guest.servicing.see().power is Power.ON


@pytest.mark.parametrize("phase", ["boot", "install", "shut_down"])
def test_it_goes_away_in_the_middle(bench: LabBench, phase: str) -> None:
    guest = Guest(bench, GuestBehaviour(dies_in=frozenset({phase})), up=False)
    guest.wait(9)
    assert guest.servicing.see().power is Power.ON
    guest.wait(20)
    if phase == "install":
        updater.install(guest.channel, "i1")
        guest.wait(30)
    elif phase == "shut_down":
        guest.bench.platform.shut_down(guest.ref)
        guest.wait(5)
    seen = guest.servicing.see()
    assert (seen.power, seen.ended) == (Power.OFF, Ended.CRASHED)
    copy = guest.record.copy
    assert copy is not None
    assert copy.content.condition == ("damaged" if phase == "install" else "unclean")


def test_two_installers_never_run_at_once(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour(own_updater_seconds=100))
    assert updater.is_installing(guest.channel)
    with pytest.raises(TryLater):
        updater.install(guest.channel, "i1")
    guest.wait(100)
    assert not updater.is_installing(guest.channel)
    assert guest.install("i1").ok


def test_a_wrong_clock_is_told(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour(clock_skew=-86400))
    assert updater.readiness(guest.channel, now=bench.clock.now().timestamp()).clock_skew == -86400


def test_an_expired_source_is_given_up(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour(source_refused=True))
    with pytest.raises(GiveUp):
        guest.scan("s1")


def test_a_failed_installation_heals_when_it_is_repeated(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour(failing_installs=1))
    assert not guest.install("i1").ok
    assert not updater.health(guest.channel).ok
    assert guest.install("i2").ok
    assert updater.health(guest.channel).ok


def test_a_restart_forgets_what_ran_in_the_guest(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour())
    guest.channel.put("/run/x", b"1")
    assert guest.channel.get("/run/x") == b"1"
    assert guest.channel.get("/run/y") is None
    updater.restart(guest.channel)
    guest.wait(29)
    with pytest.raises(TryLater):
        guest.channel.ping()
    guest.wait(1)
    assert guest.channel.get("/run/x") is None


def test_a_restart_in_the_middle_of_an_installation_damages(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour())
    updater.install(guest.channel, "i1")
    updater.restart(guest.channel)
    guest.wait(30)
    assert not updater.health(guest.channel).ok
    assert any("while an installer ran" in v for v in bench.world.violations)


def test_the_jobs_own_checks_exit_as_told(bench: LabBench) -> None:
    guest = Guest(bench, GuestBehaviour(programs={"good": 0, "bad": 3}))
    codes = [guest.channel.run([name]).exit_code for name in ("good", "bad", "none")]
    assert codes == [0, 3, 127]
    assert guest.channel.run(["lab-scan"]).exit_code == 2
    guest.scan("s1")
    assert guest.channel.run(["lab-install", "s1"]).exit_code == 2, "a name is used for one thing only"
