"""manage.py doctor: is everything that servicing needs there? One line each, with what to do."""

import sys
from collections.abc import Iterable
from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from inventory.drivers import platform_for
from inventory.models import ManagementServer
from inventory.platforms.base import Check
from ovmst_site import embedded
from ovmst_site.embedded import server_lock
from ovmst_site.faults import Fault
from ovmst_site.text import printable
from servicing.models import RunTarget, UpdateSystem
from servicing.updaters.registry import open_updater

BROKER_DEADLINE = 5  # seconds


class Command(BaseCommand):
    help = (
        "Check database, broker, workers, management servers and update systems. Exit status 1 if one isn't well."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        bad = 0
        for check in _all_checks():
            line = f"{'ok' if check.ok else 'BAD'} {check.what}" + (f": {check.advice}" if check.advice else "")
            self.stdout.write(printable(" ".join(line.split())))  # names may hold anything; a check stays one line
            bad += not check.ok
        self.stdout.write(f"{bad} not well" if bad else "all well")
        if bad:
            sys.exit(1)


def _all_checks() -> Iterable[Check]:
    database = _database()
    yield database
    if not database.ok:
        return
    yield from _broker_and_workers()
    for server in ManagementServer.objects.filter(enabled=True).select_related("credential"):
        try:
            yield from platform_for(server).check()
        except Fault as fault:
            yield Check(f"management server {server}", False, str(fault))
        except (ImportError, KeyError) as error:
            yield Check(
                f"management server {server}", False, f"its driver can't be loaded ({error}): `make libvirt`"
            )
    for system in UpdateSystem.objects.all():
        try:
            yield from open_updater(system.kind).check()
        except (Fault, ImportError, KeyError) as error:
            yield Check(f"update system {system}", False, str(error))
    waiting = RunTarget.objects.filter(state=RunTarget.State.ATTENTION).count()
    if waiting:
        yield Check("machines", False, f"{waiting} need attention: `manage.py resolve_attention` lists them")


def _database() -> Check:
    what = f"database ({connection.vendor})"
    try:
        connection.ensure_connection()
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return Check(what, False, "its tables are not up to date: run `manage.py migrate`")
    except DatabaseError as error:
        return Check(what, False, f"it doesn't answer; see OVMST_DATABASE_URL ({type(error).__name__})")
    return Check(what, True)


def _broker_and_workers() -> Iterable[Check]:
    serving = server_lock().holder()
    if serving:
        yield Check(f"embedded server (pid {serving})", True)
    if embedded.is_default():
        advice = "" if serving else "no server runs here: `serve` starts one; `run_job --wait` needs none"
        yield Check("broker (in memory)", True, advice)
        return
    try:
        with current_app.connection_for_write(connect_timeout=BROKER_DEADLINE) as broker:
            broker.ensure_connection(max_retries=1, timeout=BROKER_DEADLINE)
            what = f"broker ({broker.transport_cls})"
    except Exception as error:  # noqa: BLE001 - every transport has errors of its own, and each means the same here
        yield Check("broker", False, f"it doesn't answer; see OVMST_BROKER_URL ({type(error).__name__})")
        return
    yield Check(what, True)
    answers = current_app.control.ping(timeout=2.0) or []
    advice = "" if answers else "none answers: start one with `celery -A ovmst_site worker --pool threads`"
    yield Check(f"workers ({len(answers)} answer)", bool(answers), advice)
