"""The guest agent's channel, against answers as an agent gives them and as it mustn't."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from inventory.platforms.libvirt.guest import AgentChannel
from inventory.platforms.libvirt.hosts import LibvirtError, NotOurs
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater


class Agent:
    """Stands in for a host: answers agent commands with files and programs of its own."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.handles: dict[int, tuple[str, int]] = {}
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.status: list[dict[str, Any]] = [{"exited": True, "exitcode": 0}]

    def call(self, method: str, *, deadline: float, **more: Any) -> Any:
        assert method == "agent"
        request = json.loads(more["command"])
        self.asked.append(request)
        answer = self.answers.get(request["execute"])
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            return answer
        known: Callable[[dict[str, Any]], Any] = getattr(self, request["execute"].replace("-", "_"))
        return json.dumps({"return": known(request.get("arguments", {}))})

    def guest_ping(self, _: dict[str, Any]) -> Any:
        return {}

    def guest_exec(self, arguments: dict[str, Any]) -> Any:
        argv = [arguments["path"], *arguments["arg"]]
        if argv[:2] == ["/bin/sh", "-c"] and ": >" in argv[2]:
            self.files[argv[4]] = b""
        if argv[:2] == ["/bin/sh", "-c"] and "mv -f" in argv[2]:
            self.files[argv[6]] = self.files.pop(argv[4])
        return {"pid": 7}

    def guest_exec_status(self, _: dict[str, Any]) -> Any:
        return self.status.pop(0) if len(self.status) > 1 else self.status[0]

    def guest_file_open(self, arguments: dict[str, Any]) -> Any:
        if arguments["path"] not in self.files:
            raise says_no("failed to open file 'x' (mode: 'r'): No such file or directory")
        self.handles[1000] = (arguments["path"], 0)
        return 1000

    def guest_file_write(self, arguments: dict[str, Any]) -> Any:
        path, _ = self.handles[arguments["handle"]]
        part = base64.b64decode(arguments["buf-b64"])
        self.files[path] += part
        return {"count": len(part), "eof": False}

    def guest_file_read(self, arguments: dict[str, Any]) -> Any:
        path, at = self.handles[arguments["handle"]]
        part = self.files[path][at : at + arguments["count"]]
        self.handles[arguments["handle"]] = (path, at + len(part))
        end = at + len(part) >= len(self.files[path])
        return {"count": len(part), "buf-b64": base64.b64encode(part).decode(), "eof": end}

    def guest_file_close(self, arguments: dict[str, Any]) -> Any:
        del self.handles[arguments["handle"]]
        return {}


def says_no(message: str) -> LibvirtError:
    return LibvirtError(1, f"internal error: unable to execute QEMU agent command 'x': {message}")


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def channel(agent: Agent) -> AgentChannel:
    return AgentChannel(agent, "11111111-2222-3333-4444-555555555555", "here/t1")  # type: ignore[arg-type]


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_a_commands_output_and_exit_code_come_back(agent: Agent, channel: AgentChannel) -> None:
    agent.status = [
        {"exited": False},
        {"exited": True, "exitcode": 3, "out-data": b64(b"out\xff"), "err-data": b64(b"err")},
    ]
    done = channel.run(["a", "b c", "$(reboot)"], stdin=b"in")
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\xff", b"err")
    assert agent.asked[0]["arguments"] == {
        "path": "a", "arg": ["b c", "$(reboot)"], "capture-output": True, "input-data": b64(b"in"),
    }  # fmt: skip


def test_a_signal_is_128_more(agent: Agent, channel: AgentChannel) -> None:
    agent.status = [{"exited": True, "signal": 9}]
    assert channel.run(["a"]).exit_code == 137


def test_a_program_that_isnt_there_is_the_commands_own_failure(agent: Agent, channel: AgentChannel) -> None:
    agent.answers["guest-exec"] = says_no("Failed to execute child process “a” (No such file or directory)")
    assert channel.run(["a"]).exit_code == 127


def test_a_command_that_takes_too_long_is_tried_later(agent: Agent, channel: AgentChannel) -> None:
    agent.status = [{"exited": False}]
    with pytest.raises(TryLater, match="still running"):
        channel.run(["a"], deadline=0.3)


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        ({"exited": "yes"}, TryLater),
        ({}, TryLater),
        ({"exited": True}, TryLater),
        ({"exited": True, "exitcode": "0"}, TryLater),
        ({"exited": True, "exitcode": True}, TryLater),
        ({"exited": True, "exitcode": 0, "out-data": "%%%"}, TryLater),
        ({"exited": True, "exitcode": 0, "out-data": b64(b"x"), "out-truncated": True}, GiveUp),
    ],
)
def test_nonsense_is_never_a_success(
    agent: Agent, channel: AgentChannel, status: dict[str, Any], fault: type[Exception]
) -> None:
    agent.status = [status]
    with pytest.raises(fault):
        channel.run(["a"])


@pytest.mark.parametrize("answer", ["", "[]", "{}", "null", '{"return": 5}', '{"return": {"pid": "7"}}'])
def test_an_answer_that_isnt_one_is_tried_later(agent: Agent, channel: AgentChannel, answer: str) -> None:
    agent.answers["guest-exec"] = answer
    with pytest.raises(TryLater):
        channel.run(["a"])


@pytest.mark.parametrize("size", [0, 1, 128 << 10, (128 << 10) + 1, 500_000])
def test_a_file_arrives_whole_under_its_name_and_comes_back(agent: Agent, channel: AgentChannel, size: int) -> None:
    content = bytes(i % 251 for i in range(size))
    channel.put("/etc/it's", content)
    assert agent.files == {"/etc/it's": content}
    assert channel.get("/etc/it's") == content
    assert agent.handles == {}


def test_a_file_that_isnt_there_is_none(channel: AgentChannel) -> None:
    assert channel.get("/nowhere") is None


def test_an_agent_that_doesnt_answer_is_tried_later(agent: Agent, channel: AgentChannel) -> None:
    agent.answers["guest-ping"] = LibvirtError(86, "Guest agent is not responding: guest agent didn't respond")
    with pytest.raises(TryLater, match="doesn't answer"):
        channel.ping()


def test_a_domain_that_isnt_ours_is_not_spoken_to(agent: Agent, channel: AgentChannel) -> None:
    agent.answers["guest-ping"] = NotOurs("not ours")
    with pytest.raises(NeedsAttention):
        channel.ping()
