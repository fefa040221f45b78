"""How OVMST reaches into a running guest, whatever carries the bytes."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended inside the guest. `exit_code` is its own; a signal is 128 + its number."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")


class Secret:
    """A value that must not show up in a log, an error or a page. `reveal()` where it is used, nowhere else."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __bool__(self) -> bool:
        return bool(self._value)


class GuestChannel(Protocol):
    """A way into one running guest. Every call has a deadline in seconds of its own.

    Raises TryLater when the guest doesn't answer in time or the connection breaks, and GiveUp when it never
    will by itself: it answers as somebody else (an unknown or changed host key), refuses the credentials, or
    the channel can't do what was asked. Before a machine is stored its way back is always safe.
    A command that ran and failed is no error: its exit code says so.
    """

    def ping(self, *, deadline: float = 5) -> None:
        """Return if the guest answers now."""
        ...

    def run(self, argv: list[str], *, stdin: bytes = b"", deadline: float = 60) -> Completed:
        """Run a program by its arguments (never through a shell) and wait for its end.

        A command that is still running at the deadline raises TryLater and may go on inside.
        """
        ...

    def put(self, path: str, content: bytes, *, mode: int = 0o600, deadline: float = 60) -> None:
        """Write a file whole, or not at all (aside, then renamed)."""
        ...

    def get(self, path: str, *, deadline: float = 60) -> bytes | None:
        """The content of a file; None where there is none."""
        ...
