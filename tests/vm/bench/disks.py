"""Disk images without loop mounts: made by mke2fs -d, their blocks copied here."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .commands import run

MIB = 1024 * 1024
ESP_MIB = 32
BLOCK = 64 * 1024


def filesystem(image: Path, tree: Path, size_mib: int) -> Path:
    """A raw image that is one ext4 file system, filled from a folder."""
    image.unlink(missing_ok=True)
    options = ["-q", "-t", "ext4", "-L", "root", "-J", "size=8", "-E", "lazy_itable_init=1,root_owner=0:0"]
    run(["mke2fs", *options, "-d", tree, image, f"{size_mib}M"], timeout=300)
    return image


def gpt_disk(folder: Path, tree: Path, root_mib: int, loader: Path) -> Path:
    """A raw image with a GPT: an EFI system partition that holds the boot loader, and the root."""
    root = filesystem(folder / "root.raw", tree, root_mib)
    esp = folder / "esp.raw"
    _sparse(esp, ESP_MIB)
    run(["mkfs.vfat", "-n", "ESP", esp], timeout=60)
    run(["mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"], timeout=60)
    run(["mcopy", "-i", esp, loader, "::/EFI/BOOT/"], timeout=60)
    disk = folder / "disk.raw"
    _sparse(disk, ESP_MIB + root_mib + 4)
    table = (
        f"label: gpt\nstart=1MiB, size={ESP_MIB}MiB, type=U\nstart={ESP_MIB + 1}MiB, size={root_mib}MiB, type=L\n"
    )
    run(["sfdisk", "-q", disk], stdin=table.encode(), timeout=60)
    with disk.open("r+b") as whole:
        copy_blocks(esp, whole, MIB)
        copy_blocks(root, whole, (ESP_MIB + 1) * MIB)
    return disk


def to_qcow2(raw: Path, image: Path) -> None:
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], timeout=300)


def _sparse(file: Path, size_mib: int) -> None:
    file.unlink(missing_ok=True)
    file.touch()
    os.truncate(file, size_mib * MIB)


def blocks(raw: Path, start: int = 0, length: int | None = None) -> Iterator[tuple[int, bytes]]:
    """The blocks of a file that aren't all zero, with their offsets from `start`; holes cost nothing."""
    end = raw.stat().st_size if length is None else start + length
    with raw.open("rb") as source:
        position = start
        while position < end:
            try:
                data = os.lseek(source.fileno(), position, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole is left
                return
            position = max(position, start + (data - start) // BLOCK * BLOCK)
            source.seek(position)
            block = source.read(min(BLOCK, end - position))
            if block.strip(b"\0"):
                yield position - start, block
            position += BLOCK


def copy_blocks(source: Path, target: BinaryIO, offset: int) -> None:
    for at, block in blocks(source):
        target.seek(offset + at)
        target.write(block)
