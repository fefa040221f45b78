"""Toy packages of our own, built by dpkg-deb, and the suites that repositories have them in."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .commands import run

# Codename -> Label and Suite, as Debian's own have them.
SUITES = {"bookworm": ("Debian", "stable"), "bookworm-security": ("Debian-Security", "stable-security")}


@dataclass(frozen=True, slots=True)
class Toy:
    """A package of our own with one file, /usr/share/NAME/version."""

    name: str
    version: str
    depends: str = ""
    postinst: str = ""
    architecture: str = "all"


INSTALLED = (Toy("toy", "1.0"), Toy("toy-held", "1.0"), Toy("toy-secure", "1.0"))


def kernel_metapackage(kernel: str, version: str) -> Toy:
    """What makes a kernel the one that an upgrade wants, as Debian's own linux-image-cloud-amd64 does."""
    return Toy("linux-image-cloud-amd64", version, depends=kernel, architecture="amd64")


def build_packages(toys: Sequence[Toy], folder: Path) -> list[Path]:
    """Build each toy into the folder and return the files."""
    return [_package(toy, folder) for toy in toys]


def _package(toy: Toy, folder: Path) -> Path:
    tree = folder / f".{toy.name}"
    (tree / "DEBIAN").mkdir(parents=True)
    share = tree / "usr" / "share" / toy.name
    share.mkdir(parents=True)
    (share / "version").write_text(f"{toy.version}\n")
    control = {
        "Package": toy.name,
        "Version": toy.version,
        "Architecture": toy.architecture,
        "Maintainer": "OVMST bench <bench@example.org>",
        "Depends": toy.depends,
        "Description": f"a toy of the test bench, version {toy.version}",
    }
    lines = [f"{field}: {value}\n" for field, value in control.items() if value]
    (tree / "DEBIAN" / "control").write_text("".join(lines))
    if toy.postinst:
        (tree / "DEBIAN" / "postinst").write_text(toy.postinst)
        (tree / "DEBIAN" / "postinst").chmod(0o755)
    file = folder / f"{toy.name}_{toy.version}_{toy.architecture}.deb"
    pack(tree, file)
    return file


def pack(tree: Path, file: Path) -> None:
    run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, file], timeout=60)
    shutil.rmtree(tree)
