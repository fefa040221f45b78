"""The small records beside a machine: our marker, the state of its servicing, the file work under way."""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inventory.platforms.base import AdapterId, Marker, NetworkRef
from inventory.platforms.libvirt import layout
from inventory.platforms.libvirt.layout import Folder, Unreadable
from ovmst_site.faults import NeedsAttention

# --- Marker ---------------------------------------------------------------------------------------------


def read_marker(folder: Folder) -> Marker | None:
    """Whose the machine is. Raises Unreadable for a marker that can't be understood: it isn't nobody's then."""
    value = layout.read_json(folder.marker)
    if value is None:
        return None
    try:
        return Marker(
            installation=str(value["installation"]), target=str(value["target"]), share=str(value["share"]),
            generation=str(value["generation"]), adapters={str(k): str(v) for k, v in value["adapters"].items()},
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"marker.json lacks or garbles something: {error!r}") from error


def write_marker(folder: Folder, marker: Marker) -> Marker:
    """Write our marker, unless one is there. Returns the one that is there afterwards."""
    content = {
        "installation": marker.installation, "target": marker.target, "share": marker.share,
        "generation": marker.generation, "adapters": dict(marker.adapters),
    }  # fmt: skip
    if layout.create_whole(folder.marker, layout.to_json(content)):
        return marker
    there = read_marker(folder)
    return there if there is not None else write_marker(folder, marker)


def owner_of(marker: Marker) -> str:
    return f"{marker.installation}/{marker.target}"


# --- The servicing of one target ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Servicing:
    """What is prepared in a .wip directory; rewritten whole at each change."""

    owner: str  # installation/target
    op: str  # the fetch that made it
    host: str
    generation: str  # the one it was woken from
    networks: Mapping[AdapterId, NetworkRef] = field(default_factory=dict)
    isolated: bool = False
    disks: Mapping[str, str] = field(default_factory=dict)  # target -> overlay; filled by protect
    protected_by: str = ""
    started_by: str = ""
    log_offset: int = 0
    tpm_host: str = ""  # the host that holds the live TPM state, until it is taken back

    def save(self, wip: Path) -> None:
        layout.write_whole(
            wip / "servicing.json",
            layout.to_json({name: _plain(getattr(self, name)) for name in self.__slots__}),
        )

    def but(self, **changes: Any) -> "Servicing":
        return replace(self, **changes)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def read_servicing(wip: Path) -> Servicing:
    """Raises Unreadable."""
    value = layout.read_json(wip / "servicing.json")
    if value is None:
        raise Unreadable(f"{wip.name} has no servicing.json")
    try:
        return Servicing(**{name: value[name] for name in Servicing.__slots__})
    except KeyError as error:
        raise Unreadable(f"the servicing.json of {wip.name} lacks {error}") from error


def wips(folder: Folder) -> list[tuple[Path, Servicing]]:
    """Every servicing in the machine's directory, whoever it belongs to. Raises Unreadable."""
    return [(wip, read_servicing(wip)) for wip in folder.hidden(".wip-")]


def find_wip(folder: Folder, owner: str) -> tuple[Path, Servicing] | None:
    """This owner's servicing. Raises NeedsAttention where there is another's, or two."""
    found = wips(folder)
    strangers = [wip.name for wip, servicing in found if servicing.owner != owner]
    if strangers:
        raise NeedsAttention(f"{folder.path} holds the servicing of somebody else: {', '.join(strangers)}")
    if len(found) > 1:
        raise NeedsAttention(f"{folder.path} holds {len(found)} servicings of one target")
    return found[0] if found else None


# --- File work under way --------------------------------------------------------------------------------

WORK_SIZE = 4096  # written in place, so that "the disk is full" can be said on a full disk


@dataclass(frozen=True, slots=True)
class Work:
    """What a detached process does, or did last, with the machine's files."""

    op: str
    what: str
    state: str  # running, failed, done
    reason: str = ""


def begin_work(folder: Folder, work: Work) -> None:
    layout.write_whole(folder.work, _padded(work))


def end_work(folder: Folder, work: Work) -> None:
    """Overwrite the record in the room that it has already."""
    fd = os.open(folder.work, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        os.pwrite(fd, _padded(work), 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def read_work(folder: Folder) -> Work | None:
    value = layout.read_json(folder.work)
    if value is None:
        return None
    try:
        return Work(*(str(value[name]) for name in Work.__slots__))
    except KeyError as error:
        raise Unreadable(f"work.json lacks {error}") from error


def drop_work(folder: Folder) -> None:
    folder.work.unlink(missing_ok=True)


def _padded(work: Work) -> bytes:
    reason = work.reason
    while True:
        content = layout.to_json({"op": work.op, "what": work.what, "state": work.state, "reason": reason}).rstrip(
            b"\n"
        )
        if len(content) < WORK_SIZE:
            return content.ljust(WORK_SIZE - 1) + b"\n"
        reason = reason[: len(reason) // 2]


def is_disk_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
