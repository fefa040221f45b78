"""What every platform's driver must do, whatever it drives.

A driver's own test module inherits from `PlatformContract` and provides the fixture `bench`.
"""

import pytest

from inventory.platforms.base import Ended, FoundHost, FoundMachine, MachineRef, Place, Power
from ovmst_site.faults import NeedsAttention, TryLater
from tests.contracts.bench import Bench
from tests.contracts.platform_safety import SafetyContract
from tests.contracts.servicing import Servicing

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


class PlatformContract(SafetyContract):
    """Inherit from it; each test has a `bench` of its own. See also `SafetyContract`."""

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
