"""What a simulated world looks like now, for a page: the same number of queries whatever its size."""

from dataclasses import dataclass

from inventory.lab import rules
from inventory.lab.records import Entry, Fault, Host, Machine, Share
from inventory.lab.state import WHERE, Tally
from inventory.lab.world import World

LINES = 50
VIOLATIONS = 50


@dataclass(frozen=True, slots=True)
class OnHost:
    """A host and what is on it or on its way there."""

    host: Host
    machines: tuple[Machine, ...]

    @property
    def awake(self) -> int:
        return sum(machine.is_awake() for machine in self.machines)


@dataclass(frozen=True, slots=True)
class Summary:
    now: float  # Unix seconds by the world's clock
    time_scale: float
    keeps_original: bool
    tally: Tally
    hosts: tuple[OnHost, ...]
    shares: tuple[Share, ...]
    machines: tuple[Machine, ...]  # one page of them
    found: int  # how many there are on all pages
    faults: tuple[Fault, ...]  # asked for, and not run into yet
    violations: tuple[str, ...]  # the newest of them, newest first
    all_violations: int
    journal: tuple[Entry, ...]  # newest first


def summary(world: World, *, page: int = 1, size: int = 50, where: str = "", search: str = "") -> Summary:
    """The world as it is now. `where` is one of `state.WHERE`, `search` a part of a machine's name or id.
    Raises ValueError for what can't be asked for."""
    if where not in WHERE:
        raise ValueError(f"Machines can't be looked for in {where[:80]!r}: {', '.join(filter(None, WHERE))}")
    if page < 1 or not 1 <= size <= 1000:
        raise ValueError("Pages begin with 1 and have up to 1000 machines")
    with world.together() as state:
        for machine in state.machines.due(state.now):
            rules.settle(state, machine)
        away = state.machines.on_any_host() + state.machines.working()
        machines, found = state.machines.page((page - 1) * size, size, where=where, search=search)
        return Summary(
            now=state.now,
            time_scale=state.time_scale,
            keeps_original=state.keeps_original,
            tally=state.machines.tally(),
            hosts=tuple(
                OnHost(host, tuple({m.id: m for m in away if m.is_on(host.id)}.values()))
                for host in state.hosts.values()
            ),
            shares=tuple(state.shares.values()),
            machines=tuple(machines),
            found=found,
            faults=tuple(state.faults),
            violations=tuple(state.journal.violations(VIOLATIONS)),
            all_violations=state.journal.times("violation"),
            journal=tuple(state.journal.last(LINES)),
        )
