"""A database that is read-only, full or away: a clear page, and nothing half-done."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from ovmst_site.access.models import Person
from ovmst_site.web.errors import trouble

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    """As a browser sees it: the error page, not the exception."""
    return Client(raise_request_exception=False)


@pytest.fixture
def read_only() -> Iterator[None]:
    """The database refuses every write, by itself."""
    postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY" if postgresql else "PRAGMA query_only = ON")
    yield
    if not postgresql:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only = OFF")


def test_signing_in_on_a_database_that_can_only_be_read(browser: Client, request: pytest.FixtureRequest):
    Person.objects.create_superuser("ada", "ada@example.org", "correct horse battery")
    request.getfixturevalue("read_only")
    answer = browser.post("/sign-in/", {"username": "ada", "password": "correct horse battery"})
    assert answer.status_code == 503
    assert "can only be read" in answer.content.decode()
    assert "Nothing was changed" in answer.content.decode()


def test_a_full_database_says_so_itself(tmp_path: Path):
    with contextlib.closing(sqlite3.connect(tmp_path / "small.sqlite3")) as small:
        small.execute("PRAGMA max_page_count = 10")
        small.execute("CREATE TABLE filler (text)")
        with pytest.raises(sqlite3.OperationalError) as refused:
            small.executemany("INSERT INTO filler VALUES (?)", [("x" * 4000,)] * 20)
    assert trouble(OperationalError(*refused.value.args)) == "The disk of the database is full"


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("attempt to write a readonly database", "only be read"),
        ("cannot execute UPDATE in a read-only transaction", "only be read"),
        ("database or disk is full", "full"),
        ('could not extend file "base/1": No space left on device', "full"),
        ("database is locked", "busy"),
        ("connection to server at 127.0.0.1 failed: Connection refused", "doesn't answer"),
        ('column "x" does not exist', ""),
    ],
)
def test_each_trouble_is_named(said: str, means: str):
    assert means in trouble(OperationalError(said))
    assert bool(trouble(OperationalError(said))) is bool(means)


def test_what_nobody_foresaw_is_no_database_trouble(browser: Client, monkeypatch: Any):
    monkeypatch.setattr("ovmst_site.web.help.pages", lambda: 1 / 0)
    Person.objects.create_superuser("ada", "ada@example.org", "correct horse battery")
    browser.login(username="ada", password="correct horse battery")
    answer = browser.get("/help/")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.content.decode()
