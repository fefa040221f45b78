"""SshChannel against a server in this process; each test names what it is about."""

import io
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory.remote import ssh
from inventory.remote.base import Secret
from inventory.remote.ssh import SshChannel
from ovmst_site.faults import Fault, GiveUp, TryLater
from tests.inventory.remote.ssh_server import PASSWORD, SshServer

Serve = Callable[..., SshServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[SshServer] = []

    def start(**options: object) -> SshServer:
        servers.append(SshServer(**options))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def one_server() -> Iterator[SshServer]:
    server = SshServer()
    yield server
    server.close()


def channel_to(server: SshServer, *, host_key: str | None = None, secret: str = PASSWORD) -> SshChannel:
    key = server.public_key if host_key is None else host_key
    return SshChannel("127.0.0.1", server.port, "root", key, Secret(secret))


def new_key() -> str:
    """A private key as ssh-keygen writes it."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        .decode()
    )


def test_a_command_runs_by_its_arguments_and_tells_how_it_ended(serve):
    done = channel_to(serve()).run(["/bin/sh", "-c", "cat; echo wrong >&2; exit 7"], stdin=b"in\0put")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"in\0put", b"wrong\n")


def test_a_killed_command_is_told_by_its_signal(serve):
    assert channel_to(serve()).run(["/bin/sh", "-c", "kill -9 $$"]).exit_code == 128 + 9


@pytest.mark.parametrize(
    "argument",
    ["", "a b", "'", '"', "$(reboot)", "`id`", "a\nb\n", "\\", "; exit 3", "-n", "*", "!", "~", "été 🖥️",
     "\u202eabc", "x" * 300, "\t", "a=b", "${HOME}", "# no"],
)  # fmt: skip
def test_hostile_arguments_arrive_as_they_are(one_server, argument):
    done = channel_to(one_server).run(["printf", "%s|", argument, "end"])
    assert done.stdout == f"{argument}|end|".encode()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_whatever_the_arguments_are_they_arrive(one_server, arguments):
    done = channel_to(one_server).run(["printf", "%s\\0", "first", *arguments])
    assert done.stdout == b"".join(a.encode() + b"\0" for a in ["first", *arguments])


def test_a_large_input_and_output_at_once_do_not_block_each_other(serve):
    data = os.urandom(3 << 20)
    assert channel_to(serve()).run(["cat"], stdin=data).stdout == data


def test_output_beyond_the_limit_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(ssh, "LARGEST_OUTPUT", 1 << 20)
    with pytest.raises(GiveUp, match="more than 1 MiB"):
        channel_to(serve()).run(["cat", "/dev/zero"], deadline=20)


def test_a_private_key_logs_in(serve):
    text = new_key()
    server = serve(user_key=paramiko.Ed25519Key.from_private_key(io.StringIO(text)))
    channel_to(server, secret=text).ping()
    assert len(server.commands) == 1


def test_a_wrong_password_needs_attention_and_is_not_shown(serve):
    with pytest.raises(GiveUp, match="refuses the password") as caught:
        channel_to(serve(), secret="wrong secret").ping()
    assert "wrong secret" not in str(caught.value)


def test_a_wrong_key_needs_attention(serve):
    server = serve(user_key=paramiko.Ed25519Key.from_private_key(io.StringIO(new_key())))
    with pytest.raises(GiveUp, match="refuses the private key"):
        channel_to(server, secret=new_key()).ping()


def test_a_password_where_keys_alone_are_taken_needs_attention(serve):
    server = serve(user_key=paramiko.ECDSAKey.generate())
    with pytest.raises(GiveUp, match="takes no password; it takes publickey"):
        channel_to(server).ping()


def test_a_key_that_cannot_be_read_needs_attention_and_is_not_shown(serve):
    text = "-----BEGIN OPENSSH PRIVATE KEY-----\nbm90IGEga2V5\n-----END OPENSSH PRIVATE KEY-----\n"
    with pytest.raises(GiveUp, match="can't be read") as caught:
        channel_to(serve(), secret=text).ping()
    assert "bm90" not in str(caught.value)


def test_a_server_that_wants_a_second_credential_needs_attention(serve):
    with pytest.raises(GiveUp, match="wants more than the password"):
        channel_to(serve(extra_step=True)).ping()


def test_a_changed_host_key_is_named_and_no_credential_is_sent(serve):
    server = serve()
    other = paramiko.ECDSAKey.generate()
    with pytest.raises(GiveUp) as caught:
        channel_to(server, host_key=f"{other.get_name()} {other.get_base64()}").ping()
    assert server.host_key.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)
    assert server.tries == []


def test_a_host_key_of_another_type_is_a_changed_one(serve):
    server = serve()
    text = new_key()
    other = paramiko.Ed25519Key.from_private_key(io.StringIO(text))
    with pytest.raises(GiveUp, match="not the host it should be"):
        channel_to(server, host_key=f"{other.get_name()} {other.get_base64()}").ping()
    assert server.tries == []


def test_without_a_pinned_key_the_found_one_is_shown_and_no_credential_is_sent(serve):
    server = serve()
    with pytest.raises(GiveUp, match="no host key is pinned") as caught:
        channel_to(server, host_key="").ping()
    assert server.public_key in str(caught.value)
    assert server.tries == []


@pytest.mark.parametrize("text", ["ssh-ed25519", "ssh-ed25519 %%%", "ssh-ed25519 AAAAB3NzaC1yc2E=", "garbage"])
def test_a_pinned_key_that_cannot_be_read_needs_attention(serve, text):
    with pytest.raises(GiveUp, match="can't be read"):
        channel_to(serve(), host_key=text).ping()


@pytest.mark.parametrize("options", [{"silent": True}, {"mute_exec": True}])
def test_a_server_that_hangs_is_left_at_the_deadline(serve, options):
    began = time.monotonic()
    with pytest.raises(TryLater):
        channel_to(serve(**options)).ping(deadline=1.5)
    assert time.monotonic() - began < 4


def test_a_command_that_goes_on_is_left_at_the_deadline(serve):
    began = time.monotonic()
    with pytest.raises(TryLater, match="didn't answer within"):
        channel_to(serve()).run(["sleep", "8"], deadline=1.5)
    assert time.monotonic() - began < 4


def test_nobody_listening_is_tried_later(serve):
    server = serve()
    server.close()
    with pytest.raises(TryLater, match="can't be reached"):
        channel_to(server).ping()


def test_a_name_that_is_none_is_tried_later():
    channel = SshChannel("a" * 70 + '"; $(reboot).invalid', 22, "root", "", Secret("x"))
    with pytest.raises(TryLater, match="can't be reached"):
        channel.ping()


def test_a_connection_that_breaks_while_a_command_runs_is_tried_later(serve):
    with pytest.raises(TryLater, match="broke"):
        channel_to(serve(drop_after=4096)).run(["cat", "/dev/zero"], deadline=20)


def test_a_connection_that_breaks_at_login_is_no_refusal(serve):
    with pytest.raises(TryLater):
        channel_to(serve(drop_at_login=True)).ping()


def test_a_file_is_put_and_got_byte_for_byte(serve, tmp_path):
    channel = channel_to(serve())
    path, content = tmp_path / "it's $(here)", bytes(range(256)) * 5000
    channel.put(str(path), content, mode=0o640)
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert channel.get(str(path)) == content
    assert os.listdir(tmp_path) == [path.name]


def test_an_empty_file_is_a_file_and_none_is_none(serve, tmp_path):
    channel = channel_to(serve())
    channel.put(str(tmp_path / "empty"), b"")
    assert channel.get(str(tmp_path / "empty")) == b""
    assert channel.get(str(tmp_path / "missing")) is None


def test_a_file_that_breaks_off_half_way_leaves_the_one_before(serve, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(TryLater):
        channel_to(serve(swallow=100_000)).put(str(path), b"x" * 1_000_000, deadline=20)
    wait_for(lambda: os.listdir(tmp_path) == ["file"])
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize("path", ["relative", "/no/such/folder/file", "/proc", "/a\0b"])
def test_what_cannot_be_written_is_given_up_with_a_reason(serve, path):
    with pytest.raises(GiveUp):
        channel_to(serve()).put(path, b"x")


def test_no_connection_and_no_thread_is_left_behind(serve):
    server = serve()
    before = threading.active_count()
    for secret in (PASSWORD, "wrong"):
        for _ in range(3):
            try:
                channel_to(server, secret=secret).ping()
            except Fault:
                continue
    server.close()
    wait_for(lambda: threading.active_count() <= before)


def wait_for(condition: Callable[[], bool], seconds: float = 5) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it didn't come true"
        time.sleep(0.05)
