"""The log of a run as it happens, over a real web server."""

import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, transaction

from ovmst_site.access.models import Membership, Person
from servicing.models import Event, Run, RunTarget
from tests.factories import LabSite
from tests.servicing.streams import Stream
from tests.serving import Server, session_of


@pytest.fixture
def watch() -> Iterator[Callable[..., Stream]]:
    opened: list[Stream] = []

    def start(*args: Any, **kwargs: Any) -> Stream:
        opened.append(Stream(*args, **kwargs))
        return opened[-1]

    yield start
    for stream in opened:
        stream.close()


@pytest.fixture
def site(shared_lab: LabSite) -> LabSite:
    shared_lab.machine("m1", name='one "quoted"\n<b>')
    return shared_lab


@pytest.fixture
def run(site: LabSite) -> Run:
    return site.start()


@pytest.fixture
def member(site: LabSite) -> str:
    person = Person.objects.create_user("member", password="x")
    Membership.objects.create(person=person, team=site.job.team)
    return session_of(person)


def say(run: Run, *texts: str) -> None:
    """Lines of the run's first target, written in one transaction."""
    with transaction.atomic():
        target = RunTarget.objects.select_for_update().filter(run=run).order_by("pk")[0]
        Event.objects.bulk_create(
            Event(run=run, target=target, n=n, at=datetime.now(UTC), step="scan", text=text)
            for n, text in enumerate(texts, target.events + 1)
        )
        RunTarget.objects.filter(pk=target.pk).update(events=target.events + len(texts))


def texts(lines: list[Any]) -> list[str]:
    return [line["text"] for line in lines]


def test_what_was_is_replayed_and_what_comes_comes(served: Server, run: Run, member: str, watch: Any):
    say(run, "a", "b\nc\r\nd", "\x1b[31m \U0001f4a5 ‮")
    stream = watch(served, run.pk, member)
    assert stream.status == 200
    assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
    assert "no-store" in stream.answer.headers["Cache-Control"]
    assert stream.answer.headers["X-Accel-Buffering"] == "no"
    lines = stream.lines(3)
    assert texts(lines) == ["a", "b\nc\nd", "\\x1b[31m \U0001f4a5 \\u202e"]
    assert lines[0]["machine"] == 'one "quoted"\n<b>'
    assert datetime.fromisoformat(lines[0]["at"]).tzinfo is not None
    say(run, "e")
    assert texts(stream.lines(1)) == ["e"]


def test_a_viewer_comes_back_with_its_cursor(served: Server, run: Run, member: str, watch: Any):
    say(run, *"abcdef")
    first = watch(served, run.pk, member).lines(2)
    assert texts(watch(served, run.pk, member, after=first[-1]["id"]).lines(2)) == ["c", "d"]
    again = watch(served, run.pk, member, after=first[0]["id"], **{"Last-Event-ID": first[1]["id"]})
    assert texts(again.lines(1)) == ["c"]


def test_the_end_of_the_run_ends_the_stream(served: Server, site: LabSite, run: Run, member: str, watch: Any):
    stream = watch(served, run.pk, member)
    site.run_to_end(run)
    names = stream.until("end")
    assert names.count("line") == Event.objects.filter(run=run).count()
    assert "changed" in names
    assert stream.answer.read() == b""
    late = watch(served, run.pk, member).until("end")
    assert late.count("line") == names.count("line")


def test_without_a_right_there_is_no_stream(served: Server, run: Run, member: str, watch: Any):
    stranger = session_of(Person.objects.create_user("stranger", password="x"))
    assert watch(served, run.pk, stranger).status == 404
    assert watch(served, run.pk).status in (302, 401)  # to sign in
    assert watch(served, run.pk, "no-such-session").status in (302, 401)
    assert watch(served, run.pk + 1, member).status == 404
    assert watch(served, run.pk, member, after="1;DROP").status == 400


@pytest.mark.parametrize("loss", ["membership", "deactivated", "signed out"])
def test_who_loses_the_right_is_cut_off(serve: Any, run: Run, member: str, watch: Any, loss: str):
    server = serve("servicing.views.stream.ASK_AGAIN=0.2", "servicing.views.stream.HEARTBEAT=0.1")
    stream = watch(server, run.pk, member)
    say(run, "a")
    stream.lines(1)
    if loss == "membership":
        Membership.objects.all().delete()
    elif loss == "deactivated":
        Person.objects.update(is_active=False)
    else:
        from django.contrib.sessions.models import Session

        Session.objects.all().delete()
    assert "line" not in stream.until("cut")
    assert stream.answer.read() == b""


def test_a_quiet_stream_says_that_it_lives(serve: Any, run: Run, member: str, watch: Any):
    stream = watch(serve("servicing.views.stream.HEARTBEAT=0.1"), run.pk, member)
    stream.until("beat")
    assert ": still here" in stream.comments


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_stops_does_not_wait_for_its_streams(
    serve: Any, run: Run, member: str, watch: Any, number: int
):
    server = serve()
    streams = [watch(server, run.pk, member) for _ in range(3)]
    say(run, "a")
    assert [texts(stream.lines(1)) for stream in streams] == [["a"]] * 3
    began = time.monotonic()
    server.stop(number)
    assert time.monotonic() - began < 5
    assert [stream.answer.read() for stream in streams] == [b""] * 3


def test_sixty_viewers_hold_no_connections(serve: Any, run: Run, member: str, watch: Any):
    server = serve()
    streams = [watch(server, run.pk, member) for _ in range(60)]
    assert {stream.status for stream in streams} == {200}
    say(run, *"abc")
    assert {tuple(texts(stream.lines(3))) for stream in streams} == {("a", "b", "c")}
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            assert cursor.fetchone()[0] <= 25  # the pool's 20, and this process's own
    # The server still answers others, and everybody sees what comes.
    assert watch(server, run.pk, member).lines(1)[0]["text"] == "a"
    say(run, "d")
    assert {tuple(texts(stream.lines(1))) for stream in streams} == {("d",)}
