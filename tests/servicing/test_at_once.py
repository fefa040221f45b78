"""The same thing done by several at the same moment, in threads on PostgreSQL: the database lets one do it.

SQLite has one writer at a time, and its database for tests is one connection's.
"""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from inventory.drivers import forget_platforms
from inventory.lab import worlds
from inventory.models import StoredResource, SyncRecord
from inventory.sync import AlreadySyncing, applying, sync
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.clock import JumpingClock
from servicing.actions import edit_job, plan_job, start_occurrence, start_run
from servicing.models import Job, Occurrence, Run, RunTarget
from tests.factories import LabSite, make_lab_site

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="needs OVMST_DATABASE_URL"),
]
THREADS = 6


@pytest.fixture
def site(jumping_clock: JumpingClock, transactional_db: None) -> Iterator[LabSite]:
    forget_platforms()
    made = make_lab_site(jumping_clock)
    for n in range(20):
        made.machine(f"m{n}")
    sync(made.server, clock.now())
    made.job.group.resources.set(StoredResource.objects.all())
    yield made
    worlds.forget()


def at_once(act: Callable[[], Any]) -> list[Any]:
    """What each of THREADS got: a result, or the error."""
    gate, got = threading.Barrier(THREADS), []

    def one() -> None:
        try:
            gate.wait(timeout=20)
            got.append(act())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            got.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == THREADS
    return got


def test_one_occurrence_starts_one_run(site: LabSite):
    at = clock.now() + timedelta(hours=1)
    plan_job(site.job, at, SERVICE)
    site.clock.jump(timedelta(hours=1))
    got = at_once(lambda: start_occurrence(site.job.pk, at))
    assert [type(each) for each in got].count(Run) == 1
    assert got.count(None) == THREADS - 1
    assert Run.objects.get() == Occurrence.objects.get().run


def test_a_machine_has_one_open_target_whoever_starts(site: LabSite):
    runs = at_once(lambda: start_run(site.job, SERVICE))
    assert sorted(type(run).__name__ for run in runs) == ["Run", *["ValidationError"] * (THREADS - 1)], runs
    assert all("another run: 20" in str(run) for run in runs if not isinstance(run, Run))
    assert RunTarget.objects.filter(finished_at=None).count() == RunTarget.objects.count() == 20


def test_one_of_those_who_edit_the_same_version_is_heard(site: LabSite):
    got = at_once(lambda: edit_job(Job.objects.get(), SERVICE, version=1, rounds=5))
    refused = [each for each in got if isinstance(each, ValidationError)]
    assert len(refused) == THREADS - 1, got
    assert {each.code for each in refused} == {"conflict"}
    assert Job.objects.get().version == 2


def test_one_of_those_who_plan_is_planned(site: LabSite):
    got = at_once(lambda: plan_job(Job.objects.get(), clock.now() + timedelta(hours=1), SERVICE))
    assert [type(each) for each in got] == [Job] * THREADS, got
    assert Occurrence.objects.get().state == "planned"


def test_one_of_those_who_sync_does(site: LabSite):
    others_refused = threading.Event()
    listing = type(site.platform).inventory

    def slow(platform: Any) -> Iterator[Any]:
        # The one that lists waits until the others were refused.
        assert others_refused.wait(timeout=20)
        yield from listing(platform)

    refused: list[Any] = []

    def act() -> Any:
        try:
            return sync(site.server, clock.now())
        except AlreadySyncing as error:
            refused.append(error)
            if len(refused) == THREADS - 1:
                others_refused.set()
            raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(site.platform), "inventory", slow)
        got = at_once(act)
    assert len(refused) == THREADS - 1, got
    assert list(SyncRecord.objects.values_list("result", flat=True)) == ["succeeded", "succeeded"]


def test_a_run_starts_while_a_sync_writes_its_machines(site: LabSite, monkeypatch: pytest.MonkeyPatch):
    """Else the two could wait for each other: a run refers to machines in another order than a sync locks them."""
    for n in range(20):
        machine = site.world.machine(f"m{n}")
        assert machine is not None
        machine.name = f"renamed {n}"
    got: list[Any] = []

    def start() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '10s'")
                got.append(start_run(site.job, SERVICE))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            got.append(error)
        finally:
            connection.close()

    def while_the_rows_are_locked(*_: Any, **__: Any) -> None:
        thread = threading.Thread(target=start)
        thread.start()
        thread.join()

    monkeypatch.setattr(applying, "keep_addresses", while_the_rows_are_locked)
    made = sync(site.server, clock.now())
    assert len(made.changed) == 20
    assert [type(each) for each in got] == [Run], got
    assert RunTarget.objects.filter(finished_at=None).count() == 20
