"""Hosts: what is taken, what runs there, and maintenance."""

from typing import Any

import pytest
from django.test import Client

from inventory.models import Host
from tests.factories import LabSite
from tests.hostile import HOSTILE, of
from tests.servicing.views.rows import make_run


def test_a_host_says_what_it_has_and_what_is_on_it(lab: LabSite, page: Client):
    lab.machine("m1", name="<i>web</i>")
    run = lab.start()
    lab.run_until(run, "protect")
    text = " ".join(page.get("/hosts/").content.decode().split())
    assert "1 of 2 taken" in text
    assert 'width="50"' in text
    assert "&lt;i&gt;web&lt;/i&gt;" in text
    assert "protect" in text


def test_another_teams_hosts_arent_there(lab: LabSite, others_page: Client):
    host = Host.objects.get()
    assert "Your team has no hosts yet" in others_page.get("/hosts/").content.decode()
    assert others_page.post(f"/hosts/{host.pk}/maintenance/", {"on": "1"}).status_code == 404
    assert not Host.objects.get().in_maintenance


def test_without_a_servicing_network_it_says_what_that_means(lab: LabSite, page: Client):
    Host.objects.update(servicing_network="")
    assert "No machine is started here" in page.get("/hosts/").content.decode()


def test_maintenance_begins_and_ends(lab: LabSite, page: Client):
    host = Host.objects.get()
    answer = page.post(f"/hosts/{host.pk}/maintenance/", {"on": "1"}, follow=True)
    assert "takes no new machines" in answer.content.decode()
    assert Host.objects.get().in_maintenance
    assert (
        "takes machines again"
        in page.post(f"/hosts/{host.pk}/maintenance/", {"on": "0"}, follow=True).content.decode()
    )
    assert not Host.objects.get().in_maintenance


@pytest.mark.parametrize("on", ["", "2", "yes", *HOSTILE], ids=of)
def test_anything_else_changes_nothing(lab: LabSite, page: Client, on: str):
    host = Host.objects.get()
    answer = page.post(f"/hosts/{host.pk}/maintenance/", {"on": on}, follow=True)
    assert "Nothing was changed" in answer.content.decode()
    assert not Host.objects.get().in_maintenance
    assert page.get(f"/hosts/{host.pk}/maintenance/")["Location"] == "/hosts/"


def test_the_number_of_queries_doesnt_grow(lab: LabSite, page: Client, django_assert_max_num_queries: Any):
    make_run(lab, 6)
    page.get("/hosts/")
    with django_assert_max_num_queries(12) as few:
        page.get("/hosts/")
    make_run(lab, 60, name="more")
    Host.objects.bulk_create(
        Host(management_server=lab.server, group=lab.hosts, name=f"host {n}", external_id=f"x{n}", memory_mb=1)
        for n in range(50)
    )
    with django_assert_max_num_queries(len(few)):
        page.get("/hosts/")
