"""Which driver serves which kind of management server. A new platform adds one line here."""

from importlib import import_module

from inventory.platforms.base import Platform, ServerConfig

KINDS = {
    "lab": "inventory.platforms.lab:LabPlatform",
    "libvirt": "inventory.platforms.libvirt.driver:LibvirtPlatform",
}
# Kinds whose calls end with the process that made them. Everywhere else what was asked for may take effect later.
END_WITH_US = ("lab",)


def open_platform(kind: str, config: ServerConfig) -> Platform:
    """The driver of this kind, told about its server. Its vendor library is imported only now."""
    module, _, name = KINDS[kind].partition(":")
    platform: Platform = getattr(import_module(module), name)(config)
    return platform
