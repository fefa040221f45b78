"""Locks between processes of one machine: a file that is held until its holder ends, however that ends."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType


class FileLock:
    """A lock file. One process holds it alone, or several share it; the operating system takes it from a
    process that dies. Child processes don't inherit it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self, *, shared: bool = False, patience: float = 0.0) -> bool:
        """Whether it is held now; waits at most `patience` seconds for others. Held already, it changes
        between alone and shared."""
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    self.release()
                    return False
                time.sleep(0.02)
            else:
                return True

    def release(self) -> None:
        """Harmless when it isn't held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def write(self, text: str) -> None:
        """Say who holds it. Only its holder may."""
        if self._descriptor is None:
            raise RuntimeError(f"{self.path} isn't held")
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def holder(self) -> str:
        """What its holder wrote; empty when nobody holds it."""
        mine = FileLock(self.path)
        if not self.path.exists() or mine.take(shared=True):
            mine.release()
            return ""
        return self.path.read_text(encoding="utf-8") or "?"

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
