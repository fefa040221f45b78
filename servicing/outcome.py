"""What a step returns. It never sleeps: it is done, or wants to be asked again, or goes back to a step."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """The step has reached what it is for; the next one follows at once."""

    note: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after so many seconds; the note says what is waited for."""

    seconds: float
    note: str = ""
    counts: bool = True  # against the step's patience; not where it waits for its turn


@dataclass(frozen=True, slots=True)
class Again:
    """Go back to an earlier step of the same table."""

    step: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Skip:
    """Only from preflight: this machine isn't serviced in this run; nothing was changed."""

    reason: str
    decision_needed: bool = False


Outcome = Done | Wait | Again | Skip
