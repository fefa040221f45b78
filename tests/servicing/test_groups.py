"""Groups: lists and saved filters, and that a filter which became invalid never means every machine."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError

from inventory.models import LibraryShare, StoredResource
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.access.models import Membership, Person, Team
from servicing import groups
from servicing.actions import (
    add_to_group,
    copy_group,
    create_group,
    delete_group,
    delete_job,
    edit_group,
    preview,
    remove_members,
    start_run,
)
from servicing.filters import ServicingMachineFilter
from servicing.models import Group, RunTarget
from tests.factories import LabSite


@pytest.fixture
def site(lab: LabSite) -> LabSite:
    for n in range(3):
        lab.machine(f"m{n}", name=f"machine {n}", operating_system=f"Lab OS {n % 2}")
    sync(lab.server, clock.now())
    return lab


def names(group: Group) -> list[str]:
    return sorted(groups.members(group).values_list("external_id", flat=True))


def member_of(team: Team, name: str = "member") -> Person:
    person = Person.objects.create_user(name)
    Membership.objects.create(person=person, team=team)
    return person


def test_a_filter_is_evaluated_when_a_run_starts(site: LabSite):
    team = site.job.team
    group = create_group(SERVICE, team=team, name="zeros", kind="filter", filter={"operating_system": "Lab OS 0"})
    assert names(group) == ["m0", "m2"]
    site.machine("m4", operating_system="Lab OS 0")
    sync(site.server, clock.now())
    site.job.group = group
    site.job.save()
    run = start_run(site.job, SERVICE)
    assert sorted(t.resource.external_id for t in run.targets.all()) == ["m0", "m2", "m4"]


def test_a_filter_whose_share_was_deleted_starts_nothing(site: LabSite):
    empty = LibraryShare.objects.create(
        library_server=site.share.library_server, path="short-lived", team=site.job.team
    )
    group = create_group(SERVICE, team=site.job.team, name="theirs", kind="filter", filter={"share": str(empty.pk)})
    site.job.group = group
    site.job.save()
    empty.delete()
    with pytest.raises(ValidationError, match="isn't valid any more"):
        start_run(site.job, SERVICE)
    assert not RunTarget.objects.exists()
    said = preview(site.job, SERVICE)
    assert (said.total, said.fit) == (0, 0)
    assert "isn't valid any more" in said.problem


def test_a_filter_group_holds_its_own_teams_machines_only(site: LabSite):
    other = Team.objects.create(name="Other")
    StoredResource.objects.filter(external_id="m1").update(team=other)
    group = create_group(SERVICE, team=other, name="all", kind="filter", filter={})
    assert names(group) == ["m1"]


NOT_VALID: list[object] = [{"kind": "x"}, {"page": "2"}, {"share": "0"}, {"q": "\ud800" * 300}, ["kind"]]
SAYS_NOTHING: list[object] = [
    None,
    {"q": None},
    {"q": []},
    {"state": {}},
    {"first_in_line": False},
    {"q": False},
    {"q": ["m0"]},
]


@pytest.mark.parametrize("filter", NOT_VALID + SAYS_NOTHING)
def test_a_filter_that_is_not_valid_is_not_saved(site: LabSite, filter: object):
    with pytest.raises(ValidationError) as refused:
        create_group(SERVICE, team=site.job.team, name="bad", kind="filter", filter=filter)  # type: ignore[arg-type]
    assert list(refused.value.message_dict) == ["filter"]
    assert not Group.objects.filter(name="bad").exists()
    group = create_group(SERVICE, team=site.job.team, name="a list", resources=StoredResource.objects.all()[:1])
    with pytest.raises(ValidationError) as refused:
        edit_group(group, SERVICE, version=1, kind="filter", filter=filter)  # type: ignore[arg-type]
    assert list(refused.value.message_dict) == ["filter"]
    assert len(names(Group.objects.get(pk=group.pk))) == 1


def test_no_days_at_all_are_a_number_of_days(site: LabSite):
    StoredResource.objects.filter(external_id="m1").update(compliant_at=clock.now() + timedelta(minutes=1))
    group = create_group(SERVICE, team=site.job.team, name="g", kind="filter", filter={"serviced_before": 0})
    assert group.filter == {"serviced_before": "0"}
    assert "m1" not in names(group)


def test_a_filter_of_all_machines_is_said(site: LabSite):
    group = create_group(SERVICE, team=site.job.team, name="all", kind="filter", filter={"q": " ", "state": ""})
    assert group.filter == {}
    assert groups.describe(group.filter, by=SERVICE, team=group.team) == "all machines"
    assert edit_group(group, SERVICE, version=1, name="everything").filter == {}
    assert len(names(group)) == StoredResource.objects.count()


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_a_group_needs_a_name_that_fits(site: LabSite, name: str):
    with pytest.raises(ValidationError) as refused:
        create_group(SERVICE, team=site.job.team, name=name)
    assert list(refused.value.message_dict) == ["name"]


def test_hostile_names_are_names(site: LabSite):
    for name in ['a"; $(reboot)\n<b>', "\u202eabc", "\U0001f4a5", "NUL\0"]:
        group = create_group(SERVICE, team=site.job.team, name=name)
        assert Group.objects.get(pk=group.pk).name == name.strip().replace("\0", "\N{SYMBOL FOR NULL}")


def test_two_groups_of_a_team_have_two_names(site: LabSite):
    create_group(SERVICE, team=site.job.team, name="one")
    with pytest.raises(ValidationError, match="group of this name") as refused:
        create_group(SERVICE, team=site.job.team, name="one")
    assert list(refused.value.message_dict) == ["name"]


def test_a_list_takes_the_teams_machines_only(site: LabSite):
    other = Team.objects.create(name="Other")
    person = member_of(site.job.team)
    StoredResource.objects.filter(external_id="m1").update(team=other)
    group = create_group(
        person, team=site.job.team, name="ours", resources=StoredResource.objects.filter(team=site.job.team)
    )
    assert names(group) == ["m0", "m2"]
    with pytest.raises(ValidationError) as refused:
        edit_group(group, person, version=1, resources=StoredResource.objects.all())
    assert list(refused.value.message_dict) == ["resources"]
    assert names(group) == ["m0", "m2"]


def test_a_stranger_cannot_touch_a_group(site: LabSite):
    stranger = member_of(Team.objects.create(name="Other"))
    group = create_group(SERVICE, team=site.job.team, name="ours")
    for act in (
        lambda: create_group(stranger, team=site.job.team, name="x"),
        lambda: edit_group(group, stranger, version=1, name="x"),
        lambda: delete_group(group, stranger),
        lambda: preview(group, stranger),
        lambda: preview({}, stranger, team=site.job.team),
    ):
        with pytest.raises(ValidationError):
            act()
    assert Group.objects.get(pk=group.pk).name == "ours"


def test_a_group_becomes_a_filter_and_a_list_again(site: LabSite):
    group = create_group(SERVICE, team=site.job.team, name="g", resources=StoredResource.objects.all())
    group = edit_group(group, SERVICE, version=1, kind="filter", filter={"operating_system": "Lab OS 1", "q": ""})
    assert (names(group), group.filter) == (["m1"], {"operating_system": "Lab OS 1"})
    assert groups.describe(group.filter, by=SERVICE, team=group.team) == "operating system: Lab OS 1"
    first = StoredResource.objects.filter(external_id="m0")
    group = edit_group(group, SERVICE, version=2, kind="static", resources=first)
    assert (names(group), group.filter) == (["m0"], {})


def test_the_later_of_two_edits_is_refused(site: LabSite):
    group = create_group(SERVICE, team=site.job.team, name="g", kind="filter", filter={"q": "1"})
    edit_group(group, SERVICE, version=1, filter={"q": "2"})
    with pytest.raises(ValidationError, match="Somebody else changed 'g'") as refused:
        edit_group(group, SERVICE, version=1, name="theirs", filter={"q": "1"})
    assert refused.value.code == "conflict"
    assert Group.objects.values("name", "filter", "version").get(pk=group.pk) == {
        "name": "g",
        "filter": {"q": "2"},
        "version": 2,
    }


@pytest.mark.parametrize("archived", [False, True])
def test_an_edit_brings_no_deleted_group_back(site: LabSite, monkeypatch: pytest.MonkeyPatch, archived: bool):
    """It is deleted between the question whether one may and the save."""
    group = create_group(SERVICE, team=site.job.team, name="g")
    monkeypatch.setattr("servicing.actions.groups.must_own_group", lambda *args: None)
    rows = Group.objects.filter(pk=group.pk)
    if archived:
        rows.update(archived_at=clock.now())
    else:
        rows.delete()
    for act in (
        lambda: edit_group(group, SERVICE, version=1, name="again"),
        lambda: add_to_group(group, SERVICE, StoredResource.objects.all()),
        lambda: remove_members(group, SERVICE, StoredResource.objects.all()),
        lambda: delete_group(group, SERVICE),
    ):
        with pytest.raises(ValidationError, match="The group g was deleted"):
            act()
    assert not Group.objects.current().filter(pk=group.pk).exists()
    assert not Group.objects.filter(name="again").exists()


def test_a_copy_leaves_out_what_went_to_another_team(site: LabSite):
    group = create_group(SERVICE, team=site.job.team, name="g", resources=StoredResource.objects.all())
    StoredResource.objects.filter(external_id="m1").update(team=Team.objects.create(name="Other"))
    assert names(copy_group(group, member_of(site.job.team))) == ["m0", "m2"]


def test_a_group_that_jobs_use_stays_and_names_them(site: LabSite):
    with pytest.raises(ValidationError, match="Monthly x"):
        delete_group(site.job.group, SERVICE)
    run = site.start()
    site.run_to_end(run)
    assert delete_job(site.job, SERVICE) is True  # archived: it has a run
    delete_group(site.job.group, SERVICE)
    assert not Group.objects.current().exists()
    assert run.targets.count() == 3
    create_group(SERVICE, team=site.job.team, name=site.job.group.name)  # its name is free again


def test_the_filter_knows_what_is_being_serviced(site: LabSite):
    def found(state: str) -> int:
        return len(ServicingMachineFilter({"state": state}, by=SERVICE).qs)

    assert found("servicing") == 0
    run = site.start()
    assert found("servicing") == 3
    site.run_to_end(run)
    assert (found("servicing"), found("attention"), found("library")) == (0, 0, 3)
