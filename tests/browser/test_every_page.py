"""Every page that has an address: shown to an administrator, wide and dark, narrow and light. axe finds no barrier,
nothing sticks out sideways, the browser complains of nothing. An address that nobody named here fails the test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from playwright.sync_api import Page

from inventory.lab import worlds
from inventory.lab.filling import fill
from inventory.models import StoredResource, SyncRecord
from inventory.sync import sync
from ovmst_site.access.models import Person
from servicing.models import Group, PackageReport, RunTarget
from tests.browser.conftest import Complaints
from tests.factories import LabSite
from tests.hostile import HOSTILE
from tests.servicing.views.rows import make_run

NOT_THERE = "/no-such-page/"
APPS = ("servicing", "inventory", "access")
NO_PAGE = {
    # Answered with a part of a page, a stream, a file, or a redirect; their pages are here.
    *(
        "servicing:group-sizes",
        "servicing:attention-platform",
        "servicing:run-events",
        "servicing:run-log-download",
    ),
    # A change: POST alone.
    *("servicing:host-maintenance", "servicing:group-remove", "servicing:group-copy", "servicing:group-delete"),
    *("servicing:job-copy", "servicing:job-delete", "servicing:job-start", "servicing:job-plan"),
    *("servicing:job-unplan", "servicing:run-retry", "inventory:server-sync", "access:sign-out"),
    "access:sign-in",  # for somebody who isn't signed in: asked for apart
}


@pytest.fixture
def samples(shared_lab: LabSite) -> dict[str, Any]:
    """A row for every number in an address."""
    for n, name in enumerate(["web 1", *HOSTILE]):
        shared_lab.machine(f"m{n}", name=name)
    sync(shared_lab.server, shared_lab.clock.now())
    shared_lab.job.group.resources.set(StoredResource.objects.all())
    # The served process has a world of its own behind this server: the one in the database.
    fill(worlds.create(shared_lab.server.address), machines=6, libraries=1, hosts=2, seed=1)
    run = make_run(shared_lab, 12)
    attention = RunTarget.objects.filter(state=RunTarget.State.ATTENTION).earliest("pk")
    done = run.targets.filter(outcome="succeeded").earliest("pk")
    for moment, version in (("before", "1"), ("after", "2")):
        PackageReport.objects.create(
            target=done, moment=moment, taken_at=shared_lab.clock.now(), packages={"openssl": version}, pending=[]
        )
    return {
        "machine": done.resource_id,
        "target": done.pk,
        "group": Group.objects.earliest("pk").pk,
        "job": shared_lab.job.pk,
        "run": run.pk,
        "attention": attention.pk,
        "lab": shared_lab.server.pk,
        "sync": SyncRecord.objects.earliest("pk").pk,
    }


def addresses(samples: dict[str, Any]) -> Iterator[str]:
    for name, parameters in named():
        if name in NO_PAGE:
            continue
        of = name.partition(":")[2].partition("-")[0]
        values = {"pk": samples.get(of), "target": samples["target"], "target_pk": samples["target"]}
        yield reverse(name, kwargs={each: values[each] for each in parameters})
    yield "/help/"
    yield "/groups/new/?kind_of=filter"
    yield "/machines/?q=nothing-is-called-so"
    yield f"/lab/{samples['lab']}/?deed=crash"
    yield NOT_THERE


def named() -> Iterator[tuple[str, list[str]]]:
    def walk(resolver: URLResolver, namespace: str) -> Iterator[tuple[str, list[str]]]:
        for each in resolver.url_patterns:
            if isinstance(each, URLResolver):
                yield from walk(each, each.namespace or namespace)
            elif isinstance(each, URLPattern) and namespace in APPS:
                yield f"{namespace}:{each.name}", list(each.pattern.converters)

    yield from walk(get_resolver(), "")


@pytest.mark.parametrize(
    ("scheme", "size"),
    [("dark", (1400, 900)), ("light", (390, 844))],
    ids=["dark and wide", "light and narrow"],
)
def test_every_page_is_for_everybody(
    samples: dict[str, Any],
    new_page: Callable[..., Page],
    complaints: Complaints,
    scheme: str,
    size: tuple[int, int],
):
    complaints.allow("palette.css")  # axe looks for what our sheet imports beside the page
    complaints.allow(NOT_THERE)
    root = Person.objects.create_superuser("root", "root@example.org", "correct horse battery")
    page = new_page(
        root, color_scheme=scheme, viewport={"width": size[0], "height": size[1]}, bypass_csp=True
    )  # axe writes styles of its own
    for address in addresses(samples):
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == (404 if address == NOT_THERE else 200), address
        assert page.locator("h1").count() == 1, address
        found = Axe().run(page)
        assert found.violations_count == 0, f"{address}: {found.generate_report()}"
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{address} sticks out by {too_wide} px"
    page.context.clear_cookies()
    page.goto("/sign-in/")
    assert Axe().run(page).violations_count == 0
