"""Things that take long to build, built once: named by what they are built from, complete or not there."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .commands import HERE, PROJECT, BenchError


def cache_directory() -> Path:
    """Where built things are kept: OVMST_VM_CACHE, or .cache/vm in the project."""
    folder = Path(os.environ.get("OVMST_VM_CACHE") or PROJECT / ".cache" / "vm").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, whatever ends it."""
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def recipe_key(*sources: str, also: object = None) -> str:
    """A key that changes whenever one of the source files (relative to the bench) or `also` changes.

    A folder stands for all files in it.
    """
    digest = hashlib.sha256(json.dumps(also, sort_keys=True).encode())
    for source in sources:
        path = HERE / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"\0{file.relative_to(HERE)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def built(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder of this name and key; `build` fills it if nobody has yet.

    A folder of that name is always complete: it is filled aside and renamed. Two processes that want the
    same one wait for each other. Older keys stay: another checkout may use them.
    """
    cache = cache_directory()
    folder = cache / f"{name}-{key}"
    if folder.is_dir():
        return folder
    with locked(cache / f".{name}.lock"):
        if folder.is_dir():
            return folder
        aside = cache / f".building-{name}"
        _clear(aside)
        aside.mkdir()
        build(aside)
        aside.rename(folder)
    return folder


def _clear(folder: Path) -> None:
    """Remove what a killed build left, unless something is mounted below it: that would be this machine's."""
    below = f"{folder}/"
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if held := [mount for mount in mounts if mount.startswith(below)]:
        raise BenchError(f"{folder} was left by a killed build and {held[0]} is mounted in it: umount it first")
    shutil.rmtree(folder, ignore_errors=True)
