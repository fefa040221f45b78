"""Steps that the tests of syncs share."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from inventory.models import SyncRecord
from inventory.platforms.lab import LabPlatform
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from tests.factories import LabSite

MINUTE = timedelta(minutes=1)


def again(site: LabSite, by: Any = SERVICE) -> SyncRecord:
    """Sync once more; the record of it."""
    site.clock.jump(MINUTE)
    sync(site.server, clock.now(), by=by)
    return SyncRecord.objects.filter(server=site.server).latest("pk")


def changes(record: SyncRecord, what: str) -> dict[str, Any]:
    return {c.external_id: c.detail for c in record.changes.filter(what=what)}


def rename(site: LabSite, machine: str, **values: Any) -> None:
    record = site.world.machine(machine)
    assert record is not None
    for name, value in values.items():
        setattr(record, name, value)


def listing(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Iterator[Any]]) -> None:
    """The platform's listing, changed."""
    ask = LabPlatform.inventory
    monkeypatch.setattr(LabPlatform, "inventory", lambda platform: change(ask(platform)))
