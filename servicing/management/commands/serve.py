"""manage.py serve: the whole of OVMST in one process, or the pages of a larger installation."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ovmst_site import embedded, reloading
from ovmst_site.embedded import Embedded
from servicing.management import serving


class Command(BaseCommand):
    help = (
        "Migrate the database and serve: pages, worker and beat in one process where the broker is in memory "
        "(the default), pages alone where OVMST_BROKER_URL names one. Ctrl-C or SIGTERM stops it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        serving.add_arguments(parser)
        parser.add_argument(
            "--with-worker", action="store_true", help="worker and beat too, where OVMST_BROKER_URL names a broker"
        )
        parser.add_argument("--reload", action="store_true", help="start anew at every change of the code")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["reload"]:
            sys.exit(reloading.run([argument for argument in sys.argv if argument != "--reload"]))
        works = embedded.is_default() or options["with_worker"]

        def ready(site: Embedded, url: str) -> None:
            does = "pages, worker and beat" if works else "pages; workers are started apart"
            self.stdout.write(f"OVMST is at {url} ({does}). Ctrl-C stops it.")
            self.stdout.flush()

        status = serving.serve(
            options["host"], options["port"], threads=max(1, options["threads"]) if works else 0, ready=ready
        )
        self.stdout.write("Stopped.")
        embedded.leave(status)
