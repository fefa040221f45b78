"""The gate: what a person may not see doesn't exist for them."""

import pytest
from django.test import Client

from inventory.models import Credential, HostGroup, ManagementServer
from ovmst_site.access.gate import SERVICE, may, visible
from ovmst_site.access.models import Membership, Person, Team
from tests.factories import LabSite

pytestmark = pytest.mark.django_db


@pytest.fixture
def two_teams() -> dict[str, Person]:
    people = {}
    for name in ("red", "blue"):
        team = Team.objects.create(name=name)
        HostGroup.objects.create(name=f"hosts of {name}", team=team)
        people[name] = Person.objects.create_user(name, password="x", is_staff=True)
        Membership.objects.create(person=people[name], team=team)
    return people


def test_a_member_sees_their_own_team_only(two_teams: dict[str, Person]):
    for name, person in two_teams.items():
        assert [g.name for g in visible(person, HostGroup.objects.all())] == [f"hosts of {name}"]
        assert [t.name for t in visible(person, Team.objects.all())] == [name]
    theirs = HostGroup.objects.get(name="hosts of blue")
    assert not may(two_teams["red"], theirs, "view")
    assert may(two_teams["blue"], theirs, "change")


def test_what_belongs_to_no_team_is_the_installations(two_teams: dict[str, Person]):
    ManagementServer.objects.create(name="x", kind="lab")
    assert not visible(two_teams["red"], ManagementServer.objects.all()).exists()
    assert visible(SERVICE, ManagementServer.objects.all()).exists()
    assert visible(Person(is_superuser=True, is_active=True), ManagementServer.objects.all()).exists()


def test_somebody_inactive_sees_nothing(two_teams: dict[str, Person]):
    person = two_teams["red"]
    person.is_active = False
    assert not visible(person, HostGroup.objects.all()).exists()


def test_a_model_without_a_team_path_is_an_error_not_an_open_door():
    from django.contrib.sessions.models import Session

    with pytest.raises(TypeError, match="team_path"):
        visible(SERVICE, Session.objects.all())


def test_the_admin_asks_the_gate(two_teams: dict[str, Person], client: Client):
    client.force_login(two_teams["red"])
    page = client.get("/admin/inventory/hostgroup/").content.decode()
    assert "hosts of red" in page
    assert "hosts of blue" not in page
    theirs = HostGroup.objects.get(name="hosts of blue")
    answer = client.get(f"/admin/inventory/hostgroup/{theirs.pk}/change/")
    assert answer.status_code in (302, 404)
    assert "hosts of blue" not in answer.content.decode()
    assert client.get(f"/admin/inventory/hostgroup/{theirs.pk}/delete/").status_code in (302, 403, 404)


def test_every_admin_page_shows_for_an_administrator(lab: LabSite, admin_client: Client):
    from django.contrib import admin

    lab.machine("m1", name='<script>alert(1)</script>"\n\U0001f4a5')
    lab.run_to_end(lab.start())
    for model in admin.site._registry:
        address = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        page = admin_client.get(address)
        assert page.status_code == 200, address
        assert b"<script>alert(1)" not in page.content, address
        first = model._default_manager.first()
        if first is not None:
            assert admin_client.get(f"{address}{first.pk}/change/").status_code == 200, address


def test_a_credential_is_sealed_and_never_shown(client: Client, two_teams: dict[str, Person]):
    team = Team.objects.get(name="red")
    credential = Credential(team=team, name="root", user="root")
    credential.seal("s3cr\u00e9t \U0001f511")
    credential.save()
    stored = Credential.objects.get(pk=credential.pk)
    assert b"s3cr" not in bytes(stored.encrypted)
    assert stored.secret().reveal() == "s3cr\u00e9t \U0001f511"
    assert "s3cr" not in repr(stored.secret())
    client.force_login(Person.objects.create_superuser("root", password="x"))
    page = client.get(f"/admin/inventory/credential/{credential.pk}/change/").content.decode()
    assert "s3cr" not in page
    assert bytes(stored.encrypted).decode() not in page
