"""manage.py adopt_machine HOST DOMAIN SHARE: bring a shut-off domain of a host into a library share."""

from typing import Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inventory.drivers import platform_for
from inventory.models import Host, LibraryShare
from inventory.platforms.libvirt.driver import LibvirtPlatform
from inventory.platforms.libvirt.library_moves import adopt, plan_adopt
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.faults import Fault


class Command(BaseCommand):
    help = "Bring a shut-off domain into a library share. Without --yes this is a dry run: nothing is changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("host", help="the host's name in the inventory")
        parser.add_argument("domain", help="the domain's name on that host")
        parser.add_argument("share", help="the library share's path")
        parser.add_argument("--yes", action="store_true", help="do it")

    def handle(self, *args: Any, **options: Any) -> None:
        host = find_libvirt_host(options["host"])
        server = host.management_server
        shares = LibraryShare.objects.filter(library_server__management_server=server)
        if not shares.filter(path=options["share"]).exists():
            known = ", ".join(shares.values_list("path", flat=True)) or "none yet; add one in the admin"
            raise CommandError(f"{server} has no library share {options['share']!r}. It has: {known}.")
        platform = cast(LibvirtPlatform, platform_for(server))
        try:
            plan = plan_adopt(platform, host.ref(), options["domain"], options["share"])
            self.stdout.write(f"{plan.domain!r} ({plan.uuid}) from {host} into {plan.share}:")
            for disk in plan.disks:
                self.stdout.write(f"  copy {disk.target}: {disk.source} ({disk.virtual_size / 2**30:.1f} GiB)")
            if plan.obstacles:
                raise CommandError("It can't be adopted: " + "; ".join(plan.obstacles))
            if not options["yes"]:
                self.stdout.write("A dry run: nothing was changed. Say --yes to do it.")
                return
            external_id = adopt(platform, plan)
            self.stdout.write(f"Adopted as {external_id}. These files stay on {host}; nothing needs them any more:")
            for path in plan.left_on_host:
                self.stdout.write(f"  {path}")
            self.stdout.write(f"{server}: {sync(server, clock.now())}")
        except Fault as fault:
            raise CommandError(str(fault)) from fault


def find_libvirt_host(name: str) -> Host:
    """The libvirt host of this name. Raises CommandError that says what there is."""
    hosts = Host.objects.filter(management_server__kind="libvirt").select_related("management_server__credential")
    host = hosts.filter(name=name).first()
    if host is None:
        known = ", ".join(repr(h.name) for h in hosts) or "none yet; add one in the admin"
        raise CommandError(f"There is no libvirt host {name!r}. There is: {known}.")
    return host
