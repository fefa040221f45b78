"""What OVMST asks of a virtualization platform, and the words in which it gets the answer.

A driver is told everything by its constructor and its arguments; it knows neither models nor Celery.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from inventory.remote.base import GuestChannel, Secret

OperationId = str  # names one effect of one target; safe in file and domain names: [a-z0-9-]{1,60}
AdapterId = str  # what stays the same about a network adapter: its MAC address, lower case
NetworkRef = str  # a network as the platform names it; "" means not connected


class Place(StrEnum):
    LIBRARY = "library"  # in its library, nothing of it anywhere else
    HOST = "host"  # brought to a maintenance host (where keeps_original, the library has it too)
    ABSENT = "absent"  # the platform was asked everywhere and has it nowhere
    UNKNOWN = "unknown"  # part of the platform didn't answer: not the same as absent


class Power(StrEnum):
    OFF = "off"
    ON = "on"  # running, paused, starting, going down: anything that isn't off
    SAVED = "saved"  # its memory is on a disk
    UNKNOWN = "unknown"


class Ended(StrEnum):
    """How the last time it ran came to an end, by evidence."""

    CLEAN = "clean"  # the guest shut itself down
    CRASHED = "crashed"  # the machine or its host went away under it
    FORCED = "forced"  # it was powered off
    UNKNOWN = "unknown"  # it is gone and nothing says how


class ObstacleKind(StrEnum):
    REFUSED = "refused"  # servicing it would harm it
    DECISION = "decision needed"  # a person may say that it is all right


@dataclass(frozen=True, slots=True)
class Channel:
    """How to reach into the guest: a setting of the machine."""

    kind: str = "agent"  # "agent" or "ssh"; a platform may know more
    user: str = "root"
    address: str = ""  # empty: the platform finds it out
    port: int = 22
    host_key: str = ""  # pinned: "ssh-ed25519 AAAA…"
    secret: Secret = field(default_factory=lambda: Secret(""))  # a private key or a password


@dataclass(frozen=True, slots=True)
class MachineRef:
    """A stored resource as its driver needs to know it."""

    external_id: str  # the platform's own key: stable, unique per management server
    name: str  # for people only; hostile
    share: str  # the library share it lies on, in the platform's words
    channel: Channel = Channel()

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class HostRef:
    """A maintenance host as its driver needs to know it."""

    external_id: str
    name: str
    servicing_network: NetworkRef
    options: Mapping[str, str] = field(default_factory=dict)  # the driver's own, as an administrator set them

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """A management server as its driver needs to know it: what every driver's constructor takes."""

    name: str
    address: str  # "" where hosts are addressed one by one
    hosts: tuple[HostRef, ...]
    shares: tuple[str, ...]
    work_folder: str  # on the worker, private: for what must outlive one call
    options: Mapping[str, str] = field(default_factory=dict)
    secret: Secret = field(default_factory=lambda: Secret(""))
    calls_at_once: int = 8


@dataclass(frozen=True, slots=True)
class Marker:
    """Written onto the machine itself before anything moves: whose it is now, and where it came from."""

    installation: str
    target: str
    share: str
    generation: str  # the one that was woken
    adapters: Mapping[AdapterId, NetworkRef]  # as they were

    def same_owner(self, other: "Marker | None") -> bool:
        return other is not None and (self.installation, self.target) == (other.installation, other.target)


@dataclass(frozen=True, slots=True)
class Origin:
    """What the machine was before: what RETURN brings back."""

    share: str
    generation: str
    adapters: Mapping[AdapterId, NetworkRef]


@dataclass(frozen=True, slots=True)
class Obstacle:
    kind: ObstacleKind
    reason: str  # a sentence for people


@dataclass(frozen=True, slots=True)
class Facts:
    """What preflight judges by."""

    generation: str
    adapters: Mapping[AdapterId, NetworkRef]
    memory_mb: int
    obstacles: tuple[Obstacle, ...] = ()


@dataclass(frozen=True, slots=True)
class Adapter:
    """One network adapter as the platform says it is now."""

    network: NetworkRef
    isolated: bool  # it can't reach its neighbours on that network


@dataclass(frozen=True, slots=True)
class Observed:
    """The machine as it is now, read from the platform."""

    place: Place
    power: Power
    host: str = ""  # external id of the host it was brought to or runs on
    operation: str = ""  # what the platform is doing with it, in words; "" when nothing is under way
    failed_operation: str = ""  # what it last tried and couldn't, with the reason
    marker: Marker | None = None
    adapters: Mapping[AdapterId, Adapter] = field(default_factory=dict)
    own_disks: bool = False  # it runs (or would run) on disks that this servicing made or protects
    protected: bool = False  # the state from before can come back
    ended: Ended = Ended.UNKNOWN
    generation: str = ""  # what the library publishes now
    published_by: OperationId = ""  # the operation that published it
    detail: str = ""  # for people: where it was seen, what didn't answer

    def is_ours(self, marker: Marker) -> bool:
        """Our marker on our disks: only then may it be stopped or changed."""
        return self.own_disks and marker.same_owner(self.marker)

    def is_isolated_on(self, network: NetworkRef) -> bool:
        return bool(network) and all(a.network == network and a.isolated for a in self.adapters.values())


@dataclass(frozen=True, slots=True)
class FoundMachine:
    """One stored resource, as inventory finds it."""

    external_id: str
    name: str
    kind: str  # "machine", "stopped", "template", "disk"
    share: str
    uuid: str = ""
    mac_addresses: tuple[str, ...] = ()
    computer_name: str = ""
    operating_system: str = ""
    memory_mb: int = 0
    cpus: int = 0
    disk_bytes: int = 0
    generation: str = ""


@dataclass(frozen=True, slots=True)
class FoundHost:
    external_id: str
    name: str
    memory_mb: int
    networks: tuple[NetworkRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Damaged:
    """Something in a library that should be a machine and can't be read as one."""

    where: str
    reason: str
    external_id: str = ""  # of the machine that it should be, where that can be told


Found = FoundMachine | FoundHost | Damaged


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `doctor`."""

    what: str
    ok: bool
    advice: str = ""  # what to do, when not ok


class Platform(Protocol):
    """What OVMST asks of a virtualization platform.

    fetch, protect and store may start work that goes on over there; observe says how far it is, and
    calling one again with the same operation is harmless. Every call ends within `longest_call` seconds
    (those in `slow_calls` within theirs) and may raise TryLater (it may pass), GiveUp (it won't, and the way
    back is safe) or NeedsAttention (a person must look). No call ever discards a machine.
    """

    keeps_original: bool  # False where fetching moves the only copy (SCVMM)
    longest_call: float  # seconds, for all but
    slow_calls: Mapping[str, float]  # calls that may take longer: method name to seconds

    def check(self) -> Iterator[Check]:
        """What `doctor` prints: one for the server as a whole, each host, each share."""
        ...

    def inventory(self) -> Iterator[Found]:
        """All hosts and stored resources. Raises TryLater or NeedsAttention when a part can't be asked:
        half an inventory is none."""
        ...

    def inspect(self, machine: MachineRef) -> Facts:
        """What preflight judges by; changes nothing."""
        ...

    def observe(self, machine: MachineRef) -> Observed:
        """The machine as it is now; never raises for a machine that isn't there."""
        ...

    def guest(self, machine: MachineRef, host: HostRef) -> GuestChannel:
        """A way into the running machine."""
        ...

    def mark(self, machine: MachineRef, marker: Marker) -> None:
        """Write our marker. Raises NeedsAttention where somebody else's is, writing nothing."""
        ...

    def unmark(self, machine: MachineRef, marker: Marker) -> None:
        """Take our marker off. One that isn't ours stays; none there is success."""
        ...

    def fetch(self, machine: MachineRef, host: HostRef, op: OperationId) -> None:
        """Bring it to the host, not started."""
        ...

    def connect(self, machine: MachineRef, networks: Mapping[AdapterId, NetworkRef], *, isolated: bool) -> None:
        """Put each adapter on its network, with ports isolated from each other where asked for."""
        ...

    def protect(self, machine: MachineRef, op: OperationId) -> None:
        """Make sure that the state from before can come back: an overlay, a checkpoint or a copy."""
        ...

    def start(self, machine: MachineRef, op: OperationId) -> None:
        """Start it. Where the platform can, adapters are read back before the guest's first instruction."""
        ...

    def shut_down(self, machine: MachineRef, *, force: bool = False) -> None:
        """Ask the guest to shut down, or power it off. Never another's machine: NeedsAttention."""
        ...

    def rewind(self, machine: MachineRef, origin: Origin) -> None:
        """Drop our overlay or restore our checkpoint. Only what this servicing made."""
        ...

    def store(self, machine: MachineRef, origin: Origin, op: OperationId) -> None:
        """Return it to its share as a new generation, in one atomic publish, if the library still has the
        generation that was woken; else both are kept and NeedsAttention is raised (or shown by observe)."""
        ...
