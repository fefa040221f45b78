"""A filled lab is believable, the same for the same seed, and quickly filled."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inventory.lab import worlds
from inventory.lab.filling import QUICK, SLOW, fill
from inventory.lab.models import LabMachine
from inventory.lab.summary import summary
from inventory.lab.world import World
from ovmst_site.clock import JumpingClock


def filled(seed: int = 1, machines: int = 60, **options: bool) -> World:
    world = World(JumpingClock())
    fill(world, machines=machines, libraries=2, hosts=4, seed=seed, **options)
    return world


def test_the_same_seed_makes_the_same_world() -> None:
    assert filled(7).machines() == filled(7).machines()
    assert filled(7).machines() != filled(8).machines()


def test_it_has_libraries_hosts_and_three_operating_systems() -> None:
    world = filled()
    machines = world.machines()
    assert [s.name for s in world.shares()] == ["library-1/servers", "library-2/servers"]
    assert [h.name for h in world.hosts()] == ["host-1", "host-2", "host-3", "host-4"]
    assert {m.operating_system for m in machines} == {"Debian 12", "Windows Server 2022", "Ubuntu 24.04"}
    assert {m.share for m in machines} == {"library-1/servers", "library-2/servers"}
    assert len({m.name for m in machines}) == 60
    assert {network for m in machines for _, network in m.generations[0].adapters} == {"production"}
    rounds = [r for m in machines for r in m.guest.rounds]
    assert {len(m.guest.rounds) for m in machines} >= {1, 2}
    assert any(r.restart for r in rounds)
    updates = [u for r in rounds for u in r.updates]
    assert {u.security for u in updates} == {True, False}
    assert {u.held for u in updates} >= {"", "hold", "phased"}


def test_what_is_not_pending_is_up_to_date() -> None:
    for machine in filled(faults=False).machines():
        pending = {u.package: u.version for r in machine.guest.rounds for u in r.updates}
        for package, version in machine.generations[0].content.packages:
            assert version not in ("", "1")
            assert pending.get(package) != version


def test_without_faults_there_are_none() -> None:
    world = filled(faults=False)
    assert world.faults.left() == []
    for machine in world.machines():
        assert not machine.obstacles
        assert not machine.saved
        assert not world.twins(machine)
        assert machine.guest.failing_installs == 0
        assert not machine.guest.endless
        assert not machine.guest.dies_in


def troubles(world: World) -> dict[str, int]:
    """How many machines of each kind."""
    kinds: dict[str, Callable[[object], bool]] = {
        "failing": lambda m: m.guest.failing_installs > 0,  # type: ignore[attr-defined]
        "differencing": lambda m: bool(m.obstacles),  # type: ignore[attr-defined]
        "saved": lambda m: m.saved,  # type: ignore[attr-defined]
        "endless": lambda m: m.guest.endless,  # type: ignore[attr-defined]
        "refused": lambda m: m.guest.source_refused,  # type: ignore[attr-defined]
        "empty": lambda m: not m.guest.source_offers,  # type: ignore[attr-defined]
        "dies": lambda m: bool(m.guest.dies_in),  # type: ignore[attr-defined]
        "twins": lambda m: bool(world.twins(m)),  # type: ignore[arg-type]
        "silent": lambda m: m.guest.never_answers,  # type: ignore[attr-defined]
        "deaf": lambda m: m.guest.ignores_shut_down,  # type: ignore[attr-defined]
        "cut off": lambda m: not m.guest.source_reachable,  # type: ignore[attr-defined]
    }
    return {name: sum(map(test, world.machines())) for name, test in kinds.items()}


def test_faults_are_one_of_each_kind_and_slow_ones_only_when_asked_for() -> None:
    quick = {
        "failing": 1,
        "differencing": 1,
        "saved": 1,
        "endless": 1,
        "refused": 1,
        "empty": 1,
        "dies": 2,
        "twins": 2,
    }
    slow = {"silent": 1, "deaf": 1, "cut off": 1}
    assert troubles(filled()) == quick | dict.fromkeys(slow, 0)
    assert troubles(filled(slow_faults=True)) == quick | slow
    assert len(QUICK) + len(SLOW) + 2 <= 60 // 4
    assert [f.kind for f in filled(faults=False, attention=True).faults._storage._state.faults] == ["gives up"]  # type: ignore[attr-defined]
    assert not [f for f in filled().faults._storage._state.faults if f.kind == "gives up"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("machines", "libraries", "hosts"), [(0, 1, 1), (1, 1, 1), (3, 1, 0), (5, 2, 1)])
def test_small_ones_are_filled_too(machines: int, libraries: int, hosts: int) -> None:
    world = World(JumpingClock())
    fill(world, machines=machines, libraries=libraries, hosts=hosts, seed=1)
    assert len(world.machines()) == machines


def test_a_world_that_is_not_empty_is_left_as_it_is() -> None:
    world = filled(machines=3)
    with pytest.raises(ValueError, match="isn't empty"):
        fill(world, machines=3, libraries=1, hosts=1, seed=1)
    assert len(world.machines()) == 3


@pytest.mark.django_db
def test_ten_thousand_machines_take_few_queries() -> None:
    world = worlds.create("large")
    with CaptureQueriesContext(connection) as seen:
        fill(world, machines=10_000, libraries=2, hosts=4, seed=1)
    assert LabMachine.objects.count() == 10_000
    # SQLite takes some 70 rows in a statement, PostgreSQL 500.
    assert len(seen) < 200
    with CaptureQueriesContext(connection) as seen:
        found = summary(world, page=3, search="web")
    assert len(seen) < 20
    assert found.tally.machines == 10_000
    assert len(found.machines) == 50
    assert all("web" in m.name for m in found.machines)
