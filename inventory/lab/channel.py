"""The way into a guest of the simulated world."""

from inventory.lab import programs
from inventory.lab.world import World
from inventory.remote.base import Completed


class LabChannel:
    """A GuestChannel to one machine that is expected to run on one host."""

    def __init__(self, world: World, machine: str, host: str) -> None:
        self._world = world
        self._machine = machine
        self._host = host

    def ping(self, *, deadline: float = 5) -> None:
        self._world.perform("ping", self._machine, host=self._host)

    def run(self, argv: list[str], *, stdin: bytes = b"", deadline: float = 60) -> Completed:
        result: Completed = self._world.perform(
            "run", self._machine, programs.call_of(argv), host=self._host, argv=list(argv)
        )
        return result

    def put(self, path: str, content: bytes, *, mode: int = 0o600, deadline: float = 60) -> None:
        self._world.perform("put", self._machine, host=self._host, path=path, content=content)

    def get(self, path: str, *, deadline: float = 60) -> bytes | None:
        content: bytes | None = self._world.perform("get", self._machine, host=self._host, path=path)
        return content
