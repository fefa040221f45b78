"""A real browser on the served site. It fails a test on any error in its console and any breach of the policy.

`served` (tests/serving.py) is the site, `new_page(person)` opens a page of somebody who is signed in:

    def test_it_shows(served, new_page, member):
        page = new_page(member)
        page.goto("/runs/1/log")
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, expect, sync_playwright

from ovmst_site.access.models import Person
from tests.serving import Server, session_of

PATIENCE = 30_000  # ms
expect.set_options(timeout=PATIENCE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker("browser")


def launched(playwright: Playwright) -> Browser:
    """Debian's Chromium, without a screen. CI has one; elsewhere a test that needs one is skipped."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None and os.environ.get("CI"):
        pytest.fail("CI has a browser: .ci/run installs chromium")
    if path is None:
        pytest.skip("RAN WITHOUT a browser: install Debian's chromium")
    return playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    # Playwright's synchronous interface runs a loop in this thread, which Django takes for an async view.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        opened = launched(playwright)
        yield opened
        opened.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Complaints:
    """What a browser complained about. A test names what it causes itself: complaints.allow("offline")."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._allowed: list[str] = []

    def allow(self, pattern: str) -> None:
        self._allowed.append(pattern)

    def listen(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        # Before any script of the page; a policy's breach is an event, whatever the console makes of it.
        page.add_init_script(
            'document.addEventListener("securitypolicyviolation", (e) =>'
            ' console.error("policy breached: " + e.violatedDirective + " " + e.blockedURI))'
        )

    def _hear(self, message: ConsoleMessage) -> None:
        where = message.location.get("url", "")
        # A page that names no icon is asked for one by the browser alone.
        if message.type in ("error", "warning") and not where.endswith("/favicon.ico"):
            self.said.append(f"{message.text} ({where})")

    def left(self) -> list[str]:
        return [text for text in self.said if not any(re.search(pattern, text) for pattern in self._allowed)]


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    complaints = Complaints()
    yield complaints
    assert complaints.left() == []


def sign_in(context: BrowserContext, person: Person, url: str) -> None:
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session_of(person), "url": url}])


@pytest.fixture
def new_page(browser: Browser, served: Server, complaints: Complaints) -> Iterator[Callable[..., Page]]:
    """new_page(person, server=…, **options of the context): a page in a browser of its own, signed in as this
    person; paths are the server's."""
    contexts = []

    def open_page(person: Person | None = None, *, server: Server = served, **options: Any) -> Page:
        context = browser.new_context(**{"base_url": server.url, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        if person is not None:
            sign_in(context, person, server.url)
        page = context.new_page()
        complaints.listen(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
