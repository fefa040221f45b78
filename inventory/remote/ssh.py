"""A way into a guest by SSH, with a pinned host key.

Every call makes a connection of its own, within its deadline: nothing is left open between two looks, a guest
that restarted meanwhile is no special case, and a connection that hangs is dropped with everything on it.
Neither an agent nor known_hosts nor a configuration file is ever looked at.
"""

import base64
import hashlib
import io
import logging
import select
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import paramiko
from paramiko.ssh_exception import (
    AuthenticationException,
    BadAuthenticationType,
    PasswordRequiredException,
    SSHException,
)

from inventory.remote.base import Completed, Secret
from inventory.remote.host_key import read as read_host_key
from ovmst_site.faults import GiveUp, TryLater

LARGEST_OUTPUT = 16 << 20  # bytes of each of a command's two outputs
LARGEST_FILE = 64 << 20
CHUNK = 32 << 10
NO_SUCH_FILE = 44

# Written aside and renamed. A connection that breaks looks like the end of the content: hence the length.
PUT = """
[ ! -d "$1" ] || { echo "$1 is a folder" >&2; exit 1; }
aside=$(mktemp "$1.XXXXXX") || exit 1
trap 'rm -f "$aside"' EXIT
cat >"$aside" && [ "$(wc -c <"$aside")" -eq "$2" ] && chmod "$3" "$aside" && mv "$aside" "$1"
"""
GET = f'[ -e "$1" ] || [ -L "$1" ] || exit {NO_SUCH_FILE}; exec cat "$1"'

# paramiko tells of every broken connection with a traceback; what matters of it is in our own messages.
LOG = "ovmst.ssh"
logging.getLogger(LOG).addHandler(logging.NullHandler())


class SshChannel:
    """GuestChannel over SSH. `host_key` is a line as in a .pub file; `secret` a private key (the text of an
    OpenSSH or PEM file, without passphrase) or a password."""

    def __init__(self, address: str, port: int, user: str, host_key: str, secret: Secret) -> None:
        self._address = address
        self._port = port
        self._user = user
        self._host_key = host_key
        self._secret = secret

    def ping(self, *, deadline: float = 5) -> None:
        self._run("exit 0", b"", deadline, LARGEST_OUTPUT)

    def run(self, argv: list[str], *, stdin: bytes = b"", deadline: float = 60) -> Completed:
        # SSH carries one line for the user's shell, so each argument is quoted for it. `exit` keeps the shell
        # from replacing itself by the program: a program that is killed is then told of as 128 + its signal.
        return self._run(f"{shlex.join(argv)}; exit $?", stdin, deadline, LARGEST_OUTPUT)

    def put(self, path: str, content: bytes, *, mode: int = 0o600, deadline: float = 60) -> None:
        argv = ["/bin/sh", "-c", PUT, "sh", _absolute(path), str(len(content)), f"{mode:o}"]
        done = self._run(f"{shlex.join(argv)}; exit $?", content, deadline, LARGEST_OUTPUT)
        if done.exit_code != 0:
            raise GiveUp(f"{path!r} can't be written in {self}: {_words(done)}")

    def get(self, path: str, *, deadline: float = 60) -> bytes | None:
        argv = ["/bin/sh", "-c", GET, "sh", _absolute(path)]
        done = self._run(f"{shlex.join(argv)}; exit $?", b"", deadline, LARGEST_FILE)
        if done.exit_code == NO_SUCH_FILE:
            return None
        if done.exit_code != 0:
            raise GiveUp(f"{path!r} can't be read in {self}: {_words(done)}")
        return done.stdout

    def __str__(self) -> str:
        return f"{self._user}@{self._address}:{self._port}"

    def _run(self, line: str, stdin: bytes, deadline: float, largest: int) -> Completed:
        until = time.monotonic() + deadline
        try:
            with self._connected(until) as transport:
                channel = transport.open_session(timeout=_left(until))
                channel.exec_command(line)
                return self._follow(channel, stdin, until, largest)
        except (SSHException, OSError, EOFError) as reason:
            if time.monotonic() >= until:
                raise TryLater(f"{self} didn't answer within {deadline:g} s") from reason
            raise TryLater(f"the connection to {self} broke: {reason or type(reason).__name__}") from reason

    def _follow(self, channel: paramiko.Channel, stdin: bytes, until: float, largest: int) -> Completed:
        """Feed the command and collect what it says, both at once, until it has ended."""
        out, err = bytearray(), bytearray()
        feed = memoryview(stdin)
        open_ended = True
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        while True:
            while feed and channel.send_ready():
                feed = feed[channel.send(bytes(feed[:CHUNK])) :]
            if open_ended and not feed:
                channel.shutdown_write()
                open_ended = False
            at_end = channel.closed or channel.eof_received
            while channel.recv_ready():
                out += channel.recv(CHUNK)
                _bounded(out, largest, self)
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(CHUNK)
                _bounded(err, largest, self)
            if at_end and channel.exit_status_ready():
                code = channel.recv_exit_status()
                if code < 0:  # the connection ended, not the command
                    raise EOFError("it ended before the command did")
                return Completed(code, bytes(out), bytes(err))
            left = _left(until)
            if at_end:
                time.sleep(min(left, 0.02))  # its file descriptor would wake us at once, for ever
            else:
                poll.poll(min(left, 0.02 if feed else 0.5) * 1000)

    @contextmanager
    def _connected(self, until: float) -> Iterator[paramiko.Transport]:
        """A connection to the right host, as the right user. No credential goes to any other host."""
        expected = self._expected()
        try:
            sock = socket.create_connection((self._address, self._port), timeout=_left(until))
        except (OSError, UnicodeError) as reason:
            raise TryLater(f"{self} can't be reached: {reason}") from reason
        try:
            transport = paramiko.Transport(sock)
        except (SSHException, OSError) as reason:
            sock.close()
            raise TryLater(f"{self} can't be spoken to: {reason}") from reason
        # Some of paramiko's waits have no end; closing the connection under them is one.
        watchdog = threading.Timer(_left(until), transport.close)
        watchdog.daemon = transport.daemon = True
        watchdog.start()
        try:
            transport.set_log_channel(LOG)
            self._negotiate(transport, expected, until)
            self._log_in(transport, until)
            yield transport
        finally:
            watchdog.cancel()
            transport.close()

    def _expected(self) -> tuple[str, bytes] | None:
        """Type and content of the pinned key; None when none is pinned yet."""
        if not self._host_key.strip():
            return None
        try:
            return read_host_key(self._host_key)
        except ValueError as reason:
            raise GiveUp(f"the pinned host key of {self} can't be read {reason}") from reason

    def _negotiate(self, transport: paramiko.Transport, expected: tuple[str, bytes] | None, until: float) -> None:
        if expected is not None:
            # The pinned type first, so that a host with several keys shows that one; the others stay, so
            # that a host with another key shows it, and it can be named.
            options = transport.get_security_options()
            family = ("rsa-sha2-512", "rsa-sha2-256") if expected[0] == "ssh-rsa" else (expected[0],)
            types = tuple(options.key_types)
            options.key_types = tuple(t for t in family if t in types) + tuple(t for t in types if t not in family)
        transport.banner_timeout = transport.handshake_timeout = _left(until)
        try:
            transport.start_client(timeout=_left(until))
            found = transport.get_remote_server_key()
        except (SSHException, OSError, EOFError) as reason:
            raise TryLater(f"{self} doesn't come to terms: {reason or 'it closed the connection'}") from reason
        content = found.asbytes()
        shown = f"{found.get_name()} {_fingerprint(content)}"
        if expected is None:
            raise GiveUp(
                f"no host key is pinned for {self}. It shows {shown}; once that is known to be the guest's own, "
                f"pin '{found.get_name()} {base64.b64encode(content).decode()}'"
            )
        if content != expected[1]:
            raise GiveUp(
                f"{self} is not the host it should be: its host key isn't the pinned one. Expected {expected[0]} "
                f"{_fingerprint(expected[1])}, found {shown}. No credential was sent"
            )

    def _log_in(self, transport: paramiko.Transport, until: float) -> None:
        secret = self._secret.reveal()
        key = self._private_key(secret) if "PRIVATE KEY-----" in secret else None
        how = "private key" if key else "password"
        transport.auth_timeout = _left(until)
        try:
            if key is not None:
                more = transport.auth_publickey(self._user, key)
            else:
                more = transport.auth_password(self._user, secret)
        except BadAuthenticationType as reason:
            allowed = ", ".join(reason.allowed_types)
            raise GiveUp(f"{self} takes no {how}; it takes {allowed}") from reason
        except AuthenticationException as reason:
            if not transport.is_active() or "timeout" in str(reason).lower():  # it broke off; it didn't refuse
                raise TryLater(f"{self} broke off while logging in: {reason}") from reason
            raise GiveUp(f"{self} refuses the {how}") from reason
        except (SSHException, OSError, EOFError) as reason:
            raise TryLater(f"the connection to {self} broke while logging in: {reason}") from reason
        if more:
            raise GiveUp(f"{self} wants more than the {how}: {', '.join(more)}")

    def _private_key(self, text: str) -> paramiko.PKey:
        for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
            try:
                return kind.from_private_key(io.StringIO(text))
            except PasswordRequiredException as reason:
                raise GiveUp(f"the private key for {self} is protected by a passphrase") from reason
            except (SSHException, ValueError, TypeError, IndexError):
                continue
        raise GiveUp(f"the private key for {self} can't be read: Ed25519, ECDSA and RSA are known")


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise GiveUp(f"{path!r} is no absolute path")
    return path


def _left(until: float) -> float:
    """Seconds left; TimeoutError when there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline passed")
    return left


def _bounded(collected: bytearray, largest: int, who: SshChannel) -> None:
    if len(collected) > largest:
        raise GiveUp(f"{who} sends more than {largest >> 20} MiB")


def _fingerprint(key: bytes) -> str:
    """As `ssh-keygen -l` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _words(done: Completed) -> str:
    return done.stderr.decode("utf-8", "replace").strip()[-300:] or f"exit status {done.exit_code}"
