"""What holds for all pages: signing in, the policy, lists by their URL, help."""

from datetime import timedelta

import pytest
from django.test import Client, RequestFactory

from inventory.models import HostGroup
from ovmst_site.access.models import Person, Team
from ovmst_site.web.listing import Column, Listing
from ovmst_site.web.templatetags.web import duration, one_line, since, slug_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def administrator() -> Person:
    return Person.objects.create_superuser("ada", "ada@example.org", "correct horse battery")


def test_every_page_asks_who_is_there(client: Client):
    for page in ("/", "/help/", "/password/"):
        answer = client.get(page)
        assert (answer.status_code, answer["Location"]) == (302, f"/sign-in/?next={page}")


def test_somebody_signs_in_and_out(client: Client, administrator: Person):
    refused = client.post("/sign-in/", {"username": "ada", "password": "wrong"})
    assert "Please enter a correct" in refused.content.decode()
    answer = client.post("/sign-in/", {"username": "ada", "password": "correct horse battery"})
    assert answer["Location"] == "/"
    assert client.get("/").status_code == 200
    client.post("/sign-out/")
    assert client.get("/").status_code == 302


def test_a_part_of_a_page_never_becomes_the_sign_in_page(client: Client):
    answer = client.get("/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Redirect"]) == (204, "/sign-in/")


@pytest.mark.parametrize("page", ["/", "/help/", "/sign-in/", "/admin/", "/no-such-page/", "/static/web/ovmst.css"])
def test_the_policy_is_strict_everywhere(client: Client, administrator: Person, page: str):
    if page != "/sign-in/":
        client.force_login(administrator)
    policy = client.get(page)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_htmx_gets_the_part_and_a_browser_the_page(client: Client, administrator: Person):
    client.force_login(administrator)
    assert "<html" in client.get("/").content.decode()
    part = client.get("/", headers={"HX-Request": "true"})
    assert "<html" not in part.content.decode()
    assert "HX-Request" in part["Vary"]


def test_help_is_drawn_from_the_projects_files_and_from_nothing_else(client: Client, administrator: Person):
    client.force_login(administrator)
    assert "What the outcomes mean" in client.get("/help/outcomes/").content.decode()
    for name in ("no-such-page", "..", "%2e%2e%2fguarantees", "Index"):
        assert client.get(f"/help/{name}/").status_code == 404


def test_a_list_is_sorted_and_paged_by_its_url():
    team = Team.objects.create(name="red")
    HostGroup.objects.bulk_create(HostGroup(name=f"group {n:03}", team=team) for n in range(120))
    columns = [Column("Name", "name", ("name",)), Column("Team")]

    def listing(query: str) -> Listing[HostGroup]:
        return Listing(RequestFactory().get(f"/x/?{query}"), HostGroup.objects.all(), columns, sort="name")

    first = listing("")
    assert (first.total, first.page[0].name, first.previous) == (120, "group 000", "")
    assert first.following == "/x/?page=2"
    assert listing("page=3&sort=-name").page[-1].name == "group 000"
    assert [h.aria_sort for h in first.headings] == ["ascending", ""]
    assert first.headings[0].href == "/x/?sort=-name"
    # What a URL says wrong shows something all the same.
    assert listing("page=99").page.number == 3
    assert listing("page=x&sort=password").page[0].name == "group 000"
    assert "q=a%26b" in listing("q=a%26b").following


def test_words_for_people():
    assert duration(timedelta(hours=2, minutes=5, seconds=7)) == "2 h 5 min"
    assert duration(timedelta(days=1, seconds=3)) == "1 d"
    assert (duration(40), duration(0), duration(None)) == ("40 s", "0 s", "")
    assert since(None) == ""
    assert slug_of("needs attention") == "needs-attention"
    assert one_line("a\nb\u202ec", 10) == "a bc"
    assert len(one_line("x" * 400)) == 120
