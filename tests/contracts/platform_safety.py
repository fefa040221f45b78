"""The platform contract's second part: nothing is lost, nothing is let loose, nobody else's machine is touched."""

from contextlib import suppress

import pytest

from inventory.platforms.base import (
    Ended,
    Marker,
    Place,
    Power,
)
from ovmst_site.faults import Fault, GiveUp, NeedsAttention, TryLater
from tests.contracts.bench import Bench
from tests.contracts.fixtures import OnABench
from tests.contracts.servicing import Servicing


class SafetyContract(OnABench):
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
