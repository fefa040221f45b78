"""Whatever is called in whatever order, with whatever going wrong: what the world promises holds."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory.lab.faults import TAKE_TIME
from inventory.lab.models import LabWorld
from inventory.lab.records import GuestBehaviour
from inventory.lab.world import WorkerDied
from inventory.platforms.base import MachineRef
from ovmst_site.faults import Fault
from tests.contracts.lab_bench import LabBench
from tests.contracts.servicing import Servicing

BEFORE = ("mark", "fetch", "isolate", "protect", "start")
CALLS = (*BEFORE, "shut_down", "off", "reconnect", "rewind", "store", "unmark")
GUEST = ("readiness", "scan", "install", "restart", "tidy")
FAULTS = ("fails", "hangs", "late", "crash", "dies", "slow", "silent", "stale")
OUTSIDERS = ("start", "stop", "publish", "mark", "cut_off", "back", "crash", "kill", "remove_network", "fill")

actions = st.one_of(
    st.tuples(st.just("call"), st.sampled_from(CALLS), st.integers(0, 3)),
    st.tuples(st.just("guest"), st.sampled_from(GUEST), st.integers(0, 3)),
    st.tuples(st.just("jump"), st.sampled_from((0.5, 5, 30, 300)), st.just(0)),
    st.tuples(st.just("fault"), st.sampled_from(FAULTS), st.sampled_from(range(len(TAKE_TIME)))),
    st.tuples(st.just("outsider"), st.sampled_from(OUTSIDERS), st.just(0)),
)
# A random order of calls almost never gets anywhere: most scripts begin with a few steps of the right way.
scripts = st.tuples(st.integers(0, 5), st.lists(actions, max_size=30))


class Script:
    """Plays actions on a bench of its own, deaf to everything that is raised."""

    def __init__(self, *, keeps_original: bool, storage: str = "memory") -> None:
        self.bench = LabBench(keeps_original=keeps_original, storage=storage)
        self.bench.world.add_machine("x", share="gold", guest=GuestBehaviour(failing_installs=1))
        self.servicing = Servicing(self.bench, MachineRef("x", "x", "gold"))

    def play(self, head: int, tail: list[tuple[str, str | float, int]]) -> None:
        for step in BEFORE[:head]:
            self.do("call", step, 0)
            self.do("jump", 30, 0)
        for kind, what, number in tail:
            self.do(kind, what, number)

    def do(self, kind: str, what: str | float, number: int) -> None:
        try:
            match kind:
                case "jump":
                    self.bench.clock.jump(timedelta(seconds=float(what)))
                case "call":
                    self.calls(f"op-{number}")[str(what)]()
                case "guest":
                    guest = self.bench.platform.guest(self.servicing.machine, self.servicing.host)
                    guest.run([f"lab-{what}", *([f"{what}-{number}"] if what in ("scan", "install") else [])])
                case "fault":
                    self.fault(str(what), TAKE_TIME[number])
                case "outsider":
                    self.outsider(str(what))
        except (Fault, WorkerDied, ValueError):
            pass

    def calls(self, op: str) -> dict[str, Callable[[], object]]:
        s = self.servicing
        platform, machine = s.platform, s.machine
        return {
            "mark": s.mark,
            "fetch": lambda: platform.fetch(machine, s.host, op),
            "isolate": s.isolate,
            "protect": lambda: platform.protect(machine, op),
            "start": lambda: platform.start(machine, op),
            "shut_down": lambda: platform.shut_down(machine),
            "off": lambda: platform.shut_down(machine, force=True),
            "reconnect": s.reconnect,
            "rewind": lambda: platform.rewind(machine, s.origin),
            "store": lambda: platform.store(machine, s.origin, op),
            "unmark": lambda: platform.unmark(machine, s.marker),
        }

    def fault(self, kind: str, call: str) -> None:
        faults = self.bench.world.faults
        {
            "fails": lambda: faults.fails(call),
            "hangs": lambda: faults.hangs(call, effect=True),
            "late": lambda: faults.succeeds_late(call, 20),
            "crash": lambda: faults.crash_after(call),
            "dies": lambda: faults.dies_half_way(call),
            "slow": lambda: faults.slow(call, 50),
            "silent": lambda: faults.silent("x", 10),
            "stale": lambda: faults.stale("x", 10),
        }[kind]()

    def outsider(self, what: str) -> None:
        outsiders = self.bench.world.outsiders
        {
            "start": lambda: outsiders.start("x", "h2"),
            "stop": lambda: outsiders.stop("x"),
            "publish": lambda: outsiders.publish("x"),
            "mark": lambda: outsiders.mark("x"),
            "cut_off": lambda: outsiders.cut_off("h1"),
            "back": lambda: outsiders.back("h1"),
            "crash": lambda: outsiders.crash("h1"),
            "kill": lambda: outsiders.kill("x"),
            "remove_network": lambda: outsiders.remove_network("h1", "servicing"),
            "fill": lambda: outsiders.fill("gold"),
        }[what]()


relaxed = settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(scripts, st.booleans())
def test_no_order_of_calls_loses_a_machine_or_lets_it_loose(
    script: tuple[int, list[tuple[str, str | float, int]]], keeps_original: bool
) -> None:
    it = Script(keeps_original=keeps_original)
    it.play(*script)
    world = it.bench.world
    assert world.lost_machines() == []
    assert not [v for v in world.violations if "no servicing network" in v]
    unprotected = any("without protection" in v for v in world.violations)
    record = world.machine("x")
    assert record is not None
    outsider_ran = any(e.what == "outsider start" for e in world.journal)
    if not unprotected:
        names: dict[str, object] = {}
        for generation in world.history("x"):
            content = names.setdefault(generation.name, generation.content)
            assert content == generation.content, "what was published once was never written"
    if record.copy and record.copy.running and not outsider_ran:
        assert world.awake() == ["x"]
        assert record.outsiders_instance is None


@relaxed
@given(scripts, st.booleans())
def test_looking_changes_nothing(
    script: tuple[int, list[tuple[str, str | float, int]]], keeps_original: bool
) -> None:
    """The same script, with everybody looking after each action and with nobody looking at all."""
    ends = []
    for looks in (True, False):
        it = Script(keeps_original=keeps_original)
        head, tail = script
        it.play(head, [])
        for action in tail:
            it.do(*action)
            if looks:
                it.do("jump", 0, 0)
                it.servicing.see()
                assert it.bench.world.awake() in ([], ["x"])
        journal = [(e.at, e.what, e.detail) for e in it.bench.world.journal if e.what != "call observe"]
        ends.append((it.servicing.see(), it.bench.world.machine("x"), it.bench.world.violations, sorted(journal)))
    assert ends[0] == ends[1]


@pytest.mark.django_db(transaction=True)
@settings(relaxed, max_examples=30)
@given(scripts, st.booleans())
def test_the_world_in_the_database_is_the_same_world(
    script: tuple[int, list[tuple[str, str | float, int]]], keeps_original: bool
) -> None:
    """The same script in memory and in the database: the same machines, lines and counts."""
    LabWorld.objects.all().delete()
    ends = []
    for storage in ("memory", "database"):
        it = Script(keeps_original=keeps_original, storage=storage)
        it.play(*script)
        world = it.bench.world
        journal = [(e.at, e.machine, e.what, e.detail) for e in world.journal]
        counts = [(world.calls(call), world.effects(call), world.effects(call, "x")) for call in TAKE_TIME]
        found = (world.machines(), world.hosts(), world.shares(), world.faults.left(), world.awake())
        ends.append((it.servicing.see(), found, world.violations, world.next_event(), journal, counts))
    assert ends[0] == ends[1]
