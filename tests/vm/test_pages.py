"""A real guest, serviced by a person in a browser: found, grouped, given a job, watched, its packages read."""

import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from ovmst_site.access.models import Membership, Person
from tests.browser.conftest import launched
from tests.embedded.process import Process
from tests.vm.site import RealSite

pytestmark = pytest.mark.vm

LONG = 900_000  # ms
PASSWORD = "correct horse battery"


@pytest.fixture
def server(site: RealSite) -> Iterator[str]:
    """OVMST as one process on the site's own database: pages and the worker that services."""
    mine = {name: value for name, value in os.environ.items() if name.startswith("OVMST_")}
    process = Process(site.folder, "serve", "--port", "0", **mine)
    yield process.url()
    assert process.stop() == 0


@pytest.fixture
def page() -> Iterator[Page]:
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # see tests/browser/conftest.py
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser.new_page()
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def test_a_person_services_a_real_guest_in_a_browser(site: RealSite, server: str, page: Page):
    person = Person.objects.create_user("ada", password=PASSWORD)
    Membership.objects.create(person=person, team=site.share.team)
    resource = site.adopt("seen in a browser", "tiny", network=None)

    page.goto(server)
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{server}machines/")
    page.locator("#id_q").fill("seen in a browser")
    expect(page.locator("#count")).to_contain_text("1 machine")
    page.get_by_text("Save this filter as a group").click()
    page.locator("form:has(input[value=save])").get_by_role("textbox").fill("Seen")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="Make a job of it").click()
    page.get_by_label("Name", exact=True).fill("Seen, now")
    page.get_by_label("Update system").select_option(label="apt")
    page.get_by_role("button", name="Make the job").click()
    page.get_by_role("button", name="Run now").click()

    expect(page).to_have_url(re.compile(r"/runs/\d+/$"))
    expect(page.locator("ol.log")).to_contain_text("eligible", timeout=LONG)
    expect(page.locator("ol.log")).to_contain_text("published as g000002", timeout=LONG)
    expect(page.get_by_text("finished", exact=True).first).to_be_visible(timeout=LONG)

    page.goto(f"{server}machines/{resource.pk}/")
    expect(page.locator("main")).to_contain_text("compliant")
    expect(page.locator("main")).to_contain_text("g000002")
    page.get_by_role("link", name="packages").first.click()
    toy = page.get_by_role("row", name=re.compile("^toy ")).first
    expect(toy).to_contain_text("1.0")
    expect(toy).to_contain_text("2.0")
    assert site.running() == []
