"""The world in the database: what a call keeps, what it costs, and how its time passes."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from inventory.lab import rows, worlds
from inventory.lab.database import Database
from inventory.lab.models import LabJournal, LabMachine, LabWorld
from inventory.lab.records import NEVER, GuestBehaviour, Mark
from inventory.lab.world import WorkerDied, World
from inventory.platforms.base import ServerConfig
from inventory.platforms.lab import LabPlatform
from ovmst_site import clock
from ovmst_site.clock import JumpingClock
from ovmst_site.faults import GiveUp, TryLater

pytestmark = pytest.mark.django_db
HOSTILE = 'a"; $(reboot)\n`halt` <b>\N{RIGHT-TO-LEFT OVERRIDE}\0 \N{BOMB}' + "x" * 400


@pytest.fixture
def world(jumping_clock: JumpingClock) -> Iterator[World]:
    yield worlds.create("here")
    worlds.forget()


def again() -> World:
    """The same world as another process finds it."""
    return World(storage=Database("here"))


def queries(work: Any) -> int:
    with CaptureQueriesContext(
        connection,
    ) as seen:
        work()
    return len(seen)


@pytest.mark.parametrize("error", [TryLater("a fault"), WorkerDied("here"), ValueError("whatever")])
def test_what_happened_is_kept_however_the_call_ends(world: World, error: BaseException) -> None:
    world.add_machine("m1", share="gold")

    def call() -> None:
        with world.together() as state:
            state.machines["m1"].saved = True
            state.shares["gold"].full = True
            state.note("m1", "something")
            raise error

    with pytest.raises(type(error)):
        call()
    record = again().machine("m1")
    assert record is not None
    assert record.saved
    assert again().shares()[0].full
    assert [e.what for e in again().journal] == ["something"]


def test_a_call_inside_a_call_sees_and_changes_the_same_world(world: World) -> None:
    world.add_machine("m1", share="gold")
    with world.together() as state:
        state.machines["m1"].saved = True
        inner = again().machine("m1")  # another World, the same thread
        assert inner is state.machines["m1"]
        again().add_machine("m2", share="gold")
    assert [m.id for m in again().machines()] == ["m1", "m2"]


def test_it_refuses_to_be_part_of_somebody_elses_transaction(world: World) -> None:
    """What happens in the world stays happened, whatever becomes of the caller's own changes."""
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        world.hosts()


def test_a_look_that_changed_nothing_writes_nothing(world: World) -> None:
    world.add_host("h1")
    with CaptureQueriesContext(connection) as seen:
        again().hosts()
    assert not [q["sql"] for q in seen if q["sql"].startswith(("UPDATE", "INSERT", "DELETE"))]


def test_hostile_names_come_back_as_they_were(world: World) -> None:
    world.add_machine("m1", share=HOSTILE, name=HOSTILE, guest=GuestBehaviour(shut_down_seconds=NEVER))
    world.add_host("h1", name=HOSTILE, networks=[HOSTILE])
    world.add_damaged(HOSTILE, HOSTILE)
    world.outsiders.mark("m1", HOSTILE)
    world.faults.fails("fetch", machine=HOSTILE, reason=HOSTILE)
    record = again().machine("m1")
    assert record is not None
    assert (record.name, record.share, record.guest.shut_down_seconds) == (HOSTILE, HOSTILE, NEVER)
    assert record.marker is not None
    assert record.marker.installation == HOSTILE
    assert (again().hosts()[0].name, again().hosts()[0].networks) == (HOSTILE, {HOSTILE})
    assert again().damaged() == [(HOSTILE, HOSTILE)]
    assert "\0" not in LabJournal.objects.get(what="outsider mark").detail


@pytest.mark.parametrize("machine", ["", "x" * 201, "a\0b", "\ud800"])
def test_what_can_be_no_machines_id_is_none_and_becomes_none(world: World, machine: str) -> None:
    assert world.machine(machine) is None
    with pytest.raises(ValueError, match=r"A machine's id has|surrogates"):
        world.add_machine(machine, share="gold")
    assert world.look("m2").place == "absent"


def test_a_name_is_given_once_and_must_be_one(world: World) -> None:
    for name in ("here", "", "x" * 301):
        with pytest.raises(ValueError, match="A lab can't be named"):
            worlds.create(name)
    with pytest.raises(GiveUp, match="There is no lab of this name: there"):
        worlds.get("there")


def grow(world: World, to: int) -> None:
    with world.together() as state:
        for n in range(len(state.machines), to):
            world.add_machine(f"m{n}", share="gold", memory_mb=64)


def one_servicing(world: World, machine: str) -> None:
    world.perform("mark", machine, marker=Mark("us", "1", "gold", "g1", ()))
    world.perform("fetch", machine, host="h1", op="f")
    world.look(machine)
    world.twins(again().machine(machine))  # type: ignore[arg-type]
    world.violations, world.awake(), world.lost_machines(), world.next_event()
    world.outsiders.cut_off("h1")
    world.outsiders.back("h1")


def test_a_call_costs_the_same_in_a_large_world(world: World) -> None:
    world.add_host("h1")
    grow(world, 20)
    small = queries(lambda: one_servicing(world, "m3"))
    grow(world, 1000)
    loaded: list[int] = []

    def counted() -> None:
        one_servicing(world, "m700")
        with world.together() as state:
            _ = state.machines["m700"], state.machines.on("h1"), list(state.machines.due(state.now))
            loaded.append(len(state.machines._loaded))  # type: ignore[attr-defined]

    assert queries(counted) <= small + 12
    assert loaded[0] <= 3


def test_inventory_is_a_constant_number_of_queries(world: World) -> None:
    world.add_host("h1")
    grow(world, 10)
    platform = LabPlatform(ServerConfig("lab", "here", (), ("gold",), ""))
    few = queries(lambda: list(platform.inventory()))
    grow(world, 500)
    assert queries(lambda: list(platform.inventory())) == few
    assert len(list(platform.inventory())) == 501


def test_the_journal_does_not_grow_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "KEPT_VIOLATIONS", 5)
    LabWorld.objects.update(kept_lines=100)
    for _ in range(20):
        with world.together() as state:
            state.violate("m1", "an early one")
            for _ in range(50):
                state.note("m1", "call fetch")
    assert LabJournal.objects.exclude(what="violation").count() <= 100 + rows.FORGETS_EVERY
    assert LabJournal.objects.filter(what="violation").count() <= 5 + rows.FORGETS_EVERY // 50
    assert world.calls("fetch") == 1000, "what was counted stays counted"
    assert world.violations[-1] == "m1: an early one"


def test_a_machine_keeps_its_first_and_its_newest_generations(world: World) -> None:
    world.add_machine("m1", share="gold")
    first = world.original("m1")
    for _ in range(60):
        newest = world.outsiders.publish("m1")
    assert len(world.history("m1")) == 51
    assert world.original("m1") == first
    assert world.history("m1")[-1].name == newest


def time_of(world: World) -> float:
    with world.together() as state:
        return state.now


def test_time_runs_as_fast_as_was_said_and_never_jumps(jumping_clock: JumpingClock) -> None:
    world = worlds.create("here", time_scale=60)
    start = clock.now().timestamp()
    assert time_of(world) == pytest.approx(start, abs=0.001)
    jumping_clock.jump(timedelta(seconds=10))
    assert time_of(world) == pytest.approx(start + 600, abs=0.001)
    for scale in (1, 0.5, 3600):
        before = time_of(world)
        with world.together() as state:
            state.time_scale = scale
        assert time_of(again()) == pytest.approx(before, abs=0.001)
        jumping_clock.jump(timedelta(seconds=2))
        assert time_of(again()) == pytest.approx(before + 2 * scale, abs=0.001)


def test_a_new_worlds_time_runs_as_the_settings_say(jumping_clock: JumpingClock, settings: Any) -> None:
    settings.LAB_TIME_SCALE = 60.0
    worlds.create("here")
    assert LabWorld.objects.get().time_scale == 60
    for scale in (0, -1, float("inf"), float("nan"), 3601):
        with pytest.raises(ValueError, match="A time scale is"):
            worlds.create("there", time_scale=scale)


def test_a_clock_that_is_set_back_takes_no_time_back(world: World, jumping_clock: JumpingClock) -> None:
    world.add_machine("m1", share="gold")
    told = time_of(world)
    jumping_clock.jump(timedelta(hours=-5))
    assert time_of(world) == pytest.approx(told, abs=0.001)
    jumping_clock.jump(timedelta(seconds=7))
    assert time_of(again()) == pytest.approx(told + 7, abs=0.001), "and it doesn't stand still until then"


def test_the_columns_say_what_the_record_says(world: World) -> None:
    world.add_host("h1")
    world.add_machine("m1", share="gold")
    world.outsiders.start("m1", "h1")
    row = LabMachine.objects.get()
    assert (row.is_awake, row.is_on_host, row.outsiders_host, row.host) == (True, True, "h1", "")
    world.outsiders.stop("m1")
    world.outsiders.delete("m1")
    row = LabMachine.objects.get()
    assert (row.is_awake, row.is_on_host, row.is_gone, row.is_lost) == (False, False, True, True)
