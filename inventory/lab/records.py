"""What the simulated world consists of: plain data, without behaviour, so that any storage can hold it.

Every field has a type that says all of what it holds: a storage writes records down and reads them back
equal (`database.py`). New fields have a default, so that records of an earlier version are still read.
Times are Unix seconds by the world's clock. Rules that change these records are in `rules.py` (the
platform's side) and `guests.py` (inside a running machine).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

NEVER = float("inf")
KEPT_GENERATIONS = 50  # of one machine, besides its first


@dataclass(frozen=True, slots=True)
class Content:
    """What is on a machine's disks. Equal means the same bits: every write makes a new `number`."""

    number: int
    packages: tuple[tuple[str, str], ...]  # name, version
    condition: str = "sound"  # "sound", "unclean" (it went away under the guest), "damaged" (mid-installation)
    half_installed: tuple[str, ...] = ()
    own_updater: bool = True  # the guest's own updater is switched on

    def version(self, package: str) -> str:
        return dict(self.packages).get(package, "")


@dataclass(frozen=True, slots=True)
class Generation:
    """One published state of a machine in its library."""

    name: str
    content: Content
    adapters: tuple[tuple[str, str], ...]  # MAC address, network
    published_by: str = ""  # the operation; "" when somebody else made it


@dataclass(frozen=True, slots=True)
class Mark:
    """A marker as it is written on the machine."""

    installation: str
    target: str
    share: str
    generation: str
    adapters: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Update:
    """A version of a package that the update source offers."""

    package: str
    version: str
    origin: str = "lab"
    security: bool = False
    held: str = ""  # "hold", "phased", "kept back": never installed by itself


@dataclass(frozen=True, slots=True)
class Round:
    """Updates that show up together, once those of the round before are in (and restarted into)."""

    updates: tuple[Update, ...]
    restart: bool = False  # a restart is needed after it; until then the next round doesn't show


@dataclass(slots=True)
class GuestBehaviour:
    """How the guest of a machine behaves. Seconds of clock time."""

    rounds: tuple[Round, ...] = ()
    boot_seconds: float = 20
    scan_seconds: float = 5
    install_seconds: float = 60
    shut_down_seconds: float = 10
    own_updater_seconds: float = 0  # so long after its start the guest's own updater installs something
    clock_skew: float = 0
    source_reachable: bool = True
    source_refused: bool = False  # expired keys: the refresh fails, and always will
    source_offers: bool = True
    never_answers: bool = False
    ignores_shut_down: bool = False
    failing_installs: int = 0  # so many installations end with a failing maintainer script
    endless: bool = False  # after each installation there is another update
    boot_loops_after_update: bool = False
    dies_in: frozenset[str] = frozenset()  # "boot", "install", "shut_down": it goes away in the middle
    programs: dict[str, int] = field(default_factory=dict)  # others that it has, and what they exit with


@dataclass(slots=True)
class GuestJob:
    """Work inside the guest, known by its operation."""

    kind: str  # "scan" or "install"
    ends: float
    answer: dict[str, Any] | None = None  # None while it is running


@dataclass(slots=True)
class Running:
    """One instance of a machine that has power."""

    host: str
    by_outsider: bool
    op: str
    boot: int  # a new number with every start of the operating system
    phase: str = "booting"  # "booting", "up", "going down", "restarting"
    phase_ends: float = NEVER
    booted: float = NEVER
    dies: float = NEVER  # when it goes away by itself
    restart_needed: bool = False
    jobs: dict[str, GuestJob] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    interrupted: bool = False  # an installation was cut off by going down


@dataclass(slots=True)
class Copy:
    """A machine on a host."""

    host: str
    content: Content
    adapters: dict[str, tuple[str, bool]]  # MAC address: network, isolated
    by_outsider: bool = False
    fetched_by: str = ""
    owner: tuple[str, str] = ("", "")  # installation and target that had marked it when it was fetched
    protected_by: str = ""
    before: Content | None = None  # what rewind brings back
    started_by: str = ""
    running: Running | None = None
    ended: str = "unknown"  # "clean", "crashed", "forced"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a call was given, kept until it takes effect; None: it takes no such thing."""

    host: str | None = None
    op: str | None = None
    owner: tuple[str, str] | None = None
    share: str | None = None
    generation: str | None = None
    marker: Mark | None = None
    installation: str | None = None
    target: str | None = None
    networks: dict[str, str] | None = None
    isolated: bool | None = None
    force: bool | None = None
    argv: list[str] | None = None
    path: str | None = None
    content: bytes | None = None

    def given(self) -> dict[str, Any]:
        """As the call takes them, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


@dataclass(slots=True)
class Work:
    """What the platform is doing with a machine."""

    call: str
    op: str
    ends: float
    arguments: Arguments
    dies: bool = False  # it will end without its effect


@dataclass(slots=True)
class Late:
    """A call that its caller gave up, and that reaches the platform nevertheless."""

    at: float
    call: str
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class View:
    """A machine as the platform says it is; the words are those of `inventory.platforms.base`."""

    place: str
    power: str
    host: str = ""
    operation: str = ""
    failed: str = ""
    marker: Mark | None = None
    adapters: dict[str, tuple[str, bool]] = field(default_factory=dict)
    own_disks: bool = False
    protected: bool = False
    ended: str = "unknown"
    generation: str = ""
    published_by: str = ""
    detail: str = ""


@dataclass(slots=True)
class Machine:
    id: str
    name: str
    share: str
    kind: str = "machine"
    uuid: str = ""
    computer_name: str = ""
    operating_system: str = "Lab OS 1"
    memory_mb: int = 1024
    cpus: int = 1
    disk_bytes: int = 10 * 2**30
    guest: GuestBehaviour = field(default_factory=GuestBehaviour)
    fetch_seconds: float = 30
    protect_seconds: float = 2
    store_seconds: float = 40
    obstacles: list[tuple[str, str]] = field(default_factory=list)  # "refused" or "decision needed", reason
    saved: bool = False  # its memory is on a disk
    generations: list[Generation] = field(default_factory=list)  # all that were ever published, oldest first
    current: str = ""  # the generation that the library publishes; "" while it has none
    marker: Mark | None = None
    copy: Copy | None = None
    outsiders_instance: Running | None = None  # runs somewhere, not on our copy
    work: Work | None = None
    failed: str = ""
    late: list[Late] = field(default_factory=list)
    silent_until: float = 0
    stale_until: float = 0
    stale_view: View | None = None
    gone: str = ""  # who deleted it

    def generation(self, name: str) -> Generation | None:
        """The newest record of that name."""
        return next((g for g in reversed(self.generations) if g.name == name), None)

    def publish(self, generation: Generation) -> None:
        """From now on the library has this one. The first and the newest are kept, so that a machine that is
        serviced every day for years doesn't grow for ever."""
        self.generations.append(generation)
        del self.generations[1:-KEPT_GENERATIONS]
        self.current = generation.name

    def is_awake(self) -> bool:
        """It has power, whoever gave it."""
        return self.outsiders_instance is not None or bool(self.copy and self.copy.running)

    def is_lost(self) -> bool:
        """No copy of it is left anywhere."""
        return not self.current and self.copy is None

    def is_on(self, host: str) -> bool:
        """A copy of it is there or on its way there, or somebody runs it there."""
        bound_for = self.work.arguments.host if self.work else None
        return host == bound_for or any(
            on is not None and on.host == host for on in (self.copy, self.outsiders_instance)
        )

    def next_event(self) -> float:
        """When something happens to it by itself next; NEVER if nothing will."""
        return min(self._events(), default=NEVER)

    def _events(self) -> Iterator[float]:
        yield from (late.at for late in self.late)
        if self.work:
            yield self.work.ends
        run = self.copy.running if self.copy else None
        if run:
            yield from (run.phase_ends, run.dies)
            if run.phase == "up":
                yield from (job.ends for job in run.jobs.values() if job.answer is None)


@dataclass(slots=True)
class Host:
    id: str
    name: str
    memory_mb: int
    slots: int
    networks: set[str]
    servicing_network: str
    answers: bool = True
    isolates: bool = True  # False: it says yes, and the ports aren't isolated
    destroyed: bool = False


@dataclass(slots=True)
class Share:
    name: str
    answers: bool = True
    full: bool = False


@dataclass(slots=True)
class Fault:
    """Something that shall go wrong with a call, `times` times; machine "" and host "" mean any."""

    kind: str
    call: str
    machine: str
    times: float
    seconds: float = 0
    reason: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal."""

    at: float
    machine: str
    what: str  # "call fetch", "effect fetch", "done fetch", "guest up", "outsider start"
    detail: str = ""
