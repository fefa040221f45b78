"""manage.py sync_inventory [NAME] [--even-empty]: what is there, from each management server."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inventory.models import ManagementServer
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.faults import Fault


class Command(BaseCommand):
    help = "Sync hosts and stored machines from one management server, or from all that are enabled."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="a management server; all enabled ones without it")
        parser.add_argument(
            "--even-empty",
            action="store_true",
            help="believe a share that lists none of the machines that it had: it was emptied, and is mounted",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        servers = ManagementServer.objects.select_related("credential")
        chosen = list(servers.filter(name=options["name"]) if options["name"] else servers.filter(enabled=True))
        if not chosen:
            known = ", ".join(repr(s.name) for s in servers) or "none yet; add one in the admin"
            raise CommandError(f"There is no such management server. There is: {known}.")
        failed = 0
        for server in chosen:
            try:
                made = sync(server, clock.now(), even_empty=options["even_empty"])
            except Fault as fault:
                failed += 1
                self.stderr.write(f"{server.name}: nothing changed: {fault}")
                continue
            self.stdout.write(f"{server.name}: {made}")
            for damaged in made.damaged:
                self.stderr.write(f"{server.name}: damaged: {damaged.where}: {damaged.reason}")
        if failed:
            raise CommandError(f"{failed} of {len(chosen)} management servers could not be synced.")
