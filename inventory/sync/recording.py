"""The record of a sync, which is also what lets one at a time run for a management server."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from inventory.models import ManagementServer, StoredResource, SyncChange, SyncRecord
from inventory.sync.planning import LONGEST_ID, LONGEST_NAME, Plan
from inventory.sync.twins import Twins
from ovmst_site import clock
from ovmst_site.faults import TryLater
from ovmst_site.text import clean, clean_json

LEASE = timedelta(minutes=15)  # longer than any single answer of a platform takes
RENEW_AFTER = timedelta(minutes=1)
BATCH = 1000  # rows; a database that takes fewer at once splits them
What = SyncChange.What


class AlreadySyncing(TryLater):
    """Another sync of this management server is running."""


class Recording:
    """One sync's record while it runs."""

    def __init__(self, record: SyncRecord) -> None:
        self.record = record
        self._renewed_at = record.started_at

    def alive(self) -> None:
        """Say that this process lives, once a minute. Raises TryLater when another one has taken over."""
        now = clock.now()
        if now - self._renewed_at >= RENEW_AFTER:
            self._renewed_at = now
            self._settle(lease_until=now + LEASE)

    def hold(self) -> None:
        """Keep others from taking over until this transaction ends. Raises TryLater when one has."""
        self._settle(lease_until=clock.now() + LEASE)

    def fail(self, reason: str) -> None:
        """It came to nothing; harmless when another one has taken over."""
        self._mine().update(result=SyncRecord.Result.FAILED, reason=clean(reason), finished_at=clock.now())

    def succeed(self, made: Plan, twins: dict[int, Twins]) -> None:
        """Write down what became of the plan, in the transaction that holds this record and applied it."""
        changes = list(_changes(self.record, made, twins))
        SyncChange.objects.bulk_create(changes, batch_size=BATCH)
        count = Counter(change.what for change in changes)
        self._settle(
            result=SyncRecord.Result.SUCCEEDED,
            finished_at=clock.now(),
            found=made.found,
            added=count[What.ADDED],
            changed=count[What.CHANGED],
            missing=count[What.MISSING],
            returned=count[What.RETURNED],
            twins=count[What.TWIN],
            damaged=count[What.DAMAGED],
            unchanged=made.unchanged,
            left_alone=made.left_alone,
        )

    def _mine(self) -> Any:
        return SyncRecord.objects.filter(pk=self.record.pk, result=SyncRecord.Result.RUNNING)

    def _settle(self, **changes: Any) -> None:
        if not self._mine().update(**changes):
            raise TryLater("it took so long that another sync took over")


def begin(server: ManagementServer, now: datetime, by: str) -> Recording:
    """The record of a sync that begins now. Raises AlreadySyncing; a record whose process died doesn't count."""
    with transaction.atomic():
        SyncRecord.objects.filter(server=server, result=SyncRecord.Result.RUNNING, lease_until__lte=now).update(
            result=SyncRecord.Result.FAILED, reason="its process ended without a word", finished_at=now
        )
        try:
            with transaction.atomic():
                record = SyncRecord.objects.create(
                    server=server, started_at=now, lease_until=now + LEASE, by=clean(by, 200)
                )
        except IntegrityError:
            raise AlreadySyncing(said_running(server)) from None
        # What somebody asked for begins here.
        ManagementServer.objects.filter(pk=server.pk).update(sync_requested_at=None, sync_requested_by="")
    return Recording(record)


def take_over(server: ManagementServer, now: datetime) -> None:
    """Let another sync begin at once. One that is running after all notices, and changes nothing."""
    SyncRecord.objects.filter(server=server, result=SyncRecord.Result.RUNNING).update(
        result=SyncRecord.Result.FAILED, reason="another sync was begun in its place", finished_at=now
    )


def said_running(server: ManagementServer) -> str:
    """That another sync runs, for people; "" when none does."""
    running = server.syncs.filter(result=SyncRecord.Result.RUNNING, lease_until__gt=clock.now()).first()
    if running is None:
        return ""
    return f"{server} is being synced already, since {running.started_at:%H:%M:%S %Z} by {running.by}"


def _changes(record: SyncRecord, made: Plan, twins: dict[int, Twins]) -> Iterable[SyncChange]:
    def of(resource: StoredResource, what: str, detail: Any = None) -> SyncChange:
        return SyncChange(
            sync=record,
            resource=resource,
            team_id=resource.team_id,
            external_id=resource.external_id,
            name=resource.name,
            what=what,
            detail=detail or {},
        )

    for resource in made.added:
        yield of(resource, What.ADDED)
    for resource, differing in made.changed:
        yield of(resource, What.CHANGED, differing)
    for resource in made.missing:
        yield of(resource, What.MISSING)
    for resource in made.returned:
        yield of(resource, What.RETURNED, made.differences[resource.pk])
    for pk, each in twins.items():
        yield SyncChange(
            sync=record,
            resource_id=pk,
            team_id=each.team,
            external_id=each.external_id,
            name=each.name,
            what=What.TWIN,
            detail=each.as_json(),
        )
    for damaged in made.damaged:
        resource_or_none = made.known.get(damaged.external_id)
        yield SyncChange(
            sync=record,
            resource=resource_or_none,
            team_id=resource_or_none.team_id if resource_or_none else None,
            external_id=clean(damaged.external_id, LONGEST_ID),
            name=clean(damaged.where, LONGEST_NAME),
            what=What.DAMAGED,
            detail=clean_json({"reason": damaged.reason}),
        )
