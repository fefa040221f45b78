"""Makes valid rows, and a lab to go with them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from inventory.drivers import platform_for
from inventory.lab import worlds
from inventory.lab.world import WorkerDied, World
from inventory.models import Host, HostGroup, LibraryServer, LibraryShare, ManagementServer, StoredResource
from inventory.platforms.base import Platform
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.access.models import Team
from ovmst_site.clock import JumpingClock
from servicing import engine, ledger
from servicing.actions import QUEUE, start_run
from servicing.models import Group, Job, Run, RunTarget, UpdateSystem

SHARE = "gold"


@dataclass
class LabSite:
    """A lab of one library and its rows; machines are added to `world`, then `sync` finds them."""

    clock: JumpingClock
    world: World
    server: ManagementServer
    share: LibraryShare
    hosts: HostGroup
    job: Job
    deaths: int = 0

    @property
    def platform(self) -> Platform:
        return platform_for(ManagementServer.objects.get(pk=self.server.pk))

    def machine(self, external_id: str = "m1", **options: Any) -> None:
        self.world.add_machine(external_id, share=SHARE, **options)

    def start(self) -> Run:
        """Sync, put everything that was found into the job's group, and start a run."""
        sync(self.server, clock.now())
        self.job.group.resources.set(
            StoredResource.objects.filter(management_server=self.server, missing_since=None)
        )
        return start_run(self.job, SERVICE)

    def run_to_end(self, run: Run, *, longest: timedelta = timedelta(days=2)) -> None:
        """Advance until nothing is due any more, jumping over the waits."""
        end = self.clock.now() + longest
        while self.clock.now() < end:
            engine.advance_due(QUEUE)
            if not self.jump_to_next():
                return
        raise AssertionError(f"{run} has not ended after {longest}")

    def run_through_deaths(self, run: Run) -> None:
        """The same, with a new worker whenever one died."""
        while True:
            try:
                self.run_to_end(run)
            except WorkerDied:
                self.deaths += 1
            else:
                return

    def run_until(self, run: Run, step: str, *, operation: bool = False) -> None:
        """Advance until the run's one target is in this step (and its operation there is written down)."""
        for _ in range(5000):
            target = run.targets.get()
            there = (target.step, target.direction) == (step, "forward")
            if there and (not operation or target.operations.filter(step=step).exists()):
                return
            leases = ledger.claim("until", QUEUE, self.clock.now(), timedelta(seconds=90))
            for lease in leases:
                engine.take_one_step(lease)
            if not leases:
                self.jump_to_next()
        raise AssertionError(f"{run} has not come to {step}")

    def jump_to_next(self) -> bool:
        """Jump to when the next target is due and free; False when none is."""
        moments = [
            max(due, until) if until else due
            for due, until in RunTarget.objects.values_list("due_at", "lease_until")
            if due is not None
        ]
        if not moments:
            return False
        self.clock.jump(max(min(moments) - self.clock.now(), timedelta(0)) + timedelta(milliseconds=1))
        return True

    def serviced(self, external_id: str = "m1") -> RunTarget:
        """The last target of this machine, fresh."""
        return RunTarget.objects.filter(resource__external_id=external_id).latest("pk")


def make_lab_site(
    clock_: JumpingClock,
    *,
    keeps_original: bool = True,
    slots: int = 2,
    hosts: int = 1,
    name: str = "x",
    in_database: bool = False,
) -> LabSite:
    """`clock_` must be in use where the lab is kept in the database."""
    if in_database:
        world = worlds.create(name, keeps_original=keeps_original)
    else:
        world = World(clock_, keeps_original=keeps_original)
        worlds.use(name, world)
    team = Team.objects.get_or_create(name="Virtualization")[0]
    server = ManagementServer.objects.create(name=f"Lab {name}", kind="lab", address=name)
    library = LibraryServer.objects.create(management_server=server, name="library-1")
    share = LibraryShare.objects.create(library_server=library, path=SHARE, team=team)
    group = HostGroup.objects.create(name=f"Maintenance hosts {name}", team=team)
    for n in range(1, hosts + 1):
        world.add_host(f"h{n}", memory_mb=65536, slots=slots)
        Host.objects.create(
            management_server=server,
            group=group,
            name=f"host-{n}",
            external_id=f"h{n}",
            slots=slots,
            memory_mb=65536,
            servicing_network="servicing",
        )
    machines = Group.objects.create(team=team, name=f"All {name}")
    updates = UpdateSystem.objects.get_or_create(name="Lab updates", defaults={"kind": "lab"})[0]
    job = Job.objects.create(
        team=team, name=f"Monthly {name}", group=machines, update_system=updates, host_group=group
    )
    return LabSite(clock_, world, server, share, group, job)
