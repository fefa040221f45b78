"""Machines that OVMST itself has moved: inventory must not take them for missing or changed.

While a machine is serviced its library may not have it (SCVMM moves the only copy), or say something else of
it for a while; the target that services it, not a sync, owns its row then. Inventory doesn't know targets, so
who does tells it here, once, when the applications are ready. The answer is asked for and not kept in a
column: the open target is the one truth, and a flag of ours could outlive it.

A platform's listing takes minutes, and a machine may come and go meanwhile. So the question is asked when the
plan is applied, for every moment since the listing began: a machine that was back before the question, but
away when the library was read, is among the answers.
"""

from collections.abc import Callable
from datetime import datetime

from inventory.models import ManagementServer

Away = Callable[[ManagementServer, datetime], set[int]]
_asked: list[Away] = []


def ask(who: Away) -> None:
    """Ask `who` at each sync for the ids of the resources of a server that were serviced since a moment."""
    if who not in _asked:
        _asked.append(who)


def away(server: ManagementServer, since: datetime) -> set[int]:
    """The ids of the resources that no sync may touch."""
    return {pk for who in _asked for pk in who(server, since)}
