"""Which simulated world a management server's address names, in this process."""

import threading

from inventory.lab.world import World

_lock = threading.Lock()
_worlds: dict[str, World] = {}


def use(name: str, world: World) -> None:
    """From now on the address `name` means this world."""
    with _lock:
        _worlds[name] = world


def get(name: str) -> World:
    """The world of that name; an empty one on the wall clock where there was none."""
    with _lock:
        return _worlds.setdefault(name, World())


def forget() -> None:
    """Drop all of them."""
    with _lock:
        _worlds.clear()
