"""Transactions of the database, as expressions: which one wrote a row, and how far all of them have come.

PostgreSQL hands out ids in the order of writing and shows rows in the order of commits: whoever reads "what is
newer than the last id I saw" loses, for ever, the row that was written earlier and committed later. So a row
carries its transaction's number, and is read once every transaction up to that number is over. SQLite has one
writer at a time: there the id is enough, and the number is always 0.

The numbers belong to one PostgreSQL cluster; they go on for ever (64 bits) and don't wrap. A database that was
restored into another cluster holds numbers from that one's future: they count as over, and are taken off before
serving begins (`servicing.log.mend`).
"""

from typing import Any

from django.db.models import BigIntegerField, Func


class CurrentTransaction(Func):
    """The number of the transaction that is writing; a default that the database itself fills in."""

    template = "0"
    output_field = BigIntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # There is no cast from xid8 to bigint but by its text.
        return self.as_sql(compiler, connection, template="pg_current_xact_id()::text::bigint", **context)


class Horizon(Func):
    """PostgreSQL: every transaction below this number is over, whatever it wrote is there or never will be.

    A transaction that has written itself also sees its own rows: nobody but a test reads so.
    """

    template = (
        "COALESCE(pg_current_xact_id_if_assigned()::text::bigint + 1,"
        " pg_snapshot_xmin(pg_current_snapshot())::text::bigint)"
    )
    output_field = BigIntegerField()


class Future(Func):
    """PostgreSQL: a row that is seen, and whose number isn't below this one, was written in another cluster."""

    template = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    output_field = BigIntegerField()


class Row(Func):
    """Several values, compared as one: (tx, id) > (12, 345)."""

    template = "(%(expressions)s)"
    output_field = BigIntegerField()
