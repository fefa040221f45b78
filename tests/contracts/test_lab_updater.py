"""The lab's updater keeps the contract of update systems, on a guest of the lab."""

from collections.abc import Callable
from typing import Any

import pytest

from inventory.lab.records import Machine, Round, Update
from servicing.updaters.lab import LabUpdater
from tests.contracts.lab_bench import STORAGES, LabBench
from tests.contracts.servicing import Servicing
from tests.contracts.updater_contract import UpdaterBench, UpdaterContract


class LabGuestBench:
    """A machine of the lab that is being serviced and has started."""

    def __init__(self, storage: str) -> None:
        self.lab = LabBench(keeps_original=True, storage=storage)
        self.updater = LabUpdater()
        machine = self.lab.machine()
        self.id = machine.external_id
        self.alter(rounds=(Round((Update("base-files", "13"),), restart=True),))
        Servicing(self.lab, machine).ready_to_start().start()
        self.lab.guest_writes(machine)
        self.guest = self.lab.platform.guest(machine, self.lab.host())

    def alter(self, **behaviour: Any) -> None:
        with self.lab.world.altering(self.id) as machine:
            for name, value in behaviour.items():
                setattr(machine.guest, name, value)

    @property
    def record(self) -> Machine:
        record = self.lab.world.machine(self.id)
        assert record is not None
        return record

    def now(self) -> float:
        return self.lab.clock.now().timestamp()

    def until(self, reached: Callable[[], bool], what: str) -> None:
        self.lab.until(reached, what)

    def own_updater_is_on(self) -> bool:
        assert self.record.copy is not None
        return self.record.copy.content.own_updater

    def break_source(self) -> None:
        self.alter(source_reachable=False)

    def empty_source(self) -> None:
        self.alter(source_offers=False)

    def hold(self) -> None:
        self.alter(rounds=(Round((Update("base-files", "13", held="hold"),)),))

    def break_installation(self) -> None:
        self.alter(failing_installs=1)

    def stop_guest(self) -> None:
        self.lab.world.outsiders.kill(self.id)

    def begun(self, what: str) -> int:
        return self.lab.world.effects(what, self.id)


@pytest.mark.parametrize("storage", STORAGES)
class TestLabUpdater(UpdaterContract):
    @pytest.fixture
    def bench(self, storage: str) -> UpdaterBench:
        return LabGuestBench(storage)
