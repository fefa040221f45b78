"""The programs that a guest of the simulated world has: what `lab-…` commands do inside it.

Each prints one JSON object and exits with 0; 2 means that it was called wrongly.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from inventory.lab import guests
from inventory.lab.records import Copy, GuestJob, Machine, Running
from inventory.lab.state import State
from inventory.remote.base import Completed
from ovmst_site.faults import TryLater

Program = Callable[[State, Machine, Copy, Running, list[str], float, bool], dict[str, Any]]


def reach(machine: Machine, host: str) -> tuple[Copy, Running]:
    """The running guest, if it answers on that host; TryLater if not."""
    copy = machine.copy
    run = copy.running if copy else None
    if copy is None or run is None or run.host != host:
        raise TryLater(f"{machine.name} doesn't run on {host}")
    if run.phase != "up" or machine.guest.never_answers:
        raise TryLater(f"The guest of {machine.name} doesn't answer")
    return copy, run


def ping(state: State, machine: Machine, *, host: str, **_: Any) -> None:
    reach(machine, host)


def put(state: State, machine: Machine, *, host: str, path: str, content: bytes, **_: Any) -> None:
    reach(machine, host)[1].files[path] = content
    state.effect("put", machine.id, path)


def get(state: State, machine: Machine, *, host: str, path: str, **_: Any) -> bytes | None:
    return reach(machine, host)[1].files.get(path)


def run(
    state: State, machine: Machine, *, host: str, argv: list[str], extra: float = 0, dies: bool = False
) -> Completed:
    """Run one program; `extra` seconds longer than usual, or with an end in the middle."""
    copy, running = reach(machine, host)
    if argv and argv[0] in machine.guest.programs:
        return Completed(machine.guest.programs[argv[0]], b"", b"")
    program = PROGRAMS.get(argv[0]) if argv else None
    if program is None:
        return Completed(127, b"", f"{argv[0] if argv else ''}: not found".encode())
    try:
        answer = program(state, machine, copy, running, argv[1:], extra, dies)
    except (ValueError, IndexError) as error:
        return Completed(2, b"", f"{argv[0]}: {error}".encode())
    return Completed(0, json.dumps(answer).encode(), b"")


def call_of(argv: list[str]) -> str:
    """The name under which calls, faults and crashes of this command are known: "lab-scan" is "scan",
    anything that isn't the updater's is "run"."""
    return argv[0].removeprefix("lab-").replace("-", "_") if argv and argv[0] in PROGRAMS else "run"


def _ready(
    state: State, machine: Machine, copy: Copy, running: Running, argv: list[str], extra: float, dies: bool
) -> dict[str, Any]:
    """Its clock and its source; switches its own updater off."""
    if copy.content.own_updater:
        copy.content = replace(copy.content, number=state.number(), own_updater=False)
        state.effect("readiness", machine.id)
    guest = machine.guest
    # By OVMST's own clock: a world whose time runs faster isn't off by hours.
    return {"clock": state.wall + guest.clock_skew, "source": guest.source_reachable}


def _job(kind: str) -> Program:
    def program(
        state: State,
        machine: Machine,
        copy: Copy,
        running: Running,
        argv: list[str],
        extra: float,
        dies: bool,
    ) -> dict[str, Any]:
        [op] = argv
        job = running.jobs.get(op)
        if job is None:
            if kind == "install" and guests.is_installing(machine, running, state.now):
                return {"state": "locked", "note": "another installer is at work"}
            seconds = machine.guest.install_seconds if kind == "install" else machine.guest.scan_seconds
            job = running.jobs[op] = GuestJob(kind, state.now + seconds + extra)
            if dies or (kind == "install" and "install" in machine.guest.dies_in):
                running.dies = state.now + (seconds + extra) / 2
            state.effect(kind, machine.id, op)
            guests.settle(state, machine, copy)
        if job.kind != kind:
            raise ValueError(f"{op} is a {job.kind}")
        return job.answer or {"state": "running", "note": f"{job.ends - state.now:.0f} s left"}

    return program


def _restart(
    state: State, machine: Machine, copy: Copy, running: Running, argv: list[str], extra: float, dies: bool
) -> dict[str, Any]:
    if guests.go_down(state, machine, copy, "restarting", extra):
        state.effect("restart", machine.id)
    if dies:
        running.dies = state.now
    return {}


def _boot_id(
    state: State, machine: Machine, copy: Copy, running: Running, argv: list[str], extra: float, dies: bool
) -> dict[str, Any]:
    return {"boot": f"boot-{running.boot}"}


def _is_installing(
    state: State, machine: Machine, copy: Copy, running: Running, argv: list[str], extra: float, dies: bool
) -> dict[str, Any]:
    return {"installing": guests.is_installing(machine, running, state.now)}


def _health(
    state: State, machine: Machine, copy: Copy, running: Running, argv: list[str], extra: float, dies: bool
) -> dict[str, Any]:
    problems = [f"{name} is half installed" for name in copy.content.half_installed]
    if running.restart_needed:
        problems.append("the running kernel isn't the newest one")
    if copy.content.condition == "damaged":
        problems.append("the package database is damaged")
    return {"problems": problems}


def _tidy(
    state: State, machine: Machine, copy: Copy, running: Running, argv: list[str], extra: float, dies: bool
) -> dict[str, Any]:
    if not copy.content.own_updater:
        copy.content = replace(copy.content, number=state.number(), own_updater=True)
        state.effect("tidy", machine.id)
    return {}


PROGRAMS: dict[str, Program] = {
    "lab-readiness": _ready,
    "lab-scan": _job("scan"),
    "lab-install": _job("install"),
    "lab-restart": _restart,
    "lab-boot-id": _boot_id,
    "lab-is-installing": _is_installing,
    "lab-health": _health,
    "lab-tidy": _tidy,
}
