"""Which driver serves which kind of management server. A new platform adds one line here."""

from importlib import import_module

from inventory.platforms.base import Platform, ServerConfig

KINDS = {
    "lab": "inventory.platforms.lab:LabPlatform",
    "libvirt": "inventory.platforms.libvirt.driver:LibvirtPlatform",
}


def open_platform(kind: str, config: ServerConfig) -> Platform:
    """The driver of this kind, told about its server. Its vendor library is imported only now."""
    module, _, name = KINDS[kind].partition(":")
    platform: Platform = getattr(import_module(module), name)(config)
    return platform
