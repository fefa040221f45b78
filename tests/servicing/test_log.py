"""The log of a run: one order, in ranges, filtered."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from servicing import log
from servicing.log import START, Cursor, Only
from servicing.models import Event, Run
from tests.factories import LabSite


@pytest.fixture
def run(lab: LabSite) -> Run:
    lab.machine("m1", name="one")
    lab.machine("m2", name="two")
    run = lab.start()
    lab.run_to_end(run)
    return run


def ids(lines: list[log.Line]) -> list[int]:
    return [line.cursor.id for line in lines]


def test_every_event_of_the_engine_is_in_its_runs_log(run: Run):
    everything = log.latest(run.pk)
    assert len(everything) > 20
    assert ids(everything) == list(Event.objects.order_by("tx", "pk").values_list("pk", flat=True))
    assert not Event.objects.exclude(run=run).exists()
    assert log.count(run.pk) == len(everything)
    assert {line.machine for line in everything} == {"one", "two"}
    assert log.newest(run.pk) == everything[-1].cursor


def test_ranges_meet_and_neither_skip_nor_double(run: Run):
    everything = log.latest(run.pk)
    forward, cursor = [], START
    while lines := log.after(run.pk, cursor, 7):
        forward += lines
        cursor = lines[-1].cursor
    assert forward == everything
    backward = log.latest(run.pk, 5)
    while lines := log.before(run.pk, backward[0].cursor, 6):
        backward = lines + backward
    assert backward == everything
    assert [line for lines in log.each(run.pk, at_a_time=4) for line in lines] == everything
    middle = everything[9].cursor
    assert log.after(run.pk, everything[3].cursor, until=middle) == everything[4:10]


def test_a_run_shows_its_own_lines_only(run: Run, lab: LabSite):
    second = lab.start()
    lab.run_to_end(second)
    assert log.count(second.pk) > 0
    assert not set(ids(log.latest(run.pk))) & set(ids(log.latest(second.pk)))
    assert log.after(second.pk, log.newest(second.pk)) == []


def test_search_by_text_target_and_level(run: Run):
    target = run.targets.get(resource__name="two")
    Event.objects.create(
        run=run, target=target, n=900, at=run.started_at, step="scan", level="warning", text="50%_off \\ Ünder"
    )
    assert [line.text for line in log.search(run.pk, "50%_OFF \\")] == ["50%_off \\ Ünder"]
    assert log.search(run.pk, "50__off") == []
    assert log.search(run.pk, "'; DROP TABLE servicing_event; --") == []
    assert {line.machine for line in log.search(run.pk, "", target.pk)} == {"two"}
    assert ids(log.search(run.pk, "off", target.pk, "warning")) == ids(
        log.latest(run.pk, only=Only(level="warning"))
    )
    assert log.search(run.pk, "off", target.pk, "alarm") == []


def test_a_cursor_survives_its_text():
    assert Cursor.parse(str(Cursor(12, 345))) == Cursor(12, 345)
    assert Cursor(2, 1) > Cursor(1, 2) > START


@pytest.mark.parametrize(
    "text",
    ["", "1", "1-", "-1-2", "1-2-3", "a-b", "1 -2", "１-２", "9" * 20 + "-1", f"{2**63}-0", "1-2\n", "0x1-2"],
)
def test_what_is_no_cursor_is_an_error(text: str):
    with pytest.raises(ValueError, match="no place in a log"):
        Cursor.parse(text)


def test_a_range_of_a_long_log_is_one_query(run: Run, django_assert_num_queries: Any):
    with django_assert_num_queries(1):
        assert len(log.after(run.pk, START, 10)) == 10
    with django_assert_num_queries(1):
        assert len(log.before(run.pk, Cursor(2**62, 2**62), 10)) == 10


def test_a_run_is_over_when_it_has_ended(run: Run):
    Run.objects.filter(pk=run.pk).update(finished_at=None)
    assert not log.is_over(run.pk)


def test_lines_that_were_restored_from_another_cluster_are_there(run: Run):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite numbers no transactions")
    before = ids(log.latest(run.pk))
    Event.objects.filter(run=run).update(tx=2**60)
    assert ids(log.latest(run.pk)) == before
    assert log.is_over(run.pk)


def test_a_range_of_a_long_log_is_one_range_of_an_index(run: Run):
    if connection.vendor != "sqlite":
        pytest.skip("on PostgreSQL a short table's plan says nothing about a long one's")
    for read in (lambda: log.after(run.pk, Cursor(0, 5), 10), lambda: log.before(run.pk, Cursor(0, 5), 10)):
        with CaptureQueriesContext(connection) as queries:
            read()
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + queries[0]["sql"])
            plan = " ".join(str(row) for row in cursor.fetchall())
        assert re.search(r"servicing_event_order \(run_id=\? AND tx=\? AND id[<>]\?\)", plan), plan
        assert "TEMP B-TREE" not in plan


def test_a_restored_runs_lines_lose_the_other_clusters_numbers(run: Run, lab: LabSite):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite numbers no transactions")
    others = lab.start()
    lab.run_to_end(others)
    Event.objects.update(tx=5)
    numbers = list(Event.objects.filter(run=run).order_by("pk").values_list("pk", flat=True))
    late = numbers[len(numbers) // 2 :]
    Event.objects.filter(pk__in=late).update(tx=2**50)  # the other cluster had come that far
    log.mend()
    assert ids(log.latest(run.pk)) == numbers
    assert set(Event.objects.filter(run=run).values_list("tx", flat=True)) == {0}
    assert set(Event.objects.filter(run=others).values_list("tx", flat=True)) == {5}  # nothing odd there
    Event.objects.create(run=run, target_id=run.targets.all()[0].pk, n=999, at=lab.clock.now(), step="x", text="x")
    assert ids(log.latest(run.pk))[:-1] == numbers  # what is new is the last
