"""Into a running guest: by QEMU's guest agent through libvirt (no network needed), or by SSH."""

import base64
import binascii
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from inventory.platforms.base import Channel, HostRef
from inventory.platforms.libvirt.domain_xml import Description
from inventory.platforms.libvirt.hosts import Host, LibvirtError, NotOurs
from inventory.platforms.libvirt.servicing_xml import domain_name
from inventory.remote.base import Completed, GuestChannel
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater

CHUNK = 128 << 10  # bytes in one message to or from the agent
MAX_FILE = 64 << 20
NOT_FOUND = 127  # what a shell says of a program that isn't there


def channel_to(host: Host, ref: HostRef, channel: Channel, description: Description, owner: str) -> GuestChannel:
    """The channel that the machine's settings ask for. Raises TryLater while an address isn't known yet."""
    if channel.kind == "agent":
        return AgentChannel(host, description.uuid, owner)
    if channel.kind != "ssh":
        raise GiveUp(f"libvirt has no guest channel of kind {channel.kind!r}")
    from inventory.remote.ssh import SshChannel

    address = channel.address or _address(host, ref, description)
    return SshChannel(address, channel.port, channel.user, channel.host_key, channel.secret)


def _address(host: Host, ref: HostRef, description: Description) -> str:
    """What the servicing network's DHCP server leased to one of the machine's adapters."""
    for mac in description.adapters:
        try:
            found = host.call("leases", deadline=15, name=ref.servicing_network, mac=mac)
        except LibvirtError as error:
            raise TryLater(f"{ref}: {error}") from error
        if found:
            return str(found[0])
    raise TryLater(f"the guest has no address from {ref.servicing_network} on {ref} yet")


class AgentChannel:
    """A guest reached through its agent; only ever the domain that this servicing started."""

    def __init__(self, host: Host, uuid: str, owner: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._identity = {"uuid": uuid, "name": domain_name(uuid), "owner": owner}
        self._clock = clock

    def ping(self, *, deadline: float = 5) -> None:
        self._ask("guest-ping", {}, self._clock() + deadline)

    def run(self, argv: list[str], *, stdin: bytes = b"", deadline: float = 60) -> Completed:
        until = self._clock() + deadline
        arguments: dict[str, Any] = {"path": argv[0], "arg": argv[1:], "capture-output": True}
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        try:
            pid = _whole(self._ask("guest-exec", arguments, until), "pid", int)
        except _AgentSaysNo as error:
            if "Failed to execute child process" in str(error):
                return Completed(NOT_FOUND, b"", f"{error}\n".encode())
            raise GiveUp(f"the guest's agent doesn't run commands: {error}") from error
        pause = 0.05
        while True:
            try:
                status = self._ask("guest-exec-status", {"pid": pid}, until)
            except _AgentSaysNo as error:  # the agent was restarted, and its children are gone
                raise TryLater(f"the guest's agent lost the command: {error}") from error
            if _whole(status, "exited", bool):
                return _completed(status)
            if self._clock() + pause > until:
                raise TryLater(f"{argv[0]} was still running in the guest after {deadline:.0f} s")
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)

    def put(self, path: str, content: bytes, *, mode: int = 0o600, deadline: float = 60) -> None:
        until = self._clock() + deadline
        aside = f"{path}.{secrets.token_hex(6)}"
        # Made by a shell with a mask first: the agent itself would make it readable for everybody.
        self._must(["/bin/sh", "-c", 'umask 077; : > "$1"', "sh", aside], until)
        handle = self._open(aside, "r+", until)
        try:
            for at in range(0, len(content), CHUNK):
                part = content[at : at + CHUNK]
                done = self._ask("guest-file-write", {"handle": handle, "buf-b64": base64.b64encode(part).decode()},
                                 until)  # fmt: skip
                if _whole(done, "count", int) != len(part):
                    raise TryLater(f"the guest took only a part of {path}: is its disk full?")
        finally:
            self._close(handle, until)
        script = 'chmod "$2" "$1" && sync && mv -f -T "$1" "$3" 2>/dev/null || mv -f "$1" "$3"'
        self._must(["/bin/sh", "-c", script, "sh", aside, f"{mode:o}", path], until)

    def get(self, path: str, *, deadline: float = 60) -> bytes | None:
        until = self._clock() + deadline
        try:
            handle = self._open(path, "r", until)
        except _AgentSaysNo as error:
            if "No such file or directory" in str(error):
                return None
            raise GiveUp(f"the guest's agent can't open {path}: {error}") from error
        content = bytearray()
        try:
            while len(content) <= MAX_FILE:
                part = self._ask("guest-file-read", {"handle": handle, "count": CHUNK}, until)
                content += _decoded(part, "buf-b64")
                if _whole(part, "eof", bool):
                    return bytes(content)
        finally:
            self._close(handle, until)
        raise GiveUp(f"{path} in the guest has more than {MAX_FILE >> 20} MiB")

    def _open(self, path: str, mode: str, until: float) -> int:
        answer = self._answer("guest-file-open", {"path": path, "mode": mode}, until)
        if not isinstance(answer, int) or isinstance(answer, bool):
            raise TryLater(f"the guest's agent answers nonsense to guest-file-open: {answer!r:.100}")
        return answer

    def _close(self, handle: int, until: float) -> None:
        self._ask("guest-file-close", {"handle": handle}, max(until, self._clock() + 5))

    def _must(self, argv: list[str], until: float) -> None:
        done = self.run(argv, deadline=max(1.0, until - self._clock()))
        if done.exit_code:
            raise GiveUp(f"the guest can't write {argv[4]!r}: {done.stderr.decode('utf-8', 'replace')[:200]}")

    def _ask(self, command: str, arguments: dict[str, Any], until: float) -> dict[str, Any]:
        answer = self._answer(command, arguments, until)
        if not isinstance(answer, dict):
            raise TryLater(f"the guest's agent answers nonsense to {command}: {answer!r:.100}")
        return answer

    def _answer(self, command: str, arguments: dict[str, Any], until: float) -> Any:
        """The agent's answer. Raises _AgentSaysNo for its own errors, a Fault for everything else."""
        left = until - self._clock()
        if left <= 0:
            raise TryLater(f"no time left for {command}")
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        try:
            text = self._host.call(
                "agent", deadline=left + 5, command=json.dumps(request), seconds=max(1, int(left)), **self._identity
            )  # fmt: skip
        except NotOurs as error:
            raise NeedsAttention(str(error)) from error
        except LibvirtError as error:
            if "unable to execute QEMU agent command" in str(error):
                raise _AgentSaysNo(str(error).partition(": ")[2] or str(error)) from error
            raise TryLater(f"the guest's agent doesn't answer: {error}") from error
        try:
            return json.loads(text)["return"]
        except (ValueError, KeyError, TypeError) as error:
            raise TryLater(f"the guest's agent answers nonsense to {command}: {text[:100]!r}") from error


class _AgentSaysNo(GiveUp):
    """The agent itself refused; the message is its own."""


def _whole(answer: dict[str, Any], name: str, kind: type) -> Any:
    value = answer.get(name)
    if type(value) is not kind:
        raise TryLater(f"the guest's agent answers nonsense: {name} is {value!r:.100}")
    return value


def _decoded(answer: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(answer.get(name, ""), validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise TryLater(f"the guest's agent answers nonsense: {name} is not base64") from error


def _completed(status: dict[str, Any]) -> Completed:
    if status.get("out-truncated") or status.get("err-truncated"):
        raise GiveUp("the command printed more than the guest's agent passes on")
    signal = "signal" in status
    code = _whole(status, "signal" if signal else "exitcode", int) + (128 if signal else 0)
    return Completed(code, _decoded(status, "out-data"), _decoded(status, "err-data"))
