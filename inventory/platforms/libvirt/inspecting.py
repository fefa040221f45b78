"""What preflight judges a machine by. Nothing is changed here, and what can't be found out is no "fine"."""

import os
from collections.abc import Sequence

from inventory.platforms.base import Facts, HostRef, Obstacle, ObstacleKind
from inventory.platforms.libvirt import backing, images, layout, manifest, reach, records, sights
from inventory.platforms.libvirt.hosts import Host
from inventory.platforms.libvirt.layout import Folder, Unreadable
from inventory.platforms.libvirt.library import Stored, read_stored
from inventory.platforms.libvirt.sights import Sighting
from ovmst_site.faults import NeedsAttention, TryLater

SPACE_FRACTION = 0.1  # of the disks' sizes: how much a round of updates may write, unless the option says else
SPACE_LEAST = 64 << 20  # bytes


def inspect(
    folder: Folder, hosts: Sequence[tuple[HostRef, Host]], shares: tuple[str, ...],
    media: Sequence[str], fraction: float,
) -> Facts:  # fmt: skip
    """Raises TryLater where a host can't be asked, NeedsAttention where the share isn't there."""
    if not folder.share_is_there():
        raise NeedsAttention(
            f"the library share {folder.share} isn't there, or is empty: is it mounted on this worker?"
        )
    try:
        stored = read_stored(folder)
    except Unreadable as error:
        return Facts("", {}, 0, (_refused(f"it can't be read: {error}"),))
    reasons = [
        *reach.objections(stored.description, media),
        *reach.mapping_objections(stored.description, stored.manifest),
        *manifest.objections(folder, stored.generation, stored.manifest),
        *(f"it holds a servicing of {left.owner}, of {left.op}" for _wip, left in records.wips(folder)),
    ]
    chains = _image_objections(stored)
    reasons += chains
    if not chains:
        reasons += _space(stored, fraction)
    reasons += [
        f"an image outside of this machine needs its disk: {found}"
        for found in backing.on_parts_of(folder.path, shares, hosts)
    ]
    obstacles = [_refused(reason) for reason in reasons]
    handed_out = _handed_out(folder)
    if handed_out:
        obstacles.append(Obstacle(ObstacleKind.DECISION, handed_out))
    seen = sights.look(hosts, stored.description.uuid, folder.path)
    if seen.silent:
        raise TryLater(f"not every host can be asked: {'; '.join(seen.silent)}")
    obstacles += [found for sighting in seen.seen for found in [_seen(sighting)] if found]
    return Facts(
        generation=stored.generation,
        adapters=dict(stored.description.adapters),
        memory_mb=stored.description.memory_mb,
        obstacles=tuple(obstacles),
    )


def _refused(reason: str) -> Obstacle:
    return Obstacle(ObstacleKind.REFUSED, reason)


def _image_objections(stored: Stored) -> list[str]:
    """Each image of each chain: headers first, then qemu-img's own check of the structure."""
    found = []
    for disk in stored.manifest.disks:
        try:
            links = manifest.chain(stored.folder, stored.generation, disk.file)
        except Unreadable as error:
            found.append(str(error))
            continue
        for path, _header in links:
            wrong = images.check(path)
            if wrong:
                found.append(f"the image {path.parent.name}/{path.name} is damaged: {wrong}")
    return found


def _space(stored: Stored, fraction: float) -> list[str]:
    """Room for what the guest will write, and for a full image where the chain has grown too long."""
    wanted = SPACE_LEAST
    for disk in stored.manifest.disks:
        links = manifest.chain(stored.folder, stored.generation, disk.file)
        wanted += int(links[0][1].virtual_size * fraction)
        if len(links) >= manifest.MAX_DEPTH:
            wanted += sum(header.file_size for _path, header in links)
    status = os.statvfs(stored.folder.path)
    free = status.f_bavail * status.f_frsize
    if free >= wanted:
        return []
    return [f"{stored.folder.share} has {free >> 20} MiB free; servicing it may need {wanted >> 20} MiB"]


def _handed_out(folder: Folder) -> str:
    try:
        record = layout.read_json(folder.handed_out)
    except Unreadable as error:
        return f"it may have been handed out: {error}"
    if record is None:
        return ""
    return f"it was handed out to {record.get('host')!r} at {record.get('at')}: its copy there may be in use"


def _seen(sighting: Sighting) -> Obstacle | None:
    """What a domain on a host means for this machine."""
    if sighting.saved:
        return _refused(f"{sighting}, with a saved state, which would win over everything: discard or use it")
    if sighting.active or sighting.by_disk:
        return _refused(str(sighting))
    if sighting.by_uuid:
        return Obstacle(
            ObstacleKind.DECISION,
            f"{sighting}, shut off: it can't be serviced on that host, and could be started beside its twin",
        )
    return None
