"""The verb: one sync of one management server, recorded."""

import logging
from datetime import datetime

from django.db import DatabaseError, transaction

from inventory.models import ManagementServer
from inventory.sync import recording
from inventory.sync.applying import apply
from inventory.sync.planning import Plan, plan
from inventory.sync.twins import twins_of
from ovmst_site.access.gate import SERVICE, Actor
from ovmst_site.faults import Fault, NeedsAttention

log = logging.getLogger(__name__)


def sync(server: ManagementServer, now: datetime, *, by: Actor | str = SERVICE, even_empty: bool = False) -> Plan:
    """Plan and apply, and record both. One that fails changes nothing but its record, which says why. A share
    that lists none of its machines any more fails it, unless a person has said that it may (`even_empty`).

    Raises the platform's faults, NeedsAttention for a server that is disabled, and AlreadySyncing, at once,
    while another sync of this server runs: two would only do the same work.
    """
    if not server.enabled:
        raise NeedsAttention(f"{server.name} is disabled")
    record = recording.begin(server, now, str(by))
    try:
        made = plan(server, now, record.alive)
        with transaction.atomic():
            record.hold()
            apply(made, even_empty=even_empty)
            record.succeed(made, twins_of(server))
    except BaseException as error:
        reason = str(error) if isinstance(error, Fault) and str(error) else f"{type(error).__name__}: {error}"
        try:
            record.fail(reason)
        except DatabaseError:  # its lease runs out, and the next sync says that it ended without a word
            log.exception("That the sync of %s failed could not be recorded", server)
        raise
    return made
