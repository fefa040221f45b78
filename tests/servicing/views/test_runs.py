"""The list of runs."""

import re
import time

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from servicing.models import Run
from tests.factories import LabSite
from tests.servicing.views.rows import make_run

HTMX = {"HX-Request": "true"}


def test_a_list_without_runs_says_the_next_step(page: Client):
    said = page.get("/runs/").content.decode()
    assert "Nothing has run yet" in said


def test_runs_are_listed_with_what_became_of_them(page: Client, lab: LabSite):
    run = make_run(lab, 12)
    over = make_run(lab, 4, finished=True)
    said = page.get("/runs/").content.decode()
    assert f'href="/runs/{run.pk}/"' in said
    assert f'href="/runs/{over.pk}/"' in said
    assert said.index(f"/runs/{over.pk}/") < said.index(f"/runs/{run.pk}/"), "the newest is on top"
    assert (
        'aria-label="6 of 12 ended: 2 succeeded, 2 restored, 2 needs attention, 4 being serviced, 2 queued"' in said
    )
    assert "2 runs" in said


def test_runs_of_another_team_dont_exist(others_page: Client, lab: LabSite):
    run = make_run(lab, 1)
    said = others_page.get("/runs/")
    assert "Nothing has run yet" in said.content.decode()
    assert lab.job.name not in said.content.decode()
    assert others_page.get(f"/runs/?job={lab.job.pk}").status_code == 200
    assert f"/runs/{run.pk}/" not in others_page.get("/runs/?machine=vm").content.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=open", {1}),
        ("state=finished", {2, 3}),
        ("outcome=trouble", {1, 2}),
        ("outcome=succeeded", {1, 2, 3}),
        ("outcome=skipped", set()),
        ("machine=SPECIAL", {3}),
        ("machine=vm&state=finished", {2}),
        ("job=999999", set()),
        ("state=nonsense", set()),
        ("machine=%00", set()),
        ("machine=" + "x" * 300, set()),
        ("machine=%27%22%24%28reboot%29%0A%F0%9F%92%A5%E2%80%AE", set()),
        ("page=99&sort=password", {1, 2, 3}),
    ],
)
def test_runs_are_filtered_by_their_address(page: Client, lab: LabSite, query: str, found: set[int]):
    runs = [make_run(lab, 6), make_run(lab, 2, finished=True), make_run(lab, 1, finished=True, name="special")]
    answer = page.get(f"/runs/?{query}")
    assert answer.status_code == 200
    shown = {int(n) for n in re.findall(r'href="/runs/(\d+)/"', answer.content.decode())}
    assert shown == {runs[n - 1].pk for n in found}


def test_what_is_not_valid_is_said_where_it_belongs(page: Client, lab: LabSite):
    make_run(lab, 1)
    said = page.get("/runs/?state=nonsense").content.decode()
    assert "Select a valid choice" in said
    assert "No run is like that." in said


def test_runs_are_sorted_and_paged(page: Client, lab: LabSite):
    runs = [make_run(lab, 1, finished=True) for _ in range(30)]
    first = page.get("/runs/", headers=HTMX).content.decode()
    assert "<html" not in first
    assert "Page 1 of 2" in first
    oldest = page.get("/runs/?sort=run").content.decode()
    assert f"/runs/{runs[0].pk}/" in oldest
    assert f"/runs/{runs[-1].pk}/" not in oldest
    assert 'name="sort" value="run"' in oldest, "a filter keeps the order"
    assert page.get("/runs/?sort=-took").status_code == 200


def test_a_page_of_runs_costs_the_same_for_one_and_for_many(page: Client, lab: LabSite):
    make_run(lab, 3)
    page.get("/runs/")
    with CaptureQueriesContext(connection) as one:
        page.get("/runs/")
    for _ in range(24):
        make_run(lab, 8, finished=True)
    with CaptureQueriesContext(connection) as many:
        begun = time.perf_counter()
        page.get("/runs/")
        took = time.perf_counter() - begun
    assert len(many) == len(one)
    print(f"\n{Run.objects.count()} runs: {len(many)} queries, {took * 1000:.0f} ms")  # noqa: T201 - measured, not judged
