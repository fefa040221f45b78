"""Somebody whose password was chosen for them chooses their own before anything else."""

import pytest
from django.test import Client

from ovmst_site.access.models import Person

pytestmark = pytest.mark.django_db
GIVEN, OWN = "given by somebody", "correct horse battery"


@pytest.fixture
def page(client: Client) -> Client:
    Person.objects.create_superuser("ada", "ada@example.org", GIVEN, must_change_password=True)
    client.post("/sign-in/", {"username": "ada", "password": GIVEN})
    return client


def change(page: Client, old: str, new: str) -> int:
    return page.post("/password/", {"old_password": old, "new_password1": new, "new_password2": new}).status_code


def test_every_page_leads_to_the_password_and_changes_nothing(page: Client):
    for address in ("/", "/jobs/", "/admin/", "/help/"):
        answer = page.get(address)
        assert (answer.status_code, answer["Location"]) == (302, "/password/")
    assert page.post("/jobs/new/", {"name": "x"})["Location"] == "/password/"
    part = page.get("/", headers={"HX-Request": "true"})
    assert (part.status_code, part["HX-Redirect"]) == (204, "/password/")
    shown = page.get("/password/")
    assert shown.status_code == 200
    assert "Choose a password of your own first." in shown.content.decode()
    assert page.get("/static/web/ovmst.css").status_code == 200


def test_once_it_is_changed_everything_is_open(page: Client):
    assert change(page, GIVEN, GIVEN) == 200  # the same once more is none of one's own
    assert change(page, GIVEN, "short") == 200
    assert Person.objects.get().must_change_password
    assert change(page, GIVEN, OWN) == 302
    assert not Person.objects.get().must_change_password
    assert page.get("/").status_code == 200


def test_signing_out_needs_no_new_password(page: Client):
    assert page.post("/sign-out/")["Location"] == "/sign-in/"
    assert page.get("/")["Location"].startswith("/sign-in/")


def test_nobody_else_is_asked(client: Client):
    client.force_login(Person.objects.create_superuser("bob"))
    assert client.get("/").status_code == 200
