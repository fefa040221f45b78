"""Servicing in the Django admin: shows everything, and acts the way the pages act."""

import pytest
from django.apps import apps
from django.test import Client

from ovmst_site.access.models import Person
from servicing.models import Group, Job, Run
from tests.factories import LabSite


@pytest.fixture
def admin(client: Client, lab: LabSite) -> Client:
    client.force_login(Person.objects.create_superuser("root"))
    return client


def act(admin: Client, model: str, action: str, *rows: int) -> str:
    data = {"action": action, "_selected_action": rows}
    return admin.post(f"/admin/servicing/{model}/", data, follow=True).content.decode()


def test_every_list_and_every_row_is_shown_and_searched(admin: Client, lab: LabSite):
    lab.machine("m1", name="<b>web</b>")
    lab.run_to_end(lab.start())
    shown = 0
    for model in apps.get_app_config("servicing").get_models():
        address = f"/admin/servicing/{model._meta.model_name}/"
        if model._meta.model_name == "installation":
            continue
        page = admin.get(address, {"q": "1"}, follow=True)
        assert page.status_code == 200, address
        row = model._default_manager.first()
        if row is not None:
            assert admin.get(f"{address}{row.pk}/change/").status_code == 200, address
            shown += 1
    assert shown >= 8


def test_nothing_is_saved_around_the_rules(admin: Client, lab: LabSite):
    for model, row, page in (("job", lab.job, "/jobs/new/"), ("group", lab.job.group, "/groups/new/")):
        address = f"/admin/servicing/{model}/"
        assert admin.get(f"{address}add/")["Location"] == page
        assert admin.post(f"{address}{row.pk}/change/", {"name": "around"}).status_code == 403
        assert admin.post(f"{address}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        row.refresh_from_db()
        assert row.name != "around"


def test_jobs_are_acted_on_many_at_once(admin: Client, lab: LabSite):
    pk = lab.job.pk
    assert "has no machines" in act(admin, "job", "start", pk)
    act(admin, "job", "switch_off", pk)
    assert (Job.objects.get().enabled, Job.objects.get().version) == (False, 2)
    assert "switched off" in act(admin, "job", "start", pk)
    act(admin, "job", "switch_on", pk)
    lab.machine("m1")
    run = lab.start()
    assert "still in a run" in act(admin, "job", "delete", pk)
    act(admin, "run", "cancel", run.pk)
    lab.run_to_end(run)
    act(admin, "job", "copy", pk)
    act(admin, "job", "delete", *Job.objects.values_list("pk", flat=True))
    assert list(Job.objects.values_list("pk", flat=True)) == [pk]
    assert Job.objects.get().archived_at is not None
    assert Run.objects.count() == 1


def test_groups_are_acted_on_many_at_once(admin: Client, lab: LabSite):
    act(admin, "group", "copy", lab.job.group_id)
    assert Group.objects.count() == 2
    said = act(admin, "group", "delete", *Group.objects.values_list("pk", flat=True))
    assert "is used by" in said
    assert Group.objects.get() == lab.job.group
