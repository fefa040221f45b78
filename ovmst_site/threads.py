"""The database from an async view: in the request's own thread, and only for as long as it takes.

A connection belongs to the thread that opened it, and Django gives it back when the request is over. A stream
is over when its viewer leaves: without this, each viewer would keep a connection for hours.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connection

P = ParamSpec("P")
T = TypeVar("T")


async def ask(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that uses the database, in the request's thread, and give its connection back."""

    def call() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            give_back()

    return await sync_to_async(call, thread_sensitive=True)()


def give_back() -> None:
    """Close this thread's connection, which returns it to the pool; not in the middle of a transaction."""
    if not connection.in_atomic_block:
        connection.close()
