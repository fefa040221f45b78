"""Fixtures for tests of the served site: a real web server in its own process, on the test's own database.

`served` gives a server and an empty database that this process and the server share: rows that a test makes are
there for the server at once, and the other way round. A test that asks for it asks neither for `db` nor for `lab`,
which wrap it in a transaction that no other process sees, but for `shared_lab`.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection, connections

from inventory.drivers import forget_platforms
from inventory.lab import worlds
from ovmst_site.access.models import Person
from ovmst_site.clock import JumpingClock
from tests.factories import LabSite, make_lab_site

PROJECT = Path(__file__).resolve().parent.parent
STOPS_WITHIN = 20.0  # seconds


class Server:
    """A running site."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        said = process.stdout.readline() if process.stdout else ""
        assert said.startswith("port "), f"the server did not start: {said!r}"
        self.url = f"http://127.0.0.1:{int(said.split()[1])}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop as a service manager does; its exit status. Fails if it hangs."""
        self.process.send_signal(number)
        return self.process.wait(STOPS_WITHIN)


@contextmanager
def serving(database_url: str, *changes: str, data: Path | None = None) -> Iterator[Server]:
    """A server on this database; `changes` as `tests.serve` takes them."""
    environment = os.environ | {
        "OVMST_DATA": str(data or settings.DATA),
        "OVMST_DATABASE_URL": database_url,
        "OVMST_SECRET_KEY": settings.SECRET_KEY,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serve", *changes],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Server(process)
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def session_of(person: Person) -> str:
    """The session key of somebody who has signed in."""
    session = SessionStore()
    session[SESSION_KEY] = str(person.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.save()
    return str(session.session_key)


@pytest.fixture(scope="session")
def shared_database(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database that another process can open: the test database itself, or, where that is in this
    process's memory, a copy of it in a file."""
    with django_db_blocker.unblock():
        at = connection.settings_dict
        # Tests empty it: whatever went wrong in the set-up, never the real one.
        assert "test_" in str(at["NAME"]) or "memory" in str(at["NAME"]), at["NAME"]
        if connection.vendor == "postgresql":
            login = (
                f"{quote(at['USER'], safe='')}:{quote(at['PASSWORD'], safe='')}" if at["PASSWORD"] else at["USER"]
            )
            return f"postgresql://{login}@{at['HOST']}:{at['PORT'] or 5432}/{quote(at['NAME'], safe='')}"
        path = tmp_path_factory.mktemp("shared") / "database.sqlite3"
        connection.ensure_connection()
        copy = sqlite3.connect(path)
        connection.connection.backup(copy)
        copy.close()
        return f"sqlite://{path}"


@pytest.fixture
def shared_rows(transactional_db: None, shared_database: str) -> Iterator[str]:
    """This process on that database, empty, without a transaction round the test; gives its URL."""
    forget_platforms()  # keys begin at 1 again: else the last test's world would answer
    with _on(shared_database):
        yield shared_database


@contextmanager
def _on(url: str) -> Iterator[None]:
    if not url.startswith("sqlite"):  # pytest-django empties it
        yield
        return
    # The database in memory lives as long as its connection does: it is put aside, not closed. The settings
    # are what other threads' connections are made from.
    wrapper, where = connection, connections.settings["default"]
    kept, name, options = wrapper.connection, where["NAME"], where["OPTIONS"]
    wrapper.connection, where["NAME"] = None, url.removeprefix("sqlite://")
    # Nobody needs these rows after a power cut.
    where["OPTIONS"] = options | {"init_command": options["init_command"].replace("=FULL", "=OFF")}
    try:
        call_command("flush", verbosity=0, interactive=False)
        yield
    finally:
        wrapper.close()
        wrapper.connection, where["NAME"], where["OPTIONS"] = kept, name, options


@pytest.fixture(scope="session")
def _session_server(shared_database: str) -> Iterator[Server]:
    with serving(shared_database) as server:
        yield server


@pytest.fixture
def served(_session_server: Server, shared_rows: str) -> Server:
    """The site, served, on an empty database that it shares with the test. Don't stop it: others use it too."""
    assert _session_server.process.poll() is None, "the server has ended"
    return _session_server


@pytest.fixture
def serve(shared_rows: str) -> Iterator[Callable[..., Server]]:
    """Start servers of the test's own: serve("servicing.views.stream.HEARTBEAT=0.2")."""
    opened = []

    def start(*changes: str) -> Server:
        manager = serving(shared_rows, *changes)
        opened.append(manager)
        return manager.__enter__()

    yield start
    for manager in opened:
        manager.__exit__(None, None, None)


@pytest.fixture
def shared_lab(shared_rows: str, jumping_clock: JumpingClock) -> Iterator[LabSite]:
    """A lab whose rows a served site sees too; its world is this process's alone."""
    yield make_lab_site(jumping_clock)
    worlds.forget()
