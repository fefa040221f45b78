"""The simulated world: libraries, hosts and machines, with everything that can go wrong among them.

It is an honest adversary. Everything takes clock time, and only calls and the clock move it: an operation
that was begun has an end, and whoever looks sees things as they are then. What breaks one of OVMST's
promises is let happen and written down in `violations`.
"""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from inventory.lab import faults, rules, views
from inventory.lab.faults import Faults, WorkerDied
from inventory.lab.outsiders import Outsiders
from inventory.lab.records import (
    NEVER,
    Arguments,
    Content,
    Entry,
    Fault,
    Generation,
    GuestBehaviour,
    Host,
    Late,
    Machine,
    Mark,
    Round,
    Share,
    Update,
    View,
)
from inventory.lab.state import State
from inventory.lab.storage import Clock, Memory, Storage, WallClock
from ovmst_site.faults import GiveUp, TryLater

CALL_DEADLINE = 30.0  # seconds after which a call that hangs is said to have been killed


class World:
    """One simulated management server.

    `faults` asks for faults, `outsiders` does what others do; the rest is what drivers call (`perform`,
    `look`), what sets the world up (`add_…`) and what tests ask.
    """

    def __init__(
        self, clock: Clock | None = None, *, keeps_original: bool = True, storage: Storage | None = None
    ) -> None:
        self._storage = storage or Memory(clock or WallClock(), keeps_original=keeps_original)
        self.faults = Faults(self._storage)
        self.outsiders = Outsiders(self._storage)
        with self._storage.open() as state:
            self.keeps_original = state.keeps_original

    def together(self) -> AbstractContextManager[State]:
        """Several calls as one, for this thread alone."""
        return self._storage.open()

    # Setting it up

    def add_share(self, name: str) -> None:
        with self._storage.open() as state:
            state.shares[name] = Share(name)

    def add_host(
        self,
        host_id: str,
        *,
        name: str = "",
        memory_mb: int = 65536,
        slots: int = 16,
        networks: Iterable[str] = ("production", "servicing"),
        servicing_network: str = "servicing",
    ) -> None:
        with self._storage.open() as state:
            state.hosts[host_id] = Host(
                host_id, name or host_id, memory_mb, slots, set(networks), servicing_network
            )

    def add_machine(
        self,
        machine_id: str,
        *,
        share: str,
        name: str = "",
        rounds: Iterable[Round] | None = None,
        guest: GuestBehaviour | None = None,
        packages: dict[str, str] | None = None,
        adapters: dict[str, str] | None = None,
        **settings: Any,
    ) -> Machine:
        """A machine in its library. By default one update is pending and one adapter is on production.
        `settings` are fields of `Machine`; the record that is returned may be changed before the first call."""
        guest = guest or GuestBehaviour()
        if rounds is not None:
            guest.rounds = tuple(rounds)
        elif not guest.rounds:
            guest.rounds = (Round((Update("openssl", "2"),)),)
        with self._storage.open() as state:
            if machine_id in state.machines:
                raise ValueError(f"There is a machine {machine_id} already")
            number = state.number()
            if adapters is None:
                adapters = {
                    f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}": "production"
                }
            installed = {u.package: "1" for r in guest.rounds for u in r.updates} | (
                packages or {"base-files": "12"}
            )
            content = Content(number, tuple(sorted(installed.items())))
            settings.setdefault("uuid", str(uuid.uuid5(uuid.NAMESPACE_OID, machine_id)))
            machine = Machine(machine_id, name or machine_id, share, guest=guest, **settings)
            machine.generations = [Generation("g1", content, tuple(sorted(adapters.items())))]
            machine.current = "g1"
            state.machines[machine_id] = machine
            state.shares.setdefault(share, Share(share))
            return machine

    def add_damaged(self, where: str, reason: str) -> None:
        with self._storage.open() as state:
            state.damaged.append((where, reason))

    # What drivers call

    def perform(self, call: str, machine_id: str, counted_as: str = "", **arguments: Any) -> Any:
        """One call that changes something, with the fault that was asked for. Raises the three faults of
        `ovmst_site.faults`, and WorkerDied."""
        name = counted_as or call
        with self._storage.open() as state:
            fault = self._called(state, name, machine_id, arguments.get("host", ""))
            machine = state.machines.get(machine_id)
            if machine is None or machine.gone:
                raise GiveUp(f"There is no machine {machine_id}")
            rules.settle(state, machine)
            kind = fault.kind if fault else ""
            seconds = fault.seconds if fault else 0
            if kind == "crash before":
                raise WorkerDied(f"before {name}")
            if kind == "hangs before":
                raise TryLater(f"No answer to {name} within {CALL_DEADLINE:.0f} s")
            if kind == "late":
                machine.late.append(Late(state.now + seconds, call, Arguments(**arguments)))
                machine.late.sort(key=lambda late: late.at)
                raise TryLater(f"No answer to {name} within {CALL_DEADLINE:.0f} s")
            if call in ("fetch", "protect", "store", "start", "shut_down", "run"):
                arguments = arguments | {"extra": seconds if kind == "slow" else 0, "dies": kind == "dies"}
            result = rules.CALLS[call](state, machine, **arguments)
            rules.settle(state, machine)
            if kind == "crash after":
                raise WorkerDied(f"after {name}")
            if kind == "hangs after":
                raise TryLater(f"No answer to {name} within {CALL_DEADLINE:.0f} s")
            return result

    def look(self, machine_id: str, call: str = "observe") -> View:
        """The machine as it is now; changes nothing."""
        with self._storage.open() as state:
            fault = self._called(state, call, machine_id)
            if fault and fault.kind.startswith("crash"):
                raise WorkerDied(f"{fault.kind} {call}")
            if fault:
                raise TryLater(f"No answer to {call} within {CALL_DEADLINE:.0f} s")
            machine = state.machines.get(machine_id)
            if machine:
                rules.settle(state, machine)
            return views.look(state, machine)

    def _called(self, state: State, call: str, machine_id: str, host: str = "") -> Fault | None:
        state.note(machine_id, f"call {call}")
        fault = faults.take(state, call, machine_id, host)
        if fault and fault.kind == "fails":
            raise TryLater(f"{call}: {fault.reason}")
        if fault and fault.kind == "gives up":
            raise GiveUp(f"{call}: {fault.reason}")
        return fault

    def machines(self) -> list[Machine]:
        """All records, for reading only."""
        with self._storage.open() as state:
            self._settle(state)
            return [m for m in state.machines.values() if not m.gone]

    def machine(self, machine_id: str) -> Machine | None:
        """One record, for reading."""
        with self._storage.open() as state:
            machine = state.machines.get(machine_id)
            if machine:
                rules.settle(state, machine)
            return machine

    @contextmanager
    def altering(self, machine_id: str) -> Iterator[Machine]:
        """One record, to be changed: how its guest behaves, what is wrong with it."""
        with self._storage.open() as state:
            machine = state.machines[machine_id]
            rules.settle(state, machine)
            yield machine

    def twins(self, machine: Machine) -> list[str]:
        """Other machines with the same identity."""
        with self._storage.open() as state:
            return [m.id for m in state.machines.with_uuid(machine.uuid) if m.id != machine.id]

    def hosts(self) -> list[Host]:
        with self._storage.open() as state:
            return list(state.hosts.values())

    def shares(self) -> list[Share]:
        with self._storage.open() as state:
            return list(state.shares.values())

    def damaged(self) -> list[tuple[str, str]]:
        with self._storage.open() as state:
            return list(state.damaged)

    # What tests ask

    @property
    def violations(self) -> list[str]:
        """Every promise that was broken, in words."""
        with self._storage.open() as state:
            self._settle(state)
            return state.journal.violations()

    @property
    def journal(self) -> list[Entry]:
        """Everything that happened."""
        with self._storage.open() as state:
            self._settle(state)
            return list(state.journal)

    def calls(self, call: str, machine: str = "") -> int:
        """How often the driver was called so."""
        return self._times(f"call {call}", machine)

    def effects(self, call: str, machine: str = "") -> int:
        """How often such a call really changed something or began work."""
        return self._times(f"effect {call}", machine)

    def _times(self, what: str, machine: str) -> int:
        with self._storage.open() as state:
            self._settle(state)
            return state.journal.times(what, machine)

    def awake(self) -> list[str]:
        """The machines that run now, whoever started them."""
        with self._storage.open() as state:
            self._settle(state)
            return [m.id for m in state.machines.awake() if not m.gone]

    def lost_machines(self) -> list[str]:
        """The machines of which no copy is left anywhere."""
        with self._storage.open() as state:
            self._settle(state)
            return [m.id for m in state.machines.lost()]

    def residue(self) -> list[str]:
        """What isn't as it should be once everything is over: one sentence each."""
        result = []
        for machine in self.machines():
            if machine.copy or machine.outsiders_instance:
                result.append(f"{machine.id} is on a host")
            if machine.work or machine.late:
                result.append(f"{machine.id} is being worked on")
            if machine.marker:
                result.append(f"{machine.id} is marked")
        return result

    def original(self, machine_id: str) -> Content:
        """What was on the machine's disks when it was added."""
        return self._known(machine_id).generations[0].content

    def published(self, machine_id: str) -> Content | None:
        """What the library publishes now; None where it has nothing."""
        machine = self._known(machine_id)
        generation = machine.generation(machine.current)
        return generation.content if generation else None

    def history(self, machine_id: str) -> list[Generation]:
        """All that was ever published, oldest first."""
        return list(self._known(machine_id).generations)

    def next_event(self) -> float | None:
        """When something happens by itself next (Unix seconds), for a test that wants to jump there."""
        with self._storage.open() as state:
            self._settle(state)
            at = state.machines.next_event()
            return None if at == NEVER else at

    def _known(self, machine_id: str) -> Machine:
        machine = self.machine(machine_id)
        if machine is None:
            raise KeyError(machine_id)
        return machine

    @staticmethod
    def _settle(state: State) -> None:
        for machine in state.machines.due(state.now):
            rules.settle(state, machine)


__all__ = ["CALL_DEADLINE", "GuestBehaviour", "Mark", "Round", "Update", "WorkerDied", "World"]
