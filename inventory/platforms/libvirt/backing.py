"""Who backs on whom: images outside of a machine that would break if its disks went or changed.

Known are the images in the shares (their headers are read), the volumes in the hosts' storage pools (libvirt says
what they back on), and the disks of shut-off domains as far as this worker can read them. An overlay in some other
folder of a host, used by nobody, can't be seen.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from inventory.platforms.base import HostRef
from inventory.platforms.libvirt import layout, qcow2
from inventory.platforms.libvirt.hosts import Host, LibvirtError
from ovmst_site.faults import TryLater

FRESH = 60.0  # seconds for which a list is believed
ASKING = 60.0  # seconds for a host's answer about its pools

Backings = dict[str, tuple[str, ...]]  # an image -> the real paths of what it may back on
_known: dict[str, tuple[float, Backings]] = {}
_generations: dict[str, tuple[int, Backings]] = {}  # published ones don't change: read once
_looking: dict[str, threading.Lock] = {}
_lock = threading.Lock()


def on_parts_of(place: Path, shares: Sequence[str], hosts: Sequence[tuple[HostRef, Host]] = ()) -> list[str]:
    """Images outside a directory that back on a file inside it, in words. Raises TryLater."""
    inside = os.path.realpath(place) + "/"
    lists = [_fresh(share, lambda share=share: _scan(share)) for share in shares]  # type: ignore[misc]
    lists += [_fresh(ref.external_id, lambda host=host, ref=ref: _ask(ref, host)) for ref, host in hosts]  # type: ignore[misc]
    return sorted(
        {
            f"{image} backs on {base}"
            for known in lists
            for image, bases in known.items()
            for base in bases
            if base.startswith(inside) and not os.path.realpath(image).startswith(inside)
        }
    )


def forget() -> None:
    """Look anew at the next question."""
    with _lock:
        _known.clear()


def _fresh(name: str, look: Callable[[], Backings]) -> Backings:
    with _lock:
        its_own = _looking.setdefault(name, threading.Lock())
    with its_own:  # one that hangs makes nobody wait who asks for another
        at, known = _known.get(name, (0.0, {}))
        if not at or time.monotonic() - at > FRESH:
            known = look()
            _known[name] = (time.monotonic(), known)
        return known


def _ask(ref: HostRef, host: Host) -> Backings:
    try:
        known = host.call("backings", deadline=ASKING)
        files = host.call("disks_of_stopped", deadline=ASKING)
    except LibvirtError as error:
        raise TryLater(f"{ref}: {error}") from error
    found: Backings = {image: (os.path.realpath(base),) for image, base in known.items()}
    for file in files:
        found.update(_of_chain(Path(file)))
    return found


def _of_chain(path: Path) -> Backings:
    """An image on a host and what it backs on, as far as it can be read from here."""
    found: Backings = {}
    while str(path) not in found and len(found) < 32 and (bases := _bases(path)):
        found[str(path)] = bases
        path = Path(bases[0])
    return found


def _scan(share: str) -> Backings:
    found: Backings = {}
    for folder, inside, files in os.walk(share):
        published = os.path.basename(os.path.dirname(folder)) == "generations" and layout.GENERATION.fullmatch(
            os.path.basename(folder)
        )
        if published:
            inside.clear()
            found.update(_of_generation(folder, files))
        else:
            found.update(_of_files(folder, files))
    return found


def _of_generation(folder: str, files: list[str]) -> Backings:
    changed = os.stat(folder).st_mtime_ns
    at, known = _generations.get(folder, (0, {}))
    if at != changed:
        known = dict(_of_files(folder, files))
        _generations[folder] = (changed, known)
    return known


def _of_files(folder: str, files: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in files:
        if bases := _bases(Path(folder, name)):
            yield os.path.join(folder, name), bases


def _bases(path: Path) -> tuple[str, ...]:
    """What an image backs on; every path in it, where the header says it in JSON."""
    try:
        backing = qcow2.read_header(path).backing.removeprefix("file:")
    except (qcow2.BadImage, OSError):
        return ()
    parts = [p for p in backing.split('"') if "/" in p] if backing.startswith("json:") else [backing]
    return tuple(os.path.realpath(path.parent / p) for p in parts if p)
