"""When a management server is synced: by its schedule, and by a button, whatever becomes of the messages."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from inventory import tasks
from inventory.actions import request_sync
from inventory.models import ManagementServer, SyncRecord
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.access.models import Membership, Person
from tests.factories import LabSite
from tests.inventory.syncing import MINUTE


def performed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What beat's look sends is performed at once; the servers it sent, in order."""
    sent: list[int] = []

    def perform(server: int) -> None:
        sent.append(server)
        tasks.sync_server(server)

    monkeypatch.setattr(tasks, "hint", perform)
    return sent


def test_each_server_is_synced_when_its_time_has_come(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    sent = performed(monkeypatch)
    tasks.sync_due()
    assert SyncRecord.objects.get().by == "the schedule"
    lab.clock.jump(59 * MINUTE)
    tasks.sync_due()
    tasks.sync_server(lab.server.pk)  # a message that comes twice
    assert len(sent) == SyncRecord.objects.count() == 1
    lab.clock.jump(MINUTE)
    tasks.sync_due()
    assert len(sent) == SyncRecord.objects.count() == 2
    for never in ({"sync_every_minutes": 0}, {"sync_every_minutes": 1, "enabled": False}):
        ManagementServer.objects.update(**never)
        lab.clock.jump(timedelta(days=2))
        tasks.sync_due()
    assert len(sent) == 2


def test_a_sync_that_failed_waits_for_its_time(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    sent = performed(monkeypatch)
    lab.machine("m1")
    lab.world.outsiders.share_answers("gold", False)
    for _ in range(10):
        tasks.sync_due()
        lab.clock.jump(MINUTE)
    assert len(sent) == 1
    assert SyncRecord.objects.get().result == "failed"


def test_a_button_syncs_once_even_where_its_message_is_lost(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
):
    ManagementServer.objects.update(sync_every_minutes=0)
    messages: list[Any] = []
    monkeypatch.setattr("inventory.actions.current_app.send_task", lambda *a, **k: messages.append((a, k)))
    with django_capture_on_commit_callbacks(execute=True):
        request_sync(lab.server, Person.objects.create_superuser("ann"))
    assert messages[0][0] == ("inventory.sync_server",)
    assert messages[0][1]["args"] == [lab.server.pk]
    sent = performed(monkeypatch)
    tasks.sync_due()  # the message was lost
    tasks.sync_due()
    tasks.sync_server(lab.server.pk)  # and came late
    assert len(sent) == 1
    assert SyncRecord.objects.get().by == "ann"


def test_a_broker_that_is_down_loses_no_request(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no broker")

    monkeypatch.setattr("inventory.actions.current_app.send_task", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        request_sync(lab.server, SERVICE)
    assert ManagementServer.objects.get().sync_requested_at == clock.now()


def test_a_button_asks_the_gate(lab: LabSite):
    person = Person.objects.create_user("one")
    Membership.objects.create(person=person, team=lab.share.team)
    with pytest.raises(ValidationError, match="no management server"):
        request_sync(lab.server, person)
    ManagementServer.objects.update(enabled=False)
    lab.server.refresh_from_db()
    with pytest.raises(ValidationError, match="disabled"):
        request_sync(lab.server, SERVICE)
