"""manage.py demo: a lab full of machines, the pages, and a first run to watch."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ovmst_site import embedded
from ovmst_site.embedded import Embedded
from servicing import demo
from servicing.actions import count_awake
from servicing.demo import Demo, NotADemo
from servicing.management import serving
from servicing.telling import Teller, closing_line

LOOK_EVERY = 0.5  # seconds
# The lab's machines boot within seconds: looking seldom would be most of the time that a run takes.
POLL_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Set up a lab with 60 stored machines in this installation, serve the pages, and service all of them. "
        "Goes on with what is there. Ctrl-C or SIGTERM stops it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        serving.add_arguments(parser)
        parser.add_argument(
            "--once",
            action="store_true",
            help="end with the first run; exit status 1 if a machine is awake or lost then",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if "OVMST_POLL_SECONDS" not in os.environ:
            settings.POLL_SECONDS = POLL_SECONDS
        once: bool = options["once"]
        made: list[Demo] = []
        ended: list[str] = []

        def prepare() -> None:
            self._say("Setting up the lab …")
            try:
                made.append(demo.set_up())
            except NotADemo as error:
                raise CommandError(
                    f"{settings.DATA} holds a real installation: {error}. Name another folder in OVMST_DATA."
                ) from error

        def ready(site: Embedded, url: str) -> None:
            self._welcome(url, made[0], once=once)
            self._follow(made[0], site, ended, once=once)

        status = serving.serve(
            options["host"], options["port"], threads=max(1, options["threads"]), prepare=prepare, ready=ready
        )
        if once and not ended:
            self._say("Interrupted; the next `make demo` goes on with this run.")
            status = status or 1
        self._say(ended[0] if once and ended else "Stopped.")
        embedded.leave(status)

    def _welcome(self, url: str, made: Demo, *, once: bool) -> None:
        self._say(f"\n  OVMST is at    {url}")
        if made.password:
            self._say(f"  Sign in as     {demo.ADMINISTRATOR}")
            self._say(f"  with password  {made.password}   (once: it must be changed then)")
        else:
            self._say(f"  Sign in as     {demo.ADMINISTRATOR}")
            self._say(f"  New password:  manage.py changepassword {demo.ADMINISTRATOR}")
        self._say("" if once else "\n  Ctrl-C stops it; the next start goes on where it was.\n")
        self._say(f"run {made.run.pk} of {made.run.job.name}: {made.run.targets.count()} targets")

    def _follow(self, made: Demo, site: Embedded, ended: list[str], *, once: bool) -> None:
        """Tell the run's log until nothing more comes."""
        teller = Teller(made.run, self._say)
        while teller.tell():
            if site.wait(LOOK_EVERY):
                return
        awake, lost = count_awake(made.run), made.world.lost_machines()
        if lost:
            self._say(f"lost: {', '.join(lost)}")
        ended.append(closing_line(made.run, awake))
        if once:
            site.stop(status=1 if awake or made.world.awake() or lost else 0)
        else:
            self._say(ended[0])

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        sys.stdout.flush()
