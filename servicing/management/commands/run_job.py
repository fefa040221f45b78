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

from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.text import printable
from servicing import alarms, engine
from servicing.actions import QUEUE, count_awake, start_run
from servicing.models import Event, Job, Run, RunTarget

log = logging.getLogger(__name__)
LOOK_EVERY = 0.2  # seconds
Outcome = RunTarget.Outcome


class Command(BaseCommand):
    help = "Start a servicing job. Exit status 1 if a target didn't succeed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the job's name")
        parser.add_argument("--wait", action="store_true", help="perform the run here and follow it to its end")
        parser.add_argument("--resume", type=int, metavar="RUN", help="go on with a run that was interrupted")
        parser.add_argument("--threads", type=int, default=8, help="targets taken on at a time (with --wait)")

    def handle(self, *args: Any, **options: Any) -> None:
        job = Job.objects.current().filter(name=options["name"]).first()
        if job is None:
            known = ", ".join(repr(j.name) for j in Job.objects.current()) or "none yet; add one in the admin"
            raise CommandError(f"There is no job {options['name']!r}. There is: {known}.")
        if options["resume"] is not None:
            run = job.runs.filter(pk=options["resume"]).first()
            if run is None:
                raise CommandError(f"Job {job.name!r} has no run {options['resume']}.")
        else:
            try:
                run = start_run(job, SERVICE)
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(f"run {run.pk} of {job.name}: {run.targets.count()} targets")
        if options["wait"]:
            self._follow(run, options["threads"])
            awake = count_awake(run)
            self.stdout.write(closing_line(run, awake))
            if run.targets.exclude(outcome=Outcome.SUCCEEDED).exists():
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
        told: dict[int, int] = {}
        try:
            while not stop.is_set():
                open_targets = run.targets.filter(
                    state__in=(RunTarget.State.QUEUED, RunTarget.State.ACTIVE)
                ).exists()
                self._tell(run, told)
                if not open_targets:
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

    def _tell(self, run: Run, told: dict[int, int]) -> None:
        # Each target's events are numbered without gaps: what is new is what follows the last one told.
        for target in run.targets.filter(events__gt=0).select_related("resource"):
            last = told.get(target.pk, 0)
            if target.events > last:
                for event in Event.objects.filter(target=target, n__gt=last).order_by("n"):
                    name = " ".join(target.resource.name.split())[:40]
                    text = event.text.replace("\n", "\n    ")  # no line of a guest's looks like one of ours
                    self.stdout.write(printable(f"{event.at:%H:%M:%S} {name}: {event.step}: {text}"))
                    told[target.pk] = event.n


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


def closing_line(run: Run, awake: int) -> str:
    """The line that people and programs read; its numbers add up to the targets."""
    count = dict.fromkeys(Outcome, 0)
    for outcome in run.targets.values_list("outcome", flat=True):
        count[Outcome(outcome)] += 1
    attention = count[Outcome.ATTENTION] + count[Outcome.RESOLVED] + count[Outcome.NONE]
    return (
        f"run {run.pk}: {sum(count.values())} targets, {count[Outcome.SUCCEEDED]} succeeded, "
        f"{count[Outcome.PARTIAL]} partial, {count[Outcome.RESTORED]} restored, {count[Outcome.SKIPPED]} skipped, "
        f"{attention} need attention, {awake} awake"
    )
