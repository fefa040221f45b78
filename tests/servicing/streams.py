"""A viewer of a live log, as a browser reads it."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.serving import Server

PATIENCE = 60.0  # seconds


class Stream:
    """One viewer, as a browser reads: events as (name, id, data)."""

    def __init__(self, server: Server, run: int, session: str = "", after: str = "", **headers: str) -> None:
        address = urlsplit(server.url)
        self.connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
        if session:
            headers["Cookie"] = f"sessionid={session}"
        query = f"?after={after}" if after else ""
        self.connection.request("GET", f"/runs/{run}/events{query}", headers=headers)
        self.answer = self.connection.getresponse()
        self.status = self.answer.status
        self.comments: list[str] = []

    def events(self) -> Iterator[tuple[str, str, Any]]:
        fields: dict[str, str] = {}
        while raw := self.answer.readline():
            text = raw.decode().rstrip("\n")
            if text.startswith(":"):
                self.comments.append(text)
            elif text:
                name, _, value = text.partition(": ")
                fields[name] = value
            elif fields:
                yield fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"])
                fields = {}

    def lines(self, number: int) -> list[Any]:
        """The next so many lines."""
        found: list[Any] = []
        for name, place, data in self.events():
            if name == "line":
                assert data["id"] == place
                found.append(data)
                if len(found) == number:
                    return found
        raise AssertionError(f"the stream ended after {len(found)} of {number} lines")

    def until(self, wanted: str) -> list[str]:
        """The names of all events up to this one."""
        names = []
        for name, _, _ in self.events():
            names.append(name)
            if name == wanted:
                return names
        raise AssertionError(f"the stream ended before {wanted!r}: {names}")

    def close(self) -> None:
        self.connection.close()
