"""What a step is given: the machine, its drivers, what earlier steps noted, and how to tell the ledger.

Steps know neither models nor Celery. Whatever has to be written down on their behalf goes through the
callables here, which the engine provides.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Protocol

from inventory.platforms.base import HostRef, MachineRef, Marker, OperationId, Origin, Platform
from servicing.updaters.base import Package, Pending, Scan, Updater, Verdict


@dataclass(frozen=True, slots=True)
class Policy:
    """What the job says about each of its machines."""

    rounds: int = 10  # scan-install-restart rounds before what is healthy is stored as partial
    allow_force_off: bool = False  # power off a guest that doesn't shut down by itself
    keep_healthy: bool = False  # after a failure, store a machine that proved healthy, not its state from before
    checks: tuple[tuple[str, ...], ...] = ()  # the job's own: programs in the guest that must exit with 0


@dataclass(slots=True)
class Notebook:
    """What the steps of one target note for later ones. Kept as JSON: names here survive upgrades."""

    generation: str = ""  # the one that was woken
    adapters: dict[str, str] = field(default_factory=dict)  # as they were: MAC address to network
    memory_mb: int = 0
    marked: bool = False
    was_started: bool = False
    rounds: int = 0
    installed: int = 0  # installations that ended well
    pending: int = 0  # at the last scan
    restart_from: str = ""  # boot id of the start that was asked to restart
    to_install: int = 0  # updates that the last scan found installable
    restart_needed: bool = False
    proved_healthy: bool = False
    verdict: str = Verdict.UNKNOWN.value
    scanned_at: str = ""
    unfinished: str = ""  # why a healthy machine is stored as partial
    reported: list[str] = field(default_factory=list)  # what has been said already in this visit
    asked_at: str = ""  # when the guest was last asked to restart or shut down
    forced: bool = False  # we powered it off ourselves, as the job allows
    library_has: str = ""  # somebody else's generation that its library publishes by now
    published: str = ""  # name of the generation that this target published

    def keep(self, found: Scan, at: datetime) -> None:
        """What this scan, made now, says about the machine."""
        self.rounds += 1
        self.scanned_at = at.isoformat()
        self.verdict = found.verdict.value
        self.pending = len(found.pending)
        self.to_install = len(found.installable)
        self.restart_needed = found.restart_needed

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Notebook":
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in data.items() if k in known})


class Ledger(Protocol):
    """What a step may have written down while it runs. Each call is committed before it returns."""

    def reserve(self, memory_mb: int) -> HostRef | None:
        """A slot and memory on a host of the job; None while there is none free."""
        ...

    def release(self) -> None:
        """Give slot, memory and transfer token back; harmless when nothing is held."""
        ...

    def take_transfer(self) -> bool:
        """A transfer token of the library server; False while all are taken."""
        ...

    def give_transfer_back(self) -> None: ...

    def operation(self) -> OperationId:
        """The name of this step's effect, committed before it is caused. The same one again after a crash."""
        ...

    def operation_failed(self, reason: str) -> None:
        """The platform says that this step's operation failed: the next one gets a new name."""
        ...

    def has_begun(self) -> bool:
        """Whether this visit of the step has an operation that hasn't failed."""
        ...

    def owns(self, operation: OperationId) -> bool:
        """Whether this operation is one of this target's."""
        ...

    def packages(self, moment: str, packages: Sequence[Package], pending: Sequence[Pending]) -> None:
        """The packages "before" (the first report stays) or "after" (the last one does)."""
        ...


@dataclass(slots=True)
class Context:
    machine: MachineRef
    host: HostRef | None
    platform: Platform
    updater: Updater
    policy: Policy
    marker_template: Marker  # installation and target; the rest comes from the notebook
    notes: Notebook
    ledger: Ledger
    say: Callable[[str], None]  # an event for people
    now: Callable[[], datetime]
    poll: float  # seconds between looks
    entered_at: datetime  # when this step was entered
    twins: Callable[[], Sequence[str]]  # names of other resources with the same identity
    is_stale: Callable[[Marker], bool]  # a marker of ours whose target is over
    cannot_be_placed: Callable[[int], str]  # why no host of the job could ever take so many MiB; "" if one could

    @property
    def origin(self) -> Origin:
        return Origin(self.machine.share, self.notes.generation, dict(self.notes.adapters))

    @property
    def marker(self) -> Marker:
        template = self.marker_template
        return Marker(
            template.installation,
            template.target,
            self.machine.share,
            self.notes.generation,
            dict(self.notes.adapters),
        )

    @property
    def on(self) -> HostRef:
        """The host that `place` chose. Steps before it have none."""
        if self.host is None:
            raise LookupError("this step needs a host, and none is reserved")
        return self.host
