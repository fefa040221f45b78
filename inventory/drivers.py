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
    with _lock:
        known = _open.get(server.pk)
        if known is not None and time.monotonic() - known.looked_at < LOOK_AGAIN_AFTER:
            return known.platform
        config = _config(server)
        # Secrets compare by identity; their sealed form stands in for them.
        sealed = bytes(server.credential.encrypted) if server.credential else b""
        options = tuple(sorted(config.options.items()))
        described_by = (server.kind, config.address, config.hosts, config.shares, options, sealed)
        if known is not None and known.described_by == described_by:
            known.looked_at = time.monotonic()
            return known.platform
        platform = open_platform(server.kind, config)
        _open[server.pk] = _Open(described_by, platform, time.monotonic())
        return platform


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
