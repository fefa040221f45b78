"""One machine being serviced on a bench, in short words: what the engine's steps do, without an engine."""

from collections.abc import Callable

from inventory.platforms.base import Facts, HostRef, MachineRef, Marker, Observed, Origin, Place, Power
from tests.contracts.bench import Bench


class Servicing:
    """One machine being serviced on a bench, the way the engine does it."""

    def __init__(self, bench: Bench, machine: MachineRef, host: HostRef | None = None) -> None:
        self.bench = bench
        self.platform = bench.platform
        self.machine = machine
        self.host = host or bench.host()
        self.facts: Facts = self.platform.inspect(machine)
        self.origin = Origin(machine.share, self.facts.generation, self.facts.adapters)
        self.marker = Marker(
            "contract", "target-1", machine.share, self.facts.generation, dict(self.facts.adapters)
        )

    def see(self) -> Observed:
        return self.platform.observe(self.machine)

    def wait(self, reached: Callable[[Observed], bool], what: str) -> Observed:
        self.bench.until(lambda: reached(self.see()), what)
        return self.see()

    def work_is_over(self) -> Observed:
        return self.wait(lambda seen: not seen.operation and seen.place is not Place.UNKNOWN, "operation over")

    def mark(self) -> "Servicing":
        self.platform.mark(self.machine, self.marker)
        return self

    def fetch(self) -> "Servicing":
        self.platform.fetch(self.machine, self.host, "op-fetch")
        assert not self.work_is_over().failed_operation
        return self

    def isolate(self) -> "Servicing":
        network = self.host.servicing_network
        self.platform.connect(self.machine, dict.fromkeys(self.facts.adapters, network), isolated=True)
        return self

    def protect(self) -> "Servicing":
        self.platform.protect(self.machine, "op-protect")
        assert not self.work_is_over().failed_operation
        return self

    def start(self) -> "Servicing":
        self.platform.start(self.machine, "op-start")
        return self

    def force_off(self) -> "Servicing":
        self.platform.shut_down(self.machine, force=True)
        self.wait(lambda seen: seen.power is Power.OFF, "power is off")
        return self

    def reconnect(self) -> "Servicing":
        self.platform.connect(self.machine, self.facts.adapters, isolated=False)
        return self

    def store(self, op: str = "op-store") -> "Servicing":
        self.platform.store(self.machine, self.origin, op)
        self.work_is_over()
        return self

    def bring_back(self) -> "Servicing":
        """What RETURN does with a machine that is off."""
        self.platform.rewind(self.machine, self.origin)
        if self.work_is_over().place is Place.HOST:
            self.reconnect().store()
        self.platform.unmark(self.machine, self.marker)
        return self

    def ready_to_start(self) -> "Servicing":
        return self.mark().fetch().isolate().protect()
