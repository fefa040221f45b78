"""Settings come from OVMST_* variables, and a misspelt one stops the start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from ovmst_site.environment import Environment, database
from ovmst_site.keys import keep

PROJECT = Path(__file__).resolve().parents[2]


def start(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OVMST_")}
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=PROJECT,
        env=environment | {"OVMST_DATA": str(tmp_path / "data")} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_any_variable_it_starts_and_keeps_its_data_to_itself(tmp_path: Path):
    done = start(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "secret-key").stat().st_mode & 0o777 == 0o600


def test_an_unknown_variable_stops_the_start_and_names_itself(tmp_path: Path):
    done = start(tmp_path, OVMST_DATABSE_URL="postgresql://x/y")
    assert done.returncode != 0
    assert "OVMST_DATABSE_URL" in done.stderr
    assert "OVMST_DATABASE_URL" in done.stderr  # what it could have meant


@pytest.mark.parametrize(
    ("name", "value"), [("LEASE_SECONDS", "soon"), ("DEBUG", "perhaps"), ("DATABASE_URL", "mysql://x/y")]
)
def test_a_wrong_value_stops_the_start(tmp_path: Path, name: str, value: str):
    done = start(tmp_path, **{f"OVMST_{name}": value})
    assert done.returncode != 0
    assert f"OVMST_{name}" in done.stderr


def test_a_database_url_may_hold_anything_in_its_password():
    made = database("postgresql://me:p%40ss%2F%3A@db.example:5433/ovmst?sslmode=verify-full", Path("/nowhere"))
    assert (made["USER"], made["PASSWORD"], made["HOST"], made["PORT"]) == ("me", "p@ss/:", "db.example", "5433")
    assert made["OPTIONS"]["sslmode"] == "verify-full"


def test_a_process_has_as_many_connections_as_is_said():
    url = "postgresql://me@db.example/ovmst"
    assert database(url, Path("/nowhere"))["OPTIONS"]["pool"]["max_size"] == 20
    assert database(url, Path("/nowhere"), 50)["OPTIONS"]["pool"]["max_size"] == 50


def test_more_threads_than_connections_are_refused_and_said(tmp_path: Path):
    command = [sys.executable, "manage.py", "serve", "--threads", "9", "--port", "0"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OVMST_")}
    environment |= {
        "OVMST_DATA": str(tmp_path / "data"),
        "OVMST_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",  # it isn't asked
        "OVMST_DATABASE_POOL": "12",
    }
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "set OVMST_DATABASE_POOL=13, or use at most 8 threads" in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_and_words():
    env = Environment({"OVMST_A": "on", "OVMST_B": "x, y z"})
    assert env.flag("A", default=False) is True
    assert env.flag("C", default=True) is True
    assert env.words("B") == ["x", "y", "z"]
    env.refuse_unknown()
    with pytest.raises(ImproperlyConfigured):
        Environment({"OVMST_A": "1"}).refuse_unknown()


def test_a_key_is_made_once_and_read_by_its_owner_only(tmp_path: Path):
    file = tmp_path / "key"
    assert keep(file, lambda: "first") == "first"
    assert keep(file, lambda: "second") == "first"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
