"""Which processes of this machine perform runs on an embedded database, and what dead ones have left.

On SQLite everybody who performs runs shares a lock beside the database file. Who gets it alone knows that
nobody else performs: leases that are still written down then belong to processes that were killed or gave up a
call, and need not run out where no call outlives its process. On PostgreSQL workers live on several machines:
leases run out.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from django.db import connection

from ovmst_site.locks import FileLock
from servicing import ledger

log = logging.getLogger(__name__)
# Whoever looks whether they are alone does so for some milliseconds.
PATIENCE = 30.0  # seconds
_for_good = ExitStack()
_begun = False


def lock_file() -> Path | None:
    """Where the lock lies; None where the database isn't a file of this machine."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor != "sqlite" or ":memory:" in name or "mode=memory" in name:
        return None
    # However the file is named: by a link, or from another folder.
    path = Path(name).resolve()
    return path.with_name(path.name + ".performing")


@contextmanager
def performing() -> Iterator[int]:
    """While this lasts, this process performs runs on this database. Gives how many leases of dead processes
    were taken from them: their machines are due at once. Others' leases run out."""
    path = lock_file()
    if path is None:
        yield 0
        return
    taken = 0
    with FileLock(path) as lock:
        if lock.take():
            taken = ledger.take_back()
            if taken:
                log.warning("%d machines go on that a process which ended had under way.", taken)
        if not lock.take(shared=True, patience=PATIENCE):
            raise TimeoutError(f"{path} is held by somebody who isn't OVMST")
        yield taken


def perform_until_the_end() -> None:
    """The same for a worker process, for as long as it lives: a thread of its pool may be in a call to its
    last moment."""
    global _begun
    if not _begun:
        _for_good.enter_context(performing())
        _begun = True
