"""More machines than a database takes values in one statement."""

import sqlite3
from collections.abc import Iterator

import pytest
from django.db import connection

from inventory.models import StoredResource
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from servicing import ledger
from servicing.actions import cancel_run, create_group, edit_group
from servicing.ledger import Line
from servicing.models import Event, Run, RunTarget
from tests.factories import LabSite

LIMIT = 6_000  # values in a statement; usual are 32,766, which takes the tests five times as long
MANY = 6_100


@pytest.fixture(autouse=True)
def low_limit(db: None) -> Iterator[None]:
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    before = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, LIMIT)
    yield
    connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, before)


@pytest.fixture
def machines(lab: LabSite) -> list[int]:
    StoredResource.objects.bulk_create(
        StoredResource(
            management_server=lab.server, share=lab.share, team=lab.share.team, external_id=f"b{n}", name=f"b{n}"
        )
        for n in range(MANY)
    )
    return list(StoredResource.objects.order_by("pk").values_list("pk", flat=True))


def test_a_run_of_many_is_cancelled(lab: LabSite, machines: list[int]):
    now = clock.now()
    run = Run.objects.create(job=lab.job, started_at=now)
    RunTarget.objects.bulk_create(
        RunTarget(run=run, resource_id=pk, cycle_version=1, created_at=now, queue="q", due_at=now)
        for pk in machines
    )
    assert cancel_run(run, SERVICE) == MANY
    assert RunTarget.objects.filter(cancel_requested_at=now, events=1).count() == MANY
    assert Event.objects.filter(run=run, n=1, text__contains="cancelled").count() == MANY


def test_a_list_of_many_becomes_a_filter(lab: LabSite, machines: list[int]):
    everything = StoredResource.objects.all()
    group = create_group(SERVICE, team=lab.share.team, name="many", resources=everything)
    assert group.resources.count() == MANY
    edit_group(group, SERVICE, version=1, resources=everything[:10])
    assert group.resources.count() == 10
    edit_group(group, SERVICE, version=2, resources=everything)
    edit_group(group, SERVICE, version=3, kind="filter", filter={})
    assert group.resources.count() == 0


def test_many_are_told_in_the_callers_transaction(lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    target = run.targets.get()
    ledger.tell([*range(-MANY, 0), target.pk], Line("hello"), clock.now())
    target.refresh_from_db()
    assert (target.events, list(Event.objects.values_list("n", "text"))) == (1, [(1, "hello")])
