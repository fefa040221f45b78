"""Many rows at once: runs as they look in the middle and at the end, without an engine."""

from datetime import timedelta

from inventory.models import StoredResource
from ovmst_site import clock
from servicing import cycle
from servicing.models import Run, RunTarget
from tests.factories import LabSite

State, Outcome = RunTarget.State, RunTarget.Outcome
# (state, outcome, step, direction), dealt out in turn.
KINDS = (
    (State.FINISHED, Outcome.SUCCEEDED, "release", "forward"),
    (State.FINISHED, Outcome.RESTORED, "release", "return"),
    (State.ACTIVE, Outcome.NONE, "install", "forward"),
    (State.ACTIVE, Outcome.NONE, "rewind", "return"),
    (State.ATTENTION, Outcome.ATTENTION, "store", "return"),
    (State.QUEUED, Outcome.NONE, "preflight", "forward"),
)


def make_run(site: LabSite, targets: int, *, finished: bool = False, name: str = "vm") -> Run:
    """A run of `targets` machines of its own, of every kind in turn; a finished one has none that is open."""
    now = clock.now()
    last = StoredResource.objects.count()
    machines = StoredResource.objects.bulk_create(
        StoredResource(
            management_server=site.server,
            share=site.share,
            team=site.job.team,
            external_id=f"{name[:40]}-{last + n}",
            name=f"{name}-{last + n:05}",
        )
        for n in range(targets)
    )
    run = Run.objects.create(
        job=site.job, started_at=now - timedelta(hours=1), finished_at=now if finished else None
    )
    host = site.hosts.hosts.earliest("pk")
    made = []
    for n, machine in enumerate(machines):
        state, outcome, step, direction = KINDS[n % 2 if finished else n % len(KINDS)]
        is_over = state == State.FINISHED
        made.append(
            RunTarget(
                run=run,
                resource=machine,
                state=state,
                outcome=outcome,
                step=step,
                direction=direction,
                host=host if state != State.QUEUED else None,
                reason="install: the installation failed" if direction == "return" else "",
                note="installing 3 of 7" if state == State.ACTIVE else "",
                cycle_version=cycle.VERSION,
                created_at=run.started_at,
                entered_at=None if state == State.QUEUED else now - timedelta(seconds=n),
                finished_at=now if is_over else None,
            )
        )
    RunTarget.objects.bulk_create(made)
    return run
