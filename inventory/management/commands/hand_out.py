"""manage.py hand_out MACHINE HOST DIRECTORY: define a machine's current generation on a host, for use."""

from typing import Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from inventory.drivers import platform_for
from inventory.management.commands.adopt_machine import find_libvirt_host
from inventory.models import StoredResource
from inventory.platforms.libvirt.driver import LibvirtPlatform
from inventory.platforms.libvirt.library_moves import hand_out, plan_hand_out
from ovmst_site.faults import Fault


class Command(BaseCommand):
    help = "Define a stored machine on a host, on copies of its disks. Without --yes this is a dry run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("machine", help="its name or external id")
        parser.add_argument("host", help="the host's name in the inventory")
        parser.add_argument("directory", help="where its disks are copied to: the same path on host and worker")
        parser.add_argument("--yes", action="store_true", help="do it")

    def handle(self, *args: Any, **options: Any) -> None:
        host = find_libvirt_host(options["host"])
        asked = options["machine"]
        found = StoredResource.objects.filter(Q(name=asked) | Q(external_id=asked))
        machines = list(found.filter(management_server=host.management_server, share__isnull=False)[:2])
        if not machines:
            raise CommandError(f"{host.management_server} has no stored machine {asked!r}.")
        if len(machines) > 1:
            raise CommandError(f"Several machines are named {asked!r}: say which by its external id.")
        machine = machines[0]
        platform = cast(LibvirtPlatform, platform_for(host.management_server))
        try:
            plan = plan_hand_out(platform, machine.ref(), host.ref(), options["directory"])
            self.stdout.write(f"{machine.name!r}, {plan.generation}, to {host}, disks in {plan.directory}")
            if plan.obstacles:
                raise CommandError("It can't be handed out: " + "; ".join(plan.obstacles))
            if not options["yes"]:
                self.stdout.write("A dry run: nothing was changed. Say --yes to do it.")
                return
            where = hand_out(platform, plan)
        except Fault as fault:
            raise CommandError(str(fault)) from fault
        StoredResource.objects.filter(pk=machine.pk).update(handed_out_to=f"{host.name}: {where}")
        self.stdout.write(f"Handed out: {machine.name!r} is defined on {host}, shut off, on copies in {where}.")
