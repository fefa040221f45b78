"""Home, groups, jobs and what needs attention in a browser: what htmx does there, and that axe finds nothing."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from inventory.sync import sync
from ovmst_site.access.models import Membership, Person
from servicing.models import Group, Job, Occurrence, Run, RunTarget
from tests.browser.conftest import Complaints
from tests.factories import LabSite
from tests.hostile import HOSTILE

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def site(shared_lab: LabSite) -> LabSite:
    for n, name in enumerate(["web 1", "web 2", "db 1", *HOSTILE]):
        shared_lab.machine(f"m{n}", name=name)
    sync(shared_lab.server, shared_lab.clock.now())
    return shared_lab


@pytest.fixture
def member(site: LabSite) -> Person:
    person = Person.objects.create_user("member", password="x")
    Membership.objects.create(person=person, team=site.job.team)
    return person


def test_a_group_is_made_of_a_filter_and_a_job_of_the_group(
    site: LabSite, member: Person, new_page: Callable[..., Page]
):
    page = new_page(member)
    page.goto("/groups/new/?kind_of=filter")
    page.get_by_label("Name").fill("Web")
    expect(page.locator("#preview")).to_contain_text("11 machines")
    page.get_by_label("Search", exact=False).first.fill("web")
    expect(page.locator("#preview")).to_contain_text("2 machines now: web 1, web 2")
    page.get_by_role("button", name="Save the group").click()
    expect(page.locator("#results")).to_contain_text("web 2")
    page.get_by_role("link", name="Make a job of it").click()
    # Its group is chosen already, and so is what there is only one of.
    page.get_by_label("Name").fill("Web, monthly")
    page.get_by_label("Checks").fill("/usr/bin/systemctl is-active nginx")
    page.get_by_role("button", name="Show what it would take now").click()
    expect(page.locator("#preview")).to_contain_text("2 of 2 machines")
    page.get_by_role("button", name="Make the job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Web, monthly")
    assert Job.objects.get(name="Web, monthly").checks == [["/usr/bin/systemctl", "is-active", "nginx"]]
    page.get_by_role("button", name="Run now").click()
    expect(page).to_have_url(re.compile(r"/runs/\d+/$"))
    assert Run.objects.get().targets.count() == 2


def test_the_list_of_groups_fills_in_what_filters_take(
    site: LabSite, member: Person, new_page: Callable[..., Page]
):
    group = Group.objects.create(team=site.job.team, name="Web", kind="filter", filter={"q": "web"})
    page = new_page(member)
    page.goto("/groups/")
    expect(page.locator(f"#size-{group.pk}")).to_have_text("2")


def test_home_follows_what_happens(site: LabSite, member: Person, new_page: Callable[..., Page]):
    page = new_page(member)
    page.goto("/")
    expect(page.locator("#now")).to_contain_text("The next steps")
    run = site.start()
    expect(page.locator("#now")).to_contain_text("11 queued")
    expect(page.locator("#now")).not_to_contain_text("The next steps")
    page.get_by_role("link", name=f"Run {run.pk}").click()
    expect(page).to_have_url(re.compile(rf"/runs/{run.pk}/$"))


def test_deleting_asks_first(site: LabSite, member: Person, new_page: Callable[..., Page]):
    page = new_page(member)
    page.goto(f"/jobs/{site.job.pk}/")
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile(rf"/jobs/{site.job.pk}/$"))
    assert Job.objects.count() == 1


def test_a_form_is_sent_once_and_can_be_sent_again_later(
    site: LabSite, member: Person, new_page: Callable[..., Page]
):
    page = new_page(member)
    page.clock.install()
    sent: list[str] = []

    def stopped(route: Route) -> None:
        """The page stays where it is, as when somebody presses Escape while the answer is on its way."""
        sent.append(route.request.method)
        route.fulfill(status=204)

    page.route("**/start/", stopped)
    page.goto(f"/jobs/{site.job.pk}/")
    button = page.get_by_role("button", name="Run now")
    with page.expect_response("**/start/"):
        button.click()
    button.click()
    page.clock.fast_forward(6000)
    with page.expect_response("**/start/"):
        button.click()
    assert sent == ["POST", "POST"]


def test_filtering_keeps_what_was_sorted_in_place(site: LabSite, member: Person, new_page: Callable[..., Page]):
    page = new_page(member)
    page.goto("/machines/")
    page.get_by_role("link", name="Name", exact=True).click()
    expect(page).to_have_url(re.compile("sort=-name"))
    page.get_by_label("Search", exact=False).first.fill("web")
    expect(page).to_have_url(re.compile("q=web"))
    expect(page).to_have_url(re.compile("sort=-name"))
    expect(page.locator("#machines tbody tr").first).to_contain_text("web 2")


@pytest.mark.parametrize("scheme", ["light", "dark", "phone"])
def test_axe_finds_nothing_and_nothing_sticks_out(
    site: LabSite, member: Person, new_page: Callable[..., Page], complaints: Complaints, scheme: str
):
    addresses = furnish(site)
    options = {"viewport": PHONE} if scheme == "phone" else {"color_scheme": scheme}
    page = new_page(member, **options)
    for address in addresses:
        page.goto(address)
        if page.locator("#platform").count():
            expect(page.locator("#platform")).to_contain_text("Could not tell")  # the site doesn't know this lab
        assert complaints.left() == [], address
        found = Axe().run(page, options=RULES).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found] == [], address
        complaints.said.clear()  # axe's own inline styles, which the policy refuses
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, address


def furnish(site: LabSite) -> list[str]:
    """Rows of every kind that the pages show; the addresses of the pages."""
    group = Group.objects.create(team=site.job.team, name=HOSTILE[1][:100], kind="filter", filter={"q": "web"})
    run = site.start()
    target = run.targets.order_by("pk")[0]
    RunTarget.objects.filter(pk=target.pk).update(
        state="attention", outcome="needs attention", due_at=None, reason=HOSTILE[1] + HOSTILE[6]
    )
    at = datetime.now(UTC)
    Occurrence.objects.create(job=site.job, due_at=at + timedelta(days=1), planned_by=HOSTILE[6][:200])
    Occurrence.objects.create(job=site.job, due_at=at - timedelta(days=1), state="missed", reason=HOSTILE[6])
    listed = site.job.group_id
    return [
        *("/", "/groups/", f"/groups/{listed}/", f"/groups/{group.pk}/", f"/groups/{group.pk}/edit/"),
        *("/groups/new/", "/groups/new/?kind_of=filter", f"/groups/{listed}/add/"),
        *("/jobs/", f"/jobs/{site.job.pk}/", f"/jobs/{site.job.pk}/edit/", "/jobs/new/"),
        *("/attention/", f"/attention/{target.pk}/", f"/attention/{target.pk}/platform/"),
        *("/help/home/", "/help/groups/", "/help/jobs/", "/help/attention/"),
    ]
