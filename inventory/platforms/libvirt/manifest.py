"""What a generation consists of: sizes, checksums, which disk is which, and who published it."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inventory.platforms.libvirt import layout, qcow2
from inventory.platforms.libvirt.layout import Folder, Unreadable

FORMAT = 1
DISK_FILE = "disk-{}.qcow2"
MAX_DEPTH = 8  # images in a chain; beyond it store writes a full one


@dataclass(frozen=True, slots=True)
class DiskFile:
    """One writable disk: the guest's device name, and its file in the generation."""

    target: str
    file: str
    virtual_size: int
    backing: str = ""  # relative, in this machine's own generations; "" for a full image
    depth: int = 1  # images in the chain, itself included


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record beside a generation's files."""

    uuid: str
    name: str
    published_by: str  # the operation; "" for an adoption
    owner: str  # installation/target that published it; "" for an adoption
    base: str  # the generation that it was woken from; "" for the first
    created: str
    macs: tuple[str, ...]
    disks: tuple[DiskFile, ...]
    nvram: str = ""
    tpm: bool = False
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # relative path -> size, sha256

    def to_json(self) -> bytes:
        return layout.to_json(
            {
                "format": FORMAT, "uuid": self.uuid, "name": self.name, "published_by": self.published_by,
                "owner": self.owner, "base": self.base, "created": self.created, "macs": list(self.macs),
                "disks": [
                    {"target": d.target, "file": d.file, "format": "qcow2", "virtual_size": d.virtual_size,
                     "backing": d.backing, "depth": d.depth}
                    for d in self.disks
                ],
                "nvram": self.nvram, "tpm": self.tpm, "files": self.files,
            }
        )  # fmt: skip

    def file_of(self, target: str) -> str:
        return next((d.file for d in self.disks if d.target == target), "")


def read(generation: Path) -> Manifest:
    """The manifest of a generation. Raises Unreadable, with the reason."""
    value = layout.read_json(generation / "manifest.json")
    if value is None:
        raise Unreadable(f"generation {generation.name} has no manifest.json")
    try:
        if value["format"] != FORMAT:
            raise Unreadable(f"manifest.json has format {value['format']!r}, which this version doesn't know")
        disks = tuple(
            DiskFile(
                str(d["target"]), _plain(d["file"]), int(d["virtual_size"]), str(d["backing"]), int(d["depth"])
            )
            for d in value["disks"]
        )
        return Manifest(
            uuid=str(value["uuid"]).lower(), name=str(value["name"]), published_by=str(value["published_by"]),
            owner=str(value["owner"]), base=str(value["base"]), created=str(value["created"]),
            macs=tuple(str(m).lower() for m in value["macs"]), disks=disks,
            nvram=_plain(value["nvram"]) if value["nvram"] else "", tpm=bool(value["tpm"]),
            files={str(k): {"size": int(v["size"]), "sha256": str(v["sha256"])}
                   for k, v in value["files"].items()},
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"manifest.json lacks or garbles something: {error!r}") from error


def _plain(name: Any) -> str:
    if not isinstance(name, str) or "/" in name or name in ("", ".", "..") or "\0" in name:
        raise ValueError(f"{name!r} is not the name of a file")
    return name


def fingerprint(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and checksum of every file that makes up a generation."""
    found = {}
    for name in layout.files_below(folder):
        if name in ("manifest.json", "servicing.json") or name.startswith("."):
            continue
        fd = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(fd, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[name] = {"size": os.fstat(file.fileno()).st_size, "sha256": digest}
    return found


def objections(folder: Folder, generation: str, manifest: Manifest) -> list[str]:
    """Why a published generation can't be trusted, told by sizes and headers (checksums would take long)."""
    place = folder.generations / generation
    found = []
    for name, facts in manifest.files.items():
        parts = Path(name).parts
        if ".." in parts or name.startswith("/"):
            found.append(f"its manifest names {name!r}, which lies outside")
            continue
        try:
            size = (place / name).lstat().st_size
        except OSError:
            found.append(f"{name} of generation {generation} is missing")
            continue
        if size != facts["size"]:
            found.append(f"{name} of generation {generation} has {size} bytes; its manifest says {facts['size']}")
    wanted = {"domain.xml", manifest.nvram, *(d.file for d in manifest.disks)} - {""}
    found += [f"the manifest of {generation} doesn't list {name}" for name in wanted - set(manifest.files)]
    return found


def chain(folder: Folder, generation: str, file: str) -> list[tuple[Path, qcow2.Header]]:
    """An image and all that it backs on, top first; every one of them in this machine's own generations.

    Raises Unreadable for a chain that is broken, leaves the machine's directory or can't be trusted.
    """
    links: list[tuple[Path, qcow2.Header]] = []
    while True:
        path = folder.generations / generation / file
        try:
            header = qcow2.read_header(path)
        except FileNotFoundError as error:
            raise Unreadable(f"the image {generation}/{file} is missing") from error
        except qcow2.BadImage as error:
            raise Unreadable(f"in generation {generation}: {error}") from error
        reasons = [
            text
            for wrong, text in (
                (header.snapshots, f"holds {header.snapshots} internal snapshots, which an overlay would lose"),
                (header.encrypted, "is encrypted"),
                (header.external_data, "keeps its data in another file"),
                (header.corrupt, "is marked as corrupt"),
            )
            if wrong
        ]
        if reasons:
            raise Unreadable(f"the image {generation}/{file} {' and '.join(reasons)}")
        links.append((path, header))
        if not header.backing:
            return links
        if len(links) > 4 * MAX_DEPTH:
            raise Unreadable(f"the image {file} backs on itself or on too many others")
        parts = header.backing.split("/")
        if (
            len(parts) != 3 or parts[0] != ".." or not layout.GENERATION.fullmatch(parts[1])
            or parts[2] in ("", ".", "..") or header.backing_format != "qcow2"
        ):  # fmt: skip
            raise Unreadable(
                f"the image {generation}/{file} backs on {header.backing!r}, outside this machine's generations"
            )
        generation, file = parts[1], parts[2]
