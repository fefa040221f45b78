"""The world notices every broken promise: whoever drives it badly is told on."""

from dataclasses import replace
from datetime import timedelta

import pytest

from inventory.lab.records import Copy, GuestBehaviour
from inventory.platforms.base import HostRef, MachineRef
from inventory.platforms.lab import LabPlatform
from tests.contracts.lab_bench import LabBench
from tests.contracts.servicing import Servicing


def only(bench: LabBench, words: str) -> bool:
    """There is exactly one violation, and it says so."""
    [violation] = bench.world.violations
    return words in violation


def test_the_right_way_violates_nothing(bench: LabBench, up: Servicing) -> None:
    up.platform.shut_down(up.machine)
    bench.clock.jump(timedelta(seconds=10))
    up.reconnect().store()
    up.platform.unmark(up.machine, up.marker)
    assert bench.world.violations == []
    assert bench.world.residue() == []
    assert bench.world.awake() == []
    assert bench.world.lost_machines() == []


def test_a_network_that_is_none_for_servicing(bench: LabBench) -> None:
    wrong = HostRef("h1", "h1", "production")
    bench.platform = LabPlatform(replace(bench.platform._config, hosts=(wrong,)))
    Servicing(bench, bench.machine(), wrong).ready_to_start().start()
    assert only(bench, "no servicing network")


def test_a_start_without_protection(bench: LabBench, servicing: Servicing) -> None:
    original = bench.world.original("m1")
    servicing.mark().fetch().isolate().start()
    assert only(bench, "without protection")
    if servicing.platform.keeps_original:
        assert bench.world.published("m1") != original, "it was written in place"


def test_starting_again_what_went_away(bench: LabBench, up: Servicing) -> None:
    bench.kill(up.machine)
    up.start()
    assert bench.world.violations == [], "the same operation, repeated"
    bench.kill(up.machine)
    up.platform.start(up.machine, "op-start-2")
    assert only(bench, "started twice")


def test_more_machines_than_slots_or_memory(bench: LabBench) -> None:
    bench.world.add_host("small", slots=1)
    bench.world.add_host("tiny", memory_mb=512)
    hosts = {name: HostRef(name, name, "servicing") for name in ("small", "tiny")}
    bench.platform = LabPlatform(replace(bench.platform._config, hosts=tuple(hosts.values())))
    Servicing(bench, bench.machine(), hosts["small"]).ready_to_start().start()
    assert bench.world.violations == []
    Servicing(bench, bench.machine(), hosts["small"]).ready_to_start().start()
    Servicing(bench, bench.machine(), hosts["tiny"]).ready_to_start().start()
    assert [v.split(":")[0] for v in bench.world.violations] == ["m2", "m3"]


def test_powering_off_while_an_installer_runs_and_publishing_that(bench: LabBench, up: Servicing) -> None:
    bench.platform.guest(up.machine, up.host).run(["lab-install", "i"])
    up.force_off()
    assert only(bench, "powered off while an installer ran")
    up.reconnect().store()
    assert "published although it is damaged" in bench.world.violations[1]


def test_shutting_down_while_an_installer_runs(bench: LabBench, up: Servicing) -> None:
    bench.platform.guest(up.machine, up.host).run(["lab-install", "i"])
    up.platform.shut_down(up.machine)
    assert only(bench, "while an installer ran")
    bench.clock.jump(timedelta(seconds=10))
    copy = up_copy(bench, up.machine)
    assert copy.content.condition == "damaged"


def test_publishing_a_machine_that_vanished(bench: LabBench, up: Servicing) -> None:
    bench.kill(up.machine)
    up.reconnect().store()
    assert only(bench, "crashed")


def test_publishing_half_installed_packages(bench: LabBench) -> None:
    bench.world.add_machine("x", share="gold", guest=GuestBehaviour(failing_installs=1))
    servicing = Servicing(bench, MachineRef("x", "x", "gold")).ready_to_start().start()
    bench.guest_writes(servicing.machine)
    bench.platform.guest(servicing.machine, servicing.host).run(["lab-install", "i"])
    bench.clock.jump(timedelta(seconds=60))
    servicing.force_off().reconnect().store()
    assert only(bench, "half-installed")


def test_publishing_without_its_own_adapters(bench: LabBench, up: Servicing) -> None:
    up.force_off().store()
    assert only(bench, "other adapters")


def test_publishing_without_tidying(bench: LabBench, up: Servicing) -> None:
    bench.platform.guest(up.machine, up.host).run(["lab-readiness"])
    up.force_off().reconnect().store()
    assert only(bench, "own updater switched off")


@pytest.mark.parametrize("rewound", [True, False])
def test_what_is_brought_back_after_rewinding_violates_nothing(
    bench: LabBench, up: Servicing, rewound: bool
) -> None:
    bench.kill(up.machine)
    if rewound:
        up.bring_back()
    else:
        up.reconnect().store()
    assert (bench.world.violations == []) is rewound


def up_copy(bench: LabBench, machine: MachineRef) -> Copy:
    record = bench.world.machine(machine.external_id)
    assert record is not None
    assert record.copy is not None
    return record.copy
