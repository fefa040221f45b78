"""What a qcow2 file says about itself, read from its header alone.

No image program is asked before the header is known to be harmless: a backing file or data file named in it
would be opened by whoever reads the image. Layout: QEMU's docs/interop/qcow2.txt.
"""

import errno
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"QFI\xfb"
DIRTY, CORRUPT, EXTERNAL_DATA = 1 << 0, 1 << 1, 1 << 2
FORMAT_EXTENSION, END = 0xE2792ACA, 0


class BadImage(Exception):
    """Not a qcow2 image that can be trusted; the message says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """The facts of one image file."""

    virtual_size: int  # bytes
    file_size: int  # bytes
    backing: str  # as written in the header; "" for none
    backing_format: str
    snapshots: int
    encrypted: bool
    external_data: bool
    corrupt: bool


def read_header(path: Path) -> Header:
    """Raises BadImage for what isn't a sound qcow2 header, FileNotFoundError where there is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadImage(f"{path.name} is a symbolic link") from error
        raise
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BadImage(f"{path.name} is not a regular file")
        return parse(file.read(1 << 16), status.st_size, path.name)


def parse(head: bytes, file_size: int, name: str) -> Header:
    """The header from the first 64 KiB of a file."""
    if len(head) < 72 or head[:4] != MAGIC:
        raise BadImage(f"{name} is not a qcow2 image")
    version, backing_at, backing_length, cluster_bits, size, crypt, l1_size, l1_at = struct.unpack(
        ">IQIIQIIQ", head[4:48]
    )
    snapshots = struct.unpack(">I", head[60:64])[0]
    if version not in (2, 3):
        raise BadImage(f"{name} is a qcow2 image of unknown version {version}")
    if not 9 <= cluster_bits <= 21:
        raise BadImage(f"{name} has a damaged header: cluster size 2^{cluster_bits}")
    if l1_at >= file_size or l1_at % (1 << cluster_bits) or l1_at + 8 * l1_size > file_size:
        raise BadImage(f"{name} is cut short: its table of clusters lies beyond its end")
    features, header_length = 0, 72
    if version == 3:
        if len(head) < 104:
            raise BadImage(f"{name} is cut short")
        features = struct.unpack(">Q", head[72:80])[0]
        header_length = struct.unpack(">I", head[100:104])[0]
    backing = ""
    if backing_at:
        if backing_length > 1023 or backing_at + backing_length > len(head):
            raise BadImage(f"{name} has a damaged header: its backing file's name lies elsewhere")
        backing = head[backing_at : backing_at + backing_length].decode("utf-8", "surrogateescape")
    return Header(
        virtual_size=size,
        file_size=file_size,
        backing=backing,
        backing_format=_backing_format(head, header_length),
        snapshots=snapshots,
        encrypted=crypt != 0,
        external_data=bool(features & EXTERNAL_DATA),
        corrupt=bool(features & CORRUPT),
    )


def _backing_format(head: bytes, at: int) -> str:
    while at + 8 <= len(head):
        kind, length = struct.unpack(">II", head[at : at + 8])
        if kind == END or length > len(head) - at - 8:
            break
        if kind == FORMAT_EXTENSION:
            return head[at + 8 : at + 8 + length].decode("ascii", "replace")
        at += 8 + (length + 7) // 8 * 8
    return ""
