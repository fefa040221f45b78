"""What `doctor` says about a libvirt management server: itself, its shares, its hosts."""

import grp
import os
import pwd
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from inventory.platforms.base import Check, HostRef, ServerConfig
from inventory.platforms.libvirt import evidence, waking
from inventory.platforms.libvirt.hosts import Host, LibvirtError
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater

TOOLS = {"qemu-img": "qemu-utils", "setpriv": "util-linux"}
EMULATOR_USERS = ("libvirt-qemu", "qemu")  # Debian's and Red Hat's


def check(config: ServerConfig, hosts: Sequence[tuple[HostRef, Host]]) -> Iterator[Check]:
    """One line for what workers need, one for each share, two for each host."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    yield Check(
        f"{config.name}: qemu-img on this worker",
        not missing,
        f"install {' and '.join(missing)}" if missing else "",
    )
    yield from (_share(share) for share in config.shares)
    for ref, host in hosts:
        about = _host(ref, host)
        yield about
        if about.ok:
            yield _network(ref, host)
    if any("+ssh" not in ref.external_id and "+tls" not in ref.external_id for ref, _host in hosts):
        yield kvm(Path("/dev/kvm"))


def _share(share: str) -> Check:
    what = f"library share {share}"
    if not os.path.isdir(share):
        return Check(what, False, "it isn't there: mount it on this worker, at the same path as on the hosts")
    if not os.access(share, os.W_OK | os.X_OK):
        return Check(what, False, "this worker can't write to it: publishing needs that")
    return Check(what, True)


def _host(ref: HostRef, host: Host) -> Check:
    what = f"host {ref}"
    try:
        host.call("info", deadline=15)
    except (TryLater, LibvirtError) as error:
        return Check(what, False, f"{error}: is libvirtd running there, and may this worker connect?")
    directory = evidence.log_directory(ref)
    if not directory:
        return Check(what, True, "no log_directory: after a worker's restart no shut-down can be shown to be clean")
    if not os.access(directory, os.R_OK | os.X_OK):
        return Check(what, False, f"this worker can't read its log_directory {directory}")
    return Check(what, True)


def _network(ref: HostRef, host: Host) -> Check:
    what = f"servicing network {ref.servicing_network or '(none)'} on {ref}"
    try:
        mode = waking.check_network(host, ref, ref.servicing_network)
    except (TryLater, GiveUp, NeedsAttention, LibvirtError) as error:
        return Check(what, False, str(error))
    if mode == "isolated":
        return Check(what, True)
    return Check(
        what, True, f"it forwards ({mode}): guests reach what their host lets through, so filter production there"
    )


def kvm(device: Path) -> Check:
    """Whether the emulator's user may open /dev/kvm.

    Where the device exists and it may not, libvirt throws its record of QEMU's abilities away at every look-up:
    each start then takes about a minute.
    """
    what = "/dev/kvm on this machine"
    try:
        status = device.stat()
    except FileNotFoundError:
        return Check(what, True, "there is none: guests are emulated, which is several times slower")
    for name in EMULATOR_USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        groups = {user.pw_gid, *(g.gr_gid for g in grp.getgrall() if name in g.gr_mem)}
        allowed = (
            bool(status.st_mode & 0o006 == 0o006)
            or (status.st_gid in groups and status.st_mode & 0o060 == 0o060)
            or (status.st_uid == user.pw_uid and status.st_mode & 0o600 == 0o600)
        )
        if not allowed:
            return Check(
                what,
                False,
                f"user {name} can't open it, and each start of a machine takes a minute:"
                " chgrp kvm /dev/kvm && chmod 660 /dev/kvm (and put the user into the group kvm)",
            )
    return Check(what, True)
