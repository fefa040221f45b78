"""Who looks at pages: Ada belongs to the lab's team, Bob to another."""

import pytest
from django.test import Client

from ovmst_site.access.models import Membership, Person, Team
from tests.factories import LabSite


@pytest.fixture
def ada(lab: LabSite) -> Person:
    person = Person.objects.create_user("ada", "ada@example.org", "correct horse battery")
    Membership.objects.create(person=person, team=lab.job.team)
    return person


@pytest.fixture
def bob(db: None) -> Person:
    person = Person.objects.create_user("bob", "bob@example.org", "correct horse battery")
    Membership.objects.create(person=person, team=Team.objects.create(name="Others"))
    return person


@pytest.fixture
def page(client: Client, ada: Person) -> Client:
    """A browser in which Ada has signed in."""
    client.force_login(ada)
    return client


@pytest.fixture
def others_page(bob: Person) -> Client:
    """One in which Bob has."""
    client = Client()
    client.force_login(bob)
    return client
