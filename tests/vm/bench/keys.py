"""SSH keys of the bench: one pair for the person or program that logs in, one that all guests have."""

from dataclasses import dataclass
from pathlib import Path

from .cache import built
from .commands import run


@dataclass(frozen=True, slots=True)
class Keys:
    client_private: Path  # OpenSSH's format, no passphrase; worth nothing outside the bench
    client_public: str
    host_private: Path
    host_public: str  # "ssh-ed25519 AAAA…": to pin


def keys() -> Keys:
    folder = built("keys", "1", _make)
    client, host = folder / "client", folder / "host"
    return Keys(client, _public(client), host, _public(host))


def another_host_key(folder: Path) -> str:
    """The public part of a key that no guest has: what a changed host key looks like."""
    file = folder / "another-host-key"
    if not file.exists():
        _generate(file)
    return _public(file)


def _make(folder: Path) -> None:
    _generate(folder / "client")
    _generate(folder / "host")


def _generate(file: Path) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", file], timeout=30)


def _public(file: Path) -> str:
    """Key type and key, without the comment."""
    return " ".join(file.with_suffix(".pub").read_text().split()[:2])
