"""From rows to drivers: opens each management server's platform once per process."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from inventory.models import ManagementServer
from inventory.platforms.base import Platform, ServerConfig
from inventory.platforms.registry import open_platform
from inventory.remote.base import Secret

LOOK_AGAIN_AFTER = 5.0  # seconds until a change of a server's rows is noticed
_lock = threading.Lock()


@dataclass(slots=True)
class _Open:
    described_by: tuple[object, ...]
    platform: Platform
    looked_at: float  # monotonic


_open: dict[int, _Open] = {}


def platform_for(server: ManagementServer) -> Platform:
    """The driver of this server as its rows describe it (at most some seconds ago); opened anew when they
    changed."""
    looked_at = time.monotonic()
    with _lock:
        known = _open.get(server.pk)
        if known is not None and looked_at - known.looked_at < LOOK_AGAIN_AFTER:
            return known.platform
    # Not under the lock: the rows may have to wait for a connection, which those who have one may keep while they
    # wait for the lock.
    config = _config(server)
    # Secrets compare by identity; their sealed form stands in for them.
    sealed = bytes(server.credential.encrypted) if server.credential else b""
    options = tuple(sorted(config.options.items()))
    described_by = (server.kind, config.address, config.hosts, config.shares, options, sealed)
    if (same := _opened(server.pk, described_by, looked_at)) is not None:
        return same
    platform = open_platform(server.kind, config)
    with _lock:
        known = _open.get(server.pk)
        if known is None or known.described_by != described_by:  # nobody was quicker
            known = _open[server.pk] = _Open(described_by, platform, looked_at)
        return known.platform


def _opened(server: int, described_by: tuple[object, ...], looked_at: float) -> Platform | None:
    """The driver that is open, if it still is what was described just now."""
    with _lock:
        known = _open.get(server)
        if known is None or known.described_by != described_by:
            return None
        known.looked_at = max(known.looked_at, looked_at)
        return known.platform


def forget_platforms() -> None:
    """Open every platform anew at its next use (tests)."""
    with _lock:
        _open.clear()


def _config(server: ManagementServer) -> ServerConfig:
    shares = [s.path for library in server.library_servers.all() for s in library.shares.all()]
    folder = Path(settings.DATA) / "platforms" / str(server.pk)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {"accelerator": settings.LIBVIRT_ACCELERATOR, **server.options}
    return ServerConfig(
        name=server.name,
        address=server.address,
        hosts=tuple(host.ref() for host in server.hosts.all()),
        shares=tuple(shares),
        work_folder=str(folder),
        options=options,
        secret=server.credential.secret() if server.credential else Secret(""),
        calls_at_once=settings.CALLS_PER_SERVER,
    )
