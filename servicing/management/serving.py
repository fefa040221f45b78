"""What the commands that serve have in common: one server a data folder, migrated, stopped cleanly."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.management import CommandError, CommandParser, call_command
from django.db import DatabaseError, connection

from ovmst_site import embedded, pool
from ovmst_site.embedded import CannotServe, Embedded
from servicing import engine, tail
from servicing import log as eventlog

MIGRATION_LOCK = 0x0F57  # any number that nothing else locks by on this database


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="the port to listen on (8000); 0: any free one")
    parser.add_argument("--threads", type=int, default=8, help="targets taken on at a time")


def serve(
    host: str,
    port: int,
    *,
    threads: int,
    prepare: Callable[[], None] = lambda: None,
    ready: Callable[[Embedded, str], None],
) -> int:
    """Serve until somebody stops it; returns the exit status.

    `prepare` is called once the database is migrated, `ready` with the server and its URL once pages answer.
    Without `threads` there is no worker. Raises CommandError, having changed nothing, where a server runs on
    this data folder already, the port is taken, the database can't be written, or it has fewer connections than
    there are threads.
    """
    if threads and (reason := pool.too_many(threads)):
        raise CommandError(reason)
    try:
        with embedded.only_server(), embedded.listen(host, port) as bound:
            url = embedded.address(bound)
            site = Embedded(
                bound,
                threads=threads,
                ready=lambda: ready(site, url),
                stopping=_stopping,
            )
            embedded.catch_signals(site.on_signal)
            _migrate()
            prepare()
            return site.run()
    except CannotServe as error:
        raise CommandError(str(error)) from error


def _migrate() -> None:
    try:
        with _alone_on_postgresql():
            call_command("migrate", verbosity=0, interactive=False)
            eventlog.mend()
    except DatabaseError as error:
        where = connection.settings_dict["NAME"] if connection.vendor == "sqlite" else "see OVMST_DATABASE_URL"
        raise CommandError(f"The database can't be brought up to date: {error} ({where})") from error


@contextmanager
def _alone_on_postgresql() -> Iterator[None]:
    """Several web servers may start at once; Django's migrations don't lock."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])


def _stopping() -> None:
    """Open streams end, and steps that are under way are the last. Who finishes one lets go of its machine; a
    call that is given up may take effect all the same, so its lease is left to run out."""
    tail.stop_all()
    engine.STOPPING.set()
