"""What Celery workers do for the inventory. Messages are hints: the rows say what is due."""

import logging

from celery import shared_task

from inventory.actions import hint
from inventory.models import ManagementServer
from inventory.sync import AlreadySyncing, sync, why_due
from ovmst_site import clock
from ovmst_site.faults import Fault

log = logging.getLogger(__name__)


@shared_task(name="inventory.sync_server", ignore_result=True)
def sync_server(server: int) -> None:
    """Sync this management server if somebody or the schedule wants it now; a duplicate finds nothing to do."""
    found = ManagementServer.objects.select_related("credential").filter(pk=server).first()
    by = why_due(found, clock.now()) if found is not None else ""
    if found is None or not by:
        return
    try:
        made = sync(found, clock.now(), by=by)
    except AlreadySyncing as running:
        log.info("%s", running)
    except Fault as fault:  # recorded, with its reason
        log.warning("Sync of %s changed nothing: %s", found, fault)
    else:
        log.info("Sync of %s: %s", found, made)


@shared_task(name="inventory.sync_due", ignore_result=True)
def sync_due() -> None:
    """Every minute: a message for each management server whose time has come."""
    for server in ManagementServer.objects.filter(enabled=True):
        if why_due(server, clock.now()):
            hint(server.pk)
