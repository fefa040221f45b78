"""Debian packages of this machine's own suite, fetched the way this machine fetches its own."""

from functools import cache
from pathlib import Path

from .commands import BenchError, run

SUITE = "bookworm"
_FIELDS = "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"


@cache
def debian_sources() -> tuple[str, ...]:
    """This machine's APT sources of Debian itself, as one-line entries.

    APT is asked what it has fetched, so whatever mirror this machine is set up with is used, and the
    sources of other vendors aren't.
    """
    lines = run(["apt-get", "indextargets", "--format", _FIELDS, "Created-By: Packages"], timeout=60)
    entries = set()
    for line in lines.decode().splitlines():
        origin, uri, codename, component = line.split("|")
        if origin == "Debian" and codename.split("-")[0] == SUITE and component == "main":
            entries.add(f"deb {uri} {codename} main")
    if not any(entry.endswith(f" {SUITE} main") for entry in entries):
        raise BenchError(f"APT knows no packages of Debian {SUITE}: run apt-get update, on Debian {SUITE}")
    return tuple(sorted(entries))


@cache
def cloud_kernels() -> list[str]:
    """Debian's signed cloud kernels, oldest first: linux-image-6.1.0-…-cloud-amd64."""
    pattern = r"^linux-image-6\.1\.0-[0-9]+-cloud-amd64$"
    names = [
        line.split()[0]
        for line in run(["apt-cache", "search", "--names-only", pattern], timeout=60).decode().splitlines()
    ]
    if not names:
        raise BenchError("APT knows no Debian cloud kernel: run apt-get update")
    return sorted(names, key=lambda name: int(name.split("-")[3]))


def download(package: str, folder: Path) -> Path:
    """Fetch a package's candidate version into the folder and return the file."""
    before = set(folder.glob("*.deb"))
    run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package], timeout=300, cwd=folder)
    (file,) = set(folder.glob("*.deb")) - before
    return file
