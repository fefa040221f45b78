"""An SSH server for tests, in this process, on a loopback port of its own: paramiko's server mode.

Commands are run by /bin/sh as sshd would. What goes wrong on request is what a guest can do wrong.
"""

import contextlib
import socket
import subprocess
import threading
from dataclasses import dataclass, field
from typing import Any

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_PARTIALLY_SUCCESSFUL,
    AUTH_SUCCESSFUL,
    OPEN_SUCCEEDED,
)

PASSWORD = 'right, and "odd" $(enough) é'


@dataclass
class SshServer:
    """Serves until closed. `tries` collects every credential that anybody offered."""

    host_key: paramiko.PKey = field(default_factory=lambda: paramiko.ECDSAKey.generate())
    user_key: paramiko.PKey | None = None
    silent: bool = False  # accepts connections and says nothing
    mute_exec: bool = False  # never answers a request to run something
    drop_after: int = -1  # bytes of output after which the connection breaks
    drop_at_login: bool = False
    swallow: int = -1  # bytes of a command's input after which the connection breaks
    extra_step: bool = False  # wants more than one credential
    tries: list[str] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket | paramiko.Transport] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def public_key(self) -> str:
        return f"{self.host_key.get_name()} {self.host_key.get_base64()}"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            if not self.silent:
                transport = paramiko.Transport(sock)
                transport.set_log_channel("ovmst.ssh")
                self._open.append(transport)
                transport.add_server_key(self.host_key)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(threading.Event(), _Session(self, transport))


class _Session(paramiko.ServerInterface):
    def __init__(self, server: SshServer, transport: paramiko.Transport) -> None:
        self.server = server
        self.transport: Any = transport

    def get_allowed_auths(self, username: str) -> str:
        return "publickey" if self.server.user_key else "password"

    def check_auth_password(self, username: str, password: str) -> int:
        return self._judge(f"{username} {password}", password == PASSWORD and not self.server.user_key)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self._judge(f"{username} {key.get_base64()}", key == self.server.user_key)

    def _judge(self, tried: str, right: bool) -> int:
        self.server.tries.append(tried)
        if self.server.drop_at_login:
            self.transport.close()
        if right and self.server.extra_step:
            return AUTH_PARTIALLY_SUCCESSFUL
        return AUTH_SUCCESSFUL if right else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.server.commands.append(command)
        if self.server.mute_exec:
            threading.Event().wait(20)
        answered = self._once_answered()
        threading.Thread(target=self._run, args=(channel, command, answered), daemon=True).start()
        return True

    def _once_answered(self) -> threading.Event:
        """Set once the client has been told that its command begins. A program that ends sooner would close the
        channel before, as no real server does."""
        answered = threading.Event()
        send = self.transport._send_user_message

        def telling(message: paramiko.Message) -> None:
            send(message)
            answered.set()

        self.transport._send_user_message = telling
        return answered

    def _run(self, channel: paramiko.Channel, command: bytes, answered: threading.Event) -> None:
        answered.wait(20)
        with contextlib.suppress(OSError, EOFError):
            program = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            threads = [
                threading.Thread(target=self._feed, args=(channel, program), daemon=True),
                threading.Thread(target=self._pass_on, args=(program.stdout, channel.sendall), daemon=True),
                threading.Thread(target=self._pass_on, args=(program.stderr, channel.sendall_stderr), daemon=True),
            ]
            for thread in threads:
                thread.start()
            for thread in threads[1:]:
                thread.join()
            channel.send_exit_status(program.wait())
            channel.shutdown_write()
            channel.close()

    def _feed(self, channel: paramiko.Channel, program: "subprocess.Popen[bytes]") -> None:
        assert program.stdin
        got = 0
        with contextlib.suppress(OSError, EOFError), program.stdin:
            while data := channel.recv(4096):
                got += len(data)
                program.stdin.write(data)
                if 0 <= self.server.swallow <= got:
                    self.transport.close()
                    return

    def _pass_on(self, pipe, send) -> None:
        sent = 0
        with contextlib.suppress(OSError, EOFError), pipe:
            while data := pipe.read1(4096):
                send(data)
                sent += len(data)
                if 0 <= self.server.drop_after <= sent:
                    self.transport.close()
                    return
