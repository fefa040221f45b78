"""The machines' list: whom it shows what, filters, pages, and groups made of what it finds."""

from typing import Any

import pytest
from django.test import Client

from inventory.models import StoredResource
from ovmst_site import clock
from ovmst_site.access.models import Person, Team
from servicing.models import Group, RunTarget
from tests.factories import LabSite
from tests.hostile import HOSTILE, of
from tests.servicing.views.rows import make_run


def make_machines(lab: LabSite, count: int, **more: Any) -> list[StoredResource]:
    return StoredResource.objects.bulk_create(
        StoredResource(
            **{
                "management_server": lab.server,
                "share": lab.share,
                "team": lab.job.team,
                "external_id": f"m{n}",
                "name": f"machine {n:03}",
                "operating_system": "Debian 12" if n % 2 else "Debian 13",
            }
            | more
        )
        for n in range(count)
    )


def names(answer: Any) -> list[str]:
    return [machine.name for machine, _ in answer.context["rows"]]


def states(page: Client, address: str = "/machines/") -> dict[str, str]:
    return {machine.name: state.label for machine, state in page.get(address).context["rows"]}


def test_a_team_sees_its_machines_and_another_doesnt(lab: LabSite, page: Client, others_page: Client):
    make_machines(lab, 3)
    assert names(page.get("/machines/")) == ["machine 000", "machine 001", "machine 002"]
    others = others_page.get("/machines/")
    assert names(others) == []
    assert "No machines yet" in others.content.decode()
    assert "Debian 12" not in others.content.decode()  # not as a choice either


def test_the_address_filters_sorts_and_pages(lab: LabSite, page: Client):
    make_machines(lab, 120)
    first = page.get("/machines/?operating_system=Debian+12&sort=-name")
    assert names(first)[0] == "machine 119"
    assert first.context["count"] == "60 machines match this filter"
    following = first.context["listing"].following
    assert "operating_system=Debian+12" in following
    assert names(page.get(following))[-1] == "machine 001"
    assert names(page.get("/machines/?q=e+007")) == ["machine 007"]
    assert "No machine matches" in page.get("/machines/?q=nothing").content.decode()


def test_htmx_gets_the_results_and_the_count(lab: LabSite, page: Client):
    make_machines(lab, 2)
    part = page.get("/machines/?q=001", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert 'hx-swap-oob="innerHTML">1 machine matches this filter</p>' in part


@pytest.mark.parametrize(
    "wrong", ["state=x", "share=999", "serviced_before=-1", "compliance=%00", "q=" + "x" * 201]
)
def test_a_filter_that_isnt_valid_finds_nothing_and_says_so(lab: LabSite, page: Client, wrong: str):
    make_machines(lab, 2)
    for headers in ({}, {"HX-Request": "true"}):
        answer = page.get(f"/machines/?{wrong}", headers=headers)
        assert answer.status_code == 200
        assert names(answer) == []
        assert "This filter isn&#x27;t valid" in answer.content.decode() or "This filter isn't valid" in (
            answer.content.decode()
        )


@pytest.mark.parametrize("name", HOSTILE, ids=of)
def test_hostile_names_are_text(lab: LabSite, page: Client, name: str):
    make_machines(lab, 1, name=name, operating_system=name[:200], handed_out_to=name[:300])
    machine = StoredResource.objects.get()
    for address in ("/machines/", f"/machines/{machine.pk}/", f"/machines/{machine.pk}/edit/"):
        answer = page.get(address)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.content.decode()
        assert "{{ 49" not in answer.content.decode()
    assert page.get("/machines/", {"q": name}).status_code == 200


def test_a_row_says_where_the_machine_is(lab: LabSite, page: Client):
    make_machines(lab, 1, external_id="a", name="a")
    make_machines(lab, 1, external_id="b", name="b", missing_since=clock.now())
    make_machines(lab, 1, external_id="c", name="c", handed_out_to="Ms. Müller")
    make_machines(lab, 1, external_id="d", name="d", share=None)
    run = make_run(lab, 6)
    assert {k: v for k, v in states(page).items() if len(k) == 1} == {
        "a": "in its library",
        "b": "missing",
        "c": "handed out",
        "d": "on a host",
    }
    by_state = {t.resource.name: t for t in run.targets.select_related("resource")}
    for name, label in states(page, "/machines/?q=vm").items():
        expected = {"finished": "in its library", "attention": "needs attention", "active": "being serviced"}
        assert label == expected.get(by_state[name].state, "waiting for its turn")
    assert f'href="/runs/{run.pk}/"' in page.get("/machines/").content.decode()


def test_a_run_of_another_team_is_told_of_but_not_shown(lab: LabSite, page: Client, others_page: Client):
    """The machine's share went to another team while it was being serviced."""
    run = make_run(lab, 6)
    StoredResource.objects.update(team=Team.objects.get(name="Others"))
    text = others_page.get("/machines/").content.decode()
    assert "being serviced" in text
    assert f"/runs/{run.pk}/" not in text
    active = RunTarget.objects.filter(state="active").first()
    assert active is not None
    text = others_page.get(f"/machines/{active.resource_id}/").content.decode()
    assert "being serviced" in text
    assert f"/runs/{run.pk}/" not in text
    assert lab.job.name not in text


def test_the_filter_is_saved_as_a_group(lab: LabSite, page: Client):
    make_machines(lab, 4)
    answer = page.post(
        "/machines/?operating_system=Debian+12&sort=-name&page=1",
        {"do": "save", "save-name": "All of 12", "save-team": lab.job.team.pk},
    )
    group = Group.objects.get(name="All of 12")
    assert answer["Location"] == f"/groups/{group.pk}/"
    assert (group.kind, group.filter) == ("filter", {"operating_system": "Debian 12"})


@pytest.mark.parametrize(
    ("name", "address", "said"),
    [
        ("", "/machines/", "This field is required"),
        ("x" * 101, "/machines/", "at most 100 characters"),
        ("All x", "/machines/", "has a group of this name already"),
        ("new", "/machines/?state=x", "Select a valid choice"),
    ],
)
def test_a_filter_that_cant_be_saved_is_said_where_it_was_typed(
    lab: LabSite, page: Client, name: str, address: str, said: str
):
    make_machines(lab, 1)
    before = Group.objects.count()
    answer = page.post(address, {"do": "save", "save-name": name, "save-team": lab.job.team.pk})
    assert answer.status_code == 422
    assert said in str(answer.context["save"].errors) or said in answer.content.decode()
    assert Group.objects.count() == before


def test_nobody_makes_a_group_for_a_team_that_isnt_theirs(lab: LabSite, others_page: Client):
    answer = others_page.post("/machines/", {"do": "save", "save-name": "mine now", "save-team": lab.job.team.pk})
    assert answer.status_code == 422
    assert not Group.objects.filter(name="mine now").exists()


def listed(lab: LabSite, **more: Any) -> dict[str, Any]:
    return {"do": "list", "list-scope": "rows", "list-name": "Picked", "list-team": lab.job.team.pk} | more


def test_selected_rows_become_a_group(lab: LabSite, page: Client):
    machines = make_machines(lab, 4)
    answer = page.post("/machines/", listed(lab, row=[machines[0].pk, machines[2].pk]))
    group = Group.objects.get(name="Picked")
    assert answer["Location"] == f"/groups/{group.pk}/"
    assert set(group.resources.all()) == {machines[0], machines[2]}


def test_all_that_match_become_a_group_whatever_page_is_shown(lab: LabSite, page: Client):
    make_machines(lab, 120)
    page.post("/machines/?operating_system=Debian+13&page=2", listed(lab, **{"list-scope": "all"}))
    group = Group.objects.get(name="Picked")
    assert set(group.resources.values_list("operating_system", flat=True)) == {"Debian 13"}
    assert group.resources.count() == 60


def test_machines_are_added_to_a_list_and_stay_in_it_once(lab: LabSite, page: Client):
    machines = make_machines(lab, 3)
    lab.job.group.resources.set(machines[:2])
    more = {"list-group": lab.job.group.pk, "list-name": "", "row": [machines[1].pk, machines[2].pk]}
    answer = page.post("/machines/", listed(lab, **more), follow=True)
    assert "1 of 2 machines are new" in answer.content.decode()
    assert lab.job.group.resources.count() == 3


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"row": []}, "scope"),
        ({"row": ["x", "-1", "9" * 30]}, "scope"),
        ({"list-scope": "everything", "row": ["1"]}, "scope"),
        ({"list-name": ""}, "name"),
        ({"list-name": "x" * 101}, "name"),
        ({"list-team": ""}, "team"),
        ({"list-team": "999"}, "team"),
        ({"list-group": "999"}, "group"),
        ({"list-group": "x"}, "group"),
    ],
)
def test_a_list_that_cant_be_made_is_said_at_its_field(
    lab: LabSite, page: Client, more: dict[str, Any], field: str
):
    machine = make_machines(lab, 1)[0]
    before = Group.objects.count()
    answer = page.post("/machines/", listed(lab, **({"row": [machine.pk]} | more)))
    assert answer.status_code == 422
    assert field in answer.context["select"].errors
    assert Group.objects.count() == before


@pytest.mark.parametrize("address", ["/machines/", "/machines/?q=nosuch"])
def test_what_is_wrong_is_said_where_no_machine_is_found_too(lab: LabSite, page: Client, address: str):
    answer = page.post(address, listed(lab))
    assert answer.status_code == 422
    assert "Select at least one machine." in answer.content.decode()
    answer = page.post(address, {"do": "save", "save-name": "", "save-team": lab.job.team.pk})
    assert answer.status_code == 422
    assert "This field is required" in answer.content.decode()
    answer = page.post(address, {"do": "huh"})
    assert answer.status_code == 422
    assert "Nothing was done" in answer.content.decode()
    assert page.post("/machines/?q=nosuch", {"do": "save", "save-name": "Later"}).status_code == 422
    later = page.post("/machines/?q=nosuch", {"do": "save", "save-name": "Later", "save-team": lab.job.team.pk})
    assert later.status_code == 302
    assert Group.objects.get(name="Later").filter == {"q": "nosuch"}


def test_a_machine_that_one_may_not_see_is_put_into_no_group(lab: LabSite, others_page: Client, bob: Person):
    machine = make_machines(lab, 1)[0]
    team = bob.memberships.get().team
    others_page.post("/machines/", listed(lab, **{"row": [machine.pk], "list-team": team.pk}))
    assert not Group.objects.filter(name="Picked").exists()


def test_the_number_of_queries_doesnt_grow(lab: LabSite, page: Client, django_assert_max_num_queries: Any):
    make_run(lab, 6)
    page.get("/machines/")
    with django_assert_max_num_queries(18) as few:
        page.get("/machines/")
    make_run(lab, 60)
    with django_assert_max_num_queries(len(few)):
        assert len(names(page.get("/machines/"))) == 50
