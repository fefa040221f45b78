"""APT repositories that offer toy packages: what the guests are updated from.

Every repository has two suites with the words that Debian's own have, `bookworm` and `bookworm-security`,
so that a security update is told from another by its origin.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .cache import built, recipe_key
from .commands import run
from .packages import SUITES, Toy, build_packages, kernel_metapackage, pack
from .sources import cloud_kernels, download

FAILS = "#!/bin/sh\necho 'toy: this post-installation script fails on purpose' >&2\nexit 1\n"
TOY_2 = Toy("toy", "2.0", depends="toy-newdep")
NEW_DEPENDENCY = Toy("toy-newdep", "1.0")
SECURE_2 = Toy("toy-secure", "2.0")


@dataclass(frozen=True, slots=True)
class Variant:
    """What a repository offers."""

    main: tuple[Toy, ...] = ()
    security: tuple[Toy, ...] = ()
    agent: bool = False  # a newer qemu-guest-agent, whose upgrade restarts it
    kernel: bool = False  # Debian's newest cloud kernel, and a metapackage that wants it
    valid_until: str = ""


VARIANTS = {
    "plain": Variant((TOY_2, NEW_DEPENDENCY, Toy("toy-held", "2.0")), (SECURE_2,)),
    "failing": Variant((Toy("toy", "2.0", postinst=FAILS),)),
    "agent": Variant((TOY_2, NEW_DEPENDENCY), agent=True),
    "kernel": Variant((TOY_2, NEW_DEPENDENCY), kernel=True),
    "empty": Variant(),
    "stale": Variant((TOY_2, NEW_DEPENDENCY), valid_until="Sat, 01 Jan 2022 00:00:00 UTC"),
}


def repository(variant: str) -> Path:
    """A folder with `tree/` (the repository, for HTTP) and `repo.iso` (the same on a CD)."""
    also = [variant, cloud_kernels()[-1]] if VARIANTS[variant].kernel else [variant]
    key = recipe_key("repositories.py", "packages.py", "sources.py", also=also)
    return built(f"repository-{variant}", key, lambda folder: _build(folder, VARIANTS[variant]))


def _build(folder: Path, variant: Variant) -> None:
    tree = folder / "tree"

    def add_main(pool: Path) -> None:
        build_packages(variant.main, pool)
        if variant.agent:
            _newer_agent(pool)
        if variant.kernel:
            newest = download(cloud_kernels()[-1], pool).name.split("_")[0]
            build_packages([kernel_metapackage(newest, "99")], pool)

    _suite(tree, "bookworm", add_main, variant.valid_until)
    _suite(tree, "bookworm-security", lambda pool: build_packages(variant.security, pool), variant.valid_until)
    # Rock Ridge, for names longer than 8.3; a volume name to mount it by.
    run(
        ["genisoimage", "-quiet", "-r", "-J", "-joliet-long", "-V", "BENCHREPO", "-o", folder / "repo.iso", tree],
        timeout=120,
    )
    (folder / "repo.iso").chmod(0o644)


def _suite(tree: Path, suite: str, fill: Callable[[Path], object], valid_until: str) -> None:
    pool = tree / "pool" / suite
    index = tree / "dists" / suite / "main" / "binary-amd64"
    pool.mkdir(parents=True)
    index.mkdir(parents=True)
    fill(pool)
    packages = run(["dpkg-scanpackages", "-m", f"pool/{suite}"], timeout=120, cwd=tree)
    (index / "Packages").write_bytes(packages)
    label, name = SUITES[suite]
    words = {
        "Origin": "Debian",
        "Label": label,
        "Suite": name,
        "Version": "12",
        "Codename": suite,
        "Architectures": "amd64 all",
        "Components": "main",
    }
    options = [w for key, value in words.items() for w in ("-o", f"APT::FTPArchive::Release::{key}={value}")]
    release = run(["apt-ftparchive", *options, "release", tree / "dists" / suite], timeout=120)
    if valid_until:  # apt-ftparchive can't date it back
        release = f"Valid-Until: {valid_until}\n".encode() + release
    (tree / "dists" / suite / "Release").write_bytes(release)


def _newer_agent(pool: Path) -> None:
    """Debian's own guest agent with a higher version: its scripts restart the service, as ever."""
    old = download("qemu-guest-agent", pool)
    tree = pool / ".agent"
    run(["dpkg-deb", "-R", old, tree], timeout=60)
    old.unlink()
    control = tree / "DEBIAN" / "control"
    text, count = re.subn(r"(?m)^(Version: .*)$", r"\1+bench1", control.read_text())
    if count != 1:
        raise ValueError("a package with more than one version")
    control.write_text(text)
    pack(tree, pool / "qemu-guest-agent_newer_amd64.deb")
