"""Planned starts: each at most one run, however many messages there are, or however late."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django_celery_beat.models import ClockedSchedule, PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from inventory.models import Host, StoredResource
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.celery import app
from servicing import tasks
from servicing.actions import (
    copy_job,
    create_job,
    delete_job,
    edit_job,
    plan_job,
    start_due_occurrences,
    start_occurrence,
    unplan_job,
)
from servicing.models import Job, Occurrence, Run
from tests.factories import LabSite

HOUR = timedelta(hours=1)


@pytest.fixture
def site(lab: LabSite) -> LabSite:
    lab.machine("m1")
    sync(lab.server, clock.now())
    lab.job.group.resources.set(StoredResource.objects.all())
    return lab


def message() -> dict[str, Any]:
    """What beat would send, as it is kept."""
    row = PeriodicTask.objects.get()
    return {"task": row.task, "args": json.loads(row.args), "at": row.clocked.clocked_time, "one_off": row.one_off}


def nothing_is_planned() -> bool:
    return not PeriodicTask.objects.filter(enabled=True).exists() and Job.objects.get().next_start_at is None


def test_a_jobs_row_of_beat_is_used_again(site: LabSite):
    plan_job(site.job, clock.now() + HOUR, SERVICE)
    first = PeriodicTask.objects.get()
    PeriodicTask.objects.update(total_run_count=1, last_run_at=clock.now())  # as beat leaves it behind
    site.clock.jump(HOUR)
    start_due_occurrences()
    at = clock.now() + HOUR
    plan_job(site.job, at, SERVICE)
    row = PeriodicTask.objects.get()
    assert (row.pk, row.enabled, row.total_run_count, row.last_run_at) == (first.pk, True, 0, None)
    assert (row.clocked.clocked_time, json.loads(row.args)[1]) == (at, at.isoformat())


def test_beat_finds_it_due_at_its_moment(site: LabSite):
    """django-celery-beat itself reads the row; it goes by the wall's clock."""
    plan_job(site.job, datetime.now(UTC) + timedelta(days=3000), SERVICE)
    assert not ModelEntry(PeriodicTask.objects.get(), app=app).is_due().is_due
    past = datetime.now(UTC) - timedelta(seconds=1)
    ClockedSchedule.objects.update(clocked_time=past)
    assert ModelEntry(PeriodicTask.objects.get(), app=app).is_due().is_due
    assert DatabaseScheduler(app=app, lazy=True).all_as_schedule().keys() == {PeriodicTask.objects.get().name}


def test_a_planned_start_is_one_clocked_row(site: LabSite):
    at = datetime(2026, 1, 5, 16, 30, tzinfo=timezone(timedelta(hours=2)))
    plan_job(site.job, at, SERVICE)
    assert message() == {
        "task": "servicing.start_occurrence",
        "args": [site.job.pk, "2026-01-05T14:30:00+00:00"],
        "at": at,
        "one_off": True,
    }
    assert Job.objects.get().next_start_at == at
    assert Occurrence.objects.get().planned_by == "OVMST"


def test_beats_message_starts_it_and_its_doubles_find_it_started(site: LabSite):
    plan_job(site.job, clock.now() + HOUR, SERVICE)
    sent = message()
    site.clock.jump(HOUR)
    for _ in range(3):
        tasks.start_occurrence(*sent["args"])
    start_due_occurrences()
    run = Run.objects.get()
    assert Occurrence.objects.get().run == run
    assert nothing_is_planned()
    site.run_to_end(run)
    tasks.start_occurrence(*sent["args"])  # very late
    assert Run.objects.count() == 1


def test_a_lost_message_is_made_up_for(site: LabSite):
    plan_job(site.job, clock.now() + HOUR, SERVICE)
    assert start_due_occurrences() == 0
    site.clock.jump(HOUR + timedelta(minutes=1))
    assert start_due_occurrences() == 1
    assert Occurrence.objects.get().state == "started"


def test_a_message_that_comes_too_early_starts_nothing(site: LabSite):
    plan_job(site.job, clock.now() + HOUR, SERVICE)
    tasks.start_occurrence(*message()["args"])
    assert not Run.objects.exists()
    assert Occurrence.objects.get().state == "planned"


def test_what_is_found_too_late_is_missed_and_said(site: LabSite, settings: Any):
    plan_job(site.job, clock.now() + HOUR, SERVICE)
    site.clock.jump(3 * HOUR)
    assert start_due_occurrences() == 0
    missed = Occurrence.objects.get()
    assert (missed.state, missed.run) == ("missed", None)
    assert "2.0 h late; more than 1 h" in missed.reason
    assert nothing_is_planned()
    settings.START_LATE_HOURS = 4
    plan_job(site.job, clock.now() + HOUR, SERVICE)
    site.clock.jump(3 * HOUR)
    assert start_due_occurrences() == 1


def test_a_start_that_is_refused_says_why_and_stops_no_other(site: LabSite):
    other = copy_job(site.job, SERVICE)
    edit_job(site.job, SERVICE, version=1, start_at=clock.now() + HOUR)
    edit_job(site.job, SERVICE, version=2, enabled=False)
    plan_job(other, clock.now() + HOUR, SERVICE)
    site.clock.jump(HOUR)
    assert start_due_occurrences() == 1
    refused = Occurrence.objects.get(job=site.job)
    assert refused.state == "refused"
    assert "switched off" in refused.reason
    assert Run.objects.get().job == other


def test_a_start_over_machines_that_another_run_holds_is_refused(site: LabSite):
    site.start()
    plan_job(site.job, clock.now() + HOUR, SERVICE)
    site.clock.jump(HOUR)
    assert start_due_occurrences() == 0
    refused = Occurrence.objects.get()
    assert (refused.state, refused.run) == ("refused", None)
    assert "being serviced by another run: 1" in refused.reason
    assert Run.objects.count() == 1


def test_a_start_that_fails_is_tried_again(site: LabSite, monkeypatch: pytest.MonkeyPatch):
    from servicing.actions import occurrences

    plan_job(site.job, clock.now() + HOUR, SERVICE)
    site.clock.jump(HOUR)
    with monkeypatch.context() as broken:
        broken.setattr(occurrences, "start_run", lambda *_: 1 / 0)
        assert start_due_occurrences() == 0
    assert Occurrence.objects.get().state == "planned"
    assert start_due_occurrences() == 1


@pytest.mark.parametrize("ago", [timedelta(0), HOUR, timedelta(days=4000)])
def test_the_past_is_refused(site: LabSite, ago: timedelta):
    with pytest.raises(ValidationError) as refused:
        plan_job(site.job, clock.now() - ago, SERVICE)
    assert list(refused.value.message_dict) == ["start_at"]
    with pytest.raises(ValidationError):
        create_job(
            SERVICE,
            team=site.job.team,
            start_at=clock.now() - ago,
            name="past",
            group=site.job.group,
            update_system=site.job.update_system,
            host_group=site.job.host_group,
        )
    assert nothing_is_planned()
    assert not Occurrence.objects.exists()


def test_a_moment_without_time_zone_is_refused(site: LabSite):
    with pytest.raises(ValidationError, match="time zone"):
        plan_job(site.job, datetime(2030, 1, 1), SERVICE)  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("zone", [-12, 0, 14])
def test_a_moment_that_no_calendar_reaches_is_refused(site: LabSite, zone: int):
    with pytest.raises(ValidationError, match="ten years"):
        plan_job(site.job, datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=zone))), SERVICE)


def test_planning_again_replaces_and_taking_back_forgets(site: LabSite):
    first, second = clock.now() + HOUR, clock.now() + 2 * HOUR
    plan_job(site.job, first, SERVICE)
    edit_job(site.job, SERVICE, version=1, start_at=second)
    assert message()["at"] == second
    assert ClockedSchedule.objects.count() == 1
    unplan_job(site.job, SERVICE)
    assert nothing_is_planned()
    assert {o.state for o in Occurrence.objects.all()} == {"cancelled"}
    plan_job(site.job, second, SERVICE)  # the same moment again
    assert Occurrence.objects.get(due_at=second).state == "planned"
    site.clock.jump(first - clock.now())
    assert start_occurrence(site.job.pk, first) is None
    site.clock.jump(HOUR)
    assert start_occurrence(site.job.pk, second) is not None


def test_a_moment_that_was_started_early_is_not_planned_again(site: LabSite):
    at = clock.now() + timedelta(seconds=50)
    plan_job(site.job, at, SERVICE)
    assert start_occurrence(site.job.pk, at) is not None
    with pytest.raises(ValidationError) as refused:
        plan_job(site.job, at, SERVICE)
    assert refused.value.message_dict == {"start_at": ["This start is settled already: started."]}
    assert nothing_is_planned()
    assert Occurrence.objects.get().state == "started"


def test_a_moment_that_was_refused_early_is_planned_again_without_the_old_reason(site: LabSite):
    at = clock.now() + timedelta(seconds=50)
    plan_job(site.job, at, SERVICE)
    site.job.group.resources.clear()
    assert start_occurrence(site.job.pk, at) is None
    assert Occurrence.objects.get().reason
    plan_job(site.job, at, SERVICE)
    again = Occurrence.objects.get()
    assert (again.state, again.reason, again.settled_at) == ("planned", "", None)


def test_an_edit_leaves_the_plan_alone_unless_it_says_so(site: LabSite):
    at = clock.now() + HOUR
    plan_job(site.job, at, SERVICE)
    edit_job(site.job, SERVICE, version=1, rounds=2)
    assert message()["at"] == at
    edit_job(site.job, SERVICE, version=2, start_at=None)
    assert nothing_is_planned()


def test_an_edit_with_a_start_in_the_past_saves_nothing(site: LabSite):
    with pytest.raises(ValidationError):
        edit_job(site.job, SERVICE, version=1, rounds=2, start_at=clock.now() - HOUR)
    assert (Job.objects.get().rounds, Job.objects.get().version) == (10, 1)


def test_a_deleted_job_leaves_no_row_of_beat_behind(site: LabSite):
    plan_job(site.job, clock.now() + HOUR, SERVICE)
    due = Occurrence.objects.get().due_at
    pk = site.job.pk
    delete_job(site.job, SERVICE)
    assert not PeriodicTask.objects.exists()
    assert not ClockedSchedule.objects.exists()
    assert start_occurrence(pk, due) is None


def test_hosts_in_maintenance_refuse_a_planned_start(site: LabSite):
    plan_job(site.job, clock.now() + HOUR, SERVICE)
    Host.objects.update(in_maintenance=True)
    site.clock.jump(HOUR)
    assert start_due_occurrences() == 0
    assert "in maintenance" in Occurrence.objects.get().reason
