"""One function a step, in the order of cycle.py's tables.

Each looks before it acts, because after a crash it runs again: what was already done *by us* is success.
Each has its effect written down (ctx.ledger.operation) before it causes it. None sleeps. What is unknown is
waited for; what somebody else did is left alone, for a person to look at (looks.py has these first looks).
"""

from datetime import timedelta

from inventory.platforms.base import Ended, Observed, ObstacleKind, Place, Power
from inventory.remote.base import GuestChannel
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater
from servicing import looks
from servicing.context import Context
from servicing.outcome import Again, Done, Outcome, Skip, Wait
from servicing.updaters.base import Running, Verdict

CLOCK_SKEW_LIMIT = 300.0  # seconds; beyond it certificates and signatures stop working
FORCE_OFF_AFTER = timedelta(minutes=10)
HALT_GRACE = timedelta(minutes=2)  # how long RETURN lets a guest shut down by itself


# --- FORWARD ------------------------------------------------------------------------------------------


def preflight(ctx: Context) -> Outcome:
    """May this machine be serviced? Eligible (Done), decision needed or refused (Skip). Changes nothing."""
    seen = ctx.platform.observe(ctx.machine)
    if seen.place is Place.ABSENT:
        return Skip(f"it isn't in its library any more{looks.where(seen)}")
    if seen.place is Place.UNKNOWN or seen.power is Power.UNKNOWN:
        return Wait(ctx.poll, f"the platform does not say where it is{looks.where(seen)}")
    if seen.marker is not None and ctx.is_stale(seen.marker) and seen.place is Place.LIBRARY:
        # Written by a call that took effect after its target was over; nobody else will take it off.
        ctx.platform.unmark(ctx.machine, seen.marker)
        return Wait(0, f"the marker that target {seen.marker.target} left behind is taken off")
    if seen.marker is not None:
        whose = "this" if seen.marker.installation == ctx.marker_template.installation else "another"
        return Skip(
            f"it carries the marker of {whose} installation's target {seen.marker.target}",
            decision_needed=True,
        )
    if seen.power is not Power.OFF:
        return Skip(f"it is {seen.power}, and not by us{looks.where(seen)}")
    facts = ctx.platform.inspect(ctx.machine)
    if facts.obstacles:
        decision = all(o.kind is ObstacleKind.DECISION for o in facts.obstacles)
        return Skip("; ".join(o.reason for o in facts.obstacles), decision_needed=decision)
    if twins := ctx.twins():
        names = ", ".join(repr(name) for name in twins)
        return Skip(f"it has the same identity (UUID or MAC address) as {names}", decision_needed=True)
    if reason := ctx.cannot_be_placed(facts.memory_mb):
        return Skip(reason)
    ctx.notes.generation = facts.generation
    ctx.notes.adapters = dict(facts.adapters)
    ctx.notes.memory_mb = facts.memory_mb
    return Done(f"eligible: generation {facts.generation}, {len(facts.adapters)} adapters")


def place(ctx: Context) -> Outcome:
    """Reserve a slot and memory on a host of the job, in one conditional update."""
    host = ctx.ledger.reserve(ctx.notes.memory_mb)
    if host is None:
        # Thousands may wait here. Who frees a slot wakes the first; a look by itself is for slots that are new.
        return Wait(max(2 * ctx.poll, 2), "no slot free")
    return Done(f"on {host.name}")


def mark(ctx: Context) -> Outcome:
    """Write our marker onto the machine itself, and read it back, before anything moves."""
    seen = ctx.platform.observe(ctx.machine)
    if ctx.marker.same_owner(seen.marker):
        ctx.notes.marked = True
        return Done()
    if waiting := looks.in_flux(ctx, seen):
        return waiting
    if seen.place is not Place.LIBRARY or seen.power is not Power.OFF:
        raise GiveUp(f"it left its library or was started since preflight{looks.where(seen)}")
    if seen.generation != ctx.notes.generation:
        raise GiveUp(f"its library has published {seen.generation} since preflight")
    ctx.ledger.operation()
    ctx.notes.marked = True  # from here on RETURN looks for it
    ctx.platform.mark(ctx.machine, ctx.marker)
    if not ctx.marker.same_owner(ctx.platform.observe(ctx.machine).marker):
        raise TryLater("the marker can't be read back")
    return Done()


@looks.first
def fetch(ctx: Context, seen: Observed) -> Outcome:
    """Bring it to the host, not started."""
    looks.must_be_ours_and_off(ctx, seen)
    if seen.place is Place.HOST:
        if seen.host != ctx.on.external_id:
            raise GiveUp(f"it is on {seen.host}, not on {ctx.on.name}")
        ctx.ledger.give_transfer_back()
        return Done()
    if seen.failed_operation:
        raise GiveUp(f"it could not be brought to {ctx.on.name}: {seen.failed_operation}")
    if not ctx.ledger.take_transfer():
        return Wait(ctx.poll, looks.TRANSFERS_TAKEN, counts=False)
    ctx.platform.fetch(ctx.machine, ctx.on, ctx.ledger.operation())
    return Wait(ctx.poll, f"on its way to {ctx.on.name}")


@looks.first
def isolate(ctx: Context, seen: Observed) -> Outcome:
    """Every adapter to the servicing network, ports isolated; read back from the platform."""
    looks.must_be_ours_and_off(ctx, seen)
    network = ctx.on.servicing_network
    if not network:
        raise GiveUp(f"{ctx.on.name} has no servicing network: it isn't started")
    if seen.is_isolated_on(network):
        return Done(f"on {network}")
    ctx.ledger.operation()
    ctx.platform.connect(ctx.machine, dict.fromkeys(ctx.notes.adapters, network), isolated=True)
    seen = ctx.platform.observe(ctx.machine)
    if not seen.is_isolated_on(network):
        raise TryLater(f"the platform doesn't confirm its adapters on {network}{looks.where(seen)}")
    return Done(f"on {network}")


@looks.first
def protect(ctx: Context, seen: Observed) -> Outcome:
    """Make sure that the state from before can come back."""
    looks.must_be_ours_and_off(ctx, seen)
    if seen.protected:
        return Done()
    if seen.failed_operation:
        raise GiveUp(f"its state could not be protected: {seen.failed_operation}")
    ctx.platform.protect(ctx.machine, ctx.ledger.operation())
    return Wait(0, "being protected")


@looks.first
def start(ctx: Context, seen: Observed) -> Outcome:
    """Start the machine on its host, on the servicing network.

    Running counts as done only if it is ours: our marker, our disks, our network. If somebody else
    started it, hands off.
    """
    network = ctx.on.servicing_network
    if seen.power is Power.ON:
        if not seen.is_ours(ctx.marker):
            raise NeedsAttention(f"it was started by somebody else{looks.where(seen)}")
        if not seen.is_isolated_on(network):
            raise GiveUp(f"it runs, but not on {network} alone: it is taken off at once")
        ctx.notes.was_started = True
        return Done(f"runs on {ctx.on.name}, on {network}")
    looks.must_be_ours_and_off(ctx, seen)
    if not seen.protected or not seen.is_isolated_on(network):
        raise GiveUp("it lost its protection or its isolation before it was started")
    gone = seen.ended is not Ended.UNKNOWN and ctx.ledger.has_begun()
    if ctx.notes.was_started or gone:
        ctx.notes.was_started = True
        raise GiveUp(f"it was started and is off again ({seen.ended})")
    ctx.platform.start(ctx.machine, ctx.ledger.operation())
    ctx.notes.was_started = True
    return Wait(0, "started")


@looks.in_guest
def ready(ctx: Context, guest: GuestChannel) -> Outcome:
    """Wait until the guest answers: its channel, its update source and its clock, reported one by one."""
    try:
        guest.ping(deadline=15)
    except TryLater as reason:
        return Wait(ctx.poll, f"the guest does not answer yet: {reason}")
    looks.report_once(ctx, "channel", "the guest answers")
    answer = ctx.updater.readiness(guest, now=ctx.now().timestamp())
    if answer.source is False:
        return Wait(ctx.poll, f"the guest doesn't reach its update source: {answer.note}")
    if answer.clock_skew is None:
        return Wait(ctx.poll, f"the guest's clock can't be read: {answer.note}")
    if abs(answer.clock_skew) > CLOCK_SKEW_LIMIT:
        return Wait(ctx.poll, f"the guest's clock is {answer.clock_skew:+.0f} s off")
    source = "reached" if answer.source else "not known before the scan"
    looks.report_once(ctx, "source", f"update source: {source}; clock: {answer.clock_skew:+.0f} s")
    return Done(answer.note)


@looks.in_guest
def scan(ctx: Context, guest: GuestChannel) -> Outcome:
    """What is pending, from a refresh made now; the packages before.

    The rounds are capped: what is healthy then is stored as partial, so that hours of work aren't thrown away.
    """
    try:
        found = ctx.updater.scan(guest, ctx.ledger.operation())
    except TryLater as reason:
        ctx.ledger.operation_failed(str(reason))  # the next try is a refresh of its own
        raise
    if isinstance(found, Running):
        return Wait(ctx.poll, found.note)
    notes = ctx.notes
    ctx.ledger.packages("after" if notes.rounds else "before", found.packages, found.pending)
    notes.keep(found, ctx.now())
    if found.verdict is Verdict.NOTHING_OFFERED:
        raise GiveUp("the update source offers nothing at all: whether it is up to date can't be told")
    if notes.rounds > ctx.policy.rounds and (notes.to_install or notes.restart_needed):
        notes.unfinished = f"{notes.to_install} updates still to install after {ctx.policy.rounds} rounds"
        return Done(notes.unfinished)
    return Done(f"{notes.pending} pending, {notes.to_install} to install: {notes.verdict}")


@looks.in_guest
def install(ctx: Context, guest: GuestChannel) -> Outcome:
    """Install what the scan found, and follow it. The scan after it says what it brought."""
    if not ctx.notes.to_install or ctx.notes.unfinished:
        return Done("nothing to install")
    ctx.notes.proved_healthy = False
    result = ctx.updater.install(guest, ctx.ledger.operation())
    if isinstance(result, Running):
        return Wait(ctx.poll, result.note)
    if result.log:
        ctx.say(result.log)
    if not result.ok:
        raise GiveUp(f"the installation failed: {result.note}")
    ctx.notes.installed += 1
    ctx.notes.restart_needed |= result.restart_needed
    return Done(result.note)


@looks.in_guest
def restart(ctx: Context, guest: GuestChannel) -> Outcome:
    """Restart when asked to; then, or after anything was installed, another round.

    A restart has happened when the guest names another boot. After each installation the list is made
    anew: an update often brings the next one to light.
    """
    if ctx.notes.unfinished:
        return Done("no more rounds")
    if not ctx.notes.restart_needed:
        return Again("scan", "no restart needed") if ctx.notes.to_install else Done("no restart needed")
    try:
        boot = ctx.updater.boot_id(guest)
    except TryLater:
        if not ctx.notes.restart_from:
            raise
        return Wait(ctx.poll, "restarting")
    if not ctx.notes.restart_from:
        ctx.notes.restart_from = boot
        return Wait(0, f"restarting from boot {boot}")  # recorded before it is asked
    if boot == ctx.notes.restart_from:
        if not looks.asked_lately(ctx):
            ctx.ledger.operation()
            ctx.updater.restart(guest)
            ctx.notes.asked_at = ctx.now().isoformat()
        return Wait(ctx.poll, "restarting")
    ctx.notes.restart_from = ""
    return Again("ready", "restarted")


@looks.in_guest
def verify(ctx: Context, guest: GuestChannel) -> Outcome:
    """The guest is healthy, the job's own checks pass, and what is still pending decides what it is called."""
    health = ctx.updater.health(guest)
    if not health.ok:
        raise GiveUp("the guest isn't healthy: " + "; ".join(health.problems))
    ctx.updater.tidy(guest)  # before anything that may lead to keeping it
    ctx.notes.proved_healthy = True
    for check in ctx.policy.checks:
        result = guest.run(list(check))
        if result.exit_code != 0:
            raise GiveUp(f"the job's check {' '.join(check)!r} ended with {result.exit_code}")
    if ctx.notes.verdict != Verdict.COMPLIANT:
        if not ctx.notes.installed:
            raise GiveUp(f"{ctx.notes.pending} updates are pending and none of them could be installed")
        ctx.notes.unfinished = ctx.notes.unfinished or f"{ctx.notes.pending} updates still pending"
    return Done(f"healthy; {ctx.notes.verdict}")


@looks.first
def shut_down(ctx: Context, seen: Observed) -> Outcome:
    """Shut the guest down clean. A machine that merely vanished has crashed: only evidence counts.

    Forced only where the job allows it, and never while an installer runs.
    """
    looks.must_be_marked(ctx, seen)
    if seen.power is Power.OFF:
        if seen.ended is Ended.CLEAN or (seen.ended is Ended.FORCED and ctx.notes.forced):
            return Done(f"off, {seen.ended}")
        raise GiveUp(f"it is off, but nothing shows that it shut down clean ({seen.ended}){looks.where(seen)}")
    if not seen.is_ours(ctx.marker):
        raise NeedsAttention(f"it runs, but not as ours{looks.where(seen)}")
    ctx.ledger.operation()
    if ctx.policy.allow_force_off and ctx.now() - ctx.entered_at > FORCE_OFF_AFTER:
        if ctx.updater.is_installing(ctx.platform.guest(ctx.machine, ctx.on)):
            return Wait(ctx.poll, "an installer runs: it isn't forced off")
        if not ctx.notes.forced:
            ctx.notes.forced = True  # recorded before it is done
            return Wait(0, "to be powered off, as the job allows")
        ctx.platform.shut_down(ctx.machine, force=True)
        return Wait(ctx.poll, "powered off, as the job allows")
    if not looks.asked_lately(ctx):
        ctx.platform.shut_down(ctx.machine)
        ctx.notes.asked_at = ctx.now().isoformat()
    return Wait(ctx.poll, "shutting down")


# --- Both directions ----------------------------------------------------------------------------------


@looks.first
def reconnect(ctx: Context, seen: Observed) -> Outcome:
    """Its own adapters back on their networks."""
    if seen.place is Place.LIBRARY:
        return Done("it is in its library")
    looks.must_be_ours_and_off(ctx, seen)
    if {mac: adapter.network for mac, adapter in seen.adapters.items()} == ctx.notes.adapters:
        return Done()
    ctx.ledger.operation()
    ctx.platform.connect(ctx.machine, ctx.notes.adapters, isolated=False)
    return Wait(0, "adapters put back")


@looks.first
def store(ctx: Context, seen: Observed) -> Outcome:
    """Return it to its share as a new generation, in one atomic publish."""
    if published := looks.published_by_us(ctx, seen):
        return published
    if ctx.platform.keeps_original and seen.generation != ctx.notes.generation:
        raise NeedsAttention(
            f"its library has published {seen.generation} meanwhile, it was woken from {ctx.notes.generation}: "
            "both are kept"
        )
    if seen.failed_operation:
        raise GiveUp(f"it could not be stored: {seen.failed_operation}")
    return looks.hand_over(ctx, seen)


@looks.first
def release(ctx: Context, seen: Observed) -> Outcome:
    """Marker off, then the reservation: the slot is free only when the machine is."""
    if seen.place is not Place.LIBRARY:
        raise NeedsAttention(f"it isn't back in its library{looks.where(seen)}")
    if ctx.marker.same_owner(seen.marker):
        ctx.ledger.operation()
        ctx.platform.unmark(ctx.machine, ctx.marker)
    ctx.ledger.release()
    return Done()


# --- RETURN -------------------------------------------------------------------------------------------


@looks.first
def halt(ctx: Context, seen: Observed) -> Outcome:
    """Bring it to a stop: by itself within a grace period, then powered off. Only if it is ours."""
    if seen.power is Power.OFF:
        return Done(f"off, {seen.ended}" if ctx.notes.was_started else "it was never started")
    if seen.power is not Power.ON or not seen.is_ours(ctx.marker):
        raise NeedsAttention(f"it is {seen.power}, but not as ours{looks.where(seen)}")
    ctx.ledger.operation()
    not_isolated = not seen.is_isolated_on(ctx.on.servicing_network)
    if not_isolated or ctx.now() - ctx.entered_at > HALT_GRACE:
        ctx.platform.shut_down(ctx.machine, force=True)
        return Wait(ctx.poll, "powered off")
    if not looks.asked_lately(ctx):
        ctx.notes.asked_at = ctx.now().isoformat()
        try:
            ctx.platform.shut_down(ctx.machine)
        except (TryLater, GiveUp) as reason:  # one that doesn't listen is powered off after the grace period
            return Wait(ctx.poll, f"it doesn't shut down by itself: {reason}")
    return Wait(ctx.poll, "shutting down")


@looks.first
def rewind(ctx: Context, seen: Observed) -> Outcome:
    """Bring the state from before back, unless the job keeps machines that proved healthy and this one did."""
    if seen.place is Place.LIBRARY:
        return Done("it is in its library")
    looks.must_be_ours_and_off(ctx, seen)
    if ctx.policy.keep_healthy and ctx.notes.proved_healthy and seen.ended is Ended.CLEAN:
        ctx.notes.unfinished = ctx.notes.unfinished or "kept, as the job says for healthy machines"
        return Done(ctx.notes.unfinished)
    if not seen.protected:
        return Done("nothing to rewind")
    ctx.ledger.operation()
    ctx.platform.rewind(ctx.machine, ctx.origin)
    return Wait(0, "rewound")


@looks.first
def bring_back(ctx: Context, seen: Observed) -> Outcome:
    """Return it to its share, where fetching had moved it or a healthy state is kept."""
    if seen.place is Place.LIBRARY and seen.generation == ctx.notes.generation:
        return Done("as before")
    if published := looks.published_by_us(ctx, seen):
        return published
    if seen.place is Place.LIBRARY:
        ctx.notes.library_has = seen.generation
        return Done(f"its library has published {seen.generation} meanwhile")
    if seen.failed_operation and ctx.ledger.has_begun():
        ctx.ledger.operation_failed(seen.failed_operation)
        raise TryLater(f"it could not be stored: {seen.failed_operation}")  # told at once, and tried again
    return looks.hand_over(ctx, seen)
