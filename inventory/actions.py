"""What people do with the inventory. Each action asks the gate and raises ValidationError."""

import logging
from functools import partial

from celery import current_app
from django.core.exceptions import ValidationError
from django.db import transaction

from inventory.models import ManagementServer
from inventory.sync.recording import said_running
from ovmst_site import clock
from ovmst_site.access.gate import Actor, may
from ovmst_site.text import clean

log = logging.getLogger(__name__)
TASK = "inventory.sync_server"


def request_sync(server: ManagementServer, by: Actor) -> None:
    """Have this server synced soon. The request is kept: it is found within a minute where its message gets
    lost. Raises ValidationError where `by` may not, the server is disabled, or a sync of it runs already."""
    if not may(by, server, "change"):
        raise ValidationError(f"There is no management server {server.name!r} that you may sync.")
    if not server.enabled:
        raise ValidationError(f"{server} is disabled.")
    if running := said_running(server):
        raise ValidationError(f"{running}.")
    with transaction.atomic():
        ManagementServer.objects.filter(pk=server.pk).update(
            sync_requested_at=clock.now(), sync_requested_by=clean(str(by), 200)
        )
        transaction.on_commit(partial(hint, server.pk))


def hint(server: int) -> None:
    """Tell a worker that this server is to be synced. Nothing depends on its arrival."""
    try:
        current_app.send_task(TASK, args=[server], retry=False, ignore_result=True)
    except Exception as error:  # noqa: BLE001 - a broker that is down costs a minute
        log.warning("The broker takes no message (%s); the next look finds the request.", type(error).__name__)
