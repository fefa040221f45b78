"""manage.py resolve_attention TARGET --return|--close --reason "…": a person has looked."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ovmst_site.access.gate import SERVICE
from ovmst_site.text import printable
from servicing.actions import resolve_attention
from servicing.models import RunTarget


class Command(BaseCommand):
    help = "Say what becomes of a machine that needs attention. Without arguments: list those that do."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("target", nargs="?", type=int, help="the target's number, from the alarm or this list")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--return", dest="bring_back", action="store_true", help="bring it back as it was before")
        how.add_argument("--close", action="store_true", help="I have brought it back myself")
        parser.add_argument("--reason", default="", help="kept with the machine's history")

    def handle(self, *args: Any, **options: Any) -> None:
        waiting = RunTarget.objects.filter(state=RunTarget.State.ATTENTION).select_related("resource", "run__job")
        if options["target"] is None:
            for one in waiting:
                self.stdout.write(f"{one.pk}\t{one.resource.name!r}\t{printable(one.reason)}")
            self.stdout.write(f"{len(waiting)} need attention")
            return
        target = waiting.filter(pk=options["target"]).first()
        if target is None:
            raise CommandError(f"Target {options['target']} doesn't need attention.")
        if not (options["bring_back"] or options["close"]):
            raise CommandError("Say --return (OVMST brings it back) or --close (you have done it).")
        try:
            resolve_attention(target, SERVICE, options["reason"], bring_back=options["bring_back"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(f"target {target.pk}: {'being brought back' if options['bring_back'] else 'closed'}")
