"""What shall go wrong when the simulated world is called: asked for by tests, one fault a call.

A fault waits for the first matching call and is used up after `times` calls.
"""

from inventory.lab import programs, rules, views
from inventory.lab.records import NEVER, Fault
from inventory.lab.state import State
from inventory.lab.storage import Storage

KNOWN = {*rules.CALLS, "observe", "inspect"} | {programs.call_of([name]) for name in programs.PROGRAMS}
TAKE_TIME = ("fetch", "protect", "store", "start", "shut_down", "scan", "install", "restart")


class WorkerDied(BaseException):
    """The worker process was killed at this line. No `except Exception` survives it either."""


class Faults:
    """Ask for faults. `call` is a method of the driver (fetch, start, observe …) or something in the guest
    (ping, put, get, readiness, scan, install, restart, boot_id, is_installing, health, tidy).
    `machine` is an external id; without one the first machine to make the call is hit (on `host`, where one
    is named).
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def slow(self, call: str, seconds: float, *, machine: str = "", times: float = 1) -> None:
        """What the call begins takes so much longer."""
        if call not in TAKE_TIME:
            raise ValueError(f"{call} takes no time that could be longer")
        self._add("slow", call, machine, times, seconds)

    def fails(
        self, call: str, *, machine: str = "", host: str = "", times: float = 1, reason: str = "it failed"
    ) -> None:
        """TryLater, without an effect."""
        self._add("fails", call, machine, times, reason=reason, host=host)

    def gives_up(
        self, call: str, *, machine: str = "", times: float = NEVER, reason: str = "it never will"
    ) -> None:
        """GiveUp without an effect; each time, if nothing else is said."""
        self._add("gives up", call, machine, times, reason=reason)

    def hangs(self, call: str, *, effect: bool, machine: str = "", times: float = 1) -> None:
        """The call is killed at its deadline (TryLater); the effect happened, or not."""
        self._add("hangs after" if effect else "hangs before", call, machine, times)

    def succeeds_late(self, call: str, after: float, *, machine: str = "", times: float = 1) -> None:
        """The call is killed at its deadline (TryLater); so many seconds later it takes effect."""
        self._add("late", call, machine, times, after)

    def dies_half_way(self, call: str, *, machine: str = "", times: float = 1) -> None:
        """What the call begins breaks off in the middle; a guest goes away."""
        if call not in TAKE_TIME:
            raise ValueError(f"{call} has no middle")
        self._add("dies", call, machine, times)

    def crash_before(self, call: str, *, machine: str = "", times: float = 1) -> None:
        """The worker dies right before the effect."""
        self._add("crash before", call, machine, times)

    def crash_after(self, call: str, *, machine: str = "", times: float = 1) -> None:
        """The worker dies right after the effect."""
        self._add("crash after", call, machine, times)

    def silent(self, machine: str, seconds: float) -> None:
        """For so long the platform can't say where the machine is."""
        with self._storage.open() as state:
            state.machines[machine].silent_until = state.now + seconds

    def stale(self, machine: str, seconds: float) -> None:
        """For so long the platform answers as things are now, whatever happens."""
        with self._storage.open() as state:
            found = state.machines[machine]
            rules.settle(state, found)
            found.stale_until, found.stale_view = state.now + seconds, views.truth(state, found)

    def left(self) -> list[Fault]:
        """Those that nothing has run into yet: a test that leaves some has tested less than it says."""
        with self._storage.open() as state:
            return [fault for fault in state.faults if fault.times != NEVER]

    def take_back(self) -> None:
        """Those that nothing has run into yet won't happen."""
        with self._storage.open() as state:
            state.faults.clear()

    def _add(
        self,
        kind: str,
        call: str,
        machine: str,
        times: float,
        seconds: float = 0,
        reason: str = "",
        host: str = "",
    ) -> None:
        if call not in KNOWN:
            raise ValueError(f"There is no call {call}: known are {', '.join(sorted(KNOWN))}")
        with self._storage.open() as state:
            state.faults.append(Fault(kind, call, machine, times, seconds, reason, host))


def take(state: State, call: str, machine: str, host: str = "") -> Fault | None:
    """The first fault that is meant for this call, used up once. `host` is where the call goes, if it says so."""
    found = state.machines.get(machine) if state.faults else None
    on = host or (found.copy.host if found and found.copy else "")
    for fault in state.faults:
        if fault.call == call and fault.machine in ("", machine) and fault.host in ("", on):
            fault.times -= 1
            if fault.times <= 0:
                state.faults.remove(fault)
            return fault
    return None
