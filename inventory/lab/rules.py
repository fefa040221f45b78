"""What the simulated platform does when it is called: the rules, apart from where the world is kept.

Each function is one call that changes something. It gets the state and the machine as they are now, and
refuses what a real platform would refuse. What a real platform would let happen, although it breaks one of
OVMST's promises, happens here too and is written down as a violation.
"""

from collections.abc import Callable
from typing import Any

from inventory.lab import guests, programs
from inventory.lab.guards import (
    host_of,
    is_ours,
    not_at_work,
    our_copy,
    repeated,
    runs_for_outsider,
    share_answers,
)
from inventory.lab.records import Arguments, Copy, Generation, Machine, Mark, Work
from inventory.lab.state import State
from ovmst_site.faults import Fault, GiveUp, NeedsAttention, TryLater


def mark(state: State, machine: Machine, *, marker: Mark, **_: Any) -> None:
    theirs = machine.marker
    if theirs and (theirs.installation, theirs.target) != (marker.installation, marker.target):
        raise NeedsAttention(f"{machine.name} is marked by {theirs.installation} for {theirs.target}")
    if theirs != marker:
        machine.marker = marker
        state.effect("mark", machine.id)


def unmark(state: State, machine: Machine, *, installation: str, target: str, **_: Any) -> None:
    theirs = machine.marker
    if theirs and (theirs.installation, theirs.target) == (installation, target):
        machine.marker, machine.failed = None, ""
        state.effect("unmark", machine.id)


def fetch(
    state: State, machine: Machine, *, host: str, op: str, extra: float = 0, dies: bool = False, **_: Any
) -> None:
    if repeated(machine, "fetch", op):
        return
    not_at_work(machine)
    if machine.marker is None:
        raise GiveUp(f"{machine.name} isn't marked: nothing moves before it is")
    if runs_for_outsider(machine):
        raise NeedsAttention(f"{machine.name} was started by somebody else")
    if machine.copy is not None:
        if machine.copy.host == host and is_ours(machine):
            return
        raise NeedsAttention(f"{machine.name} is on {machine.copy.host} already")
    host_of(state, host)
    share_answers(state, machine.share)
    if machine.generation(machine.current) is None:
        raise NeedsAttention(f"The library has no current generation of {machine.name}")
    owner = (machine.marker.installation, machine.marker.target)
    _begin(state, machine, "fetch", op, machine.fetch_seconds + extra, dies, host=host, owner=owner)


def _fetched(state: State, machine: Machine, *, host: str, op: str, owner: tuple[str, str]) -> None:
    generation = machine.generation(machine.current)
    if machine.copy is not None:
        raise NeedsAttention(f"somebody else brought it to {machine.copy.host} meanwhile")
    if generation is None:
        raise GiveUp("the library's generation went away")
    adapters = {mac: (network, False) for mac, network in generation.adapters}
    machine.copy = Copy(host, generation.content, adapters, fetched_by=op, owner=owner)
    if not state.keeps_original:
        machine.current = ""


def connect(state: State, machine: Machine, *, networks: dict[str, str], isolated: bool, **_: Any) -> None:
    not_at_work(machine)
    if machine.copy is None and runs_for_outsider(machine):
        raise NeedsAttention(f"{machine.name} was started by somebody else")
    if machine.copy is None:
        generation = machine.generation(machine.current)
        if generation and not isolated and dict(generation.adapters) == networks:
            return  # at home, connected as it always was
        raise GiveUp(f"{machine.name} isn't on a host")
    copy = our_copy(state, machine)
    host = host_of(state, copy.host)
    for mac, network in networks.items():
        if mac not in copy.adapters:
            raise GiveUp(f"{machine.name} has no adapter {mac}")
        if isolated and network not in host.networks:
            raise GiveUp(f"Host {host.name} has no network {network}")
    after = copy.adapters | {mac: (network, isolated and host.isolates) for mac, network in networks.items()}
    if copy.running and any(network != host.servicing_network for network, _ in after.values()):
        raise GiveUp(f"{machine.name} is running: it stays on the servicing network")
    if after != copy.adapters:
        copy.adapters = after
        state.effect("connect", machine.id, ", ".join(networks.values()))


def protect(state: State, machine: Machine, *, op: str, extra: float = 0, dies: bool = False, **_: Any) -> None:
    if repeated(machine, "protect", op):
        return
    not_at_work(machine)
    copy = our_copy(state, machine)
    if copy.before is not None:
        return  # one state from before is enough, and it is the oldest that counts
    if copy.running:
        raise GiveUp(f"{machine.name} is running: too late to protect it")
    _begin(state, machine, "protect", op, machine.protect_seconds + extra, dies)


def _protected(state: State, machine: Machine, *, op: str) -> None:
    copy = our_copy(state, machine)
    copy.before, copy.protected_by = copy.content, op


def start(
    state: State,
    machine: Machine,
    *,
    op: str,
    networks: dict[str, str],
    extra: float = 0,
    dies: bool = False,
    **_: Any,
) -> None:
    """Start it if every adapter is on its host's network of `networks` and isolated: read in the same breath."""
    not_at_work(machine)
    copy = our_copy(state, machine)
    if copy.running:
        return
    host = host_of(state, copy.host)
    network = networks.get(host.id, "")
    wrong = [mac for mac, (on, isolated) in copy.adapters.items() if on != network or not isolated or not network]
    if wrong or not network or network not in host.networks:
        raise GiveUp(f"{machine.name} isn't isolated on {network or 'a servicing network'} of {host.name}")
    if any(on != host.servicing_network for on, _ in copy.adapters.values()):
        state.violate(machine.id, f"started on {network}, which is no servicing network")
    if copy.before is None:
        state.violate(machine.id, "started without protection")
    used = [m for m in state.machines.on(host.id) if m.copy and m.copy.running and m.copy.host == host.id]
    if len(used) >= host.slots or sum(m.memory_mb for m in used) + machine.memory_mb > host.memory_mb:
        state.violate(machine.id, f"started on {host.id} beyond its slots or memory")
    if copy.started_by not in ("", op):
        state.violate(machine.id, f"started twice, by {copy.started_by} and {op}")
    copy.started_by = op
    guests.power_on(state, machine, copy, op=op, by_outsider=False, extra=extra)
    state.effect("start", machine.id, op)
    if dies and copy.running:
        copy.running.dies = state.now + machine.guest.boot_seconds / 2


def shut_down(
    state: State, machine: Machine, *, force: bool, extra: float = 0, dies: bool = False, **_: Any
) -> None:
    if machine.copy is None and not runs_for_outsider(machine):
        return
    copy = our_copy(state, machine)
    run = copy.running
    if run is None:
        return
    if force:
        if guests.is_installing(machine, run, state.now):
            state.violate(machine.id, "powered off while an installer ran")
        guests.power_off(state, machine, copy, "forced")
        state.effect("power off", machine.id)
    elif guests.go_down(state, machine, copy, "going down", extra):
        state.effect("shut_down", machine.id)
    if dies and copy.running:
        copy.running.dies = state.now


def rewind(state: State, machine: Machine, *, generation: str, **_: Any) -> None:
    not_at_work(machine)
    if machine.copy is None and not runs_for_outsider(machine):
        return
    copy = our_copy(state, machine)
    if copy.running:
        raise TryLater(f"{machine.name} is running: it can't be rewound")
    if machine.marker and machine.marker.generation != generation:
        raise NeedsAttention(f"{machine.name} was woken from {machine.marker.generation}, not from {generation}")
    if state.keeps_original:
        machine.copy = None
        state.effect("rewind", machine.id)
    elif copy.before is not None:
        copy.content, copy.before, copy.protected_by, copy.ended = copy.before, None, "", "unknown"
        state.effect("rewind", machine.id)


def store(
    state: State,
    machine: Machine,
    *,
    share: str,
    generation: str,
    op: str,
    extra: float = 0,
    dies: bool = False,
    **_: Any,
) -> None:
    if repeated(machine, "store", op):
        return
    not_at_work(machine)
    if machine.copy is None and not runs_for_outsider(machine):
        if machine.current == generation:
            return  # it is at home, as it was
        raise NeedsAttention(f"{machine.name} isn't on a host, and the library has {machine.current or 'none'}")
    copy = our_copy(state, machine)
    if copy.running:
        raise TryLater(f"{machine.name} is running: it can't be stored")
    _library_is_as_it_was(state, machine, share, generation)
    _begin(state, machine, "store", op, machine.store_seconds + extra, dies, share=share, generation=generation)


def _library_is_as_it_was(state: State, machine: Machine, share: str, generation: str) -> None:
    share_answers(state, share)
    if machine.share != share:
        raise NeedsAttention(f"{machine.name} lies on {machine.share} now, not on {share}; both are kept")
    expected = generation if state.keeps_original else ""
    if machine.current != expected:
        raise NeedsAttention(
            f"The library has {machine.current or 'none'} of {machine.name} now, where {expected or 'none'}"
            " was expected: both are kept"
        )
    if state.shares[share].full:
        raise TryLater(f"No space left on library share {share}")


def _stored(state: State, machine: Machine, *, share: str, generation: str, op: str) -> None:
    _library_is_as_it_was(state, machine, share, generation)
    copy = our_copy(state, machine)
    if copy.running:
        raise NeedsAttention("it was started while it was being stored")
    adapters = tuple(sorted((mac, network) for mac, (network, _) in copy.adapters.items()))
    origin = machine.generation(generation)
    unchanged = origin is not None and origin.content == copy.content
    if not unchanged:
        _judge_what_is_published(state, machine, copy)
    if origin and tuple(sorted(origin.adapters)) != adapters:
        state.violate(machine.id, "stored with other adapters than it had")
    name = generation if unchanged else f"g{state.number()}"
    machine.publish(Generation(name, copy.content, adapters, op))
    machine.copy = None


def _judge_what_is_published(state: State, machine: Machine, copy: Copy) -> None:
    if copy.content.condition == "damaged" or copy.ended == "crashed":
        state.violate(machine.id, f"published although it is {copy.content.condition} ({copy.ended})")
    if copy.content.half_installed:
        state.violate(machine.id, "published with half-installed packages")
    if not copy.content.own_updater:
        state.violate(machine.id, "published with its own updater switched off")


def _begin(
    state: State, machine: Machine, call: str, op: str, seconds: float, dies: bool, **arguments: Any
) -> None:
    """Work goes on over there; it takes effect at its end."""
    machine.failed = ""
    machine.work = Work(call, op, state.now + seconds / (2 if dies else 1), Arguments(**arguments), dies)
    state.effect(call, machine.id, op)
    settle(state, machine)


def settle(state: State, machine: Machine) -> None:
    """Let everything happen to this machine that is due by now, in the order of time."""
    now = state.now
    while machine.late and machine.late[0].at <= now:
        late = machine.late.pop(0)
        state.now = max(late.at, 0)
        _settle_work_and_guest(state, machine)
        try:
            CALLS[late.call](state, machine, **late.arguments.given())
        except Fault as fault:
            state.note(machine.id, f"late {late.call} refused", str(fault))
    state.now = now
    _settle_work_and_guest(state, machine)


def _settle_work_and_guest(state: State, machine: Machine) -> None:
    """Work of the platform and what happens in the guest never overlap: work begins only while it is off."""
    copy, work = machine.copy, machine.work
    if copy is not None and copy.running is not None:
        guests.settle(state, machine, copy)
    if work is None or work.ends > state.now:
        return
    machine.work = None
    host = state.hosts.get(work.arguments.host or (copy.host if copy else ""))
    if work.dies or host is None or not host.answers:
        machine.failed = f"{work.call}: it broke off half-way"
    else:
        try:
            ENDS[work.call](state, machine, op=work.op, **work.arguments.given())
        except Fault as fault:
            machine.failed = f"{work.call}: {fault}"
    state.note(machine.id, f"{'failed' if machine.failed else 'done'} {work.call}", at=work.ends)


ENDS: dict[str, Callable[..., None]] = {"fetch": _fetched, "protect": _protected, "store": _stored}

CALLS: dict[str, Callable[..., Any]] = {
    "mark": mark,
    "unmark": unmark,
    "fetch": fetch,
    "connect": connect,
    "protect": protect,
    "start": start,
    "shut_down": shut_down,
    "rewind": rewind,
    "store": store,
    "ping": programs.ping,
    "run": programs.run,
    "put": programs.put,
    "get": programs.get,
}
