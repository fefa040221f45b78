"""Which driver serves which update system. A new one adds one line here."""

from importlib import import_module

from servicing.updaters.base import Updater

KINDS = {
    "lab": "servicing.updaters.lab:LabUpdater",
    "apt": "servicing.updaters.apt.driver:AptUpdater",
}


def open_updater(kind: str) -> Updater:
    """The driver of this kind of update system."""
    module, _, name = KINDS[kind].partition(":")
    updater: Updater = getattr(import_module(module), name)()
    return updater
