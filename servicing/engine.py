"""Takes one target one step on; the only code that moves a target.

The row is the truth. A claim gives a worker one target; it keeps it through successive steps, one commit
each, until the target waits, is over, or the lease is lost. What a step does happens outside any
transaction; what it said is recorded in one, fenced by the lease.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.db import InterfaceError, OperationalError

from inventory.drivers import platform_for
from inventory.models import StoredResource
from inventory.platforms.base import Marker, Platform
from ovmst_site import clock
from ovmst_site.faults import Fault, TryLater
from ovmst_site.text import clean, clean_json
from servicing import alarms, cycle, ledger, moves
from servicing.context import Context, Notebook
from servicing.cycle import Direction, Step
from servicing.holding import Guarded, Holding
from servicing.ledger import Lease, LeaseLost, Line
from servicing.models import Generation, Installation, Run, RunTarget, StepRecord
from servicing.moves import Move
from servicing.outcome import Outcome
from servicing.updaters.base import Updater
from servicing.updaters.registry import open_updater

log = logging.getLogger(__name__)
DOWNTIME = timedelta(minutes=1)  # a due target that nobody took for longer: no worker was there
# Seconds after which a thread of a worker's pool takes nothing more on: planned starts, alarms and syncs wait for
# one of those threads too.
SLICE = 5.0
WAKE = 4  # how many waiting targets look when a slot gets free
# Set once this worker is told to end: steps that are under way are finished, and nothing more is begun.
STOPPING = threading.Event()
# Nothing can be recorded: the lease runs out, and the step is looked at again.
CANNOT_RECORD = (LeaseLost, OperationalError, InterfaceError)

# Names this process in leases; a restarted worker is another one.
WORKER = f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def advance_due(
    queue: str,
    *,
    only_run: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    longest: float = float("inf"),
) -> int:
    """Take due targets of this queue on, one after the other, until none is due, `stop` says so, or `longest`
    seconds are over; returns how many. What is held when `stop` says so is let go after its present step; when
    the time is over, it is taken on until it waits.

    One call works for one thread, and holds one lease at a time.
    """
    taken = 0
    until = time.monotonic() + longest
    while not stop() and time.monotonic() < until:
        leases = ledger.claim(WORKER, queue, clock.now(), _lease_length(), only_run=only_run)
        if not leases:
            break
        for lease in leases:
            advance(lease, stop=stop)
            taken += 1
    return taken


def advance(lease: Lease, *, stop: Callable[[], bool] = lambda: False) -> None:
    """Take a claimed target on until it waits or is over (or `stop` says so: the step that is under way is
    finished), and let go of it."""
    waits = 0
    try:
        while True:
            move, lease = _one_step(lease, may_go_on=waits < 1)
            waits = waits + 1 if not move.leaves else 0
            if not move.goes_on:
                break
            if stop():
                ledger.let_go(lease)
                break
    except LeaseLost as lost:
        log.warning("The lease of %s is lost; another worker may have it.", lost)
        return
    if move.changes.get("state") == RunTarget.State.ATTENTION:
        alarms.send_due(clock.now())


def take_one_step(lease: Lease) -> None:
    """Take a claimed target one step on and let go of it, wherever it is then (tests, and stepping by hand)."""
    move, lease = _one_step(lease, may_go_on=True)
    if move.goes_on:
        ledger.let_go(lease)


def _one_step(lease: Lease, *, may_go_on: bool) -> tuple[Move, Lease]:
    target = _load(lease.target)
    now = clock.now()
    notes = Notebook.from_json(target.notes)
    holding = Holding(lease, target, Installation.current_name(), clock.now, _lease_length())
    _forgive_downtime(target, now)
    if target.step == "mark" and holding.has_begun():
        notes.marked = True  # perhaps: a worker that died there couldn't say
    lines: list[Line] = []
    step = cycle.find(Direction(target.direction), target.step)
    if step is not None and target.entered_at is None:
        # Its first claim: patience begins now, not when it was queued.
        for name, value in moves.enter(target, Direction(target.direction), target.step, now).items():
            setattr(target, name, value)
    if step is None or target.cycle_version > cycle.VERSION:
        version = f"cycle {target.cycle_version}, this is {cycle.VERSION}"
        move = moves.park(f"this version doesn't know the step {target.direction}.{target.step} ({version})")
    else:
        move = _cancelled(target, notes, holding) or _do(step, target, notes, holding, lines)
    if not move.leaves and not may_go_on and move.goes_on:
        # A second look at once would be busy waiting.
        move.goes_on = False
        move.changes["due_at"] = clock.now() + timedelta(seconds=settings.POLL_SECONDS)
    try:
        _record(holding, target, notes, move, lines)
    except CANNOT_RECORD:
        raise
    except Exception as error:
        # Patience must be asked even so, else a machine would stay where it is for ever.
        log.exception("What became of target %s could not be recorded", target.pk)
        notes = Notebook.from_json(target.notes)
        fault = TryLater(f"what was seen could not be recorded: {type(error).__name__}")
        move = moves.after_fault(target, notes, fault, clock.now())
        _record(holding, target, notes, move, [])
    return move, holding.lease


def _cancelled(target: RunTarget, notes: Notebook, holding: Holding) -> Move | None:
    if target.cancel_requested_at is None:
        return None
    return moves.after_cancel(target, notes, holding.has_begun(), clock.now())


def _do(step: Step, target: RunTarget, notes: Notebook, holding: Holding, lines: list[Line]) -> Move:
    try:
        outcome: Outcome = step.does(_context(target, notes, holding, lines))
        return moves.after_outcome(target, notes, outcome, clock.now())
    except Fault as fault:
        return moves.after_fault(target, notes, fault, clock.now())
    except CANNOT_RECORD:
        raise
    except Exception as error:
        log.exception("Step %s of target %s failed unexpectedly", step.name, target.pk)
        return moves.after_fault(
            target, notes, TryLater(f"unexpected error: {type(error).__name__}: {error}"), clock.now()
        )


def _context(target: RunTarget, notes: Notebook, holding: Holding, lines: list[Line]) -> Context:
    resource, job = target.resource, target.run.job
    platform = platform_for(resource.management_server)
    guarded = Guarded(platform, holding.keep_for, platform.longest_call, platform.slow_calls)
    # An updater does nothing but call the channel, and each of those calls is guarded by itself.
    updater = Guarded(open_updater(job.update_system.kind), holding.keep_for, 0, {})
    return Context(
        machine=resource.ref(job.credential),
        host=target.host.ref() if target.host is not None and target.reserved_mb is not None else None,
        platform=cast(Platform, guarded),
        updater=cast(Updater, updater),
        policy=job.policy(),
        marker_template=Marker(holding.installation, str(target.pk), "", "", {}),
        notes=notes,
        ledger=holding,
        say=lambda text: lines.append(Line(text)),
        now=clock.now,
        poll=_poll(target),
        entered_at=target.entered_at or clock.now(),
        twins=resource.twins,
        is_stale=holding.is_stale,
        cannot_be_placed=holding.cannot_be_placed,
    )


def _record(holding: Holding, target: RunTarget, notes: Notebook, move: Move, lines: list[Line]) -> None:
    now = clock.now()
    if move.leaves or move.note != target.note:
        text = move.note or move.result
        lines.append(Line(text if not move.leaves else f"{move.result}: {text}" if move.note else text, move.level))
    record = None
    if move.leaves:
        record = StepRecord(
            target=target,
            direction=target.direction,
            step=target.step,
            visit=target.visit,
            epoch=holding.lease.epoch,
            entered_at=target.entered_at or now,
            left_at=now,
            result=move.result,
            note=clean(move.note),
        )
    changes: dict[str, Any] = {
        "state": RunTarget.State.ACTIVE,
        "entered_at": target.entered_at,
        "deadline": target.deadline,
        "visit": target.visit,
        **move.changes,
        "notes": clean_json(notes.as_json()),
    }
    for name in ("note", "reason"):
        if name in changes:
            changes[name] = clean(changes[name])
    if not move.goes_on:
        changes |= {"lease_owner": "", "lease_until": None}

    def also() -> None:
        if move.resource:
            StoredResource.objects.filter(pk=target.resource_id).update(**move.resource)
        if changes.get("state") == RunTarget.State.FINISHED:
            ledger.free(RunTarget.objects.get(pk=target.pk))
            _wake_waiting(target)
            if notes.published:
                Generation.objects.get_or_create(
                    resource_id=target.resource_id,
                    name=notes.published,
                    defaults={
                        "based_on": notes.generation,
                        "target": target,
                        "published_at": now,
                        "compliance": notes.verdict,
                    },
                )
        if changes.get("state") == RunTarget.State.ATTENTION:
            # Its slot stays taken, the library server's transfers go on.
            ledger.free_transfer(RunTarget.objects.get(pk=target.pk))
        if move.is_over:
            _finish_run(target.run_id)

    cleaned = [Line(clean(line.text), line.level) for line in lines]
    ledger.record(
        holding.lease,
        changes,
        record,
        cleaned,
        run=target.run_id,
        at=now,
        at_step=target.step,
        also=also,
    )


def _forgive_downtime(target: RunTarget, now: datetime) -> None:
    """Time in which no worker looked doesn't count against a step's patience."""
    if target.deadline is not None and target.due_at is not None and now - target.due_at > DOWNTIME:
        target.deadline += now - target.due_at


def _wake_waiting(target: RunTarget) -> None:
    """A slot is free: those who have waited longest look at once."""
    waiting = RunTarget.objects.filter(
        step="place", state=RunTarget.State.ACTIVE, run__job__host_group=target.run.job.host_group_id
    )
    # Whoever holds one of them looks at it anyway: waiting for them here could be waiting for each other.
    locked = waiting.select_for_update(skip_locked=True, of=("self",)).order_by("pk")
    first = list(locked.values_list("pk", flat=True)[:WAKE])
    RunTarget.objects.filter(pk__in=first).update(due_at=clock.now())


def _poll(target: RunTarget) -> float:
    """Seconds between looks: often at first, seldom at what takes long, so that thousands of machines that
    wait for hours cost little and none waits much longer than it has to."""
    so_far = clock.now() - (target.entered_at or clock.now())
    return min(max(settings.POLL_SECONDS, so_far.total_seconds() / 10), 15 * settings.POLL_SECONDS)


def _finish_run(run: int) -> None:
    """The last of its targets that is over ends the run. The lock makes two that end together agree."""
    Run.objects.select_for_update().get(pk=run)
    open_states = (RunTarget.State.QUEUED, RunTarget.State.ACTIVE)
    if not RunTarget.objects.filter(run=run, state__in=open_states).exists():
        Run.objects.filter(pk=run, finished_at=None).update(finished_at=clock.now())


def _load(pk: int) -> RunTarget:
    return RunTarget.objects.select_related(
        "run__job__host_group",
        "run__job__update_system",
        "run__job__credential",
        "resource__management_server__credential",
        "resource__share__library_server",
        "resource__credential",
        "host",
    ).get(pk=pk)


def _lease_length() -> timedelta:
    return timedelta(seconds=settings.LEASE_SECONDS)
