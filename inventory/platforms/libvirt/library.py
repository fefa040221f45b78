"""What the library says about a machine, and what its shares hold."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inventory.platforms.base import Damaged, FoundMachine
from inventory.platforms.libvirt import domain_xml, layout, manifest, qcow2
from inventory.platforms.libvirt.domain_xml import BadDescription, Description
from inventory.platforms.libvirt.layout import MACHINE_KEY, Folder, Unreadable
from inventory.platforms.libvirt.manifest import Manifest
from ovmst_site.faults import NeedsAttention

SCAN_IS_FRESH = 60.0  # seconds for which a share's list of backing files is believed


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
            yield Damaged(where, str(error))


def _keys(share: str) -> list[str]:
    """The directories of a share that are, or should be, machines."""
    try:
        entries = list(os.scandir(share))
    except OSError as error:
        raise NeedsAttention(f"the library share {share!r} can't be read: {error.strerror}") from error
    return sorted(e.name for e in entries if _should_be_a_machine(e))


def _should_be_a_machine(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or entry.name == "lost+found":
        return False
    if entry.is_symlink():
        return os.path.isdir(entry.path)
    if not entry.is_dir(follow_symlinks=False):
        return False
    inside = ("generations", "current", "marker.json")
    looks_like_uuid = len(entry.name) == 36 and entry.name.count("-") == 4
    return looks_like_uuid or any(os.path.lexists(os.path.join(entry.path, n)) for n in inside)


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


# --- Who backs on whom ----------------------------------------------------------------------------------

_scans: dict[str, tuple[float, dict[str, str]]] = {}
_scan_lock = threading.Lock()


def backed_on_from_outside(folder: Folder, shares: tuple[str, ...]) -> list[str]:
    """Images in the shares, outside this machine's directory, that back on a file inside it."""
    return [found for share in shares for found in backed_on_below(folder.path, share)]


def backed_on_below(place: Path, share: str) -> list[str]:
    """Images in a share, outside a directory, that back on a file inside it."""
    inside = os.path.realpath(place) + "/"
    return [
        f"{image} backs on {backing}"
        for image, backing in _backings(share).items()
        if backing.startswith(inside) and not os.path.realpath(image).startswith(inside)
    ]


def _backings(share: str) -> dict[str, str]:
    """Every image of a share that backs on something, with the resolved path of what it backs on."""
    with _scan_lock:
        at, known = _scans.get(share, (0.0, {}))
        if at and time.monotonic() - at < SCAN_IS_FRESH:
            return known
        known = dict(_scan(Path(share)))
        _scans[share] = (time.monotonic(), known)
        return known


def forget_scans() -> None:
    """Read the shares anew at the next question."""
    with _scan_lock:
        _scans.clear()


def _scan(top: Path) -> Iterator[tuple[str, str]]:
    for folder, _folders, files in os.walk(top):
        for name in files:
            path = Path(folder, name)
            try:
                backing = qcow2.read_header(path).backing
            except (qcow2.BadImage, OSError):
                continue
            if not backing:
                continue
            plain = backing.removeprefix("file:")
            if plain.startswith("json:"):
                # Which file it means can't be told for sure; every path in it counts.
                for part in plain.split('"'):
                    if "/" in part:
                        yield str(path), os.path.realpath(os.path.join(folder, part))
                continue
            yield str(path), os.path.realpath(os.path.join(folder, plain))
