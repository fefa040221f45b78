"""Two observers of one run under two concurrent writers: no line lost, none doubled, one order for both."""

import random
import threading
import time
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader

from ovmst_site.access.models import Person
from servicing import log
from servicing.log import START, Cursor
from servicing.models import Event, Run
from tests.factories import LabSite
from tests.servicing.streams import Stream
from tests.serving import Server, session_of


class Undone(Exception):
    """A transaction that comes to nothing."""


def write(run: Run, target: int, number: int, seed: int) -> None:
    """So many events of one target, in transactions of differing length, some of which are rolled back."""
    dice = random.Random(seed)
    written = 0
    try:
        while written < number:
            some = min(dice.randint(1, 12), number - written)
            try:
                with transaction.atomic():
                    # In two parts, so that the ids of two transactions lie between each other.
                    for part in (range(some // 2), range(some // 2, some)):
                        Event.objects.bulk_create(
                            Event(
                                run=run,
                                target_id=target,
                                n=written + n + 1,
                                at=datetime.now(UTC),
                                step="x",
                                text="x",
                            )
                            for n in part
                        )
                        if dice.random() < 0.1:
                            time.sleep(dice.uniform(0, 0.02))
                    if dice.random() < 0.1:
                        raise Undone
            except Undone:
                continue
            written += some
    finally:
        connection.close()


def read_by_range(run: int, seed: int, found: list[int], stop: threading.Event) -> None:
    """As one who comes back now and then and reads what is new."""
    dice = random.Random(seed)
    cursor = START
    try:
        while True:
            is_last = stop.is_set()
            lines = log.after(run, cursor, dice.randint(1, 500))
            found += [line.cursor.id for line in lines]
            if lines:
                cursor = lines[-1].cursor
            elif is_last:
                return
            else:
                time.sleep(dice.uniform(0, 0.01))
    finally:
        connection.close()


def read_by_stream(server: Server, run: int, session: str, seed: int, found: list[int]) -> None:
    """As a browser whose connection is lost now and then, until the end is said."""
    dice = random.Random(seed)
    after = ""
    while True:
        stream = Stream(server, run, session, after)
        assert stream.status == 200
        left = dice.randint(50, 3000)
        for name, place, _ in stream.events():
            if name == "end":
                stream.close()
                return
            if name == "line":
                found.append(Cursor.parse(place).id)
                after, left = place, left - 1
                if not left:
                    break
        stream.close()


@pytest.fixture
def site(shared_lab: LabSite) -> LabSite:
    shared_lab.machine("m1")
    shared_lab.machine("m2")
    return shared_lab


def test_two_observers_under_two_writers_see_every_line_once_in_one_order(served: Server, site: LabSite):
    number = 20_000 if connection.vendor == "postgresql" else 2_000
    run = site.start()
    session = session_of(Person.objects.create_superuser("root", password="x"))
    first, second = run.targets.values_list("pk", flat=True)
    written = threading.Event()
    by_stream: list[int] = []
    by_range: list[int] = []
    writers = [
        threading.Thread(target=write, args=(run, target, number // 2, seed))
        for seed, target in enumerate((first, second))
    ]
    observers = [
        threading.Thread(target=read_by_stream, args=(served, run.pk, session, 3, by_stream)),
        threading.Thread(target=read_by_range, args=(run.pk, 4, by_range, written)),
    ]
    for thread in [*observers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    Run.objects.filter(pk=run.pk).update(finished_at=datetime.now(UTC))
    while not log.is_over(run.pk):  # somebody else's transaction may hold the last lines back for a while
        time.sleep(0.05)
    written.set()
    for thread in observers:
        thread.join()
    there = list(Event.objects.filter(run=run).order_by("tx", "pk").values_list("pk", flat=True))
    assert len(there) == number
    assert by_stream == there
    assert by_range == there
    if connection.vendor == "postgresql":
        assert there != sorted(there)  # the writers did cross each other: by id alone, lines would be lost
    for target in (first, second):
        numbers = list(Event.objects.filter(target=target).order_by("tx", "pk").values_list("n", flat=True))
        assert numbers == list(range(1, number // 2 + 1))


def test_an_open_transaction_holds_later_lines_back_and_loses_none(site: LabSite):
    """The one case in which reading by id loses a line, step by step."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    run = site.start()
    first, second = run.targets.values_list("pk", flat=True)
    wrote, may_commit = threading.Event(), threading.Event()

    def say(target: int) -> Event:
        return Event.objects.create(run=run, target_id=target, n=1, at=datetime.now(UTC), step="x", text="x")

    def write_slowly() -> None:
        try:
            with transaction.atomic():
                say(first)
                wrote.set()
                may_commit.wait(30)
        finally:
            connection.close()

    slow = threading.Thread(target=write_slowly)
    slow.start()
    assert wrote.wait(30)
    later = say(second)
    assert Event.objects.filter(run=run).count() == 1
    assert log.after(run.pk, START) == []
    assert log.newest(run.pk) == START
    Run.objects.filter(pk=run.pk).update(finished_at=datetime.now(UTC))
    assert not log.is_over(run.pk)
    may_commit.set()
    slow.join()
    end = time.monotonic() + 60
    while len(log.after(run.pk, START)) < 2:  # other databases' transactions hold lines back too
        assert time.monotonic() < end
        time.sleep(0.05)
    lines = log.after(run.pk, START)
    assert [line.target for line in lines] == [first, second]
    assert lines[1].cursor.id == later.pk


def test_events_from_before_get_their_run(lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    lab.run_to_end(run)
    before = log.latest(run.pk)
    Event.objects.update(run=None)
    assert log.latest(run.pk) == []
    _migration("_event_run").fill(apps, None)
    assert log.latest(run.pk) == before


def test_events_that_an_old_worker_wrote_after_that_get_their_run_at_the_next_start(lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    lab.run_to_end(run)
    before = log.latest(run.pk)
    Event.objects.filter(pk__in=[line.cursor.id for line in before[-3:]]).update(run=None)
    assert log.latest(run.pk) == before[:-3]
    log.mend()
    assert log.latest(run.pk) == before


def _migration(ending: str) -> Any:
    names = [name for app, name in MigrationLoader(None).disk_migrations if app == "servicing"]
    (name,) = [name for name in names if name.endswith(ending)]
    return import_module(f"servicing.migrations.{name}")
