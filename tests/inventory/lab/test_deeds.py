"""What a person does in the lab from a form happens, and what can't be done is said; the same on both storages."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inventory.lab.deeds import BY_NAME, DEEDS, Deed, perform
from inventory.lab.summary import summary
from inventory.lab.world import World
from ovmst_site.faults import TryLater
from tests.contracts.lab_bench import LabBench
from tests.contracts.servicing import Servicing

HOSTILE = [
    "",
    " ",
    "nowhere",
    'a"; $(reboot)`x`',
    "\0",
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{BOMB}",
    "x" * 400,
    "nan",
    "-1",
    "1e99",
]


def arguments_for(deed: Deed) -> dict[str, str]:
    """As a form sends them: all text."""
    known = {"host": "h2", "share": "gold", "network": "production", "seconds": "600", "times": "2", "scale": "60"}
    return {a.name: a.choices[0][0] if a.choices else known.get(a.kind, "some words") for a in deed.arguments}


def target_of(deed: Deed) -> str:
    return {"machine": "m1", "host": "h1", "share": "gold", "world": ""}[deed.on]


@pytest.mark.parametrize("deed", DEEDS, ids=lambda d: d.name)
def test_each_deed_can_be_done_from_a_form(bench: LabBench, up: Servicing, deed: Deed) -> None:
    if deed.name == "start":
        Servicing(bench, bench.machine())
    if deed.needs == "else":
        up.force_off()
        perform(bench.world, "start", "m1", host="h2", network="production")
    target = "m2" if deed.name == "start" else target_of(deed)
    said = perform(bench.world, deed.name, target, **arguments_for(deed))
    assert said.startswith(deed.label)


@pytest.mark.parametrize("deed", DEEDS, ids=lambda d: d.name)
@pytest.mark.parametrize("storage", ["memory"])
def test_what_nobody_can_mean_is_refused_and_changes_nothing(bench: LabBench, deed: Deed) -> None:
    Servicing(bench, bench.machine())
    before = (bench.world.machines(), bench.world.hosts(), bench.world.shares())
    for hostile in HOSTILE:
        if deed.on != "world":
            with pytest.raises(ValueError, match=r"There is no (machine|host|library share)"):
                perform(bench.world, deed.name, hostile, **arguments_for(deed))
        for argument in deed.arguments:
            if argument.kind == "text":
                continue
            with pytest.raises(ValueError, match=r"\w"):
                perform(bench.world, deed.name, target_of(deed), **arguments_for(deed) | {argument.name: hostile})
        with pytest.raises(ValueError, match="there is no"):
            perform(bench.world, deed.name, target_of(deed), **{hostile or "x": "y"})
        with pytest.raises(ValueError, match="Nobody can do"):
            perform(bench.world, hostile, target_of(deed))
    assert (bench.world.machines(), bench.world.hosts(), bench.world.shares()) == before


@pytest.mark.parametrize("text", ["\0", "a\nb", "x" * 201])
def test_words_are_checked_too(bench: LabBench, servicing: Servicing, text: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        perform(bench.world, "mark", "m1", installation=text)


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("stop", "Nobody started"),
        ("power off", "isn't running"),
        ("kill", "isn't running"),
        ("move to host", "isn't on a host"),
        ("reconnect", "isn't on a host"),
    ],
)
def test_what_cannot_be_done_now_is_said(bench: LabBench, servicing: Servicing, deed: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        perform(bench.world, deed, "m1", **arguments_for(BY_NAME[deed]))


def test_what_somebody_runs_is_not_started_twice(bench: LabBench, servicing: Servicing) -> None:
    perform(bench.world, "start", "m1", host="h2", network="production")
    with pytest.raises(ValueError, match="running already"):
        perform(bench.world, "start", "m1", host="h1", network="production")
    assert summary(bench.world, where="awake").found == 1


def test_a_fault_on_request_happens_once(bench: LabBench, servicing: Servicing) -> None:
    perform(bench.world, "fail", "m1", call="mark", times="1", reason="a cable")
    with pytest.raises(TryLater, match="a cable"):
        servicing.mark()
    servicing.mark()


def test_a_fault_of_a_host_happens_there_alone(bench: LabBench, servicing: Servicing) -> None:
    perform(bench.world, "fail on host", "h2", call="fetch", times="1")
    servicing.mark().fetch()
    assert bench.world.effects("fetch") == 1
    other = Servicing(bench, bench.machine(), bench.host_without_network()).mark()
    with pytest.raises(TryLater, match="busy"):
        other.platform.fetch(other.machine, other.host, "f")


def test_faults_can_be_taken_back(bench: LabBench, servicing: Servicing) -> None:
    perform(bench.world, "fail for good", "m1", call="mark")
    assert len(summary(bench.world).faults) == 1
    perform(bench.world, "forget faults")
    servicing.mark()
    assert summary(bench.world).faults == ()


def test_the_summary_shows_the_world(bench: LabBench, up: Servicing) -> None:
    bench.machine("B")
    bench.machine("A")
    bench.world.outsiders.remove_network("h1", "servicing")
    found = summary(bench.world)
    assert (found.tally.machines, found.tally.in_library, found.tally.on_host, found.tally.awake) == (3, 2, 1, 1)
    assert (found.tally.marked, found.tally.working, found.tally.lost) == (1, 0, 0)
    assert [(h.host.id, [m.id for m in h.machines], h.awake) for h in found.hosts] == [
        ("h1", ["m1"], 1),
        ("h2", [], 0),
    ]
    assert [m.name for m in found.machines] == ["A", "B", "a machine"]
    assert found.journal[0].what == "outsider remove network"
    assert [m.id for m in summary(bench.world, where="host").machines] == ["m1"]
    assert [m.name for m in summary(bench.world, search="MACHINE").machines] == ["a machine"]
    page = summary(bench.world, page=2, size=2)
    assert ([m.name for m in page.machines], page.found) == (["a machine"], 3)
    for wrong in ({"where": "moon"}, {"page": 0}, {"size": 0}, {"size": 10**9}):
        with pytest.raises(ValueError, match=r"Machines can't|Pages begin"):
            summary(bench.world, **wrong)


def test_a_machine_that_is_under_way_is_shown_where_it_goes(bench: LabBench, servicing: Servicing) -> None:
    servicing.mark()
    servicing.platform.fetch(servicing.machine, servicing.host, "f")
    found = summary(bench.world)
    assert [m.id for m in found.hosts[0].machines] == ["m1"]
    assert (found.tally.working, found.tally.in_library) == (1, 1)


@pytest.mark.parametrize("storage", ["database"], indirect=True)
@pytest.mark.django_db
def test_the_summary_is_a_constant_number_of_queries(bench: LabBench, up: Servicing) -> None:
    def queries(world: World) -> int:
        with CaptureQueriesContext(connection) as seen:
            summary(world)
        return len(seen)

    few = queries(bench.world)
    with bench.world.together():
        for n in range(300):
            bench.world.add_machine(f"n{n}", share="gold")
            bench.world.perform("mark", f"n{n}", marker=bench.world.machine("m1").marker)  # type: ignore[union-attr]
    assert queries(bench.world) == few
