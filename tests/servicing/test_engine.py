"""The engine through whole cycles, on the memory lab and a clock that jumps."""

from servicing.models import Event, RunTarget
from tests.factories import LabSite

Outcome = RunTarget.Outcome


def log_of(target: RunTarget) -> str:
    return "\n".join(f"{e.n} {e.step}: {e.text}" for e in Event.objects.filter(target=target).order_by("n"))


def test_a_machine_is_woken_updated_and_stored(either_lab: LabSite):
    either_lab.machine("m1")
    run = either_lab.start()
    either_lab.run_to_end(run)
    target = either_lab.serviced()
    print(log_of(target))
    assert target.outcome == Outcome.SUCCEEDED, log_of(target)
    assert either_lab.world.violations == []
    assert either_lab.world.awake() == []
    assert either_lab.world.residue() == []
