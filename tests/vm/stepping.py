"""Takes one target on step by step, in this process, to where a test wants to interfere."""

import time
from collections.abc import Callable
from datetime import timedelta

from inventory.drivers import platform_for
from inventory.models import StoredResource
from inventory.platforms.base import Observed
from inventory.remote.base import GuestChannel
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from servicing import engine, ledger
from servicing.actions import QUEUE, start_run
from servicing.models import Job, Run, RunTarget
from tests.vm.site import log_of

LONGEST = 1800  # seconds


def start(job: Job) -> Run:
    return start_run(job, SERVICE)


def step_until(run: Run, reached: Callable[[RunTarget], bool]) -> None:
    """Advance the run's targets one step at a time until `reached` holds for each of them."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        open_targets = [t for t in run.targets.all() if t.state in ("queued", "active")]
        waiting = [t for t in open_targets if not reached(t)]
        if not waiting:
            return
        # Only those that haven't reached it: the others stay where they are.
        RunTarget.objects.filter(pk__in=[t.pk for t in open_targets if reached(t)]).update(queue="held")
        leases = ledger.claim("stepper", QUEUE, clock.now(), timedelta(seconds=90), only_run=run.pk)
        for lease in leases:
            engine.take_one_step(lease)
        if not leases:
            time.sleep(0.2)
    raise AssertionError("\n\n".join(log_of(t) for t in run.targets.all()))


def at(step: str, direction: str = "forward") -> Callable[[RunTarget], bool]:
    return lambda target: (target.step, target.direction) == (step, direction)


def run_to_end(run: Run) -> None:
    run.targets.update(queue=QUEUE)
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        engine.advance_due(QUEUE, only_run=run.pk)
        if not run.targets.filter(state__in=("queued", "active")).exists():
            return
        time.sleep(0.2)
    raise AssertionError("\n\n".join(log_of(t) for t in run.targets.all()))


def channel_to(target: RunTarget) -> GuestChannel:
    resource = target.resource
    assert target.host is not None
    return platform_for(resource.management_server).guest(resource.ref(), target.host.ref())


def observe(resource: StoredResource) -> Observed:
    return platform_for(resource.management_server).observe(resource.ref())
