"""Somebody who signs in, and somebody of another team."""

import pytest
from django.test import Client

from ovmst_site.access.models import Membership, Person, Team
from tests.factories import LabSite


def _member(name: str, team: Team) -> Client:
    person = Person.objects.create_user(name)
    Membership.objects.create(person=person, team=team)
    client = Client()
    client.force_login(person)
    return client


@pytest.fixture
def mine(lab: LabSite) -> Client:
    """A member of the lab's team."""
    return _member("ada", lab.job.team)


@pytest.fixture
def other(lab: LabSite) -> Client:
    """A member of another team."""
    return _member("bob", Team.objects.create(name="Others"))
