"""The lab as a bench for the contract tests."""

from collections.abc import Callable, Hashable
from datetime import timedelta
from itertools import count

import pytest

from inventory.lab import worlds
from inventory.lab.world import World
from inventory.platforms.base import HostRef, MachineRef
from inventory.platforms.lab import LabPlatform, server_config
from ovmst_site.clock import JumpingClock

# For `parametrize`: the same tests wherever the world is kept.
STORAGES = ["memory", pytest.param("database", marks=pytest.mark.django_db)]


class LabBench:
    guests_listen = True

    def __init__(self, *, keeps_original: bool, storage: str = "memory") -> None:
        """`storage` is "memory" or "database"; the latter needs a test that may use one."""
        self.clock = JumpingClock()
        if storage == "memory":
            self.world = World(self.clock, keeps_original=keeps_original)
        else:
            self.world = worlds.create("bench", keeps_original=keeps_original, clock=self.clock)
        self.world.add_share("gold")
        self.world.add_host("h1")
        self.world.add_host("h2", networks=["production"])
        self._numbers = count(1)
        self._config = server_config("bench", self.world)
        self._hosts = {host.external_id: host for host in self._config.hosts}
        self.platform = LabPlatform(self._config)

    def machine(self, name: str = "a machine") -> MachineRef:
        machine_id = f"m{next(self._numbers)}"
        self.world.add_machine(machine_id, name=name, share="gold")
        return MachineRef(machine_id, name, "gold")

    def host(self) -> HostRef:
        return self._hosts["h1"]

    def host_without_network(self) -> HostRef:
        return self._hosts["h2"]

    def other_network(self) -> str:
        return "production"

    def until(self, reached: Callable[[], bool], what: str) -> None:
        for _ in range(1000):
            if reached():
                return
            self.clock.jump(timedelta(seconds=1))
        pytest.fail(f"not within 1000 s: {what}")

    def content(self, machine: MachineRef) -> Hashable:
        published = self.world.published(machine.external_id)
        assert published is not None, f"the library has no {machine}"
        return published

    def kept(self, machine: MachineRef, generation: str) -> Hashable:
        return next(g.content for g in self.world.history(machine.external_id) if g.name == generation)

    def host_has(self, machine: MachineRef) -> bool:
        record = self.world.machine(machine.external_id)
        return record is not None and (record.copy is not None or record.outsiders_instance is not None)

    def running(self, machine: MachineRef) -> int:
        record = self.world.machine(machine.external_id)
        if record is None:
            return 0
        ours = record.copy is not None and record.copy.running is not None
        return ours + (record.outsiders_instance is not None)

    def guest_writes(self, machine: MachineRef) -> None:
        """It writes as soon as it boots; wait until it is up, so that it listens."""

        def up() -> bool:
            record = self.world.machine(machine.external_id)
            run = record.copy.running if record and record.copy else None
            return run is not None and run.phase == "up"

        self.until(up, "the guest is up")

    def outsider_starts(self, machine: MachineRef) -> None:
        self.world.outsiders.start(machine.external_id, "h2")

    def outsider_stops(self, machine: MachineRef) -> None:
        self.world.outsiders.stop(machine.external_id)

    def outsider_marks(self, machine: MachineRef) -> None:
        self.world.outsiders.mark(machine.external_id)

    def outsider_publishes(self, machine: MachineRef) -> str:
        return self.world.outsiders.publish(machine.external_id)

    def outsider_deletes(self, machine: MachineRef) -> None:
        self.world.outsiders.delete(machine.external_id)

    def kill(self, machine: MachineRef) -> None:
        self.world.outsiders.kill(machine.external_id)

    def remove_network(self, host: HostRef) -> None:
        self.world.outsiders.remove_network(host.external_id, host.servicing_network)

    def host_down(self, host: HostRef) -> None:
        self.world.outsiders.cut_off(host.external_id)

    def host_up(self, host: HostRef) -> None:
        self.world.outsiders.back(host.external_id)

    def fill_share(self, machine: MachineRef) -> bool:
        self.world.outsiders.fill(machine.share)
        return True

    def empty_share(self, machine: MachineRef) -> None:
        self.world.outsiders.fill(machine.share, full=False)
