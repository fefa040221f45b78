"""The demonstration's rows: what was interrupted is gone on with. As a process: tests/embedded/test_demo.py."""

from collections.abc import Iterator
from typing import Any

import pytest

from inventory.drivers import forget_platforms
from inventory.lab import worlds
from inventory.models import ManagementServer, StoredResource, SyncRecord
from inventory.platforms.base import Found
from inventory.sync import recording
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.faults import TryLater
from servicing import demo
from servicing.actions import delete_group, delete_job
from tests.inventory.syncing import listing


@pytest.fixture(autouse=True)
def no_world(db: None, jumping_clock: Any) -> Iterator[None]:
    forget_platforms()
    worlds.forget()
    yield
    worlds.forget()


class Killed(BaseException):
    """As a process is that gets no time to say anything."""


def die(*_: Any) -> Any:
    raise Killed


def test_a_demo_that_was_killed_in_its_first_sync_goes_on(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr("inventory.sync.syncing.plan", die)
        patch.setattr(recording.Recording, "fail", lambda *_: None)
        with pytest.raises(Killed):
            demo.set_up()
    assert SyncRecord.objects.get().result == "running"
    made = demo.set_up()
    assert made.run.targets.count() == demo.MACHINES
    assert list(SyncRecord.objects.order_by("pk").values_list("result", flat=True)) == ["failed", "succeeded"]


def test_a_demo_goes_on_with_what_it_knows_while_another_sync_runs():
    first = demo.set_up()
    recording.begin(ManagementServer.objects.get(), clock.now(), "somebody")
    assert demo.set_up().run == first.run
    assert SyncRecord.objects.filter(result="running").exists()


def test_a_demo_goes_on_with_what_it_knows_while_its_lab_is_broken():
    first = demo.set_up()
    first.world.outsiders.share_answers(first.world.shares()[0].name, False)
    assert demo.set_up().run == first.run
    assert SyncRecord.objects.latest("pk").result == "failed"


def test_a_deleted_job_of_the_demo_is_made_again_beside_its_history():
    first = demo.set_up()
    first.run.targets.update(state="finished", outcome="skipped", due_at=None, finished_at=clock.now())
    assert delete_job(first.run.job, SERVICE)  # archived
    delete_group(first.run.job.group, SERVICE)
    second = demo.set_up()
    assert (second.run.job.archived_at, second.run.job.group.archived_at) == (None, None)
    assert second.run.job != first.run.job
    assert second.run.targets.count() == demo.MACHINES
    assert demo.set_up().run == second.run


def test_a_lab_that_cannot_be_asked_the_first_time_is_said(monkeypatch: pytest.MonkeyPatch):
    def broken(found: Any) -> Iterator[Found]:
        yield next(iter(found))
        raise TryLater("no answer")

    listing(monkeypatch, broken)
    with pytest.raises(TryLater, match="no answer"):
        demo.set_up()
    assert not StoredResource.objects.exists()
