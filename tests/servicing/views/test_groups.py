"""The pages of groups."""

from typing import Any

import pytest
from django.test import Client

from inventory.models import StoredResource
from inventory.sync import sync
from ovmst_site.access.models import Membership, Person, Team
from servicing.groups import members
from servicing.models import Group
from tests.factories import LabSite
from tests.hostile import HOSTILE, of


@pytest.fixture
def stock(lab: LabSite) -> LabSite:
    """Four machines, no run."""
    for n, name in enumerate(["web 1", "web 2", "db <b>1</b>", "lonely"]):
        lab.machine(f"m{n}", name=name)
    sync(lab.server, lab.clock.now())
    return lab


def names(group: Group) -> list[str]:
    return sorted(members(group).values_list("name", flat=True))


def pk_of(name: str) -> int:
    return StoredResource.objects.get(name=name).pk


def test_a_list_is_made_and_its_machines_are_chosen(stock: LabSite, page: Client):
    answer = page.post("/groups/new/", {"name": "Web"})
    group = Group.objects.get(name="Web")
    assert answer["Location"] == f"/groups/{group.pk}/add/"
    add = f"/groups/{group.pk}/add/"
    # By hand, then all that the filter finds: what is in it already is neither shown nor counted.
    page.post(f"{add}?q=web", {"machine": [pk_of("web 1")]})
    assert names(group) == ["web 1"]
    text = page.get(f"{add}?q=web").content.decode()
    assert "Add all 1 machine" in text
    assert "search: web" in text
    page.post(f"{add}?q=web", {"all": "1"})
    assert names(group) == ["web 1", "web 2"]
    # And off the list again.
    page.post(f"/groups/{group.pk}/remove/", {"machine": [pk_of("web 1"), pk_of("lonely")]})
    assert names(group) == ["web 2"]


def test_all_that_match_is_never_all_by_mistake(stock: LabSite, page: Client):
    group = Group.objects.create(team=stock.job.team, name="Some")
    answer = page.post(f"/groups/{group.pk}/add/?share=999", {"all": "1"}, follow=True)
    assert "the filter isn&#x27;t valid" in answer.content.decode()
    page.post(f"/groups/{group.pk}/add/?q=nothing-has-this", {"all": "1"})
    page.post(f"/groups/{group.pk}/add/", {"machine": ["x", "-1", "9" * 30, "1e3"]})
    page.post(f"/groups/{group.pk}/add/", {})
    assert names(group) == []


def test_machines_of_another_team_are_never_added(stock: LabSite, page: Client):
    foreign = StoredResource.objects.get(name="lonely")
    StoredResource.objects.filter(pk=foreign.pk).update(team=Team.objects.create(name="Foreign"))
    group = Group.objects.create(team=stock.job.team, name="Some")
    page.post(f"/groups/{group.pk}/add/", {"machine": [foreign.pk]})
    page.post(f"/groups/{group.pk}/add/", {"all": "1"})
    assert "lonely" not in names(group)
    assert len(names(group)) == 3


def test_a_filter_is_saved_from_the_machines_page_and_asked_anew(stock: LabSite, page: Client):
    text = page.get("/groups/new/?q=web").content.decode()
    assert "It takes <strong>2 machines</strong> now" in text
    answer = page.post("/groups/new/", {"kind_of": "filter", "name": "Web", "q": "web", "state": ""})
    group = Group.objects.get(name="Web")
    assert answer["Location"] == f"/groups/{group.pk}/"
    assert (group.kind, group.filter) == ("filter", {"q": "web"})
    stock.machine("m9", name="web 9")
    sync(stock.server, stock.clock.now())
    shown = page.get(f"/groups/{group.pk}/").content.decode()
    assert "3 machines" in shown
    assert "search: web" in shown
    # Changing it; what isn't valid is said and saves nothing.
    edit = f"/groups/{group.pk}/edit/"
    wrong = page.post(edit, {"name": "Web", "q": "web", "kind": "spaceship"})
    assert wrong.status_code == 422
    assert "spaceship" in wrong.content.decode()
    assert page.post(edit, {"name": "Databases", "q": "db <", "version": "1"}).status_code == 302
    group.refresh_from_db()
    assert (group.name, names(group)) == ("Databases", ["db <b>1</b>"])


def test_whoever_edits_second_is_told_and_keeps_what_they_wrote(stock: LabSite, page: Client):
    group = _filter(stock)
    edit = f"/groups/{group.pk}/edit/"
    mine = {"name": "Mine", "q": "lonely", "version": str(page.get(edit).context["form"]["version"].value())}
    assert page.post(edit, {"name": "Theirs <b>", "q": "db", "version": "1"}).status_code == 302
    told = page.post(edit, mine)
    assert told.status_code == 422
    text = told.content.decode()
    assert "Somebody else has changed this group" in text
    assert "Theirs &lt;b&gt;" in text
    assert "search: db" in text
    assert 'value="Mine"' in text
    assert 'value="lonely"' in text
    group.refresh_from_db()
    assert (group.name, group.filter) == ("Theirs <b>", {"q": "db"})
    again = mine | {"version": str(told.context["form"]["version"].value())}
    assert page.post(edit, again).status_code == 302
    group.refresh_from_db()
    assert (group.name, group.filter, group.version) == ("Mine", {"q": "lonely"}, 3)
    assert page.post(edit, {"name": "Without", "q": "web"}).status_code == 422


def test_a_machine_that_went_to_another_team_is_said_not_counted_and_taken_off(stock: LabSite, page: Client):
    group = stock.job.group
    group.resources.set(StoredResource.objects.all())
    Membership.objects.create(person=Person.objects.get(), team=(other := Team.objects.create(name="Other")))
    StoredResource.objects.filter(name="lonely").update(team=other)
    assert page.get("/groups/").context["rows"] == [(group, 3)]
    shown = page.get(f"/groups/{group.pk}/").content.decode()
    assert "1 machine went to another team" in shown
    assert "3 machines" in shown
    assert "lonely" not in shown
    copied = page.post(f"/groups/{group.pk}/copy/", follow=True).content.decode()
    assert "1 machine went to another team: not in the copy." in copied
    after = page.post(f"/groups/{group.pk}/remove/", {"strays": "1"}, follow=True).content.decode()
    assert "Took 1 machine off the list" in after
    assert "went to another team" not in after
    assert names(group) == ["db <b>1</b>", "web 1", "web 2"]


def test_the_preview_follows_what_is_typed(stock: LabSite, page: Client):
    for address in ("/groups/new/", f"/groups/{_filter(stock).pk}/edit/"):
        part = page.get(address, {"kind_of": "filter", "q": "db <"}, headers={"HX-Request": "true"})
        text = part.content.decode()
        assert "<html" not in text
        assert "<strong>1 machine</strong>" in text
        assert "&lt;b&gt;1" in text
        wrong = page.get(address, {"kind_of": "filter", "share": "77"}, headers={"HX-Request": "true"})
        assert "The filter isn't valid" in wrong.content.decode()
    before = Group.objects.count()
    whole = page.post("/groups/new/", {"kind_of": "filter", "q": "db <", "name": "", "preview": "1"})
    assert whole.status_code == 200
    assert "<strong>1 machine</strong>" in whole.content.decode()
    assert Group.objects.count() == before


def _filter(site: LabSite, name: str = "Filter", **filter: str) -> Group:
    return Group.objects.create(team=site.job.team, name=name, kind="filter", filter=filter or {"q": "web"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "x" * 101}, "at most 100 characters"),
        ({"name": "a\0b"}, "Null characters"),
        ({"name": "All x"}, "This team has a group of this name already"),
        ({"name": "F", "kind_of": "filter", "serviced_before": "many"}, "Enter a whole number"),
        ({"name": "F", "kind_of": "filter", "serviced_before": "-3"}, "greater than or equal to 0"),
        ({"name": "F", "kind_of": "filter", "q": "x" * 201}, "at most 200 characters"),
        ({"name": "F", "kind_of": "filter", "management_server": "9" * 40}, "Select a valid choice"),
    ],
)
def test_what_is_wrong_is_said_and_makes_nothing(stock: LabSite, page: Client, data: dict[str, str], message: str):
    answer = page.post("/groups/new/", data)
    assert answer.status_code == 422
    assert message in answer.content.decode()
    assert list(Group.objects.values_list("name", flat=True)) == ["All x"]


@pytest.mark.parametrize("name", HOSTILE, ids=of)
def test_hostile_names_are_names(stock: LabSite, page: Client, name: str):
    StoredResource.objects.filter(name="lonely").update(name=name)
    group = Group.objects.create(team=stock.job.team, name=name[:100].strip())
    group.resources.set(StoredResource.objects.all())
    for address in ("/groups/", f"/groups/{group.pk}/", f"/groups/{group.pk}/edit/", f"/groups/{group.pk}/add/"):
        answer = page.get(address)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.content.decode()


def test_a_group_is_copied_and_deleted_unless_a_job_uses_it(stock: LabSite, page: Client):
    group = stock.job.group
    group.resources.set(StoredResource.objects.all())
    page.post(f"/groups/{group.pk}/copy/")
    copied = Group.objects.exclude(pk=group.pk).get()
    assert names(copied) == names(group)
    refused = page.post(f"/groups/{group.pk}/delete/", follow=True).content.decode()
    assert "is used by" in refused
    page.post(f"/groups/{copied.pk}/delete/")
    assert Group.objects.get() == group
    assert StoredResource.objects.count() == 4
    filtered = _filter(stock)
    page.post(f"/groups/{filtered.pk}/copy/")
    assert Group.objects.get(name="Filter (copy)").filter == {"q": "web"}


def test_a_filter_that_is_not_valid_any_more_is_said_everywhere(stock: LabSite, page: Client):
    broken = _filter(stock, share="999")
    assert "isn&#x27;t valid any more" in page.get(f"/groups/{broken.pk}/").content.decode()
    assert "not valid" in page.get(f"/groups/sizes/?group={broken.pk}").content.decode()
    assert page.get(f"/groups/{broken.pk}/edit/").status_code == 200


def test_another_teams_groups_do_not_exist(stock: LabSite, others_page: Client):
    group = stock.job.group
    assert group.name not in others_page.get("/groups/").content.decode()
    for deed in ("", "edit/", "add/"):
        assert others_page.get(f"/groups/{group.pk}/{deed}").status_code == 404
    for deed in ("edit", "add", "remove", "copy", "delete"):
        assert others_page.post(f"/groups/{group.pk}/{deed}/", {"name": "x", "all": "1"}).status_code == 404
    assert "<span" not in others_page.get(f"/groups/sizes/?group={_filter(stock).pk}").content.decode()
    # Their own filter finds none of ours, and its preview counts none.
    preview = others_page.get("/groups/new/?kind_of=filter", headers={"HX-Request": "true"}).content.decode()
    assert "<strong>0 machines</strong>" in preview
    group.refresh_from_db()
    assert group.name == "All x"


def test_the_lists_take_as_many_queries_for_fifty_as_for_one(
    stock: LabSite, page: Client, django_assert_max_num_queries: Any
):
    _filter(stock)
    stock.job.group.resources.set(StoredResource.objects.all()[:1])
    group = f"/groups/{stock.job.group_id}/"
    addresses = ("/groups/", group, f"{group}add/")
    used = []
    for address in addresses:
        with django_assert_max_num_queries(15) as queries:
            page.get(address)
        used.append(len(queries))
    for n in range(24):
        _filter(stock, f"filter {n}")
        Group.objects.create(team=stock.job.team, name=f"list {n}")
    copies = StoredResource.objects.filter(external_id="m0").values().get()
    more = [StoredResource(**copies | {"id": None, "external_id": f"c{n}", "uuid": ""}) for n in range(120)]
    StoredResource.objects.bulk_create(more)
    stock.job.group.resources.add(*StoredResource.objects.all()[:60])
    for address, before in zip(addresses, used, strict=True):
        with django_assert_max_num_queries(before):
            page.get(address)
