"""A believable world, the same for the same seed: for demonstrations, training and measurements.

Seconds are the world's: at a time scale of 60 a machine is through in some ten seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from inventory.lab.catalogue import SYSTEMS, Offer, OperatingSystem
from inventory.lab.records import GuestBehaviour, Machine, Round, Update
from inventory.lab.state import State
from inventory.lab.world import World

SLOTS = 4
HOST_MEMORY_MB = 64 * 1024
SHARE = "library-{}/servers"  # what is before the slash is the library server
TRANSFER = 2 * 2**30  # bytes a second
ONE_OF_EACH_FOR = 60  # machines
UNTROUBLED = 3  # of four machines at least


def fill(
    world: World,
    *,
    machines: int,
    libraries: int,
    hosts: int,
    seed: int,
    faults: bool = True,
    slow_faults: bool = False,
    attention: bool = False,
) -> None:
    """Put hosts (host-1 …), library shares (library-1/servers …) and machines into an empty world.

    `faults` brings in machines and a host that make trouble of every kind that is over soon: all are stored in
    the end, updated or as they were. `slow_faults` adds those that keep a run waiting for many minutes of
    OVMST's own time, whatever the time scale. `attention` adds exactly one machine that ends in need of
    attention. Raises ValueError where there is something already.
    """
    with world.together() as state:
        if len(state.machines) or state.hosts or state.shares:  # asking for all once also spares asking for each
            raise ValueError("This lab isn't empty: it can't be filled again")
        for n in range(1, libraries + 1):
            world.add_share(SHARE.format(n))
        for n in range(1, hosts + 1):
            world.add_host(f"host-{n}", memory_mb=HOST_MEMORY_MB, slots=SLOTS)
        random = Random(seed)  # noqa: S311 - no secret: the same seed makes the same world
        names: dict[str, int] = {}
        for n in range(1, machines + 1):
            _add(world, random, f"vm-{n:05}", SHARE.format(random.randint(1, libraries)), names)
        _make_trouble(world, state, random, faults=faults, slow_faults=slow_faults, attention=attention)
        if faults and hosts:
            flaky = f"host-{hosts}"
            world.faults.fails("fetch", host=flaky, times=2, reason="the transfer was reset by its peer")
            world.faults.fails("start", host=flaky, reason="the host is busy")


def _add(world: World, random: Random, machine_id: str, share: str, names: dict[str, int]) -> None:
    system = random.choice(SYSTEMS)
    role = random.choice(system.roles)
    names[role] = names.get(role, 0) + 1
    name = f"{role}-{names[role]:03}"
    disk_gb = random.choice(system.disks_gb)
    rounds = _rounds(random, system)
    updates = sum(len(r.updates) for r in rounds)
    seconds = disk_gb * 2**30 / TRANSFER
    world.add_machine(
        machine_id,
        share=share,
        name=name,
        rounds=rounds,
        guest=GuestBehaviour(
            boot_seconds=system.boots_in * random.uniform(0.8, 1.3),
            scan_seconds=system.scans_in * random.uniform(0.8, 1.3),
            install_seconds=system.installs_in * (1 + updates / 4) * random.uniform(0.8, 1.3),
            shut_down_seconds=random.uniform(5, 20),
            clock_skew=random.uniform(-2, 2),
        ),
        packages=_packages(system, rounds),
        computer_name=name.upper()[:15],
        operating_system=system.name,
        memory_mb=random.choice(system.memory_mb),
        cpus=random.choice((1, 2, 2, 4)),
        disk_bytes=disk_gb * 2**30,
        fetch_seconds=seconds,
        store_seconds=seconds * 1.2,
    )


def _rounds(random: Random, system: OperatingSystem) -> list[Round]:
    """What is pending: nothing for a few; for most something that needs a restart; for some a third round."""
    if random.random() < 0.08:
        return []
    offers = random.sample(system.offers, random.randint(1, min(6, len(system.offers))))
    first, *rest = (_update(random, offer) for offer in offers)
    rounds = [Round((replace(first, held=""), *rest))]  # where all are held, nothing can be done
    if random.random() < 0.5:
        rounds.append(Round(tuple(_update(random, offer) for offer in system.first), restart=True))
        if random.random() < 0.2:
            rounds.append(Round(tuple(_update(random, offer) for offer in system.last)))
    return rounds


def _packages(system: OperatingSystem, rounds: list[Round]) -> dict[str, str]:
    """What is installed: all of it up to date, but for what is pending."""
    pending = {u.package for r in rounds for u in r.updates}
    offers = (*system.offers, *system.first, *system.last)
    return {o.package: o.before if o.package in pending else o.after for o in offers} | dict(system.others)


def _update(random: Random, offer: Offer) -> Update:
    held = offer.may_be if offer.may_be and random.random() < 0.5 else ""
    return Update(offer.package, offer.after, offer.origin, offer.security, held)


# --- Trouble ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trouble:
    what: str
    make: Callable[[World, Machine], None]


def _guest(**behaviour: object) -> Callable[[World, Machine], None]:
    def make(world: World, machine: Machine) -> None:
        machine.guest = replace(machine.guest, **behaviour)  # type: ignore[arg-type]

    return make


def _obstacle(world: World, machine: Machine) -> None:
    machine.obstacles.append(("refused", "Its disk is a differencing disk: others may depend on what it backs on"))


def _saved(world: World, machine: Machine) -> None:
    machine.saved = True


def _endless(world: World, machine: Machine) -> None:
    machine.guest = replace(machine.guest, endless=True, scan_seconds=5, install_seconds=10)


def _slow(world: World, machine: Machine) -> None:
    world.faults.slow("fetch", 120, machine=machine.id)


def _late(world: World, machine: Machine) -> None:
    world.faults.succeeds_late("store", 20, machine=machine.id)


def _unstoppable(world: World, machine: Machine) -> None:
    world.faults.gives_up("shut_down", machine=machine.id, reason="the host refuses to stop it")


QUICK = (
    Trouble("its installations fail", _guest(failing_installs=9)),
    Trouble("a differencing disk", _obstacle),
    Trouble("it goes away while it shuts down", _guest(dies_in=frozenset({"shut_down"}))),
    Trouble("a saved state", _saved),
    Trouble("updates without end", _endless),
    Trouble("its update source's key has expired", _guest(source_refused=True)),
    Trouble("its update source offers nothing", _guest(source_offers=False)),
    Trouble("a slow transfer", _slow),
    Trouble("storing it takes effect after its time-out", _late),
    Trouble("it goes away while it installs", _guest(dies_in=frozenset({"install"}))),
)
SLOW = (
    Trouble("its guest never answers", _guest(never_answers=True)),
    Trouble("it ignores being shut down", _guest(ignores_shut_down=True)),
    Trouble("it doesn't reach its update source", _guest(source_reachable=False)),
)


def _make_trouble(
    world: World, state: State, random: Random, *, faults: bool, slow_faults: bool, attention: bool
) -> None:
    """One of each for sixty machines; but most machines of a small world are well."""
    # Only those with something to install run into what goes wrong then.
    able = [m for m in state.machines.values() if any(not u.held for r in m.guest.rounds for u in r.updates)]
    random.shuffle(able)
    if attention and able:
        _unstoppable(world, able.pop())
    times = max(1, len(state.machines) // ONE_OF_EACH_FOR)
    kinds = [kind for _ in range(times) for kind in (*(QUICK if faults else ()), *(SLOW if slow_faults else ()))]
    room = len(state.machines) * (4 - UNTROUBLED) // 4
    if faults and room > 1 and len(able) > 1:
        for _ in range(times):
            _make_twins(able.pop(), able.pop())
            room -= 2
    for kind, machine in zip(kinds[: max(room, 0)], able, strict=False):
        kind.make(world, machine)


def _make_twins(one: Machine, other: Machine) -> None:
    """Somebody copied a machine and kept its identity."""
    other.uuid, other.computer_name = one.uuid, one.computer_name
    other.generations[0] = replace(other.generations[0], adapters=one.generations[0].adapters)
