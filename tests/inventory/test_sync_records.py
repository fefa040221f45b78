"""Each sync is recorded; one that fails changes nothing and says why; one at a time runs for a server."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inventory.actions import request_sync
from inventory.models import ManagementServer, StoredResource, SyncRecord
from inventory.platforms.base import FoundMachine
from inventory.platforms.lab import LabPlatform
from inventory.sync import AlreadySyncing, recording, sync
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.access.models import Person
from ovmst_site.faults import Fault, NeedsAttention, TryLater
from servicing import engine
from servicing.actions import QUEUE
from servicing.models import RunTarget
from tests.factories import LabSite, make_lab_site
from tests.inventory.syncing import MINUTE, again, changes, listing, rename


def test_what_happened_to_which_machine_is_kept(lab: LabSite):
    for n in range(3):
        lab.machine(f"m{n}", name=f"machine {n}")
    lab.world.add_damaged("/gold/broken", "no manifest")
    first = again(lab, Person(username="ann"))
    assert (first.result, first.by, first.found, first.added, first.damaged) == ("succeeded", "ann", 3, 3, 1)
    assert first.finished_at == clock.now()
    assert set(changes(first, "added")) == {"m0", "m1", "m2"}
    assert list(changes(first, "damaged").values()) == [{"reason": "no manifest"}]

    rename(lab, "m0", name="new\n'name'", memory_mb=2048)
    rename(lab, "m1", share="elsewhere")
    second = again(lab)
    assert (second.changed, second.missing, second.unchanged, second.added) == (1, 1, 1, 0)
    assert changes(second, "changed") == {
        "m0": {
            "name": {"old": "machine 0", "new": "new\n'name'"},
            "memory_mb": {"old": 1024, "new": 2048},
        }
    }
    assert set(changes(second, "missing")) == {"m1"}
    assert StoredResource.objects.get(external_id="m0").memory_mb == 2048

    rename(lab, "m1", share="gold", cpus=4)
    third = again(lab)
    assert (third.returned, third.changed, third.unchanged) == (1, 0, 2)
    assert changes(third, "returned") == {"m1": {"cpus": {"old": 1, "new": 4}}}
    assert StoredResource.objects.get(external_id="m1").missing_since is None


def test_what_a_sync_does_not_write_stays(lab: LabSite):
    lab.machine("m1")
    again(lab)
    kept = {"compliance": "compliant", "first_in_line": True, "handed_out_to": "ann", "channel_kind": "ssh"}
    StoredResource.objects.update(**kept)
    rename(lab, "m1", name="new")
    assert again(lab).changed == 1
    resource = StoredResource.objects.get()
    assert resource.name == "new"
    assert {name: getattr(resource, name) for name in kept} == kept


@pytest.mark.parametrize("away", [False, True], ids=["seen all the time", "missing in between"])
def test_a_machine_that_was_put_back_to_another_state_is_not_compliant_any_more(lab: LabSite, away: bool):
    for name in ("m1", "m2"):
        lab.machine(name)
    again(lab)
    StoredResource.objects.update(compliance="compliant", compliant_at=clock.now())
    was = StoredResource.objects.get(external_id="m1").generation
    if away:
        rename(lab, "m1", share="elsewhere")
        again(lab)
        rename(lab, "m1", share="gold")
    restored = lab.world.outsiders.publish("m1")
    told = changes(again(lab), "returned" if away else "changed")
    assert told == {
        "m1": {
            "generation": {"old": was, "new": restored},
            "compliance": {"old": "compliant", "new": "unknown"},
        }
    }
    put_back, other = StoredResource.objects.order_by("external_id")
    assert (put_back.generation, put_back.compliance, put_back.compliant_at) == (restored, "unknown", None)
    assert (other.compliance, other.compliant_at is None) == ("compliant", False)


def test_a_generation_that_was_published_meanwhile_stays_and_is_no_change(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch
):
    for name in ("m1", "m2", "m3"):
        lab.machine(name)
    again(lab)
    rename(lab, "m3", share="elsewhere")
    again(lab)
    rename(lab, "m3", share="gold")
    rename(lab, "m2", name="new")
    for name in ("m1", "m2", "m3"):
        lab.world.outsiders.publish(name)

    def slowly(found: Any) -> Iterator[Any]:
        yield from list(found)
        StoredResource.objects.update(generation="newer", compliance="compliant", compliant_at=clock.now())

    # The plan compares with what was there when it asked; the rows have a newer generation when it is applied.
    listing(monkeypatch, slowly)
    record = again(lab)
    assert (record.changed, record.returned, record.unchanged) == (1, 1, 1)
    assert changes(record, "changed") == {"m2": {"name": {"old": "m2", "new": "new"}}}
    assert changes(record, "returned") == {"m3": {}}
    assert set(StoredResource.objects.values_list("generation", "compliance")) == {("newer", "compliant")}


def test_a_share_that_lists_none_of_its_machines_is_not_believed(lab: LabSite):
    for n in range(3):
        lab.machine(f"m{n}")
    again(lab)
    for n in range(3):
        rename(lab, f"m{n}", share="elsewhere")
    lab.machine("new")
    rename(lab, "new", share="elsewhere")
    with pytest.raises(NeedsAttention, match="'gold' lists none of the 3 machines that it had: is it mounted"):
        again(lab)
    failed = SyncRecord.objects.latest("pk")
    assert (failed.result, "--even-empty" in failed.reason) == ("failed", True)
    assert not StoredResource.objects.exclude(missing_since=None).exists()

    lab.clock.jump(MINUTE)
    call_command("sync_inventory", lab.server.name, "--even-empty")
    assert StoredResource.objects.exclude(missing_since=None).count() == 3
    assert again(lab).result == "succeeded"  # they are known to be missing: nothing is left to ask about


def test_a_share_that_lists_something_may_have_lost_the_rest(lab: LabSite):
    for n in range(4):
        lab.machine(f"m{n}")
    again(lab)
    for n in range(3):
        rename(lab, f"m{n}", share="elsewhere")
    assert again(lab).missing == 3
    rename(lab, "m3", share="elsewhere")  # one alone may well have been taken away
    assert again(lab).missing == 1


def test_a_sync_that_fails_says_why_and_changes_nothing(lab: LabSite):
    lab.machine("m1")
    again(lab)
    rename(lab, "m1", name="new")
    lab.world.outsiders.share_answers("gold", False)
    with pytest.raises(Fault):
        again(lab)
    failed = SyncRecord.objects.latest("pk")
    assert (failed.result, failed.changes.count()) == ("failed", 0)
    assert "gold" in failed.reason
    assert StoredResource.objects.get().name != "new"
    lab.world.outsiders.share_answers("gold", True)
    assert again(lab).changed == 1


@pytest.mark.parametrize("where", ["keep_addresses", "ManagementServer"])
def test_a_sync_that_dies_half_way_through_writing_changes_nothing(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch, where: str
):
    lab.machine("m1")
    lab.machine("m2")
    again(lab)
    before = ManagementServer.objects.get().synced_at
    rename(lab, "m1", name="new")
    rename(lab, "m2", share="elsewhere")
    lab.machine("m3")
    from inventory.sync import applying

    with monkeypatch.context() as broken:
        broken.setattr(applying, where, None)
        with pytest.raises((TypeError, AttributeError)):
            again(lab)
    failed = SyncRecord.objects.latest("pk")
    assert failed.result == "failed"
    assert "Error" in failed.reason
    assert sorted(StoredResource.objects.values_list("external_id", "name", "missing_since")) == [
        ("m1", "m1", None),
        ("m2", "m2", None),
    ]
    assert ManagementServer.objects.get().synced_at == before


# --- One at a time ----------------------------------------------------------------------------------------


def test_the_second_of_two_syncs_is_refused_and_says_why(lab: LabSite):
    lab.machine("m1")
    running = recording.begin(lab.server, clock.now(), "ann")
    with pytest.raises(AlreadySyncing, match="is being synced already, since 12:00:00 UTC by ann"):
        sync(lab.server, clock.now())
    with pytest.raises(ValidationError, match="by ann"):
        request_sync(lab.server, SERVICE)
    assert SyncRecord.objects.count() == 1
    running.fail("enough")
    assert again(lab).added == 1


def test_another_servers_sync_is_not_in_the_way(lab: LabSite):
    other = make_lab_site(lab.clock, name="y")
    other.machine("m1")
    recording.begin(lab.server, clock.now(), "ann")
    assert again(other).result == "succeeded"


def test_a_sync_whose_process_died_is_taken_over(lab: LabSite):
    lab.machine("m1")
    dead = recording.begin(lab.server, clock.now(), "ann")
    lab.clock.jump(recording.LEASE)
    assert again(lab).added == 1
    assert SyncRecord.objects.get(pk=dead.record.pk).reason == "its process ended without a word"


@pytest.mark.parametrize("at_its_end", [False, True])
def test_a_sync_that_was_taken_over_applies_nothing(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch, at_its_end: bool
):
    """It hung in one answer for longer than its lease, and then went on."""
    lab.machine("m1")
    ask = LabPlatform.inventory

    def hang(platform: Any) -> Iterator[Any]:
        found = list(ask(platform))
        yield from found if at_its_end else found[:1]
        monkeypatch.setattr(LabPlatform, "inventory", ask)
        lab.clock.jump(recording.LEASE)
        assert again(lab).added == 1
        rename(lab, "m1", name="newer")
        assert again(lab).changed == 1
        yield from [] if at_its_end else found[1:]

    monkeypatch.setattr(LabPlatform, "inventory", hang)
    with pytest.raises(TryLater, match="took over"):
        sync(lab.server, clock.now())
    assert StoredResource.objects.get().name == "newer"
    assert [r.result for r in SyncRecord.objects.order_by("pk")] == ["failed", "succeeded", "succeeded"]


def test_a_long_listing_keeps_its_lease(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    for n in range(40):
        lab.machine(f"m{n:02}")

    def slowly(found: Any) -> Iterator[Any]:
        for each in found:
            lab.clock.jump(MINUTE)
            yield each

    listing(monkeypatch, slowly)
    assert again(lab).added == 40  # 40 minutes, with a lease of 15


# --- What OVMST itself is servicing ------------------------------------------------------------------------


def of_the_library(found: Any) -> Iterator[Any]:
    """As a library would answer that no longer has what was fetched from it."""
    return (each for each in found if not isinstance(each, FoundMachine) or each.generation)


@pytest.fixture
def moving_lab(db: None, jumping_clock: Any, lab: LabSite) -> LabSite:
    return make_lab_site(lab.clock, keeps_original=False, name="moving")


@pytest.mark.parametrize("hidden", [True, False], ids=["not listed meanwhile", "listed without a generation"])
def test_what_is_being_serviced_is_neither_missing_nor_changed(
    moving_lab: LabSite, monkeypatch: pytest.MonkeyPatch, hidden: bool
):
    moving_lab.machine("m1")
    run = moving_lab.start()
    if hidden:
        listing(monkeypatch, of_the_library)
    moving_lab.run_until(run, "install")
    record = again(moving_lab)
    assert (record.missing, record.changed, record.left_alone) == (0, 0, 1)
    resource = StoredResource.objects.get()
    assert (resource.missing_since, resource.generation) == (None, "g1")
    moving_lab.run_to_end(run)
    assert moving_lab.serviced().outcome == "succeeded"
    assert again(moving_lab).unchanged == 1


def test_what_came_back_while_the_library_was_read_is_not_missing(
    moving_lab: LabSite, monkeypatch: pytest.MonkeyPatch
):
    moving_lab.machine("m1")
    run = moving_lab.start()
    moving_lab.run_until(run, "install")

    def slowly(found: Any) -> Iterator[Any]:
        yield from list(of_the_library(found))
        moving_lab.run_to_end(run)

    listing(monkeypatch, slowly)
    record = again(moving_lab)
    assert RunTarget.objects.get().outcome == "succeeded"
    assert (record.missing, record.left_alone) == (0, 1)


def test_a_share_whose_machines_are_all_being_serviced_may_list_none(
    moving_lab: LabSite, monkeypatch: pytest.MonkeyPatch
):
    for name in ("m1", "m2"):
        moving_lab.machine(name)
    moving_lab.start()
    while RunTarget.objects.exclude(step="install").exists():
        engine.advance_due(QUEUE)
        assert moving_lab.jump_to_next()
    listing(monkeypatch, of_the_library)
    record = again(moving_lab)
    assert (record.result, record.missing, record.left_alone) == ("succeeded", 0, 2)


def test_what_only_waits_for_its_turn_may_be_missing(moving_lab: LabSite):
    moving_lab.machine("m1")
    moving_lab.start()
    rename(moving_lab, "m1", share="elsewhere")
    assert again(moving_lab).missing == 1


# --- Ten thousand machines ---------------------------------------------------------------------------------


def queries(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        act()
    return len(captured)


def test_a_thousand_machines_more_cost_a_bounded_number_of_queries(lab: LabSite):
    rows_at_once = connection.features.max_query_params or 1_000_000  # values in one statement: SQLite's 999
    widest = len(StoredResource._meta.concrete_fields)
    for_a_thousand = 3 * (1000 * widest // rows_at_once + 1) + 10

    def fill(first: int) -> None:
        for n in range(first, first + 1000):
            lab.machine(f"m{n}", name=f"machine {n}")

    fill(0)
    first = queries(lambda: again(lab))
    nothing_new = queries(lambda: again(lab))
    fill(1000)
    second = queries(lambda: again(lab))
    assert first <= for_a_thousand + 30
    assert second - nothing_new <= for_a_thousand
    assert queries(lambda: again(lab)) == nothing_new  # two thousand without a change: not one query more
    for n in range(0, 2000, 2):
        rename(lab, f"m{n}", name=f"renamed {n}")
    assert queries(lambda: again(lab)) - nothing_new <= for_a_thousand
    assert StoredResource.objects.filter(name__startswith="renamed").count() == 1000
