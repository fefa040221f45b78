"""manage.py serve: one process that answers, works and ends when it is told to."""

import os
import signal
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.embedded.process import Process, manage, status_of

Start = Callable[..., Process]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_it_migrates_answers_and_ends_cleanly(start: Start, data: Path, number: signal.Signals):
    server = start("serve", "--port", "0")
    assert status_of(server.url()) == 302  # to the sign-in page
    assert server.stop(number) == 0
    assert server.lines[-1] == "Stopped."
    assert "Traceback" not in server.said


def test_doctor_knows_the_server(start: Start, data: Path):
    server = start("serve", "--port", "0")
    server.url()
    assert f"ok embedded server (pid {server.pid})" in manage(data, "doctor").stdout
    server.stop()
    assert "embedded server (pid" not in manage(data, "doctor").stdout


def test_a_second_server_on_the_same_data_is_refused(start: Start, data: Path):
    server = start("serve", "--port", "0")
    server.url()
    second = manage(data, "serve", "--port", "0")
    assert second.returncode == 1
    assert f"already runs on {data} (process {server.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    assert status_of(f"{server.lines[-1].split()[3]}") == 302


def test_after_a_kill_the_folder_is_free_at_once(start: Start):
    server = start("serve", "--port", "0")
    server.url()
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    again = start("serve", "--port", "0")
    assert status_of(again.url()) == 302
    assert again.stop() == 0


def test_a_port_that_is_taken_is_said(data: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = manage(data, "serve", "--port", str(port))
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (data / "ovmst.sqlite3").exists()  # nothing was begun


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", "0"), ("127.0.0.1", "70000")])
def test_a_wrong_address_is_said(data: Path, host: str, port: str):
    done = manage(data, "serve", "--host", host, "--port", port)
    assert done.returncode == 1
    assert f"Can't listen on {host}, port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_open_connections_do_not_hold_the_end_up(start: Start):
    server = start("serve", "--port", "0")
    host, port = server.url().removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port))) as half, socket.create_connection((host, int(port))) as idle:
        half.sendall(b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx")
        idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(100).startswith(b"HTTP/1.1 302")
        assert server.stop() == 0


def test_a_database_that_cannot_be_written_is_said(start: Start, data: Path):
    server = start("serve", "--port", "0")
    server.url()
    server.stop()
    file = data / "ovmst.sqlite3"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM django_migrations WHERE app = 'servicing'")
        connection.commit()
    done = manage(data, "serve", "--port", "0")
    assert done.returncode == 1
    assert "can't be brought up to date" in done.stderr
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr


def test_with_a_broker_it_serves_pages_only_unless_asked(start: Start):
    nobody = {"OVMST_BROKER_URL": "redis://127.0.0.1:1/0"}
    pages = start("serve", "--port", "0", **nobody)
    assert status_of(pages.url()) == 302
    assert "workers are started apart" in pages.said
    assert pages.stop() == 0
    # The broker doesn't answer: pages do all the same, and the end isn't held up.
    all_of_it = start("serve", "--port", "0", "--with-worker", **nobody)
    assert status_of(all_of_it.url()) == 302
    assert "pages, worker and beat" in all_of_it.said
    assert all_of_it.stop() == 0


def test_a_broker_of_an_unknown_kind_is_said(data: Path):
    done = manage(data, "serve", "--port", "0", "--with-worker", OVMST_BROKER_URL="nonsense://somewhere")
    assert done.returncode == 1
    assert "OVMST_BROKER_URL" in done.stderr
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_signals_are_no_more_than_one(start: Start):
    server = start("serve", "--port", "0")
    server.url()
    os.kill(server.pid, signal.SIGINT)
    assert server.stop(signal.SIGINT) == 0
