"""The home page."""

from datetime import timedelta
from typing import Any

from django.test import Client

from inventory.models import StoredResource
from ovmst_site.access.gate import SERVICE
from ovmst_site.access.models import Person
from servicing.actions import plan_job, start_run
from servicing.models import Occurrence, Run
from tests.factories import LabSite


def test_an_empty_installation_says_the_next_steps_one_by_one(db: None, client: Client):
    client.force_login(Person.objects.create_superuser("root"))
    answer = client.get("/")
    assert [step.done for step in answer.context["steps"]] == [False] * 5
    assert "Add a management server" in answer.content.decode()
    assert all(step.href for step in answer.context["steps"])


def test_steps_that_are_done_are_ticked_off_and_gone_after_the_first_run(lab: LabSite, page: Client):
    assert [s.done for s in page.get("/").context["steps"]] == [True, False, True, True, False]
    lab.machine("m1")
    lab.start()
    assert page.get("/").context["steps"] == []


def test_what_runs_what_comes_and_what_ended(lab: LabSite, page: Client):
    for n in range(3):
        lab.machine(f"m{n}")
    ended = lab.start()
    lab.run_to_end(ended)
    running = start_run(lab.job, SERVICE)
    plan_job(lab.job, lab.clock.now() + timedelta(hours=3, seconds=30), SERVICE)
    Occurrence.objects.create(
        job=lab.job, due_at=lab.clock.now() - timedelta(hours=9), state="missed", reason="OVMST was down."
    )
    answer = page.get("/")
    text = answer.content.decode()
    assert [row.run for row in answer.context["running"]] == [running]
    assert answer.context["running"][0].tally.counts == {"queued": 3}
    assert [(row.run, row.tally.counts) for row in answer.context["ended"]] == [(ended, {"succeeded": 3})]
    assert "in 3 h" in text
    assert "OVMST was down." in text
    assert answer.context["stock"]["last_30"] == 3
    assert dict(answer.context["stock"]["compliance"])["compliant"] == 3


def test_the_parts_are_asked_for_by_themselves(lab: LabSite, page: Client):
    now = page.get("/", headers={"HX-Request": "true", "HX-Target": "now"})
    assert "What runs" in now.content.decode()
    assert "Never serviced" not in now.content.decode()
    lab.machine("m1")
    lab.start()
    StoredResource.objects.update(missing_since=lab.clock.now())
    stock = page.get("/", headers={"HX-Request": "true", "HX-Target": "stock"}).content.decode()
    assert "Missing from the inventory" in stock
    assert "What runs" not in stock


def test_another_team_sees_none_of_it(lab: LabSite, others_page: Client):
    lab.machine("m1", name="unmistakable")
    lab.start()
    answer = others_page.get("/")
    assert answer.context["number_running"] == 0
    assert answer.context["stock"]["total"] == 0
    assert lab.job.name not in answer.content.decode()


def test_it_takes_as_many_queries_for_many_runs_as_for_one(
    lab: LabSite, page: Client, django_assert_max_num_queries: Any
):
    lab.machine("m1")
    lab.run_to_end(lab.start())
    start_run(lab.job, SERVICE)
    with django_assert_max_num_queries(25) as few:
        page.get("/")
    for n in range(40):
        Run.objects.create(job=lab.job, started_at=lab.clock.now(), finished_at=lab.clock.now() if n % 2 else None)
    with django_assert_max_num_queries(len(few)):
        page.get("/")
