"""How many threads of a process may work with its database connections.

On PostgreSQL a process has a pool of them, and each thread that works keeps one. More threads than connections
would wait for each other until steps fail; so would pages and timers if the workers had them all.
"""

from django.db import connection

BESIDE = 4  # connections that stay for pages, timer and beat


def too_many(threads: int) -> str:
    """Why so many threads can't work here, and what to do; empty if they can."""
    options = connection.settings_dict.get("OPTIONS", {})
    pool = options.get("pool") if connection.vendor == "postgresql" else None
    if not isinstance(pool, dict) or threads <= pool["max_size"] - BESIDE:
        return ""
    size = pool["max_size"]
    return (
        f"{threads} threads need {threads + BESIDE} database connections, and there are {size}: "
        f"set OVMST_DATABASE_POOL={threads + BESIDE}, or use at most {max(0, size - BESIDE)} threads."
    )
