"""Reads OVMST_* variables: each is declared once, and one that nobody declared stops the start."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

PREFIX = "OVMST_"


class Environment:
    """The declared OVMST_* variables of a process.

    Every reader names its variable without the prefix and gives a default; `refuse_unknown`, called last,
    raises ImproperlyConfigured for a variable that no reader asked for: a misspelt setting that is silently
    ignored is one that somebody relies on.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._known: set[str] = set()

    def text(self, name: str, default: str = "") -> str:
        self._known.add(PREFIX + name)
        return self._variables.get(PREFIX + name, default)

    def number(self, name: str, default: float) -> float:
        raw = self.text(name)
        try:
            return float(raw) if raw else default
        except ValueError:
            raise ImproperlyConfigured(f"{PREFIX}{name} must be a number, not {raw!r}") from None

    def flag(self, name: str, *, default: bool) -> bool:
        raw = self.text(name).lower()
        if raw in ("", "1", "true", "yes", "on", "0", "false", "no", "off"):
            return raw in ("1", "true", "yes", "on") if raw else default
        raise ImproperlyConfigured(f"{PREFIX}{name} must be yes or no, not {raw!r}")

    def words(self, name: str, default: str = "") -> list[str]:
        return [word for word in self.text(name, default).replace(",", " ").split() if word]

    def refuse_unknown(self) -> None:
        unknown = sorted(k for k in self._variables if k.startswith(PREFIX) and k not in self._known)
        if unknown:
            known = ", ".join(sorted(self._known))
            raise ImproperlyConfigured(f"Unknown setting {', '.join(unknown)}. OVMST knows: {known}")


def database(url: str, data: Path, pool: int = 20) -> dict[str, Any]:
    """Django's DATABASES entry for `sqlite:///PATH`, `postgresql://user:password@host:port/name?option=value`,
    or, when the URL is empty, the embedded default: a SQLite file in the data folder. `pool` is how many
    connections a process keeps to PostgreSQL at most."""
    if not url:
        return _sqlite(data / "ovmst.sqlite3")
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return _sqlite(Path(unquote(parts.path)))
    if parts.scheme in ("postgresql", "postgres"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": str(parts.port or ""),
            # Celery closes connections around every task: only a pool keeps them open between tasks.
            "OPTIONS": {
                "pool": {"min_size": 1, "max_size": max(1, pool), "timeout": 30},
                **dict(parse_qsl(parts.query)),
            },
        }
    raise ImproperlyConfigured(
        f"OVMST_DATABASE_URL must begin with postgresql:// or sqlite://, not {parts.scheme!r}"
    )


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            # A transaction that reads first and writes later would otherwise fail instead of waiting.
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
        },
    }
