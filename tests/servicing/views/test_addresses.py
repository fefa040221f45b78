"""Whatever stands in an address: a number that no database holds is a page that isn't there."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.converters import IntConverter

from ovmst_site.access.models import Person
from tests.factories import LabSite
from tests.servicing.views.rows import make_run

HUGE = 99999999999999999999


def numbered() -> Iterator[tuple[str, list[str]]]:
    """The name of each of our patterns with a number in it, and what its numbers are called."""
    for resolver in get_resolver().url_patterns:
        if not isinstance(resolver, URLResolver) or resolver.app_name not in ("servicing", "inventory"):
            continue
        for pattern in resolver.url_patterns:
            assert isinstance(pattern, URLPattern)
            names = [name for name, made in pattern.pattern.converters.items() if isinstance(made, IntConverter)]
            if names:
                yield f"/{pattern.pattern}", names


PLACES = [(path, each) for path, names in numbered() for each in names]


@pytest.mark.parametrize(("path", "huge"), PLACES, ids=[f"{path} {huge}" for path, huge in PLACES])
def test_a_number_too_large_is_not_found(client: Client, lab: LabSite, path: str, huge: str):
    """One number at a time: the others lead to rows that are there."""
    client.force_login(Person.objects.create_superuser("root"))
    run = make_run(lab, 1)
    target = run.targets.get()
    rows: dict[str, Any] = {"target": target.pk, "target_pk": target.pk}
    rows["pk"] = target.resource_id if path.startswith("/machines/") else run.pk
    for name, value in (rows | {huge: HUGE}).items():
        path = path.replace(f"<int:{name}>", str(value))
    leads_to_a_list = path.endswith(("/maintenance/", "/sync/"))
    assert client.get(path, follow=True).status_code == (200 if leads_to_a_list else 404)
    assert client.post(path).status_code in (404, 405)
