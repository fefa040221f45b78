"""Several processes work in one world of the database: nothing is lost, not even where one is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.db import connection

PROJECT = Path(__file__).resolve().parents[3]
WORK = """
import sys
import django
django.setup()
from django.core.management import call_command
from inventory.lab import worlds
from inventory.lab.records import Mark
what, *machines = sys.argv[1:]
if what == "make":
    call_command("migrate", verbosity=0)
    world = worlds.create("shared")
    for machine in machines:
        world.add_machine(machine, share="gold")
elif what == "work":
    world = worlds.get("shared")
    for _ in range(25):
        for machine in machines:
            world.perform("mark", machine, marker=Mark("us", machine, "gold", "g1", ()))
            world.perform("unmark", machine, installation="us", target=machine)
elif what == "for ever":
    world = worlds.get("shared")
    print("begun", flush=True)
    while True:
        with world.together() as state:
            for machine in state.machines.values():
                machine.saved = not machine.saved
elif what == "tell":
    world = worlds.get("shared")
    saved = {m.saved for m in world.machines()}
    print(len(world.machines()), world.calls("mark"), world.effects("unmark"), len(saved), len(list(world.journal)))
"""


class Processes:
    """Start others on the same database: a file of their own with SQLite, the tests' with PostgreSQL."""

    def __init__(self, folder: Path) -> None:
        self._environment = os.environ | {
            "OVMST_DATA": str(folder),
            "DJANGO_SETTINGS_MODULE": "ovmst_site.settings",
        }
        self._environment.pop("OVMST_DATABASE_URL", None)
        if connection.vendor == "postgresql":
            its = connection.settings_dict
            where = f"{its['USER']}:{its['PASSWORD']}@{its['HOST']}:{its['PORT'] or 5432}/{its['NAME']}"
            self._environment["OVMST_DATABASE_URL"] = f"postgresql://{where}"

    def start(self, *argv: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", WORK, *argv],
            cwd=PROJECT,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
        )

    def run(self, *argv: str) -> str:
        process = self.start(*argv)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        return out.strip()


@pytest.fixture
def processes(transactional_db: None, tmp_path: Path) -> Processes:
    return Processes(tmp_path)


def test_two_processes_do_not_lose_calls(processes: Processes) -> None:
    processes.run("make", "m1", "m2")
    both = [processes.start("work", "m1", "m2"), processes.start("work", "m2", "m1")]
    for process in both:
        process.communicate(timeout=120)
    # Both mark the same machines for the same target: each call counts, whoever finds it done already.
    assert [process.returncode for process in both] == [0, 0]
    machines, marks, unmarks, *_ = map(int, processes.run("tell").split())
    assert (machines, marks) == (2, 100)
    assert 50 <= unmarks <= 100


def test_a_process_that_is_killed_leaves_nothing_half_done(processes: Processes) -> None:
    names = [f"m{n}" for n in range(50)]
    processes.run("make", *names)
    for pause in (0.05, 0.11, 0.23):
        process = processes.start("for ever")
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(pause)  # whenever it is killed, it is in some call
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        machines, _, _, kinds, _ = map(int, processes.run("tell").split())
        assert (machines, kinds) == (50, 1), "all of a call's changes or none"
