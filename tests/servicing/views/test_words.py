"""What pages say, and what they keep while a person looks around."""

from typing import Any

import pytest
from django.test import Client

from inventory.models import StoredResource
from servicing.actions import delete_job
from servicing.models import Event, Group, Job, RunTarget
from tests.factories import LabSite
from tests.servicing.views.rows import make_run

PART = {"HX-Request": "true"}
UNSEEN = "\u200b\u3164"


def flat(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_a_deleted_jobs_runs_say_so(page: Client, lab: LabSite, ada: Any):
    run = make_run(lab, 2, finished=True)
    parked = run.targets.filter(outcome=RunTarget.Outcome.RESTORED).get()
    assert f'href="/jobs/{lab.job.pk}/"' in flat(page.get(f"/runs/{run.pk}/"))
    assert f"/runs/{run.pk}/retry/" in flat(page.get(f"/runs/{run.pk}/"))
    assert f'href="/jobs/{lab.job.pk}/"' in flat(page.get(f"/attention/{parked.pk}/"))
    assert delete_job(lab.job, ada), "archived: it has runs"
    for path in (f"/runs/{run.pk}/", f"/attention/{parked.pk}/", "/runs/", "/"):
        said = flat(page.get(path))
        assert f"/jobs/{lab.job.pk}/" not in said, path
        assert "deleted" in said, path
    assert f"/runs/{run.pk}/retry/" not in flat(page.get(f"/runs/{run.pk}/"))


def test_every_link_has_a_text(page: Client, lab: LabSite):
    run = make_run(lab, 6)
    StoredResource.objects.update(name=UNSEEN)
    Group.objects.update(name=UNSEEN)
    Job.objects.update(name=UNSEEN)
    machine = StoredResource.objects.earliest("pk")
    said = flat(page.get("/machines/"))
    assert f'<a href="/machines/{machine.pk}/">{machine.external_id}</a>' in said
    assert f">{machine.external_id}</a>" in flat(page.get(f"/runs/{run.pk}/"))
    assert ">(no visible name)</a>" in flat(page.get("/groups/"))
    assert ">(no visible name)</a>" in flat(page.get("/jobs/"))


@pytest.mark.parametrize("name", [UNSEEN, "\u2060", "\u2800 \u2800"], ids=ascii)
def test_a_name_that_nobody_sees_is_refused(page: Client, lab: LabSite, name: str):
    groups, jobs = Group.objects.count(), Job.objects.count()
    refusals = [
        page.post("/groups/new/", {"name": name}),
        page.post(f"/groups/{lab.job.group_id}/edit/", {"name": name}),
        page.post("/jobs/new/", {"name": name}),
        page.post(f"/jobs/{lab.job.pk}/edit/", {"name": name, "version": "1"}),
    ]
    for answer in refusals:
        assert answer.status_code == 422
        assert "no visible character" in str(answer.context["form"].errors["name"])
    make_run(lab, 1)
    answer = page.post("/machines/", {"do": "save", "save-name": name, "save-team": lab.job.team_id})
    assert "no visible character" in flat(answer)
    assert (Group.objects.count(), Job.objects.count()) == (groups, jobs)


def test_a_version_that_is_none_is_told(page: Client, lab: LabSite):
    answer = page.post(f"/jobs/{lab.job.pk}/edit/", {"name": "x", "version": "abc"})
    assert answer.status_code == 422
    assert "Enter a whole number" in flat(answer)


def test_steps_are_words(page: Client, lab: LabSite):
    run = make_run(lab, 6)
    run.targets.filter(state="active").update(step="shut_down", direction="forward")
    run.targets.filter(state="attention").update(step="shut_down")
    target = run.targets.filter(state="attention").get()
    Event.objects.create(run=run, target=target, n=1, at=run.started_at, step="shut_down", text="\x1b[2J\u202ex")
    Job.objects.update(patience={"shut_down": 3})
    for path in (
        f"/runs/{run.pk}/",
        f"/runs/{run.pk}/log",
        f"/runs/{run.pk}/targets/{target.pk}/",
        f"/attention/{target.pk}/",
        f"/jobs/{lab.job.pk}/",
        f"/machines/{target.resource_id}/",
        "/hosts/",
    ):
        said = flat(page.get(path)).replace("forward.shut_down", "")  # a value in the address
        assert "shut down" in said, path
        assert "shut_down" not in said, path
        assert "\x1b" not in said
        assert "\u202e" not in said


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/machines/", "machine-filter"),
        ("/groups/", "search-form"),
        ("/jobs/", "search-form"),
        ("/runs/", "run-filter"),
        ("/groups/{group}/add/", "add-filter"),
    ],
)
def test_filtering_keeps_the_order(page: Client, lab: LabSite, path: str, form: str):
    make_run(lab, 2)
    path = path.format(group=lab.job.group_id)
    sort = "-run" if path == "/runs/" else "-name"
    kept = f'<input type="hidden" name="sort" value="{sort}" form="{form}">'
    assert kept in flat(page.get(path, {"sort": sort}, headers=PART)), "in the part: it follows each sorting"
    whole = flat(page.get(path, {"sort": sort}))
    assert whole.count('name="sort"') == 1
    assert f'<form id="{form}"' in whole
    assert 'name="sort"' not in flat(page.get(path))


def test_a_saved_filters_size_is_a_link_until_it_is_known(page: Client, lab: LabSite):
    group = Group.objects.create(team=lab.job.team, name="saved", kind="filter", filter={"compliance": "compliant"})
    said = flat(page.get("/groups/"))
    assert f'<span id="size-{group.pk}"><a href="/groups/{group.pk}/">see' in said
    assert f'<span id="size-{group.pk}" hx-swap-oob="true">0</span>' in flat(
        page.get("/groups/sizes/", {"group": group.pk})
    )


def test_what_works_comes_before_what_waits_for_a_slot(page: Client, lab: LabSite):
    run = make_run(lab, 60)
    waiting = run.targets.filter(state="active", direction="forward")
    waiting.update(step="place", host=None)
    run.targets.filter(state="active", direction="return").update(reserved_mb=512)
    answer = page.get(f"/runs/{run.pk}/")
    rows = [row.target for row in answer.context["rows"]]
    assert len(rows) == 20
    assert [row.state for row in rows[:10]] == ["attention"] * 10
    assert all(row.reserved_mb == 512 for row in rows[10:20])
    following = [row.target for row in page.get(f"/runs/{run.pk}/?page=2").context["rows"]]
    assert all(row.step == "place" for row in following[:10])
    assert {row.state for row in following[10:]} == {"queued"}


@pytest.mark.parametrize(
    ("change", "leads_to"),
    [
        ("/jobs/{job}/copy/", "/jobs/{job}/"),
        ("/jobs/{job}/delete/", "/jobs/{job}/"),
        ("/jobs/{job}/plan/", "/jobs/{job}/"),
        ("/jobs/{job}/unplan/", "/jobs/{job}/"),
        ("/groups/{group}/remove/", "/groups/{group}/"),
        ("/groups/{group}/copy/", "/groups/{group}/"),
        ("/groups/{group}/delete/", "/groups/{group}/"),
        ("/runs/{run}/retry/", "/runs/{run}/"),
        ("/servers/{server}/sync/", "/libraries/"),
    ],
)
def test_a_typed_address_changes_nothing_and_leads_to_the_page(
    page: Client, lab: LabSite, change: str, leads_to: str
):
    run = make_run(lab, 2, finished=True)
    keys = {"job": lab.job.pk, "group": lab.job.group_id, "run": run.pk, "server": lab.server.pk}
    before = (Job.objects.count(), Group.objects.count(), run.retries.count())
    answer = page.get(change.format(**keys))
    assert (answer.status_code, answer["Location"]) == (302, leads_to.format(**keys))
    assert page.put(change.format(**keys)).status_code == 405
    assert (Job.objects.count(), Group.objects.count(), run.retries.count()) == before
