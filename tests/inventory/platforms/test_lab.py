"""The lab's driver, where it goes beyond the contract: what it finds, and what preflight is told."""

import pytest

from inventory.platforms.base import Damaged, FoundHost, FoundMachine, MachineRef, ObstacleKind
from inventory.platforms.lab import LabPlatform
from inventory.platforms.registry import open_platform
from ovmst_site.faults import GiveUp, TryLater
from tests.contracts.lab_bench import LabBench


@pytest.fixture
def bench() -> LabBench:
    return LabBench(keeps_original=True)


def ref(bench: LabBench, machine_id: str) -> MachineRef:
    return MachineRef(machine_id, machine_id, "gold")


def test_the_registry_opens_it(bench: LabBench) -> None:
    assert isinstance(open_platform("lab", bench.platform._config), LabPlatform)


def test_everything_is_found(bench: LabBench) -> None:
    bench.world.add_machine("m1", share="gold", name="one", kind="template", memory_mb=2048, disk_bytes=5, cpus=2)
    bench.world.add_machine("m2", share="elsewhere")
    bench.world.add_damaged("gold/broken", "its description is no XML")
    found = list(bench.platform.inventory())
    assert [f.external_id for f in found if isinstance(f, FoundHost)] == ["h1", "h2"]
    [machine] = [f for f in found if isinstance(f, FoundMachine)]
    assert (machine.external_id, machine.name, machine.kind, machine.share) == ("m1", "one", "template", "gold")
    assert (machine.memory_mb, machine.disk_bytes, machine.cpus, machine.generation) == (2048, 5, 2, "g1")
    assert Damaged("gold/broken", "its description is no XML") in found


def test_a_share_that_does_not_answer_stops_the_inventory(bench: LabBench) -> None:
    bench.world.outsiders.share_answers("gold", False)
    with pytest.raises(TryLater, match="gold"):
        list(bench.platform.inventory())
    [bad] = [check for check in bench.platform.check() if not check.ok and "share" in check.what]
    assert "gold" in bad.what
    assert bad.advice


def test_hosts_and_shares_that_do_not_exist_are_named(bench: LabBench) -> None:
    other = LabBench(keeps_original=True)  # takes the name over; it has the same hosts and share
    other.world.outsiders.destroy("h1")
    del other
    platform = LabPlatform(bench.platform._config)
    checks = {check.what: check for check in platform.check()}
    assert not checks["host h1"].ok
    assert "no such host" in checks["host h1"].advice


def test_preflight_is_told_what_stands_in_the_way(bench: LabBench) -> None:
    bench.world.add_machine("saved", share="gold", saved=True)
    bench.world.add_machine("odd", share="gold", obstacles=[("decision needed", "it has a pass-through disk")])
    bench.world.add_machine("twin-a", share="gold", uuid="same")
    bench.world.add_machine("twin-b", share="gold", uuid="same")
    bench.world.add_machine("running", share="gold")
    bench.world.outsiders.start("running", "h2")
    kinds = {}
    for name in ("saved", "odd", "twin-a", "running"):
        [obstacle] = bench.platform.inspect(ref(bench, name)).obstacles
        kinds[name] = obstacle.kind
    assert kinds == {
        "saved": ObstacleKind.REFUSED,
        "odd": ObstacleKind.DECISION,
        "twin-a": ObstacleKind.DECISION,
        "running": ObstacleKind.REFUSED,
    }
    assert bench.platform.observe(ref(bench, "saved")).power == "saved"


def test_a_machine_that_is_gone_is_given_up(bench: LabBench) -> None:
    with pytest.raises(GiveUp):
        bench.platform.inspect(ref(bench, "never"))
