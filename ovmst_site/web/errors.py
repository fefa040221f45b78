"""What a page says when something went wrong. Nothing here asks the database: it may be what went wrong."""

import sys

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

# What the databases say, in lower case, and what it means for a person. The texts are theirs: SQLite's result
# codes (sqlite.org/rescode.html), PostgreSQL's messages for SQLSTATE 25006, 53100 and 57P03.
_TROUBLES = (
    (("readonly database", "read-only transaction"), "The database can only be read at the moment"),
    (("is full", "no space left"), "The disk of the database is full"),
    (("is locked", "too many clients", "couldn't get a connection"), "The database is busy"),
    (
        ("connection", "starting up", "shutting down", "unable to open"),
        "The database doesn't answer",
    ),
)


def server_error(request: HttpRequest) -> HttpResponse:
    """The page for whatever nobody foresaw; for trouble with the database one that says what it is."""
    error = sys.exc_info()[1]
    if isinstance(error, DatabaseError | InterfaceError) and (what := trouble(error)):
        return HttpResponse(render_to_string("web/database_trouble.html", {"what": what}), status=503)
    return HttpResponse(render_to_string("500.html"), status=500)


def trouble(error: Exception) -> str:
    """What is wrong with the database, for a person; "" where the error is of another sort."""
    said = str(error).lower()
    return next((what for words, what in _TROUBLES if any(word in said for word in words)), "")
