"""The kernel and the initrd that the small guests are booted with directly: Debian's cloud kernel."""

import gzip
import shutil
import subprocess
from pathlib import Path

from .cache import built, recipe_key
from .commands import HERE, BenchError, run
from .sources import cloud_kernels, download

MODULES = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "virtio_scsi",
    "sr_mod",
    "isofs",
    "button",
    "evdev",
]
# How an lz4 "legacy" frame begins, in which Debian's cloud kernel is packed.
LZ4_MAGIC = b"\x02\x21\x4c\x18"


def boot_files() -> Path:
    """A folder with `vmlinux` and `initrd.gz`."""
    kernel = cloud_kernels()[-1]
    key = recipe_key("kernel.py", "data/initrd-init", also=kernel)
    return built("kernel", key, lambda folder: _build(folder, kernel))


def _build(folder: Path, package: str) -> None:
    root = folder / "root"
    run(["dpkg-deb", "-x", download(package, folder), root], timeout=60)
    (version,) = (entry.name for entry in (root / "lib" / "modules").iterdir())
    _unpack_kernel(root / "boot" / f"vmlinuz-{version}", folder / "vmlinux")
    run(["depmod", "-b", root, version], timeout=60)
    _initrd(root / "lib" / "modules" / version, folder)
    shutil.rmtree(root)
    for file in folder.glob("*.deb"):
        file.unlink()


def _unpack_kernel(packed: Path, plain: Path) -> None:
    """Unpack the kernel once, here: emulated, each guest would need seconds for it."""
    content = packed.read_bytes()
    start = content.find(LZ4_MAGIC)
    if start < 0:
        raise BenchError(f"{packed.name} isn't packed with lz4 any more")
    # What follows the frame makes lz4 end with an error after it wrote all of it: judge by the result.
    with plain.open("wb") as out:
        subprocess.run(
            ["lz4", "-dc"], input=content[start:], stdout=out, stderr=subprocess.DEVNULL, timeout=60, check=False
        )
    if not plain.read_bytes().startswith(b"\x7fELF"):
        raise BenchError(f"{packed.name} didn't unpack to a kernel")


def _initrd(modules: Path, folder: Path) -> None:
    tree = folder / "initrd"
    for name in ("bin", "proc", "sys", "dev", "modules", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy2("/bin/busybox", tree / "bin" / "busybox")
    shutil.copy2(HERE / "data" / "initrd-init", tree / "init")
    (tree / "init").chmod(0o755)
    files = _in_loading_order(modules / "modules.dep")
    for file in files:
        shutil.copy2(modules / file, tree / "modules" / Path(file).name)
    (tree / "modules" / "order").write_text("".join(f"{Path(file).name}\n" for file in files))
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    archive = run(["cpio", "-o", "-H", "newc", "--quiet"], stdin=names.encode(), cwd=tree, timeout=60)
    (folder / "initrd.gz").write_bytes(gzip.compress(archive, mtime=0))
    shutil.rmtree(tree)


def _in_loading_order(dependencies: Path) -> list[str]:
    """The wanted modules and all that they need, in an order in which insmod takes them.

    A line of modules.dep names a module and what it needs, nearest first (modules.dep(5)). A module that has
    no line is built into the kernel.
    """
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in dependencies.read_text().splitlines():
        file, _, others = line.partition(":")
        needs[file] = others.split()
        by_name[Path(file).name.removesuffix(".ko").replace("-", "_")] = file
    order: list[str] = []
    for name in MODULES:
        if name in by_name:
            file = by_name[name]
            order += [each for each in (*reversed(needs[file]), file) if each not in order]
    return order
