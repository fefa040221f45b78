"""manage.py run_job NAME [--wait]: start a run; with --wait, perform it here and follow it to its end."""

import logging
import signal
import sys
import threading
import time
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, close_old_connections, connection

from ovmst_site import clock, pool
from ovmst_site.access.gate import SERVICE
from servicing import alarms, engine, presence
from servicing.actions import QUEUE, count_awake, start_run
from servicing.models import Job, Run, RunTarget
from servicing.telling import Teller, closing_line

log = logging.getLogger(__name__)
LOOK_EVERY = 0.2  # seconds


class Command(BaseCommand):
    help = "Start a servicing job. Exit status 1 if a target didn't succeed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the job's name")
        parser.add_argument("--team", help="whose job it is, where several teams have one of this name")
        parser.add_argument("--wait", action="store_true", help="perform the run here and follow it to its end")
        parser.add_argument("--resume", type=int, metavar="RUN", help="go on with a run that was interrupted")
        parser.add_argument("--threads", type=int, default=8, help="targets taken on at a time (with --wait)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["wait"] and (reason := pool.too_many(options["threads"])):
            raise CommandError(reason)
        job = _job(options["name"], options["team"])
        if options["resume"] is not None:
            run = job.runs.filter(pk=options["resume"]).first()
            if run is None:
                raise CommandError(f"Job {job.name!r} has no run {options['resume']}.")
        else:
            try:
                run = start_run(job, SERVICE, name_each=True)
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(f"run {run.pk} of {job.name}: {run.targets.count()} targets")
        if options["wait"]:
            with presence.performing():
                self._follow(run, options["threads"])
            awake = count_awake(run)
            self.stdout.write(closing_line(run, awake))
            if run.targets.exclude(outcome=RunTarget.Outcome.SUCCEEDED).exists():
                sys.exit(1)

    def _follow(self, run: Run, threads: int) -> None:
        """Advance the run's targets in threads of this process, and print its log as it grows."""
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        workers = [
            threading.Thread(target=_work, args=(run.pk, stop), name=f"target-{n}") for n in range(max(1, threads))
        ]
        for worker in workers:
            worker.start()
        teller = Teller(run, self.stdout.write)
        try:
            while not stop.is_set():
                if not teller.tell():
                    break
                if not any(worker.is_alive() for worker in workers):
                    raise CommandError(
                        f"All workers ended; go on with: run_job {run.job.name} --wait --resume {run.pk}"
                    )
                time.sleep(LOOK_EVERY)
        finally:
            interrupted = stop.is_set()
            stop.set()
            for worker in workers:
                worker.join()
        alarms.send_due(clock.now())
        if interrupted:
            raise CommandError(f"Interrupted; go on with: run_job {run.job.name} --wait --resume {run.pk}")


def _job(name: str, team: str | None) -> Job:
    jobs = Job.objects.current().select_related("team").order_by("team__name", "name")
    found = [job for job in jobs.filter(name=name) if team in (None, job.team.name)]
    if len(found) > 1:
        teams = ", ".join(repr(job.team.name) for job in found)
        raise CommandError(f"Several teams have a job {name!r}; say whose with --team: {teams}.")
    if not found:
        known = ", ".join(f"{job.name!r} of {job.team.name!r}" for job in jobs) or "none yet; add one in the admin"
        whose = f" of a team {team!r}" if team is not None else ""
        raise CommandError(f"There is no job {name!r}{whose}. There is: {known}.")
    return found[0]


def _work(run: int, stop: threading.Event) -> None:
    try:
        while not stop.is_set():
            try:
                taken = engine.advance_due(QUEUE, only_run=run, stop=stop.is_set)
            except DatabaseError as error:
                log.warning(
                    "The database went away (%s); leases run out and are taken again.", type(error).__name__
                )
                close_old_connections()
                taken = 0
            if not taken:
                stop.wait(min(settings.POLL_SECONDS, 0.5))
    finally:
        connection.close()
