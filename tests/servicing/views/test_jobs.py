"""The pages of jobs: through their addresses, as a person uses them."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from inventory.models import Credential, Host, HostGroup, StoredResource
from inventory.sync import sync
from ovmst_site.access.models import Membership, Person, Team
from servicing.models import Group, Job, Run
from tests.factories import LabSite
from tests.hostile import HOSTILE, of


def filled(site: LabSite, **changes: Any) -> dict[str, Any]:
    """The job's form as a browser would send it, with some of it changed."""
    job = Job.objects.get(pk=site.job.pk)
    data = {
        "name": job.name,
        "group": job.group_id,
        "update_system": job.update_system_id,
        "host_group": job.host_group_id,
        "credential": "",
        "on_failure": job.on_failure,
        "rounds": job.rounds,
        "checks": "",
        "enabled": "on",
        "start_at": "",
        "initial-start_at": "",
        "version": job.version,
    }
    return data | changes


def local(site: LabSite, days: float) -> str:
    return (site.clock.now() + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M")


def test_a_job_is_made_with_all_its_settings(lab: LabSite, page: Client):
    credential = Credential.objects.create(team=lab.job.team, name="guests")
    changes = {
        "name": "Quarterly",
        "credential": credential.pk,
        "on_failure": "keep",
        "allow_force_off": "on",
        "rounds": 3,
        "checks": "/usr/bin/systemctl is-active nginx\r\n\r\n/bin/sh -c 'test -e \"/srv/my app\"'",
        "patience_ready": "5",
        "patience_install": "1.5",
        "start_at": local(lab, 1),
    }
    assert page.get("/jobs/new/").status_code == 200
    answer = page.post("/jobs/new/", filled(lab, **changes))
    job = Job.objects.get(name="Quarterly")
    assert answer["Location"] == f"/jobs/{job.pk}/"
    assert job.checks == [["/usr/bin/systemctl", "is-active", "nginx"], ["/bin/sh", "-c", 'test -e "/srv/my app"']]
    assert job.patience == {"ready": 5, "install": 1.5}
    assert (job.rounds, job.on_failure, job.allow_force_off, job.credential) == (3, "keep", True, credential)
    assert job.team == lab.job.team
    assert job.next_start_at == lab.clock.now() + timedelta(days=1)
    text = page.get(f"/jobs/{job.pk}/").content.decode()
    assert "/usr/bin/systemctl is-active nginx" in text
    assert "in 1 d" in text


def test_what_a_form_shows_is_what_it_saves(lab: LabSite, page: Client):
    job = lab.job
    job.checks, job.patience = [["a b", "c'd", 'e"f', "g\nh", "$(i)", "\\", ""]], {"ready": 7, "isolate": 3}
    job.save()
    form = page.get(f"/jobs/{job.pk}/edit/").context["form"]
    shown = {name: form[name].value() for name in form.fields}
    data = {name: value for name, value in shown.items() if value not in (None, False)}
    data["checks"] = form["checks"].value().replace("\n", "\r\n")  # as a browser sends it
    assert page.post(f"/jobs/{job.pk}/edit/", data).status_code == 302
    saved = Job.objects.get(pk=job.pk)
    assert (saved.checks, saved.patience, saved.version) == (job.checks, job.patience, 2)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "This field is required"),
        ("name", "x" * 101, "at most 100 characters"),
        ("name", "a\0b", "Null characters"),
        ("group", "", "This field is required"),
        ("group", "999999999999999999999999", "Select a valid choice"),
        ("group", "$(reboot)", "Select a valid choice"),
        ("host_group", "x", "Select a valid choice"),
        ("update_system", "-1", "Select a valid choice"),
        ("credential", "77", "Select a valid choice"),
        ("on_failure", "explode", "Select a valid choice"),
        ("rounds", "0", "greater than or equal to 1"),
        ("rounds", "many", "Enter a whole number"),
        ("rounds", "99999", "less than or equal to"),
        ("checks", "/bin/true\n'never closed", "Line 2: a quotation has no end"),
        ("checks", "'' x", "Line 1 names no program"),
        ("checks", "x" * 10_001, "at most 10000 characters"),
        ("patience_ready", "soon", "Enter a number"),
        ("patience_ready", "-1", "greater than or equal to"),
        ("patience_ready", "nan", "Enter a number"),
        ("patience_install", "1e300", "less than or equal to"),
        ("start_at", "2020-01-01T10:00", "in the past"),
        ("start_at", "tomorrow", "Enter a valid date/time"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_changes_nothing(
    lab: LabSite, page: Client, field: str, value: str, message: str
):
    for address in ("/jobs/new/", f"/jobs/{lab.job.pk}/edit/"):
        answer = page.post(address, filled(lab, **{"name": "Another", field: value}))
        assert answer.status_code == 422
        assert message in " ".join(answer.context["form"].errors[field])
        assert message in answer.content.decode()
    assert list(Job.objects.values_list("name", "version")) == [(lab.job.name, 1)]


@pytest.mark.parametrize("name", HOSTILE, ids=of)
def test_a_hostile_name_is_a_name(lab: LabSite, page: Client, name: str):
    name = name[:100].strip()
    answer = page.post(f"/jobs/{lab.job.pk}/edit/", filled(lab, name=name))
    assert answer.status_code == 302
    for address in ("/jobs/", f"/jobs/{lab.job.pk}/", f"/jobs/{lab.job.pk}/edit/", "/"):
        text = page.get(address).content.decode()
        assert "<script>alert" not in text
    assert Job.objects.get().name == name


def test_a_taken_name_is_said_at_the_name(lab: LabSite, page: Client):
    answer = page.post("/jobs/new/", filled(lab))
    assert "This team has a job of this name already" in answer.content.decode()
    assert Job.objects.count() == 1


def test_two_people_who_edit_the_same_job(lab: LabSite, page: Client):
    address = f"/jobs/{lab.job.pk}/edit/"
    first, second = filled(lab, rounds=3), filled(lab, rounds=7, name="Mine")
    assert page.post(address, first).status_code == 302
    answer = page.post(address, second)
    assert answer.status_code == 422
    text = answer.content.decode()
    assert "Somebody else has changed this job" in text
    assert answer.context["differences"] == [("Name", lab.job.name, "Mine"), ("Rounds", "3", "7")]
    assert 'value="Mine"' in text
    assert Job.objects.get().rounds == 3
    # Whoever has seen that saves once more.
    again = second | {"version": answer.context["form"]["version"].value()}
    assert page.post(address, again).status_code == 302
    assert (Job.objects.get().rounds, Job.objects.get().name) == (7, "Mine")


def test_editing_leaves_a_start_that_somebody_else_planned_meanwhile(lab: LabSite, page: Client):
    stale = filled(lab, rounds=3)
    page.post(f"/jobs/{lab.job.pk}/plan/", {"start_at": local(lab, 1)})
    assert page.post(f"/jobs/{lab.job.pk}/edit/", stale).status_code == 302
    assert Job.objects.get().next_start_at is not None


def test_a_start_is_planned_moved_and_cancelled(lab: LabSite, page: Client):
    address = f"/jobs/{lab.job.pk}/"
    for days in (1, 2):
        assert page.post(address + "plan/", {"start_at": local(lab, days)}).status_code == 302
        assert Job.objects.get().next_start_at == lab.clock.now() + timedelta(days=days)
    late = page.post(address + "plan/", {"start_at": local(lab, -1)})
    assert late.status_code == 422
    assert "in the past" in " ".join(late.context["plan"].errors["start_at"])
    assert "UTC" in late.content.decode()
    page.post(address + "unplan/")
    assert Job.objects.get().next_start_at is None


def test_a_job_starts_or_says_why_not(lab: LabSite, page: Client):
    address = f"/jobs/{lab.job.pk}/start/"
    refused = page.post(address, follow=True).content.decode()
    assert "has no machines" in refused
    assert Run.objects.count() == 0
    lab.machine("m1")
    lab.start()
    held = page.post(address, follow=True).content.decode()  # m1 is held by the first run
    assert "Monthly x was not started. The only machine cannot be serviced now." in held
    assert "It would not start: The only machine cannot be serviced now." in held
    assert held.count("being serviced by another run: 1") == 3  # the message, and the preview's two
    assert Run.objects.count() == 1
    Host.objects.update(in_maintenance=True)
    assert "maintenance" in page.post(address, follow=True).content.decode()
    runs = Run.objects.count()
    assert page.get(address)["Location"] == f"/jobs/{lab.job.pk}/", "typed, or loaded again after signing in"
    assert Run.objects.count() == runs


def test_the_preview_says_what_a_job_would_take_as_it_is_written(lab: LabSite, page: Client):
    for n in range(3):
        lab.machine(f"m{n}")
    lab.start()
    lab.machine("late")
    sync(lab.server, lab.clock.now())
    group_of_all = Group.objects.create(team=lab.job.team, name="All", kind="filter")
    assert StoredResource.objects.count() == 4
    data = filled(lab, group=group_of_all.pk, name="") | {"preview": "1"}
    whole = page.post("/jobs/new/", data)
    part = page.post("/jobs/new/", data, headers={"HX-Request": "true"})
    for answer in (whole, part):
        assert answer.status_code == 200
        assert (answer.context["preview"].fit, answer.context["preview"].total) == (1, 4)
        assert "are being serviced by another run: 3" in answer.content.decode()
    assert "<html" not in part.content.decode()
    assert Job.objects.count() == 1
    missing = page.post("/jobs/new/", data | {"group": ""}).content.decode()
    assert "Choose a group and hosts first" in missing


def test_a_job_is_copied_and_deleted(lab: LabSite, page: Client):
    answer = page.post(f"/jobs/{lab.job.pk}/copy/")
    copied = Job.objects.exclude(pk=lab.job.pk).get()
    assert answer["Location"] == f"/jobs/{copied.pk}/edit/"
    assert copied.name == f"{lab.job.name} (copy)"
    page.post(f"/jobs/{copied.pk}/delete/")
    assert not Job.objects.filter(pk=copied.pk).exists()
    # One with an open run isn't deleted; one with a run that ended is kept for its history.
    lab.machine("m1")
    run = lab.start()
    assert "still in a run" in page.post(f"/jobs/{lab.job.pk}/delete/", follow=True).content.decode()
    lab.run_to_end(run)
    assert "Its runs are kept" in page.post(f"/jobs/{lab.job.pk}/delete/", follow=True).content.decode()
    assert page.get(f"/jobs/{lab.job.pk}/").status_code == 404
    assert Job.objects.get().archived_at is not None


def test_another_teams_jobs_do_not_exist(lab: LabSite, others_page: Client):
    assert lab.job.name not in others_page.get("/jobs/").content.decode()
    pk = lab.job.pk
    assert others_page.get(f"/jobs/{pk}/").status_code == 404
    assert others_page.get(f"/jobs/{pk}/edit/").status_code == 404
    for deed in ("edit", "copy", "delete", "start", "plan", "unplan"):
        assert others_page.post(f"/jobs/{pk}/{deed}/", filled(lab)).status_code == 404
    assert list(Job.objects.values_list("pk", "version", "archived_at")) == [(pk, 1, None)]


def test_another_teams_groups_and_hosts_are_no_choice(lab: LabSite, others_page: Client):
    answer = others_page.post("/jobs/new/", filled(lab, name="Stolen"))
    assert {"group", "host_group"} <= answer.context["form"].errors.keys()
    assert not Job.objects.filter(name="Stolen").exists()


def test_somebody_of_two_teams_says_which(lab: LabSite, page: Client):
    second = Team.objects.create(name="Second")
    Membership.objects.create(person=Person.objects.get(username="ada"), team=second)
    own = HostGroup.objects.create(team=second, name="Second hosts")
    assert "required" in str(page.post("/jobs/new/", filled(lab, name="x")).context["form"].errors["team"])
    mixed = page.post("/jobs/new/", filled(lab, name="x", team=lab.job.team_id, host_group=own.pk))
    assert "Choose a host group of the team" in str(mixed.context["form"].errors["host_group"])
    assert page.post("/jobs/new/", filled(lab, name="x", team=lab.job.team_id)).status_code == 302


def test_the_list_takes_as_many_queries_for_fifty_as_for_one(
    lab: LabSite, page: Client, django_assert_max_num_queries: Any
):
    def rows(number: int) -> None:
        for n in range(number):
            lab.job.pk = None
            lab.job.name = f"job {n}"
            lab.job.save()
            Run.objects.create(job=lab.job, started_at=lab.clock.now())

    Run.objects.create(job=lab.job, started_at=lab.clock.now())
    with django_assert_max_num_queries(12) as one:
        page.get("/jobs/")
    rows(49)
    with django_assert_max_num_queries(len(one)):
        assert page.get("/jobs/").content.decode().count("Run now") == 50
