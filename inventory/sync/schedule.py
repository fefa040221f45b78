"""Which management servers are to be synced now, and on whose behalf. The rows say it; messages are hints."""

from datetime import datetime, timedelta

from django.db.models import Max

from inventory.models import ManagementServer
from inventory.sync.recording import said_running

SCHEDULE = "the schedule"


def why_due(server: ManagementServer, now: datetime) -> str:
    """Who wants this server synced now: the person who asked for it, or SCHEDULE; "" when nobody does, or
    while one runs. One that failed is due again when its time comes, not at once."""
    if not server.enabled or said_running(server):
        return ""
    if server.sync_requested_at is not None:
        return server.sync_requested_by
    if not server.sync_every_minutes:
        return ""
    last = server.syncs.aggregate(last=Max("started_at"))["last"]
    every = timedelta(minutes=server.sync_every_minutes)
    return SCHEDULE if last is None or last + every <= now else ""
