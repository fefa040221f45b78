"""A few words with the QEMU guest agent, for the bench's own checks: the tool under test has a channel of
its own."""

import base64
import json
import time
from typing import Any

import libvirt
import libvirt_qemu

from .commands import BenchError


def ask(
    domain: "libvirt.virDomain", command: str, arguments: dict[str, Any] | None = None, *, timeout: int = 5
) -> Any:
    """One command, one answer. Raises libvirt.libvirtError when the agent doesn't answer in time (seconds)."""
    question = json.dumps({"execute": command, "arguments": arguments or {}})
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, question, timeout, 0))["return"]


def wait_for_agent(domain: "libvirt.virDomain", deadline: float) -> float:
    """Wait until the agent answers; returns the seconds it took, raises BenchError after `deadline` seconds."""
    start = time.monotonic()
    while time.monotonic() - start < deadline:
        try:
            ask(domain, "guest-ping", timeout=1)
        except libvirt.libvirtError:
            time.sleep(0.2)
        else:
            return time.monotonic() - start
    raise BenchError(f"no agent answers after {deadline:g} s")


def execute(domain: "libvirt.virDomain", *argv: str, deadline: float = 60) -> tuple[int, str]:
    """Run a program in the guest; returns its exit code (a signal as 128 + its number) and all that it said."""
    options = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
    pid = ask(domain, "guest-exec", options)["pid"]
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        status = ask(domain, "guest-exec-status", {"pid": pid})
        if status["exited"]:
            said = "".join(
                base64.b64decode(status.get(stream, "")).decode("utf-8", "replace")
                for stream in ("out-data", "err-data")
            )
            return status.get("exitcode", 128 + status.get("signal", 0)), said
        time.sleep(0.1)
    raise BenchError(f"{argv[0]} still runs in the guest after {deadline:g} s")
