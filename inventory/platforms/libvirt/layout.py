"""How a library share looks on disk, and the few ways in which its files are changed.

    SHARE/.ovmst-share                                 says that the share is mounted
    SHARE/<machine>/current -> generations/g000001     swapped by rename
    SHARE/<machine>/generations/g000001/…              published: never written again
    SHARE/<machine>/generations/.wip-<op>/…            one target's servicing; published by a rename
    SHARE/<machine>/marker.json, work.json, handed-out.json, lock

No name is followed through a symbolic link: a share is written by others too.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ovmst_site.faults import NeedsAttention, TryLater

GENERATION = re.compile(r"g[0-9]{6,9}")
MACHINE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
OPERATION = re.compile(r"[a-z0-9-]{1,60}")
SIGN = ".ovmst-share"
MAX_SMALL_FILE = 4 << 20  # bytes; descriptions and manifests are far smaller


class Unreadable(Exception):
    """A machine's directory isn't as it should be; the message says what was found."""


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a small file: written aside, synced, renamed; readers see the old one or the new one."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(aside, path)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def create_whole(path: Path, content: bytes, *, mode: int = 0o600) -> bool:
    """Create a small file that appears whole. False, with nothing written, where one is there already."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    write_whole(aside, content, mode=mode)
    try:
        os.link(aside, path, follow_symlinks=False)
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def read_small(path: Path) -> bytes:
    """A small regular file. Raises FileNotFoundError, or Unreadable for a link, a folder or a giant."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Unreadable(f"{path.name} is a symbolic link") from error
        raise
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable(f"{path.name} is not a regular file")
        if status.st_size > MAX_SMALL_FILE:
            raise Unreadable(f"{path.name} has {status.st_size} bytes: too large for what it should be")
        return file.read()


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no file. Raises Unreadable for anything else."""
    try:
        content = read_small(path)
    except FileNotFoundError:
        return None
    try:
        value = json.loads(content)
    except ValueError as error:
        raise Unreadable(f"{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Unreadable(f"{path.name} is not a JSON object")
    return value


def to_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=True, sort_keys=True) + "\n").encode()


def copy_file(source: Path, target: Path, *, mode: int = 0o600) -> None:
    """A synced copy of a regular file, which must not be a link; the target must not exist."""
    source_fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(source_fd, "rb") as reader:
        if not stat.S_ISREG(os.fstat(reader.fileno()).st_mode):
            raise Unreadable(f"{source} is not a regular file")
        target_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(target_fd, "wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())


def copy_tree(source: Path, target: Path, *, mode: int = 0o600) -> None:
    """A synced copy of a folder of regular files and folders; links and devices are left out."""
    target.mkdir(mode=0o700)
    for entry in sorted(os.scandir(source), key=lambda e: e.name):
        if entry.is_dir(follow_symlinks=False):
            copy_tree(Path(entry.path), target / entry.name, mode=mode)
        elif entry.is_file(follow_symlinks=False):
            copy_file(Path(entry.path), target / entry.name, mode=mode)
    sync_directory(target)


def files_below(folder: Path, prefix: str = "") -> Iterator[str]:
    """The regular files below a folder, as relative paths in a stable order."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(Path(entry.path), f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield prefix + entry.name


class Lock:
    """The machine's lock file, held. Its descriptor may be handed to a process that goes on with the work."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)


class Folder:
    """One machine's directory in a share."""

    def __init__(self, share: str, key: str) -> None:
        if not MACHINE_KEY.fullmatch(key) or not os.path.isabs(share):
            raise NeedsAttention(f"{key!r} in {share!r} is not the key of a machine in a library share")
        self.share = Path(share)
        self.key = key
        self.path = self.share / key
        self.generations = self.path / "generations"
        self.marker = self.path / "marker.json"
        self.work = self.path / "work.json"
        self.handed_out = self.path / "handed-out.json"

    def share_is_there(self) -> bool:
        """Whether the share is really seen here: a folder that bears the sign, or holds a machine. An empty
        one may be the place on which nothing is mounted, and says nothing about its machines."""
        try:
            with os.scandir(self.share) as entries:
                return any(entry.name == SIGN or should_be_a_machine(entry) for entry in entries)
        except OSError:
            return False

    def sign_share(self) -> None:
        """Put up the sign by which the share is known even when its last machine is gone."""
        if not os.path.lexists(self.share / SIGN):
            create_whole(self.share / SIGN, b"A library share of OVMST. Keep this file.\n", mode=0o644)

    def exists(self) -> bool:
        """True for a directory of its own. Raises Unreadable for a link or a file in its place."""
        try:
            status = self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISDIR(status.st_mode):
            raise Unreadable("its directory is a symbolic link or a file")
        return True

    def current(self) -> str:
        """The name of the published generation. Raises Unreadable where the library doesn't say."""
        try:
            target = os.readlink(self.path / "current")
        except FileNotFoundError as error:
            raise Unreadable("it has no current generation (the link `current` is missing)") from error
        except OSError as error:
            raise Unreadable("`current` is not a symbolic link") from error
        head, _, name = target.rpartition("/")
        if head != "generations" or not GENERATION.fullmatch(name):
            raise Unreadable(f"`current` points to {target!r}, which is no generation of this machine")
        if not is_directory(self.generations / name):
            raise Unreadable(f"its current generation {name} is missing")
        return name

    def names(self) -> list[str]:
        """The published generations' names, oldest first."""
        try:
            found = [e.name for e in os.scandir(self.generations) if e.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted((n for n in found if GENERATION.fullmatch(n)), key=lambda n: int(n[1:]))

    def hidden(self, prefix: str) -> list[Path]:
        """Directories that aren't generations: .wip-…, .new-…, .gone-…"""
        try:
            found = [e.name for e in os.scandir(self.generations) if e.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self.generations / name for name in sorted(found) if name.startswith(prefix)]

    def next_name(self) -> str:
        names = self.names()
        return f"g{int(names[-1][1:]) + 1 if names else 1:06d}"

    def lock(self, *, patience: float = 2.0) -> Lock:
        """Take the lock. Raises TryLater while file work is in flight."""
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return Lock(fd)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES) or time.monotonic() > until:
                    os.close(fd)
                    if error.errno in (errno.EAGAIN, errno.EACCES):
                        raise TryLater(f"file work is under way in {self.path}") from error
                    raise
            time.sleep(0.02)

    def is_locked(self) -> bool:
        """Whether somebody holds the lock now. A shared lock is tried, so that two observers don't meet."""
        try:
            fd = os.open(self.path / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return True
            raise
        finally:
            os.close(fd)
        return False


def should_be_a_machine(entry: os.DirEntry[str]) -> bool:
    """Whether this entry of a share is a machine's directory, whole or not."""
    if entry.name.startswith(".") or entry.name == "lost+found":
        return False
    if entry.is_symlink():
        return os.path.isdir(entry.path)
    if not entry.is_dir(follow_symlinks=False):
        return False
    inside = ("generations", "current", "marker.json")
    looks_like_uuid = len(entry.name) == 36 and entry.name.count("-") == 4
    return looks_like_uuid or any(os.path.lexists(os.path.join(entry.path, n)) for n in inside)


def is_directory(path: Path) -> bool:
    """A directory of its own, not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def remove_aside(path: Path) -> None:
    """Remove a directory of ours: renamed first, so that half of it never looks like the whole."""
    gone = path.with_name(f".gone-{secrets.token_hex(6)}")
    os.rename(path, gone)
    sync_directory(path.parent)
    shutil.rmtree(gone)
