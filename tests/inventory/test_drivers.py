"""Drivers are opened from rows, once, and nobody waits for another's rows."""

import threading

import pytest

from inventory import drivers
from inventory.drivers import platform_for
from inventory.models import ManagementServer
from inventory.platforms.base import ServerConfig
from tests.factories import LabSite


def test_a_driver_is_opened_once_and_anew_when_its_rows_changed(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    first = lab.platform
    assert lab.platform is first
    monkeypatch.setattr(drivers, "LOOK_AGAIN_AFTER", 0.0)
    assert lab.platform is first
    lab.hosts.hosts.update(slots=9, servicing_network="another")
    assert lab.platform is not first


def test_who_waits_for_rows_keeps_nobody_from_a_driver(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drivers, "LOOK_AGAIN_AFTER", 3600.0)
    known = ManagementServer.objects.get()
    platform = platform_for(known)
    waits, may_go_on = threading.Event(), threading.Event()

    def slow(server: ManagementServer) -> ServerConfig:
        waits.set()
        may_go_on.wait(30)
        raise LookupError

    monkeypatch.setattr(drivers, "_config", slow)

    def open_another() -> None:
        with pytest.raises(LookupError):
            platform_for(ManagementServer(pk=known.pk + 1, kind="lab"))

    found: list[object] = []
    other = threading.Thread(target=open_another)
    mine = threading.Thread(target=lambda: found.append(platform_for(known)), daemon=True)
    other.start()
    assert waits.wait(30)
    mine.start()
    mine.join(10)
    there = list(found)
    may_go_on.set()
    other.join(30)
    assert there == [platform]
