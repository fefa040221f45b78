"""A stored machine and its servicing made of files alone, without a libvirt host."""

import os
import subprocess
import uuid as uuids
from dataclasses import dataclass
from pathlib import Path

from inventory.platforms.base import Marker
from inventory.platforms.libvirt import backing, layout, library, manifest, publish, records, waking
from inventory.platforms.libvirt.layout import Folder
from inventory.platforms.libvirt.manifest import DiskFile, Manifest
from inventory.platforms.libvirt.publish import Order
from tests.inventory.platforms.libvirt import machines

OP = "t1-1-store"
CREATED = "2026-01-01T00:00:00+00:00"
FIRMWARE = (
    "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader><nvram>/images/nvram</nvram>"
)
MAC = "52:54:00:00:00:01"


def write(image: Path, pattern: int, *, length: str = "64k") -> None:
    """Fill the beginning of an image as a guest would."""
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", f"write -P {pattern} 0 {length}", str(image)],
        check=True,
        capture_output=True,
    )


def read(image: Path) -> int:
    """The byte that the beginning of a disk is full of, as a guest would see it."""
    for pattern in range(16):
        done = subprocess.run(
            ["qemu-io", "-r", "-f", "qcow2", "-c", f"read -P {pattern} 0 64k", str(image)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0 and "verification failed" not in done.stdout:
            return pattern
    raise AssertionError(done.stdout + done.stderr)


@dataclass
class Stored:
    """A machine that was woken, written to, and shut down."""

    folder: Folder
    marker: Marker

    @property
    def order(self) -> Order:
        return Order(
            str(self.folder.share), self.folder.key, OP, self.marker.generation, "2026-01-01T00:00:00+00:00"
        )

    def wip(self) -> Path:
        return self.folder.hidden(".wip-")[0]

    def serviced(self, pattern: int, *, target: str = "t1") -> None:
        """Mark, wake and write, as the cycle does."""
        stored = library.read_stored(self.folder)
        self.marker = Marker("here", target, str(self.folder.share), stored.generation, {MAC: "production"})
        records.write_marker(self.folder, self.marker)
        waking.prepare(stored, self.marker, "host", f"{target}-1-fetch")
        wip, servicing = records.find_wip(self.folder, records.owner_of(self.marker)) or (Path(), None)
        assert servicing is not None
        waking.protect(stored, wip, servicing, f"{target}-1-protect")
        for disk in stored.manifest.disks:
            write(wip / disk.file, pattern)
        (wip / "nvram.fd").write_bytes(bytes([pattern]) * 100)


def make(
    share: Path, *, size: str = "4M", disks: int = 2, name: str = 'a"; $(reboot)\n&amp;', guest: str = "",
    whole: bool = True,
) -> Stored:  # fmt: skip
    """A machine whose disks are full of 1, or hold a guest; with NVRAM and TPM state where it is to be whole."""
    uuid = str(uuids.uuid4())
    folder = Folder(str(share), uuid)
    place = folder.generations / "g000001"
    place.mkdir(parents=True)
    if whole:
        (place / "tpm" / "tpm2").mkdir(parents=True)
        (place / "tpm" / "tpm2" / "state").write_bytes(b"sealed")
        (place / "nvram.fd").write_bytes(b"\1" * 100)
    files = []
    for number in range(disks):
        file = place / manifest.DISK_FILE.format(number)
        if guest:
            machines.make_disk(file, guest)
        else:
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(file), size], check=True)
            write(file, 1)
        files.append(DiskFile(f"vd{'abc'[number]}", file.name, 4 << 20))
    more = "".join(
        f"<disk type='file'><driver name='qemu' type='qcow2'/><source file='/images/{d.target}'/>"
        f"<target dev='{d.target}'/></disk>"
        for d in files[1:]
    )
    tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>" if whole else ""
    description = machines.xml(
        name, Path("/images/vda"), uuid=uuid, mac=MAC, devices=more + tpm, os=FIRMWARE if whole else ""
    )
    (place / "domain.xml").write_text(description)
    publish.seal(folder, place)
    record = Manifest(
        uuid, "x", "", "", "", CREATED, (MAC,), tuple(files), "nvram.fd" if whole else "", whole,
        manifest.fingerprint(place),
    )  # fmt: skip
    layout.write_whole(place / "manifest.json", record.to_json())
    os.symlink("generations/g000001", folder.path / "current")
    folder.path.chmod(0o755)
    backing.forget()
    return Stored(folder, Marker("here", "t1", str(share), "g000001", {}))
