"""Where a machine is seen on the hosts: by its UUID, and by its disks' paths whatever UUID uses them."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from inventory.platforms.base import HostRef
from inventory.platforms.libvirt import servicing_xml
from inventory.platforms.libvirt.domain_xml import BadDescription
from inventory.platforms.libvirt.hosts import Host, LibvirtError
from inventory.platforms.libvirt.servicing_xml import Live
from ovmst_site.faults import TryLater

LOOK = 15.0  # seconds


@dataclass(frozen=True, slots=True)
class Sighting:
    """One domain on one host that has this machine's UUID or uses its files."""

    host: HostRef
    name: str
    active: bool
    paused: bool
    persistent: bool
    saved: bool  # a managed-save state is there
    by_uuid: bool
    by_disk: bool
    live: Live | None  # None where its description can't be read

    def is_of(self, uuid: str, owner: str, wip: Path) -> bool:
        """Whether it is the domain that this servicing started, on its own disks."""
        return (
            self.live is not None
            and self.live.uuid == uuid
            and self.live.owner == owner
            and self.name == servicing_xml.domain_name(uuid)
            and all(Path(f).parent == wip for f in self.live.disks.values())
        )

    def __str__(self) -> str:
        state = "runs" if self.active else "is defined"
        why = "with its UUID" if self.by_uuid else "on its disks"
        return f"a domain {self.name!r} {state} {why} on {self.host}"


@dataclass(frozen=True, slots=True)
class Sights:
    """What all hosts say."""

    seen: tuple[Sighting, ...]
    silent: tuple[str, ...]  # why hosts didn't answer

    @property
    def active(self) -> list[Sighting]:
        return [s for s in self.seen if s.active]

    @property
    def saved(self) -> list[Sighting]:
        return [s for s in self.seen if s.saved]


def look(hosts: Sequence[tuple[HostRef, Host]], uuid: str, folder: Path) -> Sights:
    """Ask every host at once; one that doesn't answer is silent, never empty."""

    def ask(ref: HostRef, host: Host) -> list[Sighting]:
        found = host.call("look", deadline=LOOK, uuid=uuid, under=str(folder))
        return [_sighting(ref, each) for each in found]

    if not hosts:
        return Sights((), ())
    seen: list[Sighting] = []
    silent: list[str] = []
    with ThreadPoolExecutor(min(8, len(hosts))) as pool:
        for ref, answer in [(ref, pool.submit(ask, ref, host)) for ref, host in hosts]:
            try:
                seen += answer.result()
            except TryLater as error:
                silent.append(str(error))
            except LibvirtError as error:
                silent.append(f"{ref}: {error}")
    return Sights(tuple(seen), tuple(silent))


def _sighting(ref: HostRef, found: dict[str, object]) -> Sighting:
    live = None
    with contextlib.suppress(BadDescription):
        live = servicing_xml.read_live(str(found["xml"]))
    return Sighting(
        host=ref,
        name=str(found["name"]),
        active=bool(found["active"]),
        paused=bool(found["paused"]),
        persistent=bool(found["persistent"]),
        saved=bool(found["saved"]),
        by_uuid=bool(found["by_uuid"]),
        by_disk=bool(found["by_disk"]),
        live=live,
    )
