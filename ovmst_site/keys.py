"""Keys that live in files beside the database, never in it."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def secret_key(path: Path) -> str:
    """Django's secret key from `path`, made there (mode 0600) at the first start."""
    return keep(path, lambda: secrets.token_urlsafe(64)).strip()


def keep(path: Path, make: Callable[[], str]) -> str:
    """The text in `path`; where there is none, what `make()` returns, written so that only its owner reads it.

    Two processes that start together agree: the file appears whole, and only one of them makes it.
    """
    if not path.exists():
        aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
        aside.unlink()
    return path.read_text(encoding="utf-8")
