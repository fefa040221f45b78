"""What steps have in common: the first look at a machine, and what follows from it.

A step that looks first is given what was seen, and runs only once the platform says where the machine is and
has nothing under way; a step in the guest runs only while the machine runs as ours, on the servicing network.
What isn't ours is left alone, for a person to look at.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps

from inventory.platforms.base import Observed, Place, Power
from inventory.remote.base import GuestChannel
from ovmst_site.faults import GiveUp, NeedsAttention
from servicing.context import Context
from servicing.outcome import Done, Outcome, Wait

# What a target notes that waits for a token, and for nothing else: others leave one to it if it is to be stored.
TRANSFERS_TAKEN = "all transfers of its library server are taken"
ASK_AGAIN_AFTER = timedelta(minutes=3)  # a request that got lost is made again


def first(step: Callable[[Context, Observed], Outcome]) -> Callable[[Context], Outcome]:
    """A step that begins with a look at the machine, and waits while it is in flux."""

    @wraps(step)
    def look(ctx: Context) -> Outcome:
        seen = ctx.platform.observe(ctx.machine)
        return in_flux(ctx, seen) or step(ctx, seen)

    return look


def in_guest(step: Callable[[Context, GuestChannel], Outcome]) -> Callable[[Context], Outcome]:
    """A step in the guest: the machine must run as ours, and on the servicing network still."""

    @wraps(step)
    def look(ctx: Context) -> Outcome:
        return _must_run(ctx) or step(ctx, ctx.platform.guest(ctx.machine, ctx.on))

    return look


def in_flux(ctx: Context, seen: Observed) -> Wait | None:
    """Wait while the platform doesn't say, or is at something; raise where the machine is gone."""
    if seen.place is Place.UNKNOWN or seen.power is Power.UNKNOWN:
        return Wait(ctx.poll, f"the platform does not say{where(seen)}")
    if seen.operation:
        return Wait(ctx.poll, seen.operation)
    if seen.place is Place.ABSENT:
        raise NeedsAttention(f"it is nowhere to be found{where(seen)}")
    return None


def _must_run(ctx: Context) -> Wait | None:
    seen = ctx.platform.observe(ctx.machine)
    if waiting := in_flux(ctx, seen):
        return waiting
    if seen.power is Power.OFF:
        raise GiveUp(f"it went off by itself ({seen.ended}){where(seen)}")
    if not seen.is_ours(ctx.marker):
        raise NeedsAttention(f"it runs, but not as ours{where(seen)}")
    if not seen.is_isolated_on(ctx.on.servicing_network):
        raise GiveUp("it is no longer on the servicing network alone: it is taken off at once")
    return None


def must_be_marked(ctx: Context, seen: Observed) -> None:
    if not ctx.marker.same_owner(seen.marker):
        whose = f"target {seen.marker.target}'s of {seen.marker.installation}" if seen.marker else "no"
        raise NeedsAttention(f"it carries {whose} marker, not ours{where(seen)}")


def must_be_ours_and_off(ctx: Context, seen: Observed) -> None:
    """It carries our marker, and nobody runs it: what moves or changes it may begin."""
    must_be_marked(ctx, seen)
    if seen.power is not Power.OFF:
        raise NeedsAttention(f"it is {seen.power}, and not by us{where(seen)}")


def published_by_us(ctx: Context, seen: Observed) -> Done | None:
    """Done where what its library publishes is what this target stored."""
    if seen.place is Place.LIBRARY and seen.published_by and ctx.ledger.owns(seen.published_by):
        ctx.notes.published = seen.generation
        ctx.ledger.give_transfer_back()
        return Done(f"published as {seen.generation}")
    return None


def hand_over(ctx: Context, seen: Observed) -> Wait:
    """Have the platform store it, once a transfer of its library server is free."""
    must_be_ours_and_off(ctx, seen)
    if not ctx.ledger.take_transfer():
        return Wait(ctx.poll, TRANSFERS_TAKEN, counts=False)
    ctx.platform.store(ctx.machine, ctx.origin, ctx.ledger.operation())
    return Wait(ctx.poll, "being stored")


def asked_lately(ctx: Context) -> bool:
    """Whether the guest has been asked to restart or shut down, so lately that it needn't be asked again."""
    if not ctx.notes.asked_at:
        return False
    asked = datetime.fromisoformat(ctx.notes.asked_at)
    return asked >= ctx.entered_at and ctx.now() - asked < ASK_AGAIN_AFTER


def report_once(ctx: Context, what: str, text: str) -> None:
    """Say it, unless this target has said it before."""
    if what not in ctx.notes.reported:
        ctx.notes.reported.append(what)
        ctx.say(text)


def where(seen: Observed) -> str:
    """The platform's own words on it, as an ending for a sentence."""
    return f" ({seen.detail})" if seen.detail else ""
