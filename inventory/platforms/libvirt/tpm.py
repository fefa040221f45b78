"""A TPM's state: libvirt 9.0 keeps it where it likes, on the host, so it is carried there and back.

There is no setting for its place before libvirt 10.10; it is LIBVIRT_STATE/swtpm/UUID on the host. The worker
reaches that folder by the host's option `tpm_directory`. What lies there from another time is set aside, never
deleted; what we put there is taken away again once it is back in the servicing.
"""

import os
import pwd
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from inventory.platforms.base import HostRef
from inventory.platforms.libvirt import layout
from ovmst_site.faults import GiveUp, TryLater

DEFAULT_DIRECTORY = "/var/lib/libvirt/swtpm"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OURS = ".ovmst-owner"  # beside the state that we put on a host: whose it is


def directory_of(host: HostRef) -> Path:
    """The host's folder of TPM states as this worker reaches it. Raises GiveUp where it doesn't."""
    local = "+ssh" not in host.external_id and "+tls" not in host.external_id
    named = host.options.get("tpm_directory", DEFAULT_DIRECTORY if local else "")
    if not named:
        raise GiveUp(
            f"{host}: a machine with a TPM needs the option tpm_directory: the host's {DEFAULT_DIRECTORY},"
            " as workers reach it"
        )
    path = Path(named)
    if not path.is_dir() and not path.parent.is_dir():
        raise GiveUp(f"{host}: the folder of TPM states {path} can't be reached from this worker")
    return path


def put(host: HostRef, uuid: str, state: Path, owner: str) -> None:
    """Put the carried state where the host's libvirt will look for it. The machine is off."""
    top = directory_of(host)
    place = top / _safe(uuid)
    uid, gid = _emulator_of(host)
    top.mkdir(mode=0o711, exist_ok=True)
    if layout.is_directory(place):
        if _owner(place) == owner:
            shutil.rmtree(place)  # an earlier attempt of ours that didn't start
        else:
            os.rename(place, top / f"{uuid}.before-{secrets.token_hex(4)}")
    aside = top / f".{uuid}.{secrets.token_hex(4)}"
    layout.copy_tree(state, aside)
    (aside / OURS).write_text(owner)
    for path in [aside, *aside.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.chown(path, uid, gid, follow_symlinks=False)
    aside.chmod(0o711)  # as libvirt makes it: only the emulator's own folder below is closed
    os.rename(aside, place)
    layout.sync_directory(top)


def take_back(host: HostRef, uuid: str, state: Path, owner: str) -> None:
    """Copy the state that the guest left back over `state`. The machine is off. Raises TryLater."""
    place = directory_of(host) / _safe(uuid)
    if not layout.is_directory(place) or _owner(place) != owner:
        raise TryLater(f"{host}: the TPM state of {uuid} isn't where it was put ({place})")
    for stray in state.parent.glob(".tpm-*"):
        shutil.rmtree(stray)  # of an attempt that was cut short
    fresh = state.with_name(f".tpm-{secrets.token_hex(4)}")
    layout.copy_tree(place, fresh)
    (fresh / OURS).unlink(missing_ok=True)
    for lock in list(fresh.rglob(".lock")):
        lock.unlink()  # swtpm's own, no state
    old = state.with_name(f".tpm-old-{secrets.token_hex(4)}")
    if state.exists():
        os.rename(state, old)
    os.rename(fresh, state)
    layout.sync_directory(state.parent)
    if old.exists():
        shutil.rmtree(old)


def remove(host: HostRef, uuid: str, owner: str) -> None:
    """Take what we put there off the host; anything else stays."""
    with suppress(GiveUp):
        place = directory_of(host) / _safe(uuid)
        if layout.is_directory(place) and _owner(place) == owner:
            shutil.rmtree(place)


def _owner(place: Path) -> str:
    try:
        return layout.read_small(place / OURS).decode("utf-8", "replace")
    except (FileNotFoundError, layout.Unreadable):
        return ""


def _safe(uuid: str) -> str:
    if not UUID.fullmatch(uuid):
        raise GiveUp(f"{uuid!r} is not a UUID")
    return uuid


def _emulator_of(host: HostRef) -> tuple[int, int]:
    """The TPM emulator's user on the host: option tpm_owner as `uid:gid`, else this machine's user tss."""
    named = host.options.get("tpm_owner", "")
    if re.fullmatch(r"[0-9]+:[0-9]+", named):
        uid, gid = named.split(":")
        return int(uid), int(gid)
    try:
        entry = pwd.getpwnam("tss")
    except KeyError:
        return 0, 0
    return entry.pw_uid, entry.pw_gid
