"""Machines, hosts, libraries and the lab in a browser: search while one types, selections, no barrier."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from inventory.models import ManagementServer, StoredResource
from ovmst_site.access.models import Membership, Person
from servicing.models import Group
from tests.browser.conftest import Complaints
from tests.factories import LabSite
from tests.servicing.views.rows import make_run
from tests.serving import Server

NewPage = Callable[..., Page]


@pytest.fixture
def root(shared_lab: LabSite) -> Person:
    person = Person.objects.create_superuser("root", "root@example.org", "correct horse battery")
    Membership.objects.create(person=person, team=shared_lab.job.team)
    make_run(shared_lab, 60)
    return person


def test_machines_are_found_while_one_types_and_put_into_a_group(served: Server, new_page: NewPage, root: Person):
    page = new_page(root)
    page.goto("/machines/")
    expect(page.locator("#count")).to_have_text("60 machines")
    page.locator("#id_q").press_sequentially("0001")
    expect(page.locator("#count")).to_have_text("11 machines match this filter")
    expect(page).to_have_url(f"{served.url}/machines/?q=0001")  # nothing that was left empty
    page.get_by_label("Select all on this page").check()
    expect(page.locator("[data-selected-of]")).to_have_text("11 selected on this page.")
    page.get_by_label("Select vm-00010").uncheck()
    expect(page.locator("[data-selected-of]")).to_have_text("10 selected on this page.")
    page.locator("#id_state").select_option("library")
    expect(page).to_have_url(f"{served.url}/machines/?q=0001&state=library")
    page.locator("#id_state").select_option("")
    expect(page).to_have_url(f"{served.url}/machines/?q=0001")
    expect(page.locator("[data-selected-of]")).to_have_text("0 selected on this page.")
    page.get_by_label("Select all on this page").check()
    page.get_by_label("Select vm-00010").uncheck()
    page.get_by_text("Put machines into a group").click()
    page.get_by_label("Name of the new group").fill("Ten")
    page.get_by_role("button", name="Put into the group").click()
    expect(page.get_by_text("is made, with 10 machines")).to_be_visible()
    assert Group.objects.get(name="Ten").resources.count() == 10


def test_parts_that_are_swapped_keep_focus_and_what_is_announced(served: Server, new_page: NewPage, root: Person):
    page = new_page(root)
    machine = StoredResource.objects.order_by("pk")[0]
    Group.objects.create(team=machine.team, name="By filter", kind="filter", filter={"q": "vm"})
    page.goto(f"/machines/{machine.pk}/")
    expect(page.locator("#its-groups").get_by_role("link", name="By filter")).to_be_visible()
    page.goto("/machines/")
    count = page.locator("#count").element_handle()
    page.get_by_role("link", name="Next").press("Enter")
    expect(page.get_by_text("Page 2 of 2")).to_be_visible()
    expect(page.locator("#machines")).to_be_focused()  # there is no next page any more
    page.locator("#id_q").press_sequentially("0001")
    expect(page.locator("#count")).to_have_text("11 machines match this filter")
    assert count.evaluate("element => element.isConnected"), "a new status element announces nothing"
    expect(page.locator("#id_q")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_on_these_pages_is_a_barrier(
    served: Server, new_page: NewPage, root: Person, complaints: Complaints, scheme: str
):
    complaints.allow("palette.css")  # axe looks for what our sheet imports beside the page
    page = new_page(root, color_scheme=scheme, bypass_csp=True)  # axe writes styles of its own
    machine = StoredResource.objects.order_by("pk")[4]
    lab = ManagementServer.objects.get()
    for address in (
        "/machines/",
        f"/machines/{machine.pk}/",
        f"/machines/{machine.pk}/edit/",
        f"/machines/{machine.pk}/groups/",
        "/hosts/",
        "/libraries/",
        "/syncs/",
        f"/lab/{lab.pk}/?deed=crash",
        "/admin/",
        "/admin/inventory/host/",
    ):
        page.goto(address)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{address}: {found.generate_report()}"
