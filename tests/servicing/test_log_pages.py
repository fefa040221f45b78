"""A run's log in ranges, searched, and as a file."""

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from ovmst_site.access.models import Membership, Person
from servicing import log
from servicing.models import Event, Run
from servicing.views.log import AT_A_TIME
from tests.factories import LabSite

HOSTILE = (
    "<script>alert(1)</script> \x1b[2J \x07 \u202egnirts\u202c a\r\nb\n\tc \U0001f4a5 \x85 \u2028 '\"$(reboot)"
)


@pytest.fixture(autouse=True)
def with_our_urls(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.urls"


@pytest.fixture
def run(lab: LabSite) -> Run:
    lab.machine("m1", name='"m1"\n<i>')
    return lab.start()


@pytest.fixture
def person(client: Client, lab: LabSite) -> Person:
    person = Person.objects.create_user("member", password="x")
    Membership.objects.create(person=person, team=lab.job.team)
    client.force_login(person)
    return person


def say(run: Run, *texts: str, level: str = "info") -> None:
    target = run.targets.get()
    n = target.log.count()
    Event.objects.bulk_create(
        Event(run=run, target=target, n=n + i, at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), step="scan",
              level=level, text=text)
        for i, text in enumerate(texts, 1)
    )  # fmt: skip


def texts(page: str) -> list[str]:
    return re.findall(r'<bdi class="log-text">(.*?)</bdi>', page, re.DOTALL)


def fragment(client: Client, address: str) -> str:
    answer = client.get(address, headers={"HX-Request": "true"})
    assert answer.status_code == 200, answer.content
    assert b"<html" not in answer.content
    return answer.content.decode()


def content_of(answer: Any) -> str:
    async def read() -> bytes:
        return b"".join([part async for part in answer])

    return async_to_sync(read)().decode()


def next_address(page: str, which: str) -> str:
    found = re.search(rf'data-{which}>\s*<a href="([^"]*)"', page)
    return found[1].replace("&amp;", "&") if found else ""


def test_ranges_lead_back_to_the_first_line_and_forward_again(client: Client, run: Run, person: Person):
    wanted = [f"line {n}" for n in range(2 * AT_A_TIME + 10)]
    say(run, *wanted)
    page = client.get(f"/runs/{run.pk}/log").content.decode()
    assert "<html" in page
    assert f'data-after="{log.newest(run.pk)}"' in page
    found = texts(page)
    while address := next_address(page, "earlier"):
        page = fragment(client, address)
        found = texts(page) + found
    assert found == wanted
    address, forward = f"/runs/{run.pk}/log?after=0-0", []
    while address:
        page = fragment(client, address)
        forward += texts(page)
        address = next_address(page, "later")
    assert forward == wanted


def test_a_search_keeps_its_filter_from_range_to_range(client: Client, run: Run, person: Person):
    say(run, *(f"{'odd & <b>' if n % 2 else 'even'} {n}" for n in range(3 * AT_A_TIME)))
    page = client.get(f"/runs/{run.pk}/log?q={quote('ODD & <B>')}").content.decode()
    assert "data-live-log" not in page
    assert f"/runs/{run.pk}/log.txt?q=ODD" in page
    earlier = fragment(client, next_address(page, "earlier"))
    found = texts(earlier) + texts(page)
    assert found == [f"odd &amp; &lt;b&gt; {n}" for n in range(3 * AT_A_TIME) if n % 2]
    assert next_address(earlier, "earlier") == ""
    file = content_of(client.get(f"/runs/{run.pk}/log.txt?q=odd&level=info"))
    assert file.count("\n") == len(found)


def test_level_and_target(client: Client, run: Run, person: Person):
    say(run, "calm")
    say(run, "loud", level="alarm")
    target = run.targets.get().pk
    assert texts(fragment(client, f"/runs/{run.pk}/log?level=alarm&target={target}")) == ["loud"]
    assert texts(fragment(client, f"/runs/{run.pk}/log?level=alarm&target={target + 1}")) == []
    page = client.get(f"/runs/{run.pk}/log?q=absent").content.decode()
    assert "No line matches" in page


def test_the_file_has_a_line_for_each_event_whatever_a_guest_said(client: Client, run: Run, person: Person):
    say(run, HOSTILE, "second")
    answer = client.get(f"/runs/{run.pk}/log.txt")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Content-Disposition"] == f'attachment; filename="run-{run.pk}-log.txt"'
    first, second, rest = content_of(answer).split("\n")
    assert first.startswith('2026-01-02T03:04:05.678Z info    "m1"\\n<i>: scan: <script>alert(1)')
    assert "\\x1b[2J \\x07 \\u202egnirts\\u202c a\\nb\\n\\tc \U0001f4a5 \\x85 \\u2028" in first
    assert second.endswith(": scan: second")
    assert rest == ""


def test_the_page_shows_hostile_lines_harmlessly(client: Client, run: Run, person: Person):
    say(run, HOSTILE)
    page = client.get(f"/runs/{run.pk}/log").content.decode()
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "&quot;m1&quot;\n&lt;i&gt;" in page


@pytest.mark.parametrize("address", ["log", "log.txt", "events"])
def test_what_a_person_may_not_see_does_not_exist(client: Client, run: Run, address: str):
    say(run, "secret")
    # A stream can't show the sign-in page, so it says what is wrong.
    assert client.get(f"/runs/{run.pk}/{address}").status_code == (401 if address == "events" else 302)
    client.force_login(Person.objects.create_user("stranger", password="x"))
    assert client.get(f"/runs/{run.pk}/{address}").status_code == 404
    assert client.post(f"/runs/{run.pk}/{address}").status_code == 405


@pytest.mark.parametrize(
    "query",
    ["before=1", "after=x-y", "level=loud", "target=m1", f"target={2**63}", "target=-1", "q=" + "x" * 201,
     "q=a%00b", "before=" + "9" * 40 + "-1"],
)  # fmt: skip
@pytest.mark.parametrize("address", ["log", "log.txt"])
def test_nonsense_in_the_address_is_said_to_be(client: Client, run: Run, person: Person, address: str, query: str):
    answer = client.get(f"/runs/{run.pk}/{address}?{query}")
    assert answer.status_code == 400
    assert len(answer.content) > 10
    assert client.get(f"/runs/{run.pk}/log?{query}", headers={"HX-Request": "true"}).status_code == 400


def test_a_long_log_takes_no_more_queries(
    client: Client, run: Run, person: Person, django_assert_max_num_queries: Any
):
    say(run, *map(str, range(1000)))
    with django_assert_max_num_queries(6):
        client.get(f"/runs/{run.pk}/log")
