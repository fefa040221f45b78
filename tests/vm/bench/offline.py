"""Looking into a disk image without starting it, through its whole chain of backing files.

The image is only ever read: what is looked into is a private raw copy of what the guest would see.
"""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .commands import BenchError, run
from .disks import BLOCK, blocks

SECTOR = 512
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"  # GPT's type of a Linux file system


@contextmanager
def raw_copy(image: Path) -> Iterator[Path]:
    """What the guest sees of its disk, as a sparse raw file that is gone afterwards.

    `-U`: also while somebody has the image open; a running guest's file system is then as after a crash.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder:
        raw = Path(folder) / "disk.raw"
        run(["qemu-img", "convert", "-U", "-O", "raw", "-S", "64k", image, raw], timeout=300)
        yield raw


def content_digest(image: Path) -> str:
    """SHA-256 of what the guest sees: equal for two images however they store it."""
    with raw_copy(image) as raw:
        digest = hashlib.sha256(str(raw.stat().st_size).encode())
        for offset, block in blocks(raw):
            digest.update(f"\0{offset // BLOCK}\0".encode() + block)
        return digest.hexdigest()


def read_file(image: Path, path: str) -> bytes | None:
    """The content of a file in the guest's root file system; None where there is none."""
    with raw_copy(image) as raw:
        return _read(root_filesystem(raw), path)


def read_files(image: Path, paths: list[str]) -> dict[str, bytes | None]:
    """The same for several, at the price of one."""
    with raw_copy(image) as raw:
        device = root_filesystem(raw)
        return {path: _read(device, path) for path in paths}


def packages(image: Path) -> dict[str, tuple[str, str]]:
    """Name -> (version, status) of every package dpkg knows; status as "install ok installed"."""
    status = read_file(image, "/var/lib/dpkg/status")
    if status is None:
        raise BenchError(f"{image} holds no dpkg status")
    found = {}
    for paragraph in status.decode("utf-8", "replace").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if "Package" in fields:
            found[fields["Package"]] = (fields.get("Version", ""), fields.get("Status", ""))
    return found


def package_version(image: Path, name: str) -> str | None:
    """The version of a package that is completely installed (or held so); else None."""
    version, status = packages(image).get(name, ("", ""))
    return version if status.endswith(" ok installed") else None


def check_filesystem(image: Path) -> None:
    """Raise BenchError unless e2fsck finds the root file system whole (after replaying its journal)."""
    with raw_copy(image) as raw:
        device = root_filesystem(raw)
        run(["e2fsck", "-p", device], timeout=120)
        run(["e2fsck", "-n", "-f", device], timeout=120)


def write_files(raw: Path, files: Mapping[str, bytes]) -> None:
    """Replace files in the root file system of a raw image, which must be nobody else's; mode 0644."""
    device = root_filesystem(raw)
    for path, content in files.items():
        _plain(path)
        with tempfile.NamedTemporaryFile() as source:
            source.write(content)
            source.flush()
            commands = f"rm {path}\nwrite {source.name} {path}\nsif {path} mode 0100644\nsif {path} uid 0\n"
            run(["debugfs", "-w", "-f", "-", device], stdin=commands.encode(), timeout=60)
        if _read(device, path) != content:
            raise BenchError(f"debugfs did not write {path}")


def root_filesystem(raw: Path) -> str:
    """The root file system of a raw disk, in words that e2fsprogs open: FILE or FILE?offset=BYTES."""
    with raw.open("rb") as disk:
        disk.seek(SECTOR)
        if disk.read(8) != b"EFI PART":
            return str(raw)
    table = json.loads(run(["sfdisk", "--json", raw], timeout=30))["partitiontable"]
    starts = [part["start"] for part in table["partitions"] if part["type"].upper() == LINUX]
    if len(starts) != 1:
        raise BenchError(f"{raw}: {len(starts)} Linux partitions, expected one")
    return f"{raw}?offset={starts[0] * SECTOR}"


def _read(device: str, path: str) -> bytes | None:
    _plain(path)
    # debugfs answers 0 whatever happens; a missing file shows in what it says on standard error.
    done = subprocess.run(
        ["debugfs", "-R", f"cat {path}", device],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "DEBUGFS_PAGER": "cat", "LC_ALL": "C"},
    )
    said = done.stderr.decode("utf-8", "replace")
    if "File not found" in said:
        return None
    lines = [line for line in said.splitlines() if line and not line.startswith("debugfs ")]
    if lines or done.returncode:
        raise BenchError(f"debugfs could not read {path}: {' '.join(lines)}")
    return done.stdout


def _plain(path: str) -> None:
    """debugfs splits its commands at blanks and knows no way to quote them all."""
    if not path.startswith("/") or any(c.isspace() or c in "\"'\\" for c in path):
        raise ValueError(f"not a plain absolute path: {path!r}")
