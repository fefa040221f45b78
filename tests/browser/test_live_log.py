"""The live log in a browser: every line once, whatever happens to the viewer."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction
from playwright.sync_api import Page, expect

from ovmst_site.access.models import Membership, Person
from servicing.models import Event, Run, RunTarget
from tests.browser.wire import Wire
from tests.factories import LabSite
from tests.serving import Server

HOSTILE = '"><img src=x onerror=alert(1)> $(reboot) \U0001f4a5 ‮evil‬ \x1b[2J' + "x" * 400


LOST = "ERR_CONNECTION_|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_NETWORK"


@pytest.fixture
def wire(served: Server) -> Iterator[Wire]:
    wire = Wire(served.url)
    yield wire
    wire.close()


@pytest.fixture
def site(shared_lab: LabSite) -> LabSite:
    shared_lab.machine("m1", name=HOSTILE[:200])
    return shared_lab


@pytest.fixture
def run(site: LabSite) -> Run:
    return site.start()


@pytest.fixture
def member(site: LabSite) -> Person:
    person = Person.objects.create_user("member", password="x")
    Membership.objects.create(person=person, team=site.job.team)
    return person


class Speaker:
    """Says numbered lines, each time going on where it stopped."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.said = 0

    def say(self, number: int) -> None:
        with transaction.atomic():
            target = RunTarget.objects.filter(run=self.run).order_by("pk")[0]
            Event.objects.bulk_create(
                Event(run=self.run, target=target, n=n, at=datetime.now(UTC), step="scan", text=f"line {n}")
                for n in range(self.said + 1, self.said + number + 1)
            )
        self.said += number


@pytest.fixture
def speaker(run: Run) -> Speaker:
    return Speaker(run)


def assert_sees_all(page: Page, speaker: Speaker) -> None:
    """Every line once, in order."""
    expect(page.locator("li[data-cursor]").last).to_contain_text(f"line {speaker.said}")
    texts = page.locator("li[data-cursor] .log-text").all_text_contents()
    assert texts == [f"line {n}" for n in range(1, speaker.said + 1)]


def expect_state(page: Page, state: str) -> None:
    expect(page.locator("section[data-live-log]")).to_have_attribute("data-live", state)


def set_hidden(page: Page, hidden: bool) -> None:
    """As when the person looks at another tab; a browser without a screen never hides one."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_lines_come_as_they_happen(served: Server, run: Run, speaker: Speaker, member: Person, new_page: Any):
    speaker.say(3)
    page = new_page(member)
    page.goto(f"/runs/{run.pk}/log")
    expect_state(page, "live")
    speaker.say(4)
    assert_sees_all(page, speaker)
    expect(page.get_by_role("status")).to_have_text("Live.")


def test_who_joins_late_sees_what_was(served: Server, run: Run, speaker: Speaker, member: Person, new_page: Any):
    early = new_page(member)
    early.goto(f"/runs/{run.pk}/log")
    speaker.say(150)
    late = new_page(member)
    late.goto(f"/runs/{run.pk}/log")
    speaker.say(20)
    for page in (early, late):
        assert_sees_all(page, speaker)


def test_a_hidden_page_lets_go_and_misses_nothing(
    served: Server, run: Run, speaker: Speaker, member: Person, new_page: Any
):
    page = new_page(member)
    page.goto(f"/runs/{run.pk}/log")
    expect_state(page, "live")
    set_hidden(page, True)
    expect_state(page, "paused")
    speaker.say(300)
    set_hidden(page, False)
    expect_state(page, "live")
    speaker.say(5)
    assert_sees_all(page, speaker)


def test_a_lost_connection_loses_no_line(
    served: Server, run: Run, speaker: Speaker, member: Person, new_page: Any, complaints: Any, wire: Wire
):
    complaints.allow(LOST)
    page = new_page(member, base_url=wire.url)
    page.goto(f"/runs/{run.pk}/log")
    for _ in range(3):
        speaker.say(5)
        assert_sees_all(page, speaker)
        wire.cut()
        expect_state(page, "waiting")
        expect(page.get_by_role("status")).to_contain_text("lost")
        speaker.say(50)
        wire.mend()
        expect_state(page, "live")
    assert_sees_all(page, speaker)


def test_another_network_is_connected_to_anew(
    served: Server, run: Run, speaker: Speaker, member: Person, new_page: Any, complaints: Any
):
    complaints.allow("ERR_INTERNET_DISCONNECTED")
    page = new_page(member)
    page.goto(f"/runs/{run.pk}/log")
    speaker.say(5)
    assert_sees_all(page, speaker)
    page.context.set_offline(True)
    speaker.say(50)
    with page.expect_request("**/events?after=*"):
        page.context.set_offline(False)
    speaker.say(5)
    assert_sees_all(page, speaker)


def test_a_server_that_restarts_loses_no_line(
    serve: Callable[..., Server], run: Run, speaker: Speaker, member: Person, new_page: Any, complaints: Any
):
    complaints.allow(LOST)
    first = serve()
    port = first.url.rpartition(":")[2]
    page = new_page(member, server=first)
    page.goto(f"/runs/{run.pk}/log")
    speaker.say(5)
    assert_sees_all(page, speaker)
    first.stop()
    expect_state(page, "waiting")
    expect(page.get_by_role("status")).to_contain_text("lost")
    speaker.say(5)
    serve(f"--port={port}")
    assert_sees_all(page, speaker)


def test_a_reload_and_the_way_back_see_every_line_once(
    served: Server, run: Run, speaker: Speaker, member: Person, new_page: Any
):
    page = new_page(member)
    page.goto(f"/runs/{run.pk}/log")
    speaker.say(5)
    assert_sees_all(page, speaker)
    page.reload()
    speaker.say(5)
    assert_sees_all(page, speaker)
    page.goto(f"/runs/{run.pk}/log?q=line+3")
    speaker.say(5)
    page.go_back()
    assert_sees_all(page, speaker)


def test_the_page_holds_so_many_lines_and_brings_earlier_ones_back(
    served: Server, run: Run, speaker: Speaker, member: Person, new_page: Any
):
    page = new_page(member)
    page.goto(f"/runs/{run.pk}/log")
    page.evaluate("document.querySelector('section').dataset.keep = '20'")
    speaker.say(100)
    expect(page.locator("li[data-cursor]").last).to_contain_text("line 100")
    expect(page.locator("li[data-cursor]")).to_have_count(20)
    page.get_by_role("link", name="Earlier lines").click()
    expect(page.locator("li[data-cursor]")).to_have_count(100)
    expect(page.locator("li[data-cursor]").first).to_contain_text("line 1")
    expect(page.locator("li[data-cursor]").last).to_contain_text("line 100")


def test_who_reads_above_is_not_pulled_down(
    served: Server, run: Run, speaker: Speaker, member: Person, new_page: Any
):
    speaker.say(100)
    page = new_page(member, viewport={"width": 800, "height": 300})
    page.goto(f"/runs/{run.pk}/log")
    expect_state(page, "live")
    page.evaluate("scrollTo(0, 200)")
    speaker.say(3)
    expect(page.get_by_role("status")).to_have_text("3 new lines below.")
    assert page.evaluate("scrollY") == 200
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.get_by_role("status")).to_have_text("")
    speaker.say(30)
    expect(page.locator("li[data-cursor]").last).to_be_in_viewport()
    assert_sees_all(page, speaker)


def test_the_page_hears_of_changes_and_of_the_end(
    served: Server, site: LabSite, run: Run, member: Person, new_page: Any
):
    page = new_page(member)
    page.goto(f"/runs/{run.pk}/log")
    expect_state(page, "live")
    page.evaluate("window.heard = 0; document.body.addEventListener('run-changed', () => { window.heard += 1 })")
    site.run_to_end(run)
    expect_state(page, "ended")
    expect(page.get_by_role("status")).to_have_text("The run has ended.")
    page.wait_for_function("window.heard > 0")
    assert page.locator("li[data-cursor]").count() == Event.objects.filter(run=run).count()
    live = page.locator("li[data-cursor]").all_inner_texts()
    page.reload()
    expect(page.locator("section[data-live-log]")).to_have_attribute("data-open", "false")
    assert page.locator("li[data-cursor]").all_inner_texts() == live  # script and template say the same


def test_who_may_not_watch_any_more_is_told(
    serve: Callable[..., Server], run: Run, speaker: Speaker, member: Person, new_page: Any
):
    server = serve("servicing.views.stream.ASK_AGAIN=0.2", "servicing.views.stream.HEARTBEAT=0.1")
    page = new_page(member, server=server)
    page.goto(f"/runs/{run.pk}/log")
    expect_state(page, "live")
    Membership.objects.all().delete()
    expect_state(page, "closed")
    speaker.say(1)
    expect(page.get_by_role("status")).to_contain_text("closed to you")
    assert page.locator("li[data-cursor]").count() == 0


def test_who_has_signed_out_is_led_to_sign_in(
    serve: Callable[..., Server], run: Run, member: Person, new_page: Any, complaints: Any
):
    complaints.allow("401|/events")
    server = serve("servicing.views.stream.ASK_AGAIN=3600", "servicing.views.stream.HEARTBEAT=0.1")
    page = new_page(member, server=server)
    page.goto(f"/runs/{run.pk}/log?q=")
    expect_state(page, "live")
    page.context.clear_cookies()
    page.evaluate("dispatchEvent(new Event('online'))")  # connects anew
    expect_state(page, "closed")
    expect(page.get_by_role("status")).to_contain_text("You are signed out.")
    page.get_by_role("link", name="Sign in again").click()
    expect(page).to_have_url(re.compile("/sign-in/.next=/runs/"))
