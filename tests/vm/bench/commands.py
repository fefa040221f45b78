"""Starting programs: argument lists, a time limit each, and errors that say what went wrong."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[2]


class BenchError(RuntimeError):
    """The bench can't do what was asked; the text is for the person who runs the tests."""


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Run a program to its end and return its standard output.

    `timeout` is in seconds. Raises BenchError, with the last lines it said, when it fails or takes longer.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            check=False,
        )
    except FileNotFoundError as error:
        raise BenchError(f"{words[0]} is not installed: see tests/vm/bench/PACKAGES") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(words[:4])} … took longer than {timeout:g} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()[-15:]
        raise BenchError(f"{' '.join(words[:6])} … ended with status {done.returncode}:\n" + "\n".join(said))
    return done.stdout


PROGRAMS = [
    "apt-ftparchive",
    "busybox",
    "cpio",
    "dnsmasq",
    "mkfs.vfat",
    "dpkg-deb",
    "dpkg-scanpackages",
    "debugfs",
    "mke2fs",
    "sfdisk",
    "genisoimage",
    "grub-mkimage",
    "ip",
    "bridge",
    "iptables",
    "depmod",
    "libvirtd",
    "virtlogd",
    "lz4",
    "mmdebstrap",
    "mcopy",
    "mmd",
    "ssh",
    "ssh-keygen",
    "qemu-system-x86_64",
    "qemu-img",
    "swtpm",
    "swtpm_setup",
    "unshare",
    "nsenter",
]
FILES = ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/lib/grub/x86_64-efi")


def require_programs() -> None:
    """Raise BenchError, naming everything at once, unless we are root and all that we start is there."""
    if os.geteuid() != 0:
        raise BenchError("the bench starts libvirt hosts in namespaces of their own: run it as root")
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    missing += [file for file in FILES if not Path(file).exists()]
    if find_spec("libvirt") is None:
        missing.append("Python's libvirt module (pip install libvirt-python, needs libvirt-dev)")
    if missing:
        wanted = " ".join((HERE / "PACKAGES").read_text().split())
        raise BenchError(f"missing: {', '.join(missing)}. Debian packages: apt-get install {wanted}")
