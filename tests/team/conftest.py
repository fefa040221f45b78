"""The processes of the embedded way, here with the servers of a team."""

from tests.embedded.conftest import data, start

__all__ = ["data", "start"]
