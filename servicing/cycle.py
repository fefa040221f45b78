"""The cycle: what happens to a stored machine, in the order in which it happens.

FORWARD wakes it, brings it up to date and stores it. RETURN brings it back after a failure, a time-out or a
cancel: as it was before, unless the machine proved healthy and the job keeps such. Each step has a patience:
how long it may go on before FORWARD turns to RETURN, and RETURN calls a person.

The functions are in steps.py, in the same order. Names are stored with every target: they never change
their meaning. Whoever changes a table raises VERSION.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from servicing import steps
from servicing.context import Context
from servicing.outcome import Outcome

VERSION = 1


class Direction(StrEnum):
    FORWARD = "forward"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    does: Callable[[Context], Outcome]
    patience: timedelta | None  # None: for ever


def minutes(n: int) -> timedelta:
    return timedelta(minutes=n)


def hours(n: int) -> timedelta:
    return timedelta(hours=n)


FOR_EVER = None

FORWARD = (
    # May this machine be serviced? Changes nothing.
    Step("preflight", steps.preflight, patience=minutes(15)),
    # A slot and memory on a host that has a servicing network.
    Step("place", steps.place, patience=FOR_EVER),
    # Our marker onto the machine itself, before anything moves.
    Step("mark", steps.mark, patience=minutes(5)),
    # To the host, not started.
    Step("fetch", steps.fetch, patience=hours(4)),
    # Every adapter to the servicing network, read back.
    Step("isolate", steps.isolate, patience=minutes(10)),
    # The state from before can come back from here on.
    Step("protect", steps.protect, patience=hours(1)),
    Step("start", steps.start, patience=minutes(15)),
    # Channel, update source and clock answer.
    Step("ready", steps.ready, patience=minutes(20)),
    Step("scan", steps.scan, patience=hours(1)),
    Step("install", steps.install, patience=hours(4)),
    # When asked to; then another round from scan.
    Step("restart", steps.restart, patience=minutes(30)),
    # Healthy, the job's checks, the verdict.
    Step("verify", steps.verify, patience=minutes(30)),
    # Clean, and shown to be.
    Step("shut_down", steps.shut_down, patience=minutes(30)),
    # Its own adapters back.
    Step("reconnect", steps.reconnect, patience=minutes(10)),
    # A new generation in its library, in one atomic publish.
    Step("store", steps.store, patience=hours(4)),
    Step("release", steps.release, patience=hours(1)),
)

RETURN = (
    # Waits for what is under way over there, a fetch for instance; the power-off itself takes minutes.
    Step("halt", steps.halt, patience=hours(5)),
    # Our overlay dropped, or our checkpoint restored.
    Step("rewind", steps.rewind, patience=hours(1)),
    Step("reconnect", steps.reconnect, patience=minutes(30)),
    # Back in its library, where fetching had moved it.
    Step("store", steps.bring_back, patience=hours(4)),
    Step("release", steps.release, patience=hours(1)),
)

TABLES = {Direction.FORWARD: FORWARD, Direction.RETURN: RETURN}

# A cancel before these ends the target at once: nothing has been changed yet.
CHANGES_NOTHING = ("preflight", "place")
# A cancel once this has begun lets the target finish.
PUBLISHES = "store"


def find(direction: Direction, name: str) -> Step | None:
    """The step of this name; None for one that this version doesn't know."""
    return next((step for step in TABLES[direction] if step.name == name), None)


def after(direction: Direction, name: str) -> Step | None:
    """The step that follows; None after the last."""
    table = TABLES[direction]
    at = next(i for i, step in enumerate(table) if step.name == name)
    return table[at + 1] if at + 1 < len(table) else None


def position(direction: Direction, name: str) -> tuple[int, int]:
    """Which step of its table this is, from 1, and how many there are; (0, n) for one that this version
    doesn't know."""
    names = [step.name for step in TABLES[direction]]
    return (names.index(name) + 1 if name in names else 0), len(names)
