"""The run page in a browser, while engine threads perform the run."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from inventory.lab import worlds
from ovmst_site.access.models import Membership, Person
from ovmst_site.clock import JumpingClock
from servicing.models import Event, Run
from servicing.tally import standing, tally
from tests.browser.performer import Performer
from tests.factories import LabSite, make_lab_site
from tests.servicing.views.rows import make_run
from tests.serving import Server

# Nothing but the live log tells these servers' pages of a change.
NO_POLLING = "servicing.views.run.POLL_EVERY=3600"
FINISHED = "#run-state h1 .badge:text-is('finished')"


@pytest.fixture
def site(shared_rows: str, jumping_clock: JumpingClock) -> Iterator[LabSite]:
    site = make_lab_site(jumping_clock)
    for n in range(1, 4):
        site.machine(f"m{n}", name=f"machine {n}")
    yield site
    worlds.forget()


@pytest.fixture
def ada(site: LabSite) -> Person:
    person = Person.objects.create_user("ada", password="x")
    Membership.objects.create(person=person, team=site.job.team)
    return person


def open_run(page: Page, run: Run, query: str = "") -> None:
    page.goto(f"/runs/{run.pk}/{query}")
    expect(page.locator("section[data-live-log]")).to_have_attribute("data-live", "live")


def expect_truth(page: Page, run: Run) -> None:
    """The page says what the rows say: counts, each machine's state and step, every line of the log once."""
    counted = tally(run.pk)
    expect(page.locator("#figure-all b")).to_have_text(str(counted.total))
    for part in counted.parts:
        if part.count or part.key != "resolved":
            expect(page.locator(f"#figure-{part.key} b")).to_have_text(str(part.count))
    for target in run.targets.all():
        row = page.locator(f"tr:has(#target-{target.pk})")
        key = standing(target.state, target.outcome)
        expect(row.locator(f".badge.is-{key}")).to_be_visible()
        if key == "active":
            expect(row.locator("td.step")).to_contain_text(target.step)
            expect(row.locator("td.step b.return")).to_have_count(int(target.direction == "return"))
    expect(page.locator("li[data-cursor]")).to_have_count(Event.objects.filter(run=run).count())


def test_counts_steps_and_log_move_as_the_run_goes_on(
    serve: Callable[..., Server], site: LabSite, ada: Person, new_page: Any
):
    run = site.start()
    performer = Performer(site)
    page = new_page(ada, server=serve(NO_POLLING))
    open_run(page, run)
    expect_truth(page, run)
    expect(page.locator("#figure-queued b")).to_have_text("3")
    for step in ("fetch", "install", "store"):
        performer.until(run.targets.filter(step=step).exists)
        expect_truth(page, run)
    performer.to_end()
    expect_truth(page, run)
    expect(page.locator("#figure-succeeded b")).to_have_text("3")
    expect(page.locator(FINISHED)).to_be_visible()
    expect(page.locator("#run-cancel")).to_have_count(0)
    expect(page.locator("section[data-live-log]")).to_have_attribute("data-live", "ended")
    expect(page.locator("[hx-trigger*=run-changed]")).to_have_count(0)  # and so asks for nothing any more


def test_without_the_log_the_page_polls(
    serve: Callable[..., Server], site: LabSite, ada: Person, new_page: Any, complaints: Any
):
    complaints.allow("/events|ERR_FAILED")
    run = site.start()
    page = new_page(ada, server=serve("servicing.views.run.POLL_EVERY=0.5"))
    page.route("**/events?*", lambda route: route.abort())
    page.goto(f"/runs/{run.pk}/")
    expect(page.locator("#figure-queued b")).to_have_text("3")
    Performer(site).to_end()
    expect(page.locator("#figure-succeeded b")).to_have_text("3")
    expect(page.locator(FINISHED)).to_be_visible()


def test_what_a_person_does_survives_the_refreshes(
    serve: Callable[..., Server], site: LabSite, ada: Person, new_page: Any
):
    for n in range(4, 31):
        site.machine(f"m{n}", name=f"machine {n}")
    run = site.start()
    performer = Performer(site)
    page = new_page(ada, server=serve(NO_POLLING), viewport={"width": 1000, "height": 500})
    open_run(page, run)
    page.locator("#figure-queued").click()
    expect(page).to_have_url(f"{page.url.split('?')[0]}?standing=queued")
    expect(page.get_by_label("State or outcome")).to_have_value("queued")
    page.locator("#figure-all").click()
    expect(page.get_by_label("State or outcome")).to_have_value("")
    page.locator("#target-filter").get_by_label("Machine's name").fill("machine 1")
    expect(page.locator("#run-targets tbody tr")).to_have_count(11)
    expect(page.locator("#run-targets [data-refreshes]")).to_have_attribute("hx-get", re.compile("q=machine"))
    page.get_by_role("link", name="Machine", exact=True).click()
    expect(page).to_have_url(f"{page.url.split('?')[0]}?q=machine+1&standing=&step=&sort=name")
    expect(page.locator("#run-targets tbody tr").first).to_contain_text("machine 1")
    # In one go in the page: a locator's element may be swapped away before it is asked.
    wrap = "document.querySelector('#run-targets .table-wrap')"
    place = page.evaluate(f"{wrap}.scrollTop = 100, {wrap}.scrollTop")
    assert place > 0
    search = page.locator("#target-filter").get_by_label("Machine's name")
    search.focus()
    above = page.evaluate("scrollY")
    performer.until(run.targets.filter(step="install").exists)
    active = tally(run.pk).counts["active"]
    expect(page.locator("#figure-active b")).to_have_text(str(active))
    expect(page.locator("#run-targets tbody tr")).to_have_count(11)
    expect(search).to_be_focused()
    expect(search).to_have_value("machine 1")
    assert page.evaluate(f"{wrap}.scrollTop") == place
    assert page.evaluate("scrollY") == above
    # What has the focus inside the part that is swapped keeps it too.
    link = page.locator("#run-targets tbody a").nth(3)
    link.focus()
    name = link.inner_text()
    performer.to_end()
    expect(page.locator(FINISHED)).to_be_visible()
    expect(page.locator("#run-targets tbody a", has_text=name).first).to_be_focused()


def test_cancel_then_retry(served: Server, site: LabSite, ada: Person, new_page: Any):
    run = site.start()
    performer = Performer(site)
    page = new_page(ada)
    open_run(page, run)
    performer.until(run.targets.filter(step="install").exists)
    expect_truth(page, run)
    page.get_by_role("link", name="Cancel…").click()
    expect(page.get_by_role("heading", name="Cancel run")).to_be_visible()
    expect(page.get_by_text("being serviced")).to_be_visible()
    assert not run.targets.exclude(cancel_requested_at=None).exists()
    page.get_by_role("button", name="Cancel this run").click()
    expect(page.get_by_text("asked to turn back")).to_be_visible()
    assert set(run.targets.values_list("cancel_requested_by", flat=True)) == {"ada"}
    performer.until(run.targets.filter(direction="return").exists)
    expect_truth(page, run)
    performer.to_end()
    expect_truth(page, run)
    expect(page.locator(FINISHED)).to_be_visible()
    assert not site.world.awake()
    assert not site.world.lost_machines()
    left = tally(run.pk).retried
    assert left > 0
    page.get_by_role("button", name=f"Retry {left} that didn't succeed").click()
    again = Run.objects.get(retry_of=run)
    expect(page).to_have_url(f"{served.url}/runs/{again.pk}/")
    expect(page.get_by_role("link", name=f"run {run.pk}")).to_be_visible()
    performer.to_end()
    expect_truth(page, again)
    expect(page.locator("#figure-succeeded b")).to_have_text(str(left))


def test_the_log_is_searched_in_place_and_goes_on(served: Server, site: LabSite, ada: Person, new_page: Any):
    run = site.start()
    performer = Performer(site)
    performer.until(run.targets.filter(step="install").exists)
    page = new_page(ada)
    open_run(page, run)
    form = page.get_by_role("search", name="Search the log")
    form.get_by_label("Machine's name").fill("machine 2")
    expect(page.get_by_text("lines found")).to_be_visible()
    found = page.locator("li[data-cursor]")
    expect(found).to_have_count(Event.objects.filter(run=run, target__resource__name="machine 2").count())
    expect(page.get_by_role("link", name="Download these")).to_have_attribute(
        "href", f"/runs/{run.pk}/log.txt?machine=machine+2"
    )
    with page.expect_download() as download:
        page.get_by_role("link", name="Download these").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == found.count()
    assert all("machine 2" in line and line[10] == "T" for line in lines)
    form.get_by_label("Machine's name").fill("")
    expect(page.locator("section[data-live-log]")).to_have_attribute("data-live", "live")
    performer.to_end()
    expect_truth(page, run)


def test_a_targets_page_follows_it_and_shows_its_way(
    serve: Callable[..., Server], site: LabSite, ada: Person, new_page: Any
):
    run = site.start()
    target = run.targets.earliest("pk")
    performer = Performer(site)
    performer.until(run.targets.filter(pk=target.pk, step="install").exists)
    page = new_page(ada, server=serve("servicing.views.target.POLL_EVERY=0.5"))
    open_run(page, run)
    page.locator(f"#target-{target.pk}").click()
    expect(page.get_by_role("heading", name="machine 1")).to_be_visible()
    expect(page.get_by_text("so far")).to_be_visible()
    performer.to_end()
    expect(page.locator(".way tbody tr")).to_have_count(target.step_records.count())
    expect(page.get_by_role("region", name="Packages that changed")).to_be_visible()
    expect(page.locator("[hx-trigger^=every]")).to_have_count(0)


def test_earlier_lines_of_a_target_stay_and_focus_goes_on_from_there(
    serve: Callable[..., Server], site: LabSite, ada: Person, new_page: Any
):
    run = site.start()
    target = run.targets.earliest("pk")
    Event.objects.bulk_create(
        Event(run=run, target=target, n=n, at=run.started_at, step="scan", level="info", text=f"line {n}")
        for n in range(1, 451)
    )
    page = new_page(ada, server=serve("servicing.views.target.POLL_EVERY=0.3"))
    page.goto(f"/runs/{run.pk}/targets/{target.pk}/")
    lines = page.locator("li.log-line")
    expect(lines).to_have_count(200)
    for shown in (400, 450):
        page.get_by_role("link", name="Earlier lines").press("Enter")
        expect(lines).to_have_count(shown)
        # The link is gone; the keyboard goes on from where it was.
        assert page.evaluate("document.activeElement.closest('ol.log') !== null")
    for _ in range(2):
        with page.expect_response(lambda answer: answer.url.endswith(f"/targets/{target.pk}/")):
            pass
    expect(lines).to_have_count(450)
    Event.objects.create(run=run, target=target, n=451, at=run.started_at, step="scan", level="info", text="new")
    expect(lines.last).to_contain_text("new")
    expect(lines).to_have_count(451)


def test_a_refresh_that_comes_late_does_not_undo_a_filter(
    serve: Callable[..., Server], site: LabSite, ada: Person, new_page: Any
):
    run = site.start()
    page = new_page(ada, server=serve(NO_POLLING))
    open_run(page, run)
    held: list[Any] = []
    unfiltered = f"**/runs/{run.pk}/?"
    page.route(unfiltered, lambda route: held.append(route))  # the refresh hangs on its way
    page.evaluate("document.body.dispatchEvent(new CustomEvent('run-changed'))")
    expect(page.locator("[data-refreshes].htmx-request")).to_have_count(1)
    page.locator("#figure-succeeded").click()
    expect(page.get_by_text("No machine of this run is like that.")).to_be_visible()
    with page.expect_response(unfiltered):
        held[0].continue_()
    page.locator("#figure-queued").click()
    expect(page.locator("#run-targets tbody tr")).to_have_count(3)
    page.locator("#figure-succeeded").click()
    expect(page.get_by_text("0 of 3 machines")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(served: Server, site: LabSite, ada: Person, new_page: Any, scheme: str):
    run = site.start()
    Performer(site).until(run.targets.filter(step="install").exists)
    every = make_run(site, 60)
    over = make_run(site, 6, finished=True, name="'\"<b>$(x)</b>\u202e💥" + "long" * 80)
    target = run.targets.earliest("pk")
    wide, phone = new_page(ada, color_scheme=scheme), new_page(ada, viewport={"width": 390, "height": 844})
    for path in (
        "/runs/",
        f"/runs/{run.pk}/",
        f"/runs/{every.pk}/?standing=active",
        f"/runs/{over.pk}/?q=nothing",
        f"/runs/{over.pk}/",
        f"/runs/{run.pk}/cancel/",
        f"/runs/{run.pk}/targets/{target.pk}/",
        f"/runs/{run.pk}/log",
        "/runs/?outcome=trouble&machine=nothing",
    ):
        wide.goto(path)
        violations = Axe().run(wide, options={"preload": False}).response["violations"]
        assert not violations, (path, [(v["id"], v["nodes"][0]["html"]) for v in violations])
        phone.goto(path)
        assert phone.evaluate("document.scrollingElement.scrollWidth") <= 390, f"{path} is wider than a phone"
