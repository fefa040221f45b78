"""Claim, renew, record: how a target's row is held and changed. The only raw SQL, a variant per database.

A claim is one short statement; what is done happens outside any transaction; a record is fenced by the
lease's owner and epoch, so that a worker that lost its lease records nothing. Lock order: target, then host,
then library server.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest

from inventory.models import Host, LibraryServer
from inventory.platforms.registry import END_WITH_US
from ovmst_site.batches import batched
from ovmst_site.text import clean
from servicing.models import Event, Operation, RunTarget, StepRecord


class LeaseLost(Exception):
    """Another worker may hold this target now: do nothing more with it, record nothing."""


@dataclass(frozen=True, slots=True)
class Lease:
    target: int
    owner: str
    epoch: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """An event before it has its number."""

    text: str
    level: str = Event.Level.INFO


_DUE = """
SELECT id FROM servicing_runtarget
 WHERE queue = %(queue)s AND due_at <= %(now)s AND (lease_until IS NULL OR lease_until <= %(now)s) {only}
 ORDER BY due_at, id LIMIT %(limit)s
"""
# PostgreSQL may run a sub-select once for each row it looks at, and each time lock other rows: what is
# materialized is picked once.
_CLAIM_POSTGRESQL = """
  WITH due AS MATERIALIZED ({due} FOR UPDATE SKIP LOCKED)
UPDATE servicing_runtarget AS target
   SET lease_owner = %(owner)s, lease_until = %(until)s, epoch = target.epoch + 1
  FROM due WHERE target.id = due.id
RETURNING target.id, target.epoch
"""
# SQLite has one writer at a time.
_CLAIM_SQLITE = """
UPDATE servicing_runtarget
   SET lease_owner = %(owner)s, lease_until = %(until)s, epoch = epoch + 1
 WHERE id IN ({due})
RETURNING id, epoch
"""


def claim(
    owner: str, queue: str, now: datetime, length: timedelta, *, limit: int = 1, only_run: int | None = None
) -> list[Lease]:
    """Up to `limit` due targets of this queue, oldest first, now held by `owner` for `length`."""
    statement = _CLAIM_POSTGRESQL if connection.vendor == "postgresql" else _CLAIM_SQLITE
    only = "AND run_id = %(run)s" if only_run is not None else ""
    until = now + length
    adapt = connection.ops.adapt_datetimefield_value
    values = {
        "owner": owner,
        "until": adapt(until),
        "now": adapt(now),
        "queue": queue,
        "limit": limit,
        "run": only_run,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement.format(due=_DUE.format(only=only)), values)
        rows = cursor.fetchall()
    return [Lease(target, owner, epoch, until) for target, epoch in rows]


def renew(lease: Lease, now: datetime, length: timedelta) -> Lease:
    """The same lease for longer. Raises LeaseLost."""
    until = now + length
    if not _held(lease).update(lease_until=until):
        raise LeaseLost(f"target {lease.target}")
    return Lease(lease.target, lease.owner, lease.epoch, until)


def record(
    lease: Lease,
    changes: dict[str, Any],
    step: StepRecord | None,
    lines: Sequence[Line],
    *,
    run: int,
    at: datetime,
    at_step: str,
    also: Callable[[], None] | None = None,
) -> None:
    """Write the target's change, its step record, its events and what `also` writes, in one transaction.
    Raises LeaseLost, writing nothing."""
    with transaction.atomic():
        # Counted in the row, which this locks: a cancel may have added a line since it was read.
        if not _held(lease).update(**changes, events=F("events") + len(lines)):
            raise LeaseLost(f"target {lease.target}")
        if step is not None:
            step.save(force_insert=True)
        last = RunTarget.objects.values_list("events", flat=True).get(pk=lease.target)
        Event.objects.bulk_create(
            Event(run_id=run, target_id=lease.target, n=n, at=at, step=at_step, level=line.level, text=line.text)
            for n, line in enumerate(lines, last - len(lines) + 1)
        )
        if also is not None:
            also()


def tell(targets: Sequence[int], line: Line, at: datetime) -> None:
    """Add this line to the log of each of these targets, in the transaction of the caller, who changes them."""
    for some in batched(targets):
        RunTarget.objects.filter(pk__in=some).update(events=F("events") + 1)
        numbered = RunTarget.objects.filter(pk__in=some).values_list("pk", "run", "events", "step")
        Event.objects.bulk_create(
            [
                Event(run_id=run, target_id=pk, n=n, at=at, step=step, level=line.level, text=line.text)
                for pk, run, n, step in numbered
            ],
            batch_size=500,
        )


def reserve(lease: Lease, host: Host, memory_mb: int) -> bool:
    """A slot and memory on this host for this target, by one conditional update of its counters. False when
    it has no room (any more). Raises LeaseLost."""
    with transaction.atomic():
        if not _held(lease).filter(reserved_mb=None).update(host=host, reserved_mb=memory_mb):
            raise LeaseLost(f"target {lease.target}")
        fits = Host.objects.filter(
            pk=host.pk,
            in_maintenance=False,
            slots_used__lt=F("slots"),
            memory_used_mb__lte=F("memory_mb") - memory_mb,
        ).update(slots_used=F("slots_used") + 1, memory_used_mb=F("memory_used_mb") + memory_mb)
        if not fits:
            transaction.set_rollback(True)
        return bool(fits)


def release(lease: Lease) -> None:
    """Give slot, memory and transfer token back. Harmless when nothing is held. Raises LeaseLost."""
    with transaction.atomic():
        target = _held(lease).select_for_update().first()
        if target is None:
            raise LeaseLost(f"target {lease.target}")
        free(target)


def free(target: RunTarget) -> None:
    """Give back what a locked target holds; the caller holds its lease or its lock, in a transaction."""
    if target.reserved_mb is not None and target.host_id is not None:
        Host.objects.filter(pk=target.host_id).update(
            slots_used=Greatest(F("slots_used") - 1, 0),
            memory_used_mb=Greatest(F("memory_used_mb") - target.reserved_mb, 0),
        )
        RunTarget.objects.filter(pk=target.pk).update(reserved_mb=None)
    free_transfer(target)


def free_transfer(target: RunTarget) -> None:
    """Give back a locked target's transfer token; harmless when it holds none."""
    if target.transfers_on_id is not None:
        LibraryServer.objects.filter(pk=target.transfers_on_id).update(
            transfers_used=Greatest(F("transfers_used") - 1, 0)
        )
        RunTarget.objects.filter(pk=target.pk).update(transfers_on=None)


def take_transfer(lease: Lease, server: LibraryServer, *, leave: int = 0) -> bool:
    """A transfer token of this library server, if more than `leave` are free; True when it is held (already).
    Raises LeaseLost."""
    with transaction.atomic():
        target = _held(lease).select_for_update().first()
        if target is None:
            raise LeaseLost(f"target {lease.target}")
        if target.transfers_on_id is not None:
            return True
        free_token = LibraryServer.objects.filter(pk=server.pk, transfers_used__lt=F("transfers_limit") - leave)
        if not free_token.update(transfers_used=F("transfers_used") + 1):
            return False
        RunTarget.objects.filter(pk=target.pk).update(transfers_on=server)
        return True


def give_transfer_back(lease: Lease) -> None:
    """Harmless when none is held. Raises LeaseLost."""
    with transaction.atomic():
        target = _held(lease).select_for_update().first()
        if target is None:
            raise LeaseLost(f"target {lease.target}")
        free_transfer(target)


def begin_operation(
    lease: Lease, installation: str, direction: str, step: str, visit: int, now: datetime
) -> Operation:
    """The operation of this visit of this step: the one that is written down and hasn't failed, else a new
    one, committed before this returns. Raises LeaseLost."""
    with transaction.atomic():
        if not _held(lease).select_for_update().exists():
            raise LeaseLost(f"target {lease.target}")
        same = Operation.objects.filter(target=lease.target, direction=direction, step=step, visit=visit)
        last = same.last()
        if last is not None and last.failed_at is None:
            return last
        number = last.number + 1 if last else 1
        # What platforms and guests see; the epoch tells a late worker's from its successor's.
        name = f"o{installation[:8]}-t{lease.target}-v{visit}-{number}-e{lease.epoch}"
        return Operation.objects.create(
            target_id=lease.target,
            direction=direction,
            step=step,
            visit=visit,
            number=number,
            epoch=lease.epoch,
            name=name,
            begun_at=now,
        )


def fail_operation(lease: Lease, direction: str, step: str, visit: int, reason: str, now: datetime) -> None:
    """The operation of this visit came to nothing; harmless when there is none. Raises LeaseLost."""
    with transaction.atomic():
        if not _held(lease).select_for_update().exists():
            raise LeaseLost(f"target {lease.target}")
        Operation.objects.filter(
            target=lease.target, direction=direction, step=step, visit=visit, failed_at=None
        ).update(failed_at=now, failure=clean(reason))


def next_due(queue: str, now: datetime) -> bool:
    """Whether anything of this queue could be claimed now."""
    free = Q(lease_until=None) | Q(lease_until__lte=now)
    return RunTarget.objects.filter(free, queue=queue, due_at__lte=now).exists()


def let_go(lease: Lease) -> None:
    """Give the lease up without a change; harmless when it is lost."""
    _held(lease).update(lease_owner="", lease_until=None)


def take_back() -> int:
    """Let go of every lease, whoever wrote it, of machines on platforms whose calls end with the process that
    made them; returns how many. Only for who knows that no other process performs runs on this database
    (servicing.presence). Elsewhere a call may outlive its process: such a lease outlasts the call, and runs out."""
    of_the_dead = RunTarget.objects.exclude(lease_owner="")
    known = of_the_dead.filter(resource__management_server__kind__in=END_WITH_US)
    return known.update(lease_owner="", lease_until=None)


def _held(lease: Lease) -> Any:
    return RunTarget.objects.filter(pk=lease.target, lease_owner=lease.owner, epoch=lease.epoch)
