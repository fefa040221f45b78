"""A host's own /dev/kvm. Where the emulator's user can't open it, libvirt 9 drops its capability cache at every
look-up, and each start of a guest takes a minute: so a host of the tests has a node that it can open."""

import os
import pwd
from pathlib import Path

DEVICE = Path("/dev/kvm")
EMULATOR_USER = "libvirt-qemu"


def make_node(path: Path) -> None:
    """Make the node, to be bound over the machine's in the host's mount namespace; none where there is no KVM."""
    if DEVICE.exists():
        os.mknod(path, 0o020660, DEVICE.stat().st_rdev)
        os.chown(path, 0, pwd.getpwnam(EMULATOR_USER).pw_gid)
        path.chmod(0o660)
