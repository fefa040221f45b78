"""Which simulated world a management server's address names: one in this process, or one in the database."""

import threading

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

import ovmst_site.clock
from inventory.lab.database import Database
from inventory.lab.models import LabWorld
from inventory.lab.storage import Clock, Pace, checked_scale
from inventory.lab.world import World

_lock = threading.Lock()
_worlds: dict[str, World] = {}


def use(name: str, world: World) -> None:
    """From now on the address `name` means this world, in this process."""
    with _lock:
        _worlds[name] = world


def get(name: str) -> World:
    """The world of that name. Raises GiveUp where there is none, TryLater where the database doesn't answer."""
    with _lock:
        known = _worlds.get(name)
    return known or World(storage=Database(name))


def create(
    name: str, *, keeps_original: bool = True, time_scale: float | None = None, clock: Clock | None = None
) -> World:
    """A new, empty world in the database. Its clock starts with OVMST's own and then runs `time_scale` times
    faster (OVMST_LAB_TIME_SCALE where nothing is said). Raises ValueError for what it can't be."""
    scale = checked_scale(settings.LAB_TIME_SCALE if time_scale is None else time_scale)
    now = (clock or ovmst_site.clock).now().timestamp()
    pace = Pace().changed(scale, wall=now, now=now)
    row = LabWorld(name=name, keeps_original=keeps_original, time_scale=pace.scale, clock_offset=pace.offset)
    try:
        row.full_clean()
        with transaction.atomic():
            row.save()
    except ValidationError as error:
        raise ValueError(f"A lab can't be named {name[:80]!r}: {' '.join(error.messages)}") from None
    except IntegrityError:
        raise ValueError(f"There is a lab of this name already: {name}") from None
    return World(storage=Database(name, clock))


def forget() -> None:
    """Drop all of those in this process."""
    with _lock:
        _worlds.clear()
