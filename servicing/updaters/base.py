"""What OVMST asks of an update system, and the words in which it gets the answer.

An updater reaches its guest only through a GuestChannel. Long work runs inside the guest; it is started
under the name of an operation and asked for by that name, so a lost connection or a worker's death
neither stops nor doubles it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from inventory.platforms.base import Check, OperationId
from inventory.remote.base import GuestChannel


class Verdict(StrEnum):
    """Compliance. Only the first makes a machine fresh."""

    COMPLIANT = "compliant"
    MISSING = "missing"
    NOTHING_OFFERED = "nothing offered"
    UNKNOWN = "unknown"


class Held(StrEnum):
    """Why a pending update isn't installed by itself."""

    NO = ""
    HOLD = "hold"  # an administrator of the guest put it on hold
    PHASED = "phased"  # its publisher offers it to a share of machines first
    KEPT_BACK = "kept back"  # it could not be installed without removing something


@dataclass(frozen=True, slots=True, order=True)
class Package:
    name: str
    version: str


@dataclass(frozen=True, slots=True, order=True)
class Pending:
    """One update that the update system offers and the guest doesn't have."""

    name: str
    installed: str  # "" for a package that isn't installed yet
    offered: str
    origin: str = ""
    security: bool = False
    held: Held = Held.NO

    @property
    def is_exception(self) -> bool:
        """On hold or phased, and no security update: shown, but the machine is compliant without it."""
        return self.held in (Held.HOLD, Held.PHASED) and not self.security


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a started guest says of itself; None means could not tell."""

    source: bool | None  # the update source can be reached
    clock_skew: float | None  # seconds the guest's clock is ahead
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scan:
    """What is pending, from a refresh that is newer than the start of the guest."""

    pending: tuple[Pending, ...]
    packages: tuple[Package, ...]
    source_offers: bool  # False when the source has nothing at all to offer (past its end of life, emptied)
    restart_needed: bool = False
    note: str = ""

    @property
    def installable(self) -> tuple[Pending, ...]:
        return tuple(p for p in self.pending if p.held is Held.NO)

    @property
    def verdict(self) -> Verdict:
        if not self.source_offers:
            return Verdict.NOTHING_OFFERED
        if any(not p.is_exception for p in self.pending):
            return Verdict.MISSING
        return Verdict.COMPLIANT


@dataclass(frozen=True, slots=True)
class Running:
    """Still at it."""

    note: str = ""


@dataclass(frozen=True, slots=True)
class Installed:
    """An installation that came to its end. `ok` is False when the installer reported a failure."""

    ok: bool
    note: str
    log: str = ""  # the installer's own words, its last part
    restart_needed: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    ok: bool
    problems: tuple[str, ...] = ()


class Updater(Protocol):
    """What OVMST asks of an update system. Raises the three faults as platforms do."""

    def check(self) -> Iterator[Check]:
        """What `doctor` prints."""
        ...

    def readiness(self, guest: GuestChannel, *, now: float) -> Readiness:
        """Can the guest be serviced: its update source, and its clock against `now` (Unix seconds).
        Also stops the guest's own updater, so that two never install at once."""
        ...

    def scan(self, guest: GuestChannel, op: OperationId) -> Scan | Running:
        """Refresh and list what is pending. The first call under `op` begins it; later ones ask for it.
        A refresh that failed raises TryLater or GiveUp: it is never an empty list."""
        ...

    def install(self, guest: GuestChannel, op: OperationId) -> Installed | Running:
        """Install everything installable. The first call under `op` begins it; later ones ask for it."""
        ...

    def restart(self, guest: GuestChannel) -> None:
        """Ask the guest to restart itself."""
        ...

    def boot_id(self, guest: GuestChannel) -> str:
        """Names this start of the guest: a restart has happened when it differs."""
        ...

    def is_installing(self, guest: GuestChannel) -> bool:
        """Whether an installer (ours or another's) runs now: such a guest is never forced off."""
        ...

    def health(self, guest: GuestChannel) -> Health:
        """Is the guest sound after its updates: no half-installed packages, the newest kernel running."""
        ...

    def tidy(self, guest: GuestChannel) -> None:
        """Put back what `readiness` changed and remove what operations left inside, before shut-down."""
        ...
