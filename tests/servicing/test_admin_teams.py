"""The Django admin shows a team nothing of another, and saves nothing around the rules."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client

from inventory.models import Credential, HostGroup, LibraryShare, StoredResource
from ovmst_site.access.admin_site import GatedAdmin
from ovmst_site.access.models import Membership, Person, Team
from servicing.models import Generation, Group, Job, Run, RunTarget
from tests.factories import LabSite


@pytest.fixture
def others(lab: LabSite) -> Team:
    """Another team with rows of every kind, each called secret."""
    team = Team.objects.create(name="secret-team")
    lab.world.add_share("secret-share")
    share = LibraryShare.objects.create(library_server=lab.share.library_server, path="secret-share", team=team)
    hosts = HostGroup.objects.create(name="secret-hosts", team=team)
    group = Group.objects.create(team=team, name="secret-group")
    job = Job.objects.create(
        team=team, name="secret-job", group=group, update_system=lab.job.update_system, host_group=hosts
    )
    machine = StoredResource.objects.create(
        management_server=lab.server, share=share, team=team, external_id="s1", name="secret-machine"
    )
    run = Run.objects.create(job=job, started_at=lab.clock.now())
    RunTarget.objects.create(run=run, resource=machine, cycle_version=1, created_at=lab.clock.now(), step="place")
    Generation.objects.create(resource=machine, name="secret-generation", published_at=lab.clock.now())
    return team


@pytest.fixture
def staff(client: Client, lab: LabSite) -> Client:
    """Somebody of the lab's team who may enter the administration."""
    person = Person.objects.create_user("ada", is_staff=True)
    Membership.objects.create(person=person, team=lab.job.team)
    client.force_login(person)
    return client


def test_no_list_names_what_is_another_teams(staff: Client, lab: LabSite, others: Team):
    lab.machine("m1", name="web")
    lab.machine("m2", name="db")
    lab.run_to_end(lab.start())
    # Theirs and ours are tied together by what once was: a machine that went to another team.
    StoredResource.objects.filter(external_id="m2").update(team=others)
    shown = 0
    for model, its_admin in admin.site._registry.items():
        if isinstance(its_admin, GatedAdmin):
            answer = staff.get(f"/admin/{model._meta.app_label}/{model._meta.model_name}/")
            assert answer.status_code == 200
            assert "secret" not in answer.content.decode(), model
            shown += 1
    assert shown > 12


def test_a_filter_still_offers_what_the_own_rows_lead_to(staff: Client, lab: LabSite, others: Team):
    second = LibraryShare.objects.create(library_server=lab.share.library_server, path="second", team=lab.job.team)
    rows: dict[str, Any] = {"management_server": lab.server, "team": lab.job.team}
    StoredResource.objects.create(share=second, external_id="a", name="alpha", **rows)
    StoredResource.objects.create(share=lab.share, external_id="b", name="beta", **rows)
    page = staff.get("/admin/inventory/storedresource/").content.decode()
    assert f"share__id__exact={second.pk}" in page
    page = staff.get(f"/admin/inventory/storedresource/?share__id__exact={second.pk}").content.decode()
    assert re.search(r">alpha<", page)
    assert not re.search(r">beta<", page)


def test_a_machines_channel_isnt_typed_here(staff: Client, lab: LabSite, others: Team):
    theirs = Credential.objects.create(team=others, name="secret-login")
    machine = StoredResource.objects.create(
        management_server=lab.server, share=lab.share, team=lab.job.team, external_id="m1", name="web"
    )
    address = f"/admin/inventory/storedresource/{machine.pk}/change/"
    page = staff.get(address).content.decode()
    assert f'href="/machines/{machine.pk}/edit/"' in page
    assert "secret" not in page
    typed = {
        "channel_kind": "ssh",
        "channel_address": "-oProxyCommand=reboot",
        "channel_port": "0",
        "channel_host_key": "garbage",
        "credential": str(theirs.pk),
        "team": str(others.pk),
    }
    rest = {"operating_system": "Debian", "memory_mb": "512", "cpus": "1", "disk_bytes": "1", "computer_name": "c"}
    assert staff.post(address, typed | rest).status_code == 302
    machine.refresh_from_db()
    assert (machine.channel_kind, machine.channel_address, machine.channel_port) == ("agent", "", 22)
    assert (machine.channel_host_key, machine.credential, machine.team) == ("", None, lab.job.team)
    assert machine.operating_system == "Debian"


def test_only_what_was_typed_is_saved(staff: Client, lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    machine = StoredResource.objects.create(
        management_server=lab.server, share=lab.share, team=lab.job.team, external_id="m1", name="web"
    )
    really_save = StoredResource.save

    def after_the_engine(self: StoredResource, *args: Any, **kwargs: Any) -> None:
        StoredResource.objects.filter(pk=self.pk).update(generation="g2", compliance="compliant")
        really_save(self, *args, **kwargs)

    monkeypatch.setattr(StoredResource, "save", after_the_engine)
    rest = {"operating_system": "Debian", "memory_mb": "512", "cpus": "1", "disk_bytes": "1"}
    assert staff.post(f"/admin/inventory/storedresource/{machine.pk}/change/", rest).status_code == 302
    machine.refresh_from_db()
    assert (machine.operating_system, machine.generation, machine.compliance) == ("Debian", "g2", "compliant")
