"""How a servicing becomes the library's current generation: the one place where the library changes.

The library's word is the link `current`; it is swapped by one rename. Before that everything of the new
generation is on disk and checked; after a crash between any two effects, running this again finishes it.
"""

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from inventory.platforms.libvirt import domain_xml, images, layout, manifest, qcow2
from inventory.platforms.libvirt.layout import Folder, Unreadable
from inventory.platforms.libvirt.manifest import DiskFile, Manifest
from inventory.platforms.libvirt.records import find_wip, owner_of, read_marker


class CannotPublish(Exception):
    """The library stays as it was, and so does the servicing; the message is for people."""


class LibraryChanged(CannotPublish):
    """Another generation was published meanwhile; both are kept."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to publish."""

    share: str
    key: str
    op: str
    base: str  # the generation that was woken: published only while the library still has it
    created: str  # ISO 8601, for the manifest
    flatten_deadline: float = 6 * 3600.0  # seconds


def publish(order: Order) -> str:
    """Publish the servicing under this order's operation; the machine must be off and its lock held.

    Returns the new generation's name; the same again when it was published by this operation before. Raises
    CannotPublish, DiskFull, Unreadable, TryLater or OSError; the library is then as it was.
    """
    folder = Folder(order.share, order.key)
    current = folder.current()
    marker = read_marker(folder)
    if marker is None:
        raise CannotPublish("our marker is gone from the machine")
    owner = owner_of(marker)
    for stray in folder.path.glob(".current-*"):
        stray.unlink()  # of an attempt that was cut short
    name = _moved_in(folder, owner, order.base)
    if name and name in _ancestry(folder, current):
        layout.sync_directory(folder.path)
        return name
    if not name:
        _must_be_unchanged(folder, order, "in its servicing directory")
        name = _move_in(folder, owner, order)
    elif (record := manifest.read(folder.generations / name)).published_by != order.op:
        # An earlier attempt got this far under another name; it isn't published yet.
        record = replace(record, published_by=order.op)
        layout.write_whole(folder.generations / name / "manifest.json", record.to_json(), mode=0o444)
    _must_be_unchanged(folder, order, f"as {name}")
    layout.sync_directory(folder.generations)  # an earlier attempt may have died between rename and sync
    _swap(folder, name)
    return name


def _must_be_unchanged(folder: Folder, order: Order, where: str) -> None:
    current = folder.current()
    if current != order.base:
        raise LibraryChanged(
            f"the library published {current} while {order.base} was being serviced; the serviced state is kept"
            f" {where}: decide which of them is to be current"
        )


def unfinished(folder: Folder, owner: str) -> str:
    """The generation that this owner's publishing moved in, if it isn't the library's word yet."""
    marker = read_marker(folder)
    name = _moved_in(folder, owner, marker.generation) if marker else ""
    return "" if not name or name in _ancestry(folder, folder.current()) else name


def _moved_in(folder: Folder, owner: str, base: str) -> str:
    """The newest generation that this servicing became, whichever attempt got it that far."""
    for name in reversed(folder.names()):
        try:
            record = manifest.read(folder.generations / name)
        except Unreadable:
            continue  # an old generation that is damaged doesn't hinder a new one
        if (record.owner, record.base) == (owner, base):
            return name
    return ""


def _ancestry(folder: Folder, name: str) -> list[str]:
    """A generation and those that it was woken from, one after the other."""
    line: list[str] = []
    while name and name not in line:
        line.append(name)
        try:
            name = manifest.read(folder.generations / name).base
        except Unreadable:
            break
    return line


def _move_in(folder: Folder, owner: str, order: Order) -> str:
    """Make the servicing a complete generation, synced under its final name."""
    found = find_wip(folder, owner)
    if found is None:
        raise CannotPublish("there is no servicing of this target to publish")
    wip, servicing = found
    if servicing.generation != order.base:
        raise CannotPublish(f"the servicing was woken from {servicing.generation}, not from {order.base}")
    base = manifest.read(folder.generations / order.base)
    disks = tuple(_finish_disk(folder, wip, target, file, order) for target, file in servicing.disks.items())
    if {d.target for d in disks} != {d.target for d in base.disks}:
        raise CannotPublish("the servicing doesn't have the disks of the generation that it was woken from")
    for wanted in ("domain.xml", base.nvram, "tpm" if base.tpm else ""):
        if wanted and not (wip / wanted).exists():
            raise CannotPublish(f"{wanted} is missing from the servicing")
    if (wip / "domain.xml").read_bytes() != (folder.generations / order.base / "domain.xml").read_bytes():
        raise CannotPublish("the machine's description in the servicing isn't the original any more")
    seal(folder, wip)
    description = domain_xml.parse(layout.read_small(wip / "domain.xml"))
    record = Manifest(
        uuid=base.uuid, name=description.name, published_by=order.op, owner=servicing.owner, base=order.base,
        created=order.created, macs=tuple(description.adapters), disks=disks, nvram=base.nvram, tpm=base.tpm,
        files=manifest.fingerprint(wip),
    )  # fmt: skip
    layout.write_whole(wip / "manifest.json", record.to_json(), mode=0o444)
    layout.sync_directory(wip)
    name = folder.next_name()
    os.rename(wip, folder.generations / name)
    layout.sync_directory(folder.generations)
    return name


def _finish_disk(folder: Folder, wip: Path, target: str, file: str, order: Order) -> DiskFile:
    """Check an overlay; make it a full image where its chain has grown too long."""
    overlay = wip / file
    for stray in wip.glob(f"{file}.full-*"):
        stray.unlink()
    wrong = images.check(overlay, deadline=600)
    if wrong:
        raise CannotPublish(f"the disk {target} can't be published: {wrong}")
    depth = len(manifest.chain(folder, wip.name, file))
    if depth > manifest.MAX_DEPTH:
        full = wip / f"{file}.full-{secrets.token_hex(4)}"
        try:
            images.convert(overlay, "qcow2", full, deadline=order.flatten_deadline)
            wrong = images.check(full, deadline=600)
            if wrong:
                raise CannotPublish(f"the full image of disk {target} is damaged: {wrong}")
        except BaseException:
            with suppress(OSError):
                full.unlink(missing_ok=True)
            raise
        layout.sync_file(full)
        os.rename(full, overlay)  # nothing backs on a servicing's own overlay
        layout.sync_directory(wip)
        depth = 1
    header = qcow2.read_header(overlay)
    return DiskFile(target, file, header.virtual_size, header.backing, depth)


def seal(folder: Folder, generation: Path) -> None:
    """Sync every file of a coming generation and take the right to write from it.

    Readers outside the owner get the right to read where the share lets them in at all: the emulator reads its
    backing files as a user of its own, and ownership isn't changed for it.
    """
    share = folder.share.stat()
    reading = 0o444 if share.st_mode & 0o001 else 0o440
    for name in layout.files_below(generation):
        if name == "servicing.json" or name.startswith("."):
            continue
        path = generation / name
        private = name == "domain.xml" or name == "nvram.fd" or name.startswith("tpm/")
        if not private and reading == 0o440:
            os.chown(path, -1, share.st_gid, follow_symlinks=False)
        path.chmod(0o400 if private else reading)
        layout.sync_file(path)
    for folder_path in sorted(p for p in generation.rglob("*") if layout.is_directory(p)):
        layout.sync_directory(folder_path)
    generation.chmod(0o755)


def _swap(folder: Folder, name: str) -> None:
    aside = folder.path / f".current-{secrets.token_hex(6)}"
    os.symlink(f"generations/{name}", aside)
    try:
        os.rename(aside, folder.path / "current")
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    layout.sync_directory(folder.path)


def first_current(folder: Folder, name: str) -> None:
    """Point `current` at a machine's first generation."""
    _swap(folder, name)
