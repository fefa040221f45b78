"""The demonstration: a lab full of stored machines and all the rows to service them.

Every part looks whether it is there before it makes it: a demonstration that was interrupted is gone on with.
"""

import secrets
from dataclasses import dataclass

from django.conf import settings

from inventory.lab import filling, worlds
from inventory.lab.world import World
from inventory.models import Host, HostGroup, LibraryServer, LibraryShare, ManagementServer, StoredResource
from inventory.sync import AlreadySyncing, sync, take_over
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.access.models import Membership, Person, Role, Team
from ovmst_site.faults import Fault, GiveUp
from servicing.actions import start_run
from servicing.models import Group, Job, Run, UpdateSystem

ADDRESS = "demo"
SERVER = "Lab"
TEAM = "Virtualization"
JOB = "Demo: all machines"
ADMINISTRATOR = "admin"
MACHINES, LIBRARIES, HOSTS = 60, 2, 4
SEED = 4  # the same lab every time
SCALE = 40  # what takes hours takes minutes; OVMST_LAB_TIME_SCALE says otherwise


class NotADemo(Exception):
    """The database holds a real installation: the demonstration keeps away from it."""


@dataclass(frozen=True, slots=True)
class Demo:
    run: Run
    world: World
    password: str  # of the administrator who was made now; empty where there was one already


def set_up() -> Demo:
    """Make what isn't there yet, and start the first run if there was none. Raises NotADemo, changing
    nothing."""
    _must_be_a_demo()
    world = _world()
    team = Team.objects.get_or_create(name=TEAM)[0]
    server = _rows(world, team)
    _sync(server)
    job = _groups_and_jobs(server, team)
    password = _administrator(team)
    run = job.runs.order_by("pk").first() or start_run(job, SERVICE)
    return Demo(run, world, password)


def _must_be_a_demo() -> None:
    others = ManagementServer.objects.exclude(kind="lab", address=ADDRESS)
    server = others.first()
    if server is not None:
        machines = StoredResource.objects.filter(management_server__in=others).count()
        raise NotADemo(f"It has the management server {server.name!r} ({machines} machines aren't the demo's)")


def _world() -> World:
    try:
        world = worlds.get(ADDRESS)
        world.hosts()
    except GiveUp:
        world = worlds.create(ADDRESS, time_scale=settings.LAB_TIME_SCALE if settings.LAB_TIME_SCALE > 1 else SCALE)
    if not world.hosts():
        filling.fill(world, machines=MACHINES, libraries=LIBRARIES, hosts=HOSTS, seed=SEED)
    return world


def _rows(world: World, team: Team) -> ManagementServer:
    server = ManagementServer.objects.get_or_create(kind="lab", address=ADDRESS, defaults={"name": SERVER})[0]
    for share in world.shares():
        name = share.name.partition("/")[0]
        library = LibraryServer.objects.get_or_create(management_server=server, name=name)[0]
        LibraryShare.objects.get_or_create(library_server=library, path=share.name, defaults={"team": team})
    group = HostGroup.objects.get_or_create(name="Maintenance hosts", team=team)[0]
    for host in world.hosts():
        about = {
            "group": group,
            "name": host.name,
            "slots": host.slots,
            "memory_mb": host.memory_mb,
            "servicing_network": host.servicing_network,
        }
        Host.objects.get_or_create(management_server=server, external_id=host.id, defaults=about)
    return server


def _sync(server: ManagementServer) -> None:
    """What the lab has; or what is known of it, where it can't be asked now: the sync's record says why."""
    try:
        sync(server, clock.now())
    except Fault as fault:
        if StoredResource.objects.filter(management_server=server).exists():
            return
        if not isinstance(fault, AlreadySyncing):
            raise
        # A demonstration that was killed in its first sync; its record would be believed for a while yet.
        take_over(server, clock.now())
        sync(server, clock.now())


def _groups_and_jobs(server: ManagementServer, team: Team) -> Job:
    """A group and a job of all machines, and one for each operating system."""
    updates = UpdateSystem.objects.get_or_create(name="Lab updates", defaults={"kind": "lab"})[0]
    hosts = HostGroup.objects.get(name="Maintenance hosts", team=team)
    machines = StoredResource.objects.filter(management_server=server)
    wanted = {JOB: ("All machines", machines)}
    for system in sorted(set(machines.values_list("operating_system", flat=True)) - {""}):
        wanted[f"Demo: {system}"] = (f"All {system}", machines.filter(operating_system=system))
    for name, (title, members) in wanted.items():
        group, is_new = Group.objects.current().get_or_create(team=team, name=title[:100])
        if is_new:
            group.resources.set(members)
        about = {"group": group, "update_system": updates, "host_group": hosts}
        Job.objects.current().get_or_create(team=team, name=name[:100], defaults=about)
    return Job.objects.current().get(team=team, name=JOB)


def _administrator(team: Team) -> str:
    if Person.objects.filter(username=ADMINISTRATOR).exists():
        return ""
    password = secrets.token_urlsafe(12)
    person = Person.objects.create_superuser(ADMINISTRATOR, password=password, must_change_password=True)
    Membership.objects.create(person=person, team=team, role=Role.ADMINISTRATOR)
    return password
