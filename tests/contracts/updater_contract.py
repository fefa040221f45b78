"""What every update system's driver must do, whatever it drives.

A driver's own test module inherits from `UpdaterContract` and provides the fixture `bench`.
"""

from collections.abc import Callable
from typing import Protocol

import pytest

from inventory.remote.base import GuestChannel
from ovmst_site.faults import GiveUp, TryLater
from servicing.updaters.base import Held, Installed, Running, Scan, Updater, Verdict


class UpdaterBench(Protocol):
    """One running guest, with one update pending that asks for a restart, and a way to spoil its day."""

    @property
    def updater(self) -> Updater: ...

    @property
    def guest(self) -> GuestChannel: ...

    def now(self) -> float: ...

    def until(self, reached: Callable[[], bool], what: str) -> None:
        """Let time pass until `reached`; fails the test where that takes too long."""
        ...

    def own_updater_is_on(self) -> bool:
        """Whether the guest would update itself."""
        ...

    def break_source(self) -> None:
        """The update source can't be reached from the guest."""
        ...

    def empty_source(self) -> None:
        """The update source is there and has nothing to offer."""
        ...

    def hold(self) -> None:
        """An administrator of the guest puts what is pending on hold."""
        ...

    def break_installation(self) -> None:
        """The next installation ends with a failure."""
        ...

    def stop_guest(self) -> None:
        """The guest goes away."""
        ...

    def begun(self, what: str) -> int:
        """How often a "scan" or an "install" really began inside."""
        ...


class UpdaterContract:
    """Inherit from it; each test has a `bench` of its own."""

    @pytest.fixture
    def bench(self) -> UpdaterBench:
        raise NotImplementedError

    def scan(self, bench: UpdaterBench, op: str) -> Scan:
        found: list[Scan] = []

        def reached() -> bool:
            answer = bench.updater.scan(bench.guest, op)
            if isinstance(answer, Scan):
                found.append(answer)
            return bool(found)

        bench.until(reached, f"scan {op}")
        return found[0]

    def install(self, bench: UpdaterBench, op: str) -> Installed:
        ended: list[Installed] = []

        def reached() -> bool:
            answer = bench.updater.install(bench.guest, op)
            if isinstance(answer, Installed):
                ended.append(answer)
            return bool(ended)

        bench.until(reached, f"install {op}")
        return ended[0]

    def restart(self, bench: UpdaterBench) -> None:
        before = bench.updater.boot_id(bench.guest)
        bench.updater.restart(bench.guest)

        def reached() -> bool:
            try:
                return bench.updater.boot_id(bench.guest) != before
            except TryLater:
                return False

        bench.until(reached, "restarted")

    def test_doctor_has_a_line_for_it(self, bench: UpdaterBench) -> None:
        lines = list(bench.updater.check())
        assert lines
        assert all(line.ok or line.advice for line in lines)

    def test_readiness_tells_the_clock_and_stops_the_guests_own_updater(self, bench: UpdaterBench) -> None:
        assert bench.own_updater_is_on()
        ready = bench.updater.readiness(bench.guest, now=bench.now())
        assert ready.source is not False
        assert ready.clock_skew is not None
        assert abs(ready.clock_skew) < 5
        assert not bench.own_updater_is_on()
        later = bench.updater.readiness(bench.guest, now=bench.now() - 3600).clock_skew
        assert later is not None
        assert 3595 < later < 3605

    def test_tidying_puts_the_guests_own_updater_back_and_twice_is_harmless(self, bench: UpdaterBench) -> None:
        for _ in range(2):
            bench.updater.readiness(bench.guest, now=bench.now())
        self.scan(bench, "scan-1")
        for _ in range(2):
            bench.updater.tidy(bench.guest)
            assert bench.own_updater_is_on()

    def test_what_is_pending_is_listed(self, bench: UpdaterBench) -> None:
        found = self.scan(bench, "scan-1")
        assert found.verdict is Verdict.MISSING
        [pending] = found.installable
        assert pending.offered != pending.installed
        installed = {package.name: package.version for package in found.packages}
        assert installed[pending.name] == pending.installed != ""
        assert len(installed) == len(found.packages) > 1

    def test_asking_for_a_scan_again_does_not_begin_another(self, bench: UpdaterBench) -> None:
        first = self.scan(bench, "scan-1")
        assert self.scan(bench, "scan-1") == first
        assert bench.begun("scan") == 1
        self.scan(bench, "scan-2")
        assert bench.begun("scan") == 2

    def test_a_refresh_that_failed_is_not_an_empty_list(self, bench: UpdaterBench) -> None:
        bench.break_source()
        assert bench.updater.readiness(bench.guest, now=bench.now()).source is not True
        with pytest.raises((TryLater, GiveUp)):
            self.scan(bench, "scan-1")

    def test_a_source_that_offers_nothing_does_not_make_it_compliant(self, bench: UpdaterBench) -> None:
        bench.empty_source()
        assert self.scan(bench, "scan-1").verdict is Verdict.NOTHING_OFFERED

    def test_installing_brings_what_was_pending(self, bench: UpdaterBench) -> None:
        [pending] = self.scan(bench, "scan-1").installable
        assert self.install(bench, "install-1").ok
        after = self.scan(bench, "scan-2")
        assert after.verdict is Verdict.COMPLIANT
        assert {p.name: p.version for p in after.packages}[pending.name] == pending.offered

    def test_asking_for_an_installation_again_does_not_begin_another(self, bench: UpdaterBench) -> None:
        first = self.install(bench, "install-1")
        assert self.install(bench, "install-1") == first
        assert bench.begun("install") == 1

    def test_it_says_while_an_installer_runs(self, bench: UpdaterBench) -> None:
        assert not bench.updater.is_installing(bench.guest)
        assert isinstance(bench.updater.install(bench.guest, "install-1"), Running)
        assert bench.updater.is_installing(bench.guest)
        self.install(bench, "install-1")
        assert not bench.updater.is_installing(bench.guest)

    def test_a_restart_is_told_by_the_boot(self, bench: UpdaterBench) -> None:
        assert self.install(bench, "install-1").restart_needed
        assert self.scan(bench, "scan-1").restart_needed
        assert bench.updater.boot_id(bench.guest) == bench.updater.boot_id(bench.guest) != ""
        self.restart(bench)
        assert not self.scan(bench, "scan-2").restart_needed
        health = bench.updater.health(bench.guest)
        assert health.ok, health.problems

    def test_before_its_restart_it_is_not_healthy(self, bench: UpdaterBench) -> None:
        assert self.install(bench, "install-1").ok
        health = bench.updater.health(bench.guest)
        assert not health.ok
        assert health.problems

    def test_a_failed_installation_is_told_with_the_installers_words(self, bench: UpdaterBench) -> None:
        bench.break_installation()
        result = self.install(bench, "install-1")
        assert not result.ok
        assert result.note
        assert result.log
        assert not bench.updater.health(bench.guest).ok
        assert self.scan(bench, "scan-1").verdict is Verdict.MISSING

    def test_what_is_on_hold_is_an_exception_and_not_installed(self, bench: UpdaterBench) -> None:
        bench.hold()
        found = self.scan(bench, "scan-1")
        assert found.installable == ()
        [pending] = found.pending
        assert pending.held is Held.HOLD
        assert found.verdict is Verdict.COMPLIANT
        self.install(bench, "install-1")
        assert self.scan(bench, "scan-2").pending == found.pending

    @pytest.mark.parametrize(
        "call", ["readiness", "scan", "install", "restart", "boot_id", "is_installing", "health", "tidy"]
    )
    def test_a_guest_that_is_gone_may_come_back(self, bench: UpdaterBench, call: str) -> None:
        bench.stop_guest()
        calls: dict[str, Callable[[], object]] = {
            "readiness": lambda: bench.updater.readiness(bench.guest, now=bench.now()),
            "scan": lambda: bench.updater.scan(bench.guest, "scan-1"),
            "install": lambda: bench.updater.install(bench.guest, "install-1"),
            "restart": lambda: bench.updater.restart(bench.guest),
            "boot_id": lambda: bench.updater.boot_id(bench.guest),
            "is_installing": lambda: bench.updater.is_installing(bench.guest),
            "health": lambda: bench.updater.health(bench.guest),
            "tidy": lambda: bench.updater.tidy(bench.guest),
        }
        with pytest.raises(TryLater):
            calls[call]()
