"""What every platform's driver must do, whatever it drives.

A driver's own test module inherits from `PlatformContract` and provides the fixture `bench`.
"""

from collections.abc import Callable
from contextlib import suppress

import pytest

from inventory.platforms.base import (
    Ended,
    Facts,
    FoundHost,
    FoundMachine,
    HostRef,
    MachineRef,
    Marker,
    Observed,
    Origin,
    Place,
    Power,
)
from ovmst_site.faults import Fault, GiveUp, NeedsAttention, TryLater
from tests.contracts.bench import Bench

HOSTILE_NAMES = (
    'a"; $(reboot)\n`halt`',
    "it's <b>&amp;]]></b>",
    "../../../etc/passwd",
    "-rf",
    "%s{0}\\",
    "مخزن \u202e لقلا",
    "👩‍🔬" * 20,
    "x" * 300,
)


class Servicing:
    """One machine being serviced on a bench, the way the engine does it."""

    def __init__(self, bench: Bench, machine: MachineRef, host: HostRef | None = None) -> None:
        self.bench = bench
        self.platform = bench.platform
        self.machine = machine
        self.host = host or bench.host()
        self.facts: Facts = self.platform.inspect(machine)
        self.origin = Origin(machine.share, self.facts.generation, self.facts.adapters)
        self.marker = Marker(
            "contract", "target-1", machine.share, self.facts.generation, dict(self.facts.adapters)
        )

    def see(self) -> Observed:
        return self.platform.observe(self.machine)

    def wait(self, reached: Callable[[Observed], bool], what: str) -> Observed:
        self.bench.until(lambda: reached(self.see()), what)
        return self.see()

    def work_is_over(self) -> Observed:
        return self.wait(lambda seen: not seen.operation and seen.place is not Place.UNKNOWN, "operation over")

    def mark(self) -> "Servicing":
        self.platform.mark(self.machine, self.marker)
        return self

    def fetch(self) -> "Servicing":
        self.platform.fetch(self.machine, self.host, "op-fetch")
        assert not self.work_is_over().failed_operation
        return self

    def isolate(self) -> "Servicing":
        network = self.host.servicing_network
        self.platform.connect(self.machine, dict.fromkeys(self.facts.adapters, network), isolated=True)
        return self

    def protect(self) -> "Servicing":
        self.platform.protect(self.machine, "op-protect")
        assert not self.work_is_over().failed_operation
        return self

    def start(self) -> "Servicing":
        self.platform.start(self.machine, "op-start")
        return self

    def force_off(self) -> "Servicing":
        self.platform.shut_down(self.machine, force=True)
        self.wait(lambda seen: seen.power is Power.OFF, "power is off")
        return self

    def reconnect(self) -> "Servicing":
        self.platform.connect(self.machine, self.facts.adapters, isolated=False)
        return self

    def store(self, op: str = "op-store") -> "Servicing":
        self.platform.store(self.machine, self.origin, op)
        self.work_is_over()
        return self

    def bring_back(self) -> "Servicing":
        """What RETURN does with a machine that is off."""
        self.platform.rewind(self.machine, self.origin)
        if self.work_is_over().place is Place.HOST:
            self.reconnect().store()
        self.platform.unmark(self.machine, self.marker)
        return self

    def ready_to_start(self) -> "Servicing":
        return self.mark().fetch().isolate().protect()


class PlatformContract:
    """Inherit from it; each test has a `bench` of its own."""

    @pytest.fixture
    def bench(self) -> Bench:
        raise NotImplementedError

    @pytest.fixture
    def servicing(self, bench: Bench) -> Servicing:
        return Servicing(bench, bench.machine())

    @pytest.fixture
    def running(self, servicing: Servicing) -> Servicing:
        return servicing.ready_to_start().start()

    # Looking

    def test_what_lies_in_the_library_is_found(self, bench: Bench) -> None:
        machine = bench.machine("findable")
        found = list(bench.platform.inventory())
        [it] = [f for f in found if isinstance(f, FoundMachine) and f.external_id == machine.external_id]
        assert (it.name, it.share) == ("findable", machine.share)
        assert it.generation == bench.platform.inspect(machine).generation
        assert set(it.mac_addresses) == set(bench.platform.inspect(machine).adapters)
        hosts = {f.external_id: f for f in found if isinstance(f, FoundHost)}
        assert bench.host().servicing_network in hosts[bench.host().external_id].networks

    def test_half_an_inventory_is_none(self, bench: Bench) -> None:
        bench.machine()
        bench.host_down(bench.host())
        with pytest.raises((TryLater, NeedsAttention)):
            list(bench.platform.inventory())

    def test_doctor_names_the_host_that_does_not_answer(self, bench: Bench) -> None:
        def bad() -> dict[str, str]:
            return {check.what: check.advice for check in bench.platform.check() if not check.ok}

        before = bad()
        assert not any(bench.host().name in what for what in before)
        assert any(bench.host_without_network().name in what for what in before)
        bench.host_down(bench.host())
        [(what, advice)] = [item for item in bad().items() if item[0] not in before]
        assert bench.host().name in what
        assert advice

    def test_a_stored_machine_is_off_in_its_library_and_nobodys(self, servicing: Servicing) -> None:
        seen = servicing.see()
        assert (seen.place, seen.power, seen.marker) == (Place.LIBRARY, Power.OFF, None)
        assert (seen.own_disks, seen.operation, seen.failed_operation) == (False, "", "")
        assert seen.generation == servicing.facts.generation != ""

    def test_inspecting_changes_nothing(self, bench: Bench, servicing: Servicing) -> None:
        before = bench.content(servicing.machine), servicing.see()
        assert servicing.platform.inspect(servicing.machine) == servicing.facts
        assert (bench.content(servicing.machine), servicing.see()) == before

    def test_a_deleted_machine_is_absent_and_that_is_no_error(self, bench: Bench, servicing: Servicing) -> None:
        bench.outsider_deletes(servicing.machine)
        assert servicing.see().place is Place.ABSENT

    def test_one_that_never_was_is_absent(self, bench: Bench) -> None:
        there = bench.machine()
        never = MachineRef("00000000-0000-4000-8000-000000000000", "never was", there.share)
        assert bench.platform.observe(never).place is Place.ABSENT

    def test_unknown_while_its_host_does_not_answer(self, bench: Bench, servicing: Servicing) -> None:
        servicing.mark().fetch()
        bench.host_down(servicing.host)
        seen = servicing.see()
        assert (seen.place, seen.power) == (Place.UNKNOWN, Power.UNKNOWN)
        assert seen.detail
        bench.host_up(servicing.host)
        assert servicing.wait(lambda s: s.place is not Place.UNKNOWN, "host is back").place is Place.HOST

    # The way through

    def test_the_whole_way(self, bench: Bench, servicing: Servicing) -> None:
        if not bench.guests_listen:
            pytest.skip("these guests don't shut down by themselves")
        original = bench.content(servicing.machine)
        servicing.mark()
        assert servicing.marker.same_owner(servicing.see().marker)
        assert servicing.see().place is Place.LIBRARY
        servicing.fetch()
        assert (servicing.see().place, servicing.see().host) == (Place.HOST, servicing.host.external_id)
        assert servicing.see().power is Power.OFF
        servicing.isolate()
        assert servicing.see().is_isolated_on(servicing.host.servicing_network)
        servicing.protect()
        assert servicing.see().protected
        assert servicing.see().is_ours(servicing.marker)
        servicing.start()
        seen = servicing.see()
        assert (seen.power, seen.host) == (Power.ON, servicing.host.external_id)
        assert seen.is_ours(servicing.marker)
        assert seen.is_isolated_on(servicing.host.servicing_network)
        bench.guest_writes(servicing.machine)
        servicing.platform.shut_down(servicing.machine)
        assert servicing.wait(lambda s: s.power is Power.OFF, "shut down").ended is Ended.CLEAN
        servicing.reconnect()
        adapters = {mac: adapter.network for mac, adapter in servicing.see().adapters.items()}
        assert adapters == servicing.facts.adapters
        servicing.store()
        seen = servicing.see()
        assert (seen.place, seen.power, seen.published_by) == (Place.LIBRARY, Power.OFF, "op-store")
        assert seen.generation not in ("", servicing.facts.generation)
        assert bench.content(servicing.machine) != original
        servicing.platform.unmark(servicing.machine, servicing.marker)
        assert servicing.see().marker is None
        assert not bench.host_has(servicing.machine)
        after = servicing.platform.inspect(servicing.machine)
        assert (after.adapters, after.obstacles) == (servicing.facts.adapters, ())
        assert bench.kept(servicing.machine, servicing.facts.generation) == original

    def test_and_it_can_be_serviced_again(self, bench: Bench, running: Servicing) -> None:
        running.force_off().reconnect().store()
        running.platform.unmark(running.machine, running.marker)
        again = Servicing(bench, running.machine).mark()
        again.platform.fetch(again.machine, again.host, "op-fetch-2")
        assert again.work_is_over().place is Place.HOST

    def test_every_call_made_twice_is_harmless(self, bench: Bench, servicing: Servicing) -> None:
        servicing.mark().mark()
        for _ in range(2):
            servicing.platform.fetch(servicing.machine, servicing.host, "op-fetch")
        servicing.fetch().isolate().isolate()
        for _ in range(2):
            servicing.platform.protect(servicing.machine, "op-protect")
        servicing.protect().start().start()
        assert bench.running(servicing.machine) == 1
        servicing.force_off().force_off().reconnect().reconnect()
        for _ in range(2):
            servicing.platform.store(servicing.machine, servicing.origin, "op-store")
        servicing.work_is_over()
        first = servicing.see(), bench.content(servicing.machine)
        assert first[0].published_by == "op-store"
        servicing.store()
        assert (servicing.see(), bench.content(servicing.machine)) == first
        for _ in range(2):
            servicing.platform.unmark(servicing.machine, servicing.marker)
        assert servicing.see().marker is None
        assert not bench.host_has(servicing.machine)

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_a_hostile_name_is_only_a_name(self, bench: Bench, name: str) -> None:
        servicing = Servicing(bench, bench.machine(name))
        names = {f.name for f in bench.platform.inventory() if isinstance(f, FoundMachine)}
        assert name in names
        servicing.ready_to_start().start()
        assert bench.running(servicing.machine) == 1
        servicing.force_off().bring_back()
        assert servicing.see().place is Place.LIBRARY
        assert not bench.host_has(servicing.machine)

    # Whose it is

    def test_somebody_elses_marker_is_not_overwritten(self, bench: Bench, servicing: Servicing) -> None:
        bench.outsider_marks(servicing.machine)
        theirs = servicing.see().marker
        assert theirs is not None
        assert not servicing.marker.same_owner(theirs)
        with pytest.raises(NeedsAttention):
            servicing.mark()
        assert servicing.see().marker == theirs

    def test_another_targets_marker_of_this_installation_is_not_overwritten(self, servicing: Servicing) -> None:
        other = Marker("contract", "target-0", servicing.machine.share, servicing.facts.generation, {})
        servicing.platform.mark(servicing.machine, other)
        with pytest.raises(NeedsAttention):
            servicing.mark()
        assert servicing.see().marker == other

    def test_the_marker_is_read_back_as_it_was_written(self, servicing: Servicing) -> None:
        odd = Marker("inst\"'<&>\n", "ziel 😀", servicing.machine.share, "g'$(x)", {"52:54:00:aa:bb:cc": "n\"'<&"})
        servicing.platform.mark(servicing.machine, odd)
        assert servicing.see().marker == odd

    def test_somebody_elses_marker_is_not_taken_off(self, bench: Bench, servicing: Servicing) -> None:
        bench.outsider_marks(servicing.machine)
        theirs = servicing.see().marker
        servicing.platform.unmark(servicing.machine, servicing.marker)
        assert servicing.see().marker == theirs != None  # noqa: E711

    def test_what_somebody_else_started_is_not_ours_and_is_not_touched(
        self, bench: Bench, servicing: Servicing
    ) -> None:
        servicing.mark()
        bench.outsider_starts(servicing.machine)
        assert servicing.see().power is Power.ON
        assert not servicing.see().is_ours(servicing.marker)
        for force in (False, True):
            with pytest.raises(NeedsAttention):
                servicing.platform.shut_down(servicing.machine, force=force)
        with pytest.raises(NeedsAttention):
            servicing.platform.fetch(servicing.machine, servicing.host, "op-fetch")
        assert bench.running(servicing.machine) == 1
        assert servicing.see().power is Power.ON

    def test_what_somebody_else_started_after_it_was_fetched_is_not_started_a_second_time(
        self, bench: Bench, servicing: Servicing
    ) -> None:
        servicing.ready_to_start()
        bench.outsider_starts(servicing.machine)
        assert not servicing.see().is_ours(servicing.marker)
        for call in (
            lambda: servicing.start(),
            lambda: servicing.platform.shut_down(servicing.machine, force=True),
            lambda: servicing.platform.rewind(servicing.machine, servicing.origin),
            lambda: servicing.platform.store(servicing.machine, servicing.origin, "op-store"),
        ):
            with pytest.raises(NeedsAttention):
                call()
        assert bench.running(servicing.machine) == 1

    def test_once_the_outsider_has_stopped_it_it_can_be_brought_back(
        self, bench: Bench, servicing: Servicing
    ) -> None:
        servicing.ready_to_start()
        bench.outsider_starts(servicing.machine)
        bench.outsider_stops(servicing.machine)
        servicing.bring_back()
        assert servicing.see().place is Place.LIBRARY
        assert not bench.host_has(servicing.machine)

    # Never let loose

    def test_it_is_not_started_without_isolation(self, bench: Bench, servicing: Servicing) -> None:
        servicing.mark().fetch().protect()
        with pytest.raises(GiveUp):
            servicing.start()
        assert bench.running(servicing.machine) == 0

    def test_it_is_not_started_on_another_network(self, bench: Bench, servicing: Servicing) -> None:
        servicing.mark().fetch().protect()
        networks = dict.fromkeys(servicing.facts.adapters, bench.other_network())
        servicing.platform.connect(servicing.machine, networks, isolated=True)
        with pytest.raises(GiveUp):
            servicing.start()
        assert bench.running(servicing.machine) == 0

    def test_it_is_not_started_on_a_host_that_lost_its_servicing_network(
        self, bench: Bench, servicing: Servicing
    ) -> None:
        servicing.ready_to_start()
        bench.remove_network(servicing.host)
        with pytest.raises((GiveUp, TryLater)):
            servicing.start()
        assert bench.running(servicing.machine) == 0

    def test_a_host_without_the_servicing_network_isolates_nothing(self, bench: Bench) -> None:
        servicing = Servicing(bench, bench.machine(), bench.host_without_network())
        servicing.mark().fetch()
        with pytest.raises(GiveUp):
            servicing.isolate()
        assert not servicing.see().is_isolated_on(servicing.host.servicing_network)
        servicing.protect()
        with pytest.raises(GiveUp):
            servicing.start()
        assert bench.running(servicing.machine) == 0
        servicing.bring_back()
        assert servicing.see().place is Place.LIBRARY

    def test_a_running_machine_stays_on_the_servicing_network(self, bench: Bench, running: Servicing) -> None:
        with pytest.raises(Fault):
            running.reconnect()
        assert running.see().is_isolated_on(running.host.servicing_network)

    # How it ended

    def test_a_machine_that_vanished_did_not_end_clean(self, bench: Bench, running: Servicing) -> None:
        bench.kill(running.machine)
        seen = running.wait(lambda s: s.power is Power.OFF, "killed")
        assert seen.place is Place.HOST
        assert seen.ended in (Ended.CRASHED, Ended.UNKNOWN)

    def test_one_that_was_powered_off_did_not_end_clean(self, running: Servicing) -> None:
        assert running.force_off().see().ended is Ended.FORCED

    def test_one_that_vanished_while_it_shut_down_did_not_end_clean(self, bench: Bench, running: Servicing) -> None:
        running.platform.shut_down(running.machine)
        if running.see().power is Power.ON:
            bench.kill(running.machine)
            seen = running.wait(lambda s: s.power is Power.OFF, "killed")
            assert seen.ended in (Ended.CRASHED, Ended.UNKNOWN)

    # The way back

    def test_rewinding_brings_the_content_back(self, bench: Bench, servicing: Servicing) -> None:
        original = bench.content(servicing.machine)
        servicing.ready_to_start().start()
        bench.guest_writes(servicing.machine)
        servicing.force_off().bring_back()
        assert bench.content(servicing.machine) == original
        seen = servicing.see()
        assert (seen.place, seen.generation) == (Place.LIBRARY, servicing.facts.generation)
        assert seen.marker is None
        assert not bench.host_has(servicing.machine)
        assert servicing.platform.inspect(servicing.machine) == servicing.facts

    def test_after_a_rewind_there_is_nothing_left_to_rewind(self, running: Servicing) -> None:
        running.force_off()
        running.platform.rewind(running.machine, running.origin)
        first = running.work_is_over()
        assert first.place is Place.LIBRARY or not first.protected
        running.platform.rewind(running.machine, running.origin)
        assert running.work_is_over() == first

    def test_a_killed_machine_comes_back_as_it_was(self, bench: Bench, servicing: Servicing) -> None:
        original = bench.content(servicing.machine)
        servicing.ready_to_start().start()
        bench.guest_writes(servicing.machine)
        bench.kill(servicing.machine)
        servicing.wait(lambda s: s.power is Power.OFF, "killed")
        servicing.bring_back()
        assert bench.content(servicing.machine) == original

    @pytest.mark.parametrize("steps", [("mark",), ("mark", "fetch"), ("mark", "fetch", "isolate")])
    def test_it_comes_back_from_every_step_before_the_start(
        self, bench: Bench, servicing: Servicing, steps: tuple[str, ...]
    ) -> None:
        original = bench.content(servicing.machine)
        for step in steps:
            getattr(servicing, step)()
        servicing.bring_back()
        seen = servicing.see()
        assert (seen.place, seen.generation) == (Place.LIBRARY, servicing.facts.generation)
        assert bench.content(servicing.machine) == original
        assert not bench.host_has(servicing.machine)
        assert seen.marker is None

    def test_a_running_machine_is_not_rewound(self, bench: Bench, running: Servicing) -> None:
        with pytest.raises((TryLater, NeedsAttention)):
            running.platform.rewind(running.machine, running.origin)
        assert bench.running(running.machine) == 1
        assert running.see().protected

    def test_what_another_has_marked_meanwhile_is_neither_rewound_nor_stored(
        self, bench: Bench, running: Servicing
    ) -> None:
        original = bench.content(running.machine) if running.platform.keeps_original else None
        running.force_off()
        bench.outsider_marks(running.machine)
        theirs = running.see().marker
        for call in (
            lambda: running.platform.rewind(running.machine, running.origin),
            lambda: running.platform.store(running.machine, running.origin, "op-store"),
        ):
            with suppress(NeedsAttention):  # saying so is best; doing nothing is enough
                call()
        seen = running.work_is_over()
        assert seen.marker == theirs
        assert not seen.is_ours(running.marker)
        assert bench.host_has(running.machine), "the state that the guest wrote is still there"
        assert seen.published_by == ""
        if original is not None:
            assert bench.content(running.machine) == original

    # Publishing

    def test_a_running_machine_is_not_stored(self, bench: Bench, running: Servicing) -> None:
        with pytest.raises((TryLater, NeedsAttention)):
            running.platform.store(running.machine, running.origin, "op-store")
        assert running.see().place is Place.HOST
        assert running.see().published_by == ""

    def test_what_the_library_changed_meanwhile_is_not_overwritten(self, bench: Bench, running: Servicing) -> None:
        running.force_off().reconnect()
        theirs = bench.outsider_publishes(running.machine)
        content = bench.content(running.machine)
        try:
            running.platform.store(running.machine, running.origin, "op-store")
        except NeedsAttention:
            pass
        else:
            assert running.work_is_over().failed_operation
        seen = running.see()
        assert (seen.generation, seen.published_by) == (theirs, "")
        assert bench.content(running.machine) == content
        assert bench.host_has(running.machine), "both are kept"

    def test_a_full_share_stays_as_it_was(self, bench: Bench, running: Servicing) -> None:
        running.force_off().reconnect()
        before = running.see().generation
        content = bench.content(running.machine) if running.platform.keeps_original else None
        if not bench.fill_share(running.machine):
            pytest.skip("this bench can't fill a share")
        try:
            running.platform.store(running.machine, running.origin, "op-store")
        except (TryLater, GiveUp):
            pass
        else:
            assert running.work_is_over().failed_operation
        assert (running.see().place, running.see().generation) == (Place.HOST, before)
        if content is not None:
            assert bench.content(running.machine) == content
        bench.empty_share(running.machine)
        running.store("op-store-2")
        assert (running.see().place, running.see().published_by) == (Place.LIBRARY, "op-store-2")

    def test_storing_what_is_at_home_as_it_was_changes_nothing(self, bench: Bench, servicing: Servicing) -> None:
        servicing.mark()
        before = servicing.see(), bench.content(servicing.machine)
        servicing.store()
        assert (servicing.see(), bench.content(servicing.machine)) == before
