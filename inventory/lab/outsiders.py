"""What others do to the simulated world while OVMST works in it: people, and accidents."""

from dataclasses import replace

from inventory.lab import guests, rules
from inventory.lab.records import Copy, Machine, Mark, Running
from inventory.lab.state import State
from inventory.lab.storage import Storage


class Outsiders:
    """Their deeds. None of them counts as a violation; a machine that they lose is listed as lost."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def start(self, machine: str, host: str, *, network: str = "production") -> None:
        """Somebody starts the machine. Where the library keeps the original they run that; where fetching
        moves the only copy they start that copy, wherever it is."""
        with self._storage.open() as state:
            found = self._settled(state, machine)
            if found.is_awake():
                raise ValueError(f"{machine} is running already")
            if state.keeps_original:
                found.outsiders_instance = Running(host, True, "", state.number(), phase="up")
            else:
                copy = found.copy or self._take_out(found, host)
                copy.adapters = dict.fromkeys(copy.adapters, (network, False))
                guests.power_on(state, found, copy, op="", by_outsider=True, extra=0)
            state.note(machine, "outsider start", host)

    def stop(self, machine: str) -> None:
        """They power off what they started."""
        with self._storage.open() as state:
            found = self._settled(state, machine)
            found.outsiders_instance = None
            if found.copy and found.copy.running and found.copy.running.by_outsider:
                guests.power_off(state, found, found.copy, "forced")
            state.note(machine, "outsider stop")

    def power_off(self, machine: str) -> None:
        """Somebody pulls the plug of the machine that we run."""
        with self._storage.open() as state:
            found = self._settled(state, machine)
            if found.copy:
                guests.power_off(state, found, found.copy, "forced")
            state.note(machine, "outsider power off")

    def kill(self, machine: str) -> None:
        """The running machine goes away under its guest."""
        with self._storage.open() as state:
            found = self._settled(state, machine)
            if found.copy is None or found.copy.running is None:
                raise ValueError(f"{machine} isn't running")
            guests.power_off(state, found, found.copy, "crashed")

    def move(self, machine: str, *, share: str = "", host: str = "") -> None:
        """Somebody moves it to another share, or the copy to another host."""
        with self._storage.open() as state:
            found = self._settled(state, machine)
            found.share = share or found.share
            if host and found.copy:
                found.copy.host = host
                if found.copy.running:
                    found.copy.running.host = host
            state.note(machine, "outsider move", share or host)

    def delete(self, machine: str) -> None:
        """Somebody deletes it, wherever it is."""
        with self._storage.open() as state:
            found = self._settled(state, machine)
            found.current, found.copy, found.outsiders_instance, found.work = "", None, None, None
            found.gone = "deleted by somebody else"
            state.note(machine, "outsider delete")

    def publish(self, machine: str) -> str:
        """Somebody changes what the library publishes; returns the new generation's name."""
        with self._storage.open() as state:
            found = self._settled(state, machine)
            last = found.generations[-1]
            content = replace(last.content, number=state.number())
            generation = replace(last, name=f"g{state.number()}", content=content, published_by="")
            found.publish(generation)
            state.note(machine, "outsider publish", generation.name)
            return generation.name

    def mark(self, machine: str, installation: str = "another installation", target: str = "1") -> None:
        """Another installation marks it, over whatever was there."""
        with self._storage.open() as state:
            found = self._settled(state, machine)
            found.marker = Mark(installation, target, found.share, found.current, ())
            state.note(machine, "outsider mark", installation)

    def cut_off(self, host: str) -> None:
        """The host doesn't answer any more; what runs there goes on."""
        with self._storage.open() as state:
            self._settle_all(state)
            state.hosts[host].answers = False
            state.note(host, "outsider cut off")

    def crash(self, host: str) -> None:
        """The host loses power: its machines go away under their guests. It answers when it is `back`."""
        with self._storage.open() as state:
            self._settle_all(state)
            for machine in state.machines.on(host):
                if machine.copy and machine.copy.host == host:
                    guests.power_off(state, machine, machine.copy, "crashed")
                if machine.work and host in (machine.work.arguments.host, machine.copy and machine.copy.host):
                    machine.work.dies = True
                if machine.outsiders_instance and machine.outsiders_instance.host == host:
                    machine.outsiders_instance = None
            state.hosts[host].answers = False
            state.note(host, "outsider crash")

    def destroy(self, host: str) -> None:
        """The host and all that was on it are gone for good; the platform knows."""
        self.crash(host)
        with self._storage.open() as state:
            for machine in state.machines.on(host):
                if machine.copy and machine.copy.host == host:
                    machine.copy, machine.work = None, None
                    if not machine.current:
                        machine.gone = f"lost with {host}"
            del state.hosts[host]

    def back(self, host: str) -> None:
        """The host answers again."""
        with self._storage.open() as state:
            self._settle_all(state)
            state.hosts[host].answers = True

    def remove_network(self, host: str, network: str) -> None:
        """The network goes away; adapters that were on it are connected to nothing."""
        with self._storage.open() as state:
            self._settle_all(state)
            state.hosts[host].networks.discard(network)
            for machine in state.machines.on(host):
                if machine.copy and machine.copy.host == host:
                    machine.copy.adapters = {
                        mac: ("", False) if on == network else (on, isolated)
                        for mac, (on, isolated) in machine.copy.adapters.items()
                    }
            state.note(host, "outsider remove network", network)

    def break_isolation(self, host: str) -> None:
        """From now on the host says yes to isolated ports and doesn't isolate them."""
        with self._storage.open() as state:
            state.hosts[host].isolates = False

    def reconnect(self, machine: str, network: str) -> None:
        """Somebody connects the copy's adapters to another network."""
        with self._storage.open() as state:
            found = self._settled(state, machine)
            if found.copy is None:
                raise ValueError(f"{machine} isn't on a host")
            found.copy.adapters = dict.fromkeys(found.copy.adapters, (network, False))
            state.note(machine, "outsider reconnect", network)

    def share_answers(self, share: str, answers: bool) -> None:
        with self._storage.open() as state:
            self._settle_all(state)
            state.shares[share].answers = answers

    def fill(self, share: str, full: bool = True) -> None:
        """No space is left on the share (or there is again)."""
        with self._storage.open() as state:
            self._settle_all(state)
            state.shares[share].full = full

    @staticmethod
    def _settled(state: State, machine: str) -> Machine:
        found = state.machines[machine]
        rules.settle(state, found)
        return found

    @staticmethod
    def _settle_all(state: State) -> None:
        for machine in state.machines.due(state.now):
            rules.settle(state, machine)

    @staticmethod
    def _take_out(machine: Machine, host: str) -> Copy:
        generation = machine.generation(machine.current)
        if generation is None:
            raise ValueError(f"{machine.id} isn't in its library")
        adapters = {mac: (network, False) for mac, network in generation.adapters}
        machine.copy = Copy(host, generation.content, adapters, by_outsider=True)
        machine.current = ""
        return machine.copy
