"""Real Celery workers over RabbitMQ, on PostgreSQL: hints that get lost, doubled or late change nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from celery.contrib.testing.worker import start_worker
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from inventory.drivers import forget_platforms
from inventory.lab import worlds
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.celery import app
from servicing import engine
from servicing.actions import count_awake, start_run
from servicing.models import Event, Run
from servicing.telling import closing_line
from tests.factories import LabSite, make_lab_site

pytestmark = [pytest.mark.team, pytest.mark.django_db(transaction=True)]

TIMES_FASTER = 40
LONGEST = 120  # real seconds


class FastClock:
    """Runs so many times faster than the wall's, for the engine and the lab alike."""

    def __init__(self) -> None:
        self._start, self._base = time.monotonic(), datetime.now(UTC)

    def now(self) -> datetime:
        return self._base + timedelta(seconds=(time.monotonic() - self._start) * TIMES_FASTER)


@pytest.fixture(autouse=True)
def on_real_services() -> None:
    assert connection.vendor == "postgresql", "this test needs OVMST_DATABASE_URL"
    assert settings.CELERY_BROKER_URL.startswith("amqp"), "this test needs OVMST_BROKER_URL"


@pytest.fixture
def site() -> Iterator[LabSite]:
    forget_platforms()
    fast = FastClock()
    before = clock.use(fast)
    yield make_lab_site(fast, hosts=2, slots=4)  # type: ignore[arg-type]
    clock.use(before)
    worlds.forget()


@contextmanager
def worker() -> Iterator[None]:
    engine.STOPPING.clear()  # the one before was another process
    with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False, shutdown_timeout=30):
        yield


def wait_for(run: Run) -> None:
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        run.refresh_from_db()
        if run.finished_at is not None:
            return
        time.sleep(0.1)
    raise AssertionError([(t.step, t.note) for t in run.targets.all()])


def wait_until(holds: Callable[[], bool], *, longest: float = LONGEST) -> None:
    end = time.monotonic() + longest
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def assert_all_succeeded(site: LabSite, run: Run, number: int) -> None:
    assert closing_line(run, count_awake(run)) == (
        f"run {run.pk}: {number} targets, {number} succeeded, 0 partial, 0 restored, 0 skipped, "
        "0 need attention, 0 awake"
    )
    assert site.world.violations == []
    assert site.world.residue() == []
    for target in run.targets.all():
        numbers = list(Event.objects.filter(target=target).order_by("n").values_list("n", flat=True))
        assert numbers == list(range(1, target.events + 1))
    for n in range(number):
        assert site.world.effects("fetch", f"m{n}") == 1
        assert site.world.effects("store", f"m{n}") == 1


def fill(site: LabSite, number: int) -> None:
    for n in range(number):
        site.machine(f"m{n}", name=f"machine {n}")


def test_a_worker_performs_a_run(site: LabSite):
    fill(site, 12)
    with worker():
        run = site.start()
        wait_for(run)
    assert_all_succeeded(site, run, 12)


def test_doctor_sees_broker_and_worker(site: LabSite, capsys: pytest.CaptureFixture[str]):
    fill(site, 1)
    with worker():
        call_command("doctor")
    said = capsys.readouterr().out
    assert "ok broker (amqp)" in said
    assert "ok workers (1 answer)" in said


def test_lost_hints_cost_nothing_but_a_second(site: LabSite, monkeypatch: pytest.MonkeyPatch):
    fill(site, 3)
    monkeypatch.setattr("servicing.nudge._send", lambda queue: None)
    with worker():
        run = site.start()
        wait_for(run)
    assert_all_succeeded(site, run, 3)


def test_doubled_and_late_hints_find_nothing_to_do(site: LabSite):
    fill(site, 3)
    with worker():
        run = site.start()
        for _ in range(50):
            app.send_task("servicing.advance_due", args=["servicing"], queue="servicing")
        wait_for(run)
        app.send_task("servicing.advance_due", args=["servicing"], queue="servicing")
        time.sleep(1)
    assert_all_succeeded(site, run, 3)


def test_a_worker_that_is_told_to_stop_lets_go_of_what_it_holds(site: LabSite):
    fill(site, 12)
    with worker():
        run = site.start()
        wait_until(lambda: run.targets.filter(step="install").exists())
    wait_until(lambda: not run.targets.exclude(lease_owner="").exists(), longest=5)  # leases last longer
    left = list(run.targets.exclude(state="finished").values_list("pk", "step", "epoch"))
    assert left, "it was stopped in the middle"
    time.sleep(1)  # much was due meanwhile
    assert list(run.targets.exclude(state="finished").values_list("pk", "step", "epoch")) == left
    with worker():
        wait_for(run)
    assert_all_succeeded(site, run, 12)


def test_two_runs_started_at_once_share_no_machine(site: LabSite):
    fill(site, 4)
    first = site.start()
    second = start_run(site.job, SERVICE, name_each=True)
    with worker():
        wait_for(first)
        wait_for(second)
    assert {t.outcome for t in second.targets.all()} == {"skipped"}
    assert_all_succeeded(site, first, 4)
