"""A newcomer's first hour, by what `make demo` starts: signs in, makes a group of a filter and a job of it, watches
its run, cancels, retries, breaks something in the lab and resolves what then needs attention."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Complaints
from tests.embedded.process import Process

FAST = {"OVMST_LAB_TIME_SCALE": "200"}
PASSWORD = "correct horse battery"
LONG = 120_000  # ms


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path / "data", "demo", "--port", "0", **FAST)
    yield process
    process.end()


@pytest.fixture
def page(browser: Browser, complaints: Complaints) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(LONG)
    page = context.new_page()
    complaints.listen(page)
    yield page
    context.close()


def test_a_newcomers_first_hour(demo: Process, page: Page):
    url = demo.url()
    password = demo.until(r"with password\s+(\S+)")[1]

    page.goto(url)
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Old password").fill(password)
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("New password confirmation").fill(PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Home")
    demo.until("^run 1: 60 targets", longest=240)

    # A group from a filter, a job of it.
    page.get_by_role("link", name="Machines", exact=True).first.click()
    page.locator("#id_q").fill("web-00")
    expect(page.locator("#count")).to_contain_text("match this filter")
    page.get_by_text("Save this filter as a group").click()
    page.locator("form:has(input[value=save])").get_by_role("textbox").fill("Web servers")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="Make a job of it").click()
    page.get_by_label("Name", exact=True).fill("Web servers, now")
    page.get_by_role("button", name="Make the job").click()

    # Its run, live: the log grows and the machines come to their end while the page is open.
    page.get_by_role("button", name="Run now").click()
    expect(page).to_have_url(re.compile(r"/runs/2/$"))
    expect(page.locator("ol.log")).to_contain_text("eligible")
    expect(page.locator("h1 + *, h1 .badge").first).to_be_visible()
    expect(page.get_by_text("finished", exact=True).first).to_be_visible(timeout=LONG)
    page.get_by_role("link", name="web-001").first.click()
    page.get_by_role("link", name="The machine").click()
    expect(page.locator("main")).to_contain_text("run 2")
    expect(page.locator("main")).to_contain_text("succeeded")

    # Slower, so that there is time: a cancel, then a retry of what didn't succeed.
    set_time_scale(page, url, "5")
    start(page, url, "Web servers, now")
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_role("button", name=re.compile("^Cancel")).click()
    expect(page.get_by_text("finished", exact=True).first).to_be_visible(timeout=LONG)
    set_time_scale(page, url, "200")
    page.goto(f"{url}runs/3/")
    page.get_by_role("button", name=re.compile("^Retry")).click()
    expect(page).to_have_url(re.compile(r"/runs/4/$"))
    expect(page.get_by_text("finished", exact=True).first).to_be_visible(timeout=LONG)

    # Somebody publishes another state while a machine is being serviced: it needs attention.
    set_time_scale(page, url, "10")
    start(page, url, "Web servers, now")
    expect(page.locator("ol.log")).to_contain_text("web-001 install", timeout=LONG)
    publish(page, url, "web-001")
    set_time_scale(page, url, "200")
    page.goto(f"{url}runs/5/")
    expect(page.get_by_text("needs attention").first).to_be_visible()
    expect(page.locator(".attention-flag")).to_be_visible(timeout=LONG)  # without a reload
    page.locator(".attention-flag").click()
    page.get_by_role("link", name="web-001").first.click()
    expect(page.locator("#platform")).to_contain_text("host", timeout=LONG)
    page.get_by_label(re.compile("Bring it back as it was")).check()
    page.get_by_role("button", name="Resolve").click()
    expect(page.locator(".errorlist, :invalid").first).to_be_attached()  # a reason is asked for
    page.get_by_label(re.compile("Reason|Why")).fill("somebody restored another state; it stays")
    page.get_by_label(re.compile("Bring it back as it was")).check()
    page.get_by_role("button", name="Resolve").click()
    page.goto(f"{url}runs/5/")
    expect(page.get_by_text("finished", exact=True).first).to_be_visible(timeout=LONG)
    page.goto(url)
    expect(page.locator(".attention-flag")).to_have_count(0)


def start(page: Page, url: str, job: str) -> None:
    page.goto(f"{url}jobs/")
    page.get_by_role("link", name=job).click()
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(job)


def set_time_scale(page: Page, url: str, scale: str) -> None:
    page.goto(f"{url}lab/1/")
    page.get_by_text("Break something").click()
    page.get_by_role("link", name="Let time run faster or slower").click()
    page.locator("form.form-page").get_by_role("textbox").or_(
        page.locator("form.form-page input[type=number]")
    ).first.fill(scale)
    page.get_by_role("button", name="Do it").click()
    expect(page.locator(".message").first).to_be_visible()


def publish(page: Page, url: str, machine: str) -> None:
    page.goto(f"{url}lab/1/?q={machine}")
    page.get_by_role("link", name="break").first.click()
    page.get_by_role("link", name="Change it in the library").first.click()
    page.get_by_role("button", name="Do it").click()
    expect(page.locator(".message").first).to_be_visible()
