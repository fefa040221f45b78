"""Who gets into the administration, and by which door."""

import pytest
from django.test import Client

from ovmst_site.access.models import Person

pytestmark = pytest.mark.django_db


def test_the_door_is_our_sign_in_page(client: Client):
    answer = client.get("/admin/inventory/host/", follow=True)
    assert answer.redirect_chain[-1][0] == "/sign-in/?next=/admin/inventory/host/"
    assert client.get("/admin/login/")["Location"] == "/sign-in/?next=/admin/"


def test_it_isnt_there_for_somebody_who_may_not_enter(client: Client):
    client.force_login(Person.objects.create_user("eve", password="correct horse battery"))
    assert client.get("/admin/", follow=True).status_code == 404


def test_its_pages_lead_back(client: Client):
    client.force_login(Person.objects.create_superuser("root", password="correct horse battery"))
    text = client.get("/admin/").content.decode()
    assert "OVMST administration" in text
    assert "Back to the pages" in text
    assert "style=" not in text
