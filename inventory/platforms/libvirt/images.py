"""qemu-img, as a process with a deadline that dies with its caller."""

import json
import subprocess
from pathlib import Path

from ovmst_site.faults import TryLater

# Killed with the process that asked: a worker that dies leaves no writer behind.
TIED = ("setpriv", "--pdeathsig", "KILL", "--")


class ImageError(Exception):
    """qemu-img said no; the message is its own."""


class DiskFull(Exception):
    """The file system has no room left; the message says where."""


def qemu_img(arguments: list[str], *, deadline: float, accept: tuple[int, ...] = (0,)) -> tuple[int, str]:
    """Run qemu-img and return its exit code and output.

    Raises ImageError for a code that isn't accepted, DiskFull, or TryLater when the deadline (seconds) passes.
    """
    try:
        ended = subprocess.run(
            [*TIED, "qemu-img", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=deadline, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TryLater(f"qemu-img {arguments[0]} took longer than {deadline:.0f} s") from error
    if ended.returncode in accept:
        return ended.returncode, ended.stdout.decode("utf-8", "replace")
    said = ended.stderr.decode("utf-8", "replace").strip() or f"exit code {ended.returncode}"
    if "No space left" in said or "Disk quota exceeded" in said:
        raise DiskFull(said)
    raise ImageError(said)


def create_overlay(path: Path, backing: str, size: int, *, deadline: float = 30) -> None:
    """An empty qcow2 image over another one, named by a path relative to its own place."""
    qemu_img(["create", "-q", "-f", "qcow2", "-b", backing, "-F", "qcow2", str(path), str(size)], deadline=deadline)


def check(path: Path, *, deadline: float = 60) -> str:
    """What is wrong with an image's own structure; "" for nothing. Leaked clusters are only wasted space."""
    try:
        code, output = qemu_img(
            ["check", "-U", "-f", "qcow2", "--output=json", str(path)], deadline=deadline, accept=(0, 2, 3)
        )
    except ImageError as error:
        return str(error)
    if code != 2:
        return ""
    try:
        found = json.loads(output).get("corruptions", "some")
    except ValueError:
        found = "some"
    return f"qemu-img check finds {found} corruptions"


def convert(source: Path, source_format: str, target: Path, *, deadline: float) -> None:
    """A full copy of an image with all that it backs on, as qcow2, on disk when this returns."""
    # -t none would need O_DIRECT, which not every file system has; the caller syncs the result.
    qemu_img(["convert", "-q", "-f", source_format, "-O", "qcow2", str(source), str(target)], deadline=deadline)
