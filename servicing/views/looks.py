"""Ask a platform how a machine is, for a page: the answer, its fault, or that it didn't answer in time."""

import logging
import threading
from dataclasses import dataclass, field

from django.db import connections

from inventory.drivers import platform_for
from inventory.platforms.base import MachineRef, Observed, Platform
from ovmst_site.faults import Fault
from servicing.models import Installation, RunTarget

log = logging.getLogger(__name__)
LONGEST_LOOK = 15.0  # seconds that a page waits


@dataclass(slots=True)
class Look:
    seen: Observed | None = None
    problem: str = ""  # why nothing was seen
    is_ours: bool = False  # the marker on it names this target
    adapters: list[tuple[str, str, bool]] = field(default_factory=list)  # address, network, isolated


class _Asking:
    """One question under way. Whoever asks the same meanwhile waits for its answer too: a platform that hangs
    is held up by one thread for each machine, however often a page is opened."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.seen: Observed | None = None
        self.problem = ""


_lock = threading.Lock()
_asking: dict[int, _Asking] = {}


def look_at(target: RunTarget, *, longest: float | None = None) -> Look:
    """What the platform says of the target's machine now. Never raises for a platform's fault, or for one
    in how it is set up."""
    resource = target.resource
    try:
        platform, machine = platform_for(resource.management_server), resource.ref(target.run.job.credential)
    except Fault as fault:
        return Look(problem=str(fault))
    with _lock:
        asking = _asking.get(target.pk)
        if asking is None:
            asking = _asking[target.pk] = _Asking()
            arguments = (target.pk, asking, platform, machine)
            threading.Thread(target=_ask, args=arguments, name=f"look-{target.pk}", daemon=True).start()
    longest = LONGEST_LOOK if longest is None else longest
    if not asking.over.wait(longest):
        return Look(problem=f"The platform has not answered within {longest:g} seconds.")
    if asking.seen is None:
        return Look(problem=asking.problem)
    marker = asking.seen.marker
    ours = marker is not None and (marker.installation, marker.target) == (
        Installation.current_name(),
        str(target.pk),
    )
    adapters = [(address, a.network, a.isolated) for address, a in sorted(asking.seen.adapters.items())]
    return Look(seen=asking.seen, is_ours=ours, adapters=adapters)


def _ask(key: int, asking: _Asking, platform: Platform, machine: MachineRef) -> None:
    try:
        asking.seen = platform.observe(machine)
    except Fault as fault:
        asking.problem = str(fault) or type(fault).__name__
    except Exception:
        log.exception("Looking at %s failed", machine)
        asking.problem = "Asking the platform failed; the log says how."
    finally:
        with _lock:
            _asking.pop(key, None)
        asking.over.set()
        connections.close_all()  # this thread's own
