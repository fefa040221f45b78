"""Where a target goes after a step said what it said. Pure: rows in, changes out; the engine writes them."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from inventory.models import StoredResource
from ovmst_site.faults import Fault, GiveUp, NeedsAttention
from servicing import cycle
from servicing.context import Notebook
from servicing.cycle import Direction
from servicing.models import Event, RunTarget
from servicing.outcome import Again, Done, Outcome, Skip, Wait
from servicing.updaters.base import Verdict

LONGEST_BACKOFF = 60.0  # seconds


@dataclass(slots=True)
class Move:
    """What becomes of a target: changes of its row, what is told, and whether it goes on at once."""

    changes: dict[str, Any]
    result: str  # for the step record
    note: str
    level: str = Event.Level.INFO
    goes_on: bool = False
    leaves: bool = True  # leaves the step, so that a step record is written
    resource: dict[str, Any] = field(default_factory=dict)  # changes of the stored resource

    @property
    def is_over(self) -> bool:
        return self.changes.get("state") in (RunTarget.State.FINISHED, RunTarget.State.ATTENTION)


def after_outcome(target: RunTarget, notes: Notebook, outcome: Outcome, now: datetime) -> Move:
    direction = Direction(target.direction)
    match outcome:
        case Done(note):
            following = cycle.after(direction, target.step)
            if following is None:
                return _finish(target, notes, now, note)
            return Move(enter(target, direction, following.name, now), "done", note, goes_on=True)
        case Again(step, note):
            return Move(enter(target, direction, step, now), "again", note, goes_on=True)
        case Skip(reason, decision_needed):
            kind = "decision needed" if decision_needed else "refused"
            return _skip(now, f"{kind}: {reason}")
        case Wait(seconds, note, counts):
            if not counts and target.deadline is not None:
                target.deadline += timedelta(seconds=seconds)
            if target.deadline is not None and now >= target.deadline:
                return after_fault(target, notes, GiveUp(f"out of patience: {note}"), now)
            due = now + timedelta(seconds=seconds)
            if target.deadline is not None:
                due = min(due, max(target.deadline, now))
            changes = {"due_at": due, "note": note, "tries": 0, "deadline": target.deadline}
            return Move(changes, "wait", note, goes_on=seconds == 0, leaves=False)
    raise AssertionError(outcome)


def after_fault(target: RunTarget, notes: Notebook, fault: Fault, now: datetime) -> Move:
    reason = str(fault) or type(fault).__name__
    out_of_patience = target.deadline is not None and now >= target.deadline
    if isinstance(fault, NeedsAttention):
        return park(f"{target.step}: {reason}")
    if not isinstance(fault, GiveUp) and not out_of_patience:
        # Full jitter: targets that failed together must not come back together.
        ceiling = min(LONGEST_BACKOFF, 2.0 ** min(target.tries + 1, 10))
        due = now + timedelta(seconds=random.uniform(ceiling / 2, ceiling))  # noqa: S311 - no secret
        changes = {"due_at": due, "note": reason, "tries": target.tries + 1}
        return Move(changes, "try later", reason, level=Event.Level.WARNING, leaves=False)
    if target.direction == Direction.RETURN:
        return park(f"it could not be brought back: {target.step}: {reason}")
    return turn_back(target, notes, f"{target.step}: {reason}", now)


def after_cancel(target: RunTarget, notes: Notebook, begun: bool, now: datetime) -> Move | None:
    """A cancel before the publish turns back; once it began (`begun`: this step has an operation), the
    target finishes."""
    if target.direction == Direction.RETURN:
        return None
    names = [step.name for step in cycle.FORWARD]
    at, publishes = names.index(target.step), names.index(cycle.PUBLISHES)
    if at > publishes or (at == publishes and begun):
        return None
    return turn_back(target, notes, f"cancelled by {target.cancel_requested_by}", now)


def turn_back(target: RunTarget, notes: Notebook, reason: str, now: datetime) -> Move:
    """To RETURN; or to the end at once where nothing was changed yet."""
    if not notes.marked:
        return _skip(now, reason)
    changes = enter(target, Direction.RETURN, cycle.RETURN[0].name, now) | {"reason": reason}
    return Move(changes, "turned back", reason, level=Event.Level.WARNING, goes_on=True)


def park(reason: str) -> Move:
    """A person must look: nothing is due any more, and everything the target holds stays held."""
    changes = {
        "state": RunTarget.State.ATTENTION,
        "outcome": RunTarget.Outcome.ATTENTION,
        "reason": reason,
        "note": "",
        "due_at": None,
        "alarm_sent_at": None,
    }
    return Move(changes, "needs attention", reason, level=Event.Level.ALARM)


def enter(target: RunTarget, direction: Direction, step: str, now: datetime) -> dict[str, Any]:
    """The changes with which a target enters a step."""
    found = cycle.find(direction, step)
    if found is None:
        raise LookupError(f"{direction} has no step {step}")
    patience = target.run.job.patience_for(step, found.patience)
    if direction is Direction.RETURN and found.patience is not None and patience is not None:
        patience = max(patience, found.patience)  # a job may hurry a machine, not give up bringing it back
    return {
        "state": RunTarget.State.ACTIVE,
        "direction": direction.value,
        "step": step,
        "visit": target.visit + 1,
        "tries": 0,
        "entered_at": now,
        "deadline": now + patience if patience is not None else None,
        "due_at": now,
        "note": "",
    }


def _skip(now: datetime, reason: str) -> Move:
    changes = _over(RunTarget.Outcome.SKIPPED, now) | {"reason": reason}
    return Move(changes, "skipped", reason, level=Event.Level.WARNING)


def _finish(target: RunTarget, notes: Notebook, now: datetime, note: str) -> Move:
    if not notes.published and notes.library_has:
        reason = f"its library has published {notes.library_has} meanwhile, it was woken from {notes.generation}"
        if not target.resolved_by:
            return park(reason)
        changes = _over(RunTarget.Outcome.RESOLVED, now) | {"reason": f"{target.reason}; {reason}"}
        return Move(changes, "done", reason, resource={"generation": notes.library_has, "compliance": "unknown"})
    if not notes.published:
        move = Move(_over(RunTarget.Outcome.RESTORED, now), "done", note)
        # What is stored is what the first scan saw.
        if notes.installed or notes.verdict == Verdict.MISSING:
            move.resource = {"compliance": StoredResource.Compliance.MISSING}
        elif notes.verdict == Verdict.NOTHING_OFFERED:
            move.resource = {"compliance": StoredResource.Compliance.NOTHING_OFFERED}
        return move
    if not notes.proved_healthy:
        # Only an outsider's doing brings a changed machine here: nobody verified what is stored now.
        reason = f"it is back in its library, changed by somebody else: {notes.published}, not {notes.generation}"
        if not target.resolved_by:
            return park(reason)
        changes = _over(RunTarget.Outcome.RESOLVED, now) | {"reason": f"{target.reason}; {reason}"}
        return Move(changes, "done", reason, resource={"generation": notes.published, "compliance": "unknown"})
    compliant = notes.verdict == Verdict.COMPLIANT
    whole = compliant and not notes.unfinished
    outcome = RunTarget.Outcome.SUCCEEDED if whole else RunTarget.Outcome.PARTIAL
    changes = _over(outcome, now)
    if notes.unfinished and not target.reason:
        changes["reason"] = notes.unfinished
    resource: dict[str, Any] = {
        "generation": notes.published,
        "last_serviced_at": now,
        "compliance": notes.verdict,
        "first_in_line": not whole,
    }
    if compliant:
        resource["compliant_at"] = datetime.fromisoformat(notes.scanned_at)
    return Move(changes, "done", note, resource=resource)


def _over(outcome: RunTarget.Outcome, now: datetime) -> dict[str, Any]:
    return {
        "state": RunTarget.State.FINISHED,
        "outcome": outcome,
        "finished_at": now,
        "due_at": None,
        "deadline": None,
        "note": "",
    }
