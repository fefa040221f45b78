"""What the library says about a machine, and what its shares hold."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inventory.platforms.base import Damaged, FoundMachine
from inventory.platforms.libvirt import domain_xml, layout, manifest
from inventory.platforms.libvirt.domain_xml import BadDescription, Description
from inventory.platforms.libvirt.layout import MACHINE_KEY, Folder, Unreadable
from inventory.platforms.libvirt.manifest import Manifest
from ovmst_site.faults import NeedsAttention


@dataclass(frozen=True, slots=True)
class Stored:
    """A machine's current generation."""

    folder: Folder
    generation: str
    manifest: Manifest
    description: Description

    @property
    def place(self) -> Path:
        return self.folder.generations / self.generation


def read_stored(folder: Folder) -> Stored:
    """Raises Unreadable, with the reason, for anything that isn't a whole machine."""
    try:
        if not folder.exists():
            raise Unreadable("its directory is missing")
        generation = folder.current()
        place = folder.generations / generation
        record = manifest.read(place)
        try:
            content = layout.read_small(place / "domain.xml")
        except FileNotFoundError as error:
            raise Unreadable(f"generation {generation} has no domain.xml") from error
        return Stored(folder, generation, record, domain_xml.parse(content))
    except BadDescription as error:
        raise Unreadable(str(error)) from error
    except OSError as error:
        raise Unreadable(f"{error.strerror}: {error.filename}") from error


def machines(share: str) -> Iterator[FoundMachine | Damaged]:
    """Every machine in a share; what can't be read as one is told, and the next follows.

    Raises NeedsAttention where the share itself can't be read.
    """
    for name in _keys(share):
        where = os.path.join(share, name)
        if not MACHINE_KEY.fullmatch(name):
            yield Damaged(where, "its directory's name isn't one that this tool gives to a machine")
            continue
        try:
            yield _found(read_stored(Folder(share, name)), share)
        except Unreadable as error:
            yield Damaged(where, str(error), name)  # its id: what is damaged isn't missing


def _keys(share: str) -> list[str]:
    """The directories of a share that are, or should be, machines."""
    try:
        entries = list(os.scandir(share))
    except OSError as error:
        raise NeedsAttention(f"the library share {share!r} can't be read: {error.strerror}") from error
    return sorted(e.name for e in entries if layout.should_be_a_machine(e))


def _found(stored: Stored, share: str) -> FoundMachine:
    size = 0
    for disk in stored.manifest.disks:
        size += manifest.chain(stored.folder, stored.generation, disk.file)[0][1].virtual_size
    wrong = manifest.objections(stored.folder, stored.generation, stored.manifest)
    if wrong:
        raise Unreadable("; ".join(wrong))
    description = stored.description
    return FoundMachine(
        external_id=stored.folder.key,
        name=description.title or description.name,
        kind="machine",
        share=share,
        uuid=description.uuid,
        mac_addresses=tuple(description.adapters),
        operating_system=description.operating_system,
        memory_mb=description.memory_mb,
        cpus=description.cpus,
        disk_bytes=size,
        generation=stored.generation,
    )
