"""From rows to drivers: opens each management server's platform once per process."""

import threading
from pathlib import Path

from django.conf import settings

from inventory.models import ManagementServer
from inventory.platforms.base import Platform, ServerConfig
from inventory.platforms.registry import open_platform
from inventory.remote.base import Secret

_lock = threading.Lock()
_open: dict[int, tuple[tuple[object, ...], Platform]] = {}


def platform_for(server: ManagementServer) -> Platform:
    """The driver of this server as its rows describe it now; opened anew when they changed."""
    config = _config(server)
    # Secrets compare by identity; their sealed form stands in for them.
    sealed = bytes(server.credential.encrypted) if server.credential else b""
    key = (
        server.kind,
        config.address,
        config.hosts,
        config.shares,
        tuple(sorted(config.options.items())),
        sealed,
    )
    with _lock:
        known = _open.get(server.pk)
        if known and known[0] == key:
            return known[1]
        platform = open_platform(server.kind, config)
        _open[server.pk] = (key, platform)
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
