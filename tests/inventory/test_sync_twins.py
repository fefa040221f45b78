"""Machines with the same identity, found for each sync and for each preflight."""

from importlib import import_module

from django.apps import apps

from inventory.models import MacAddress, StoredResource, SyncChange
from ovmst_site.access.gate import visible
from ovmst_site.access.models import Membership, Person, Team
from tests.factories import LabSite, make_lab_site
from tests.inventory.syncing import again, changes, rename


def test_twins_are_found_for_each_sync_on_all_servers(lab: LabSite):
    lab.machine("m1", name="one", uuid="u-1")
    lab.machine("m2", name="two", uuid="u-1")
    lab.machine("m3", name="three", adapters={"52:54:00:AA:00:01": "production"})
    other = make_lab_site(lab.clock, name="y")
    other.machine("m4", name="four", adapters={"52:54:00:aa:00:01": "production"})
    other.machine("m5", name="five", adapters={})
    first = again(lab)
    assert first.twins == 2
    assert changes(first, "twin") == {
        "m1": {"same": ["UUID u-1"], "with": ["two"], "more": 0},
        "m2": {"same": ["UUID u-1"], "with": ["one"], "more": 0},
    }
    assert changes(again(other), "twin") == {"m4": {"same": ["52:54:00:aa:00:01"], "with": ["three"], "more": 0}}
    assert set(changes(again(lab), "twin")) == {"m1", "m2", "m3"}
    assert StoredResource.objects.get(external_id="m3").twins() == ["four"]
    assert StoredResource.objects.get(external_id="m5").twins() == []
    rename(lab, "m2", share="elsewhere")  # what is missing is nobody's twin
    assert set(changes(again(lab), "twin")) == {"m3"}


def test_another_teams_twin_is_not_named(lab: LabSite):
    lab.machine("m1", uuid="u-1")
    other = make_lab_site(lab.clock, name="y")
    other.share.team = Team.objects.create(name="Other")
    other.share.save()
    other.machine("m2", name="secret", uuid="u-1")
    again(lab)
    again(other)
    assert changes(again(lab), "twin")["m1"]["with"] == ["a machine of another team"]
    assert StoredResource.objects.get(external_id="m1").twins() == ["a machine of another team"]
    person = Person.objects.create_user("one")
    Membership.objects.create(person=person, team=other.share.team)
    assert {c.external_id for c in visible(person, SyncChange.objects.all())} == {"m2"}


def test_many_clones_are_counted_and_some_named(lab: LabSite):
    for n in range(50):
        lab.machine(f"m{n:02}", uuid="same")
    twins = changes(again(lab), "twin")
    assert len(twins) == 50
    assert all(len(twin["with"]) + twin["more"] == 49 for twin in twins.values())


def test_addresses_follow_the_machine(lab: LabSite):
    lab.machine("m1", adapters={"52:54:00:00:00:01": "production"})
    again(lab)
    resource = StoredResource.objects.get()
    resource.mac_addresses = ["AA:BB", "aa:bb", ""]
    resource.save()
    assert [row.address for row in MacAddress.objects.all()] == ["aa:bb"]
    assert again(lab).changed == 1
    assert [row.address for row in MacAddress.objects.all()] == ["52:54:00:00:00:01"]


def test_addresses_that_lay_in_json_alone_become_rows(lab: LabSite):
    lab.machine("m1", adapters={"52:54:00:00:00:01": "p", "52:54:00:00:00:02": "p"})
    lab.machine("m2")
    again(lab)
    before = set(MacAddress.objects.values_list("resource", "address"))
    MacAddress.objects.all().delete()
    import_module("inventory.migrations.0004_fill_mac_addresses").fill(apps, None)
    assert set(MacAddress.objects.values_list("resource", "address")) == before
    assert len(before) == 3
