"""What happens inside a running machine of the simulated world: the rules of its guest."""

from dataclasses import replace
from typing import Any

from inventory.lab.records import NEVER, Content, Copy, Machine, Running, Update
from inventory.lab.state import State


def power_on(state: State, machine: Machine, copy: Copy, *, op: str, by_outsider: bool, extra: float) -> None:
    """Give the copy power; from now on the guest writes to its disks."""
    copy.running = Running(copy.host, by_outsider, op, state.number())
    copy.ended = "unknown"
    _write(state, machine, copy)
    _boot(state, machine, copy, state.now, extra)


def power_off(state: State, machine: Machine, copy: Copy, ended: str, *, at: float | None = None) -> None:
    """The machine has no power any more, however that came."""
    run = copy.running
    if run is None:
        return
    if is_installing(machine, run, state.now if at is None else at) or run.interrupted:
        condition = "damaged"
    else:
        condition = "sound" if ended == "clean" else "unclean"
    if copy.content.condition == "damaged":
        condition = "damaged"
    copy.running, copy.ended = None, ended
    _write(state, machine, copy, condition=condition)
    state.note(machine.id, f"guest {ended}", condition, at=at)


def go_down(state: State, machine: Machine, copy: Copy, then: str, extra: float) -> bool:
    """Ask the operating system to shut down or restart; says whether it listened."""
    run = copy.running
    if run is None or run.phase != "up" or machine.guest.never_answers:
        return False
    if then == "going down" and machine.guest.ignores_shut_down:
        return False
    if is_installing(machine, run, state.now):
        state.violate(machine.id, f"{then} while an installer ran")
        run.interrupted = True
    run.phase, run.phase_ends = then, state.now + machine.guest.shut_down_seconds + extra
    if then == "going down" and "shut_down" in machine.guest.dies_in:
        run.dies = state.now + machine.guest.shut_down_seconds / 2
    return True


def is_installing(machine: Machine, run: Running, at: float) -> bool:
    """Whether an installer runs, ours or the guest's own."""
    if run.phase != "up":
        return False
    if any(job.kind == "install" and job.ends > at for job in run.jobs.values()):
        return True
    return at < run.booted + machine.guest.own_updater_seconds


def settle(state: State, machine: Machine, copy: Copy) -> None:
    """Let everything happen in the guest that is due by now, in the order of time."""
    while (run := copy.running) is not None:
        ends = [(job.ends, op) for op, job in run.jobs.items() if job.answer is None and run.phase == "up"]
        job_ends, op = min(ends, default=(NEVER, ""))
        at = min(run.phase_ends, run.dies, job_ends)
        if at > state.now:
            return
        if at == run.dies:
            power_off(state, machine, copy, "crashed", at=at)
        elif at == job_ends:
            _end_job(state, machine, copy, run, op)
        else:
            _end_phase(state, machine, copy, run, at)


def _end_phase(state: State, machine: Machine, copy: Copy, run: Running, at: float) -> None:
    if run.phase == "going down":
        power_off(state, machine, copy, "clean", at=at)
    elif run.phase == "restarting":
        if run.interrupted:
            _write(state, machine, copy, condition="damaged")
        run.boot, run.jobs, run.files = state.number(), {}, {}
        run.restart_needed = run.interrupted = False
        _boot(state, machine, copy, at, 0)
    else:
        run.phase, run.phase_ends, run.booted = "up", NEVER, at
        state.note(machine.id, "guest up", at=at)


def _boot(state: State, machine: Machine, copy: Copy, at: float, extra: float) -> None:
    run = copy.running
    assert run is not None  # noqa: S101 - both callers have just seen it
    updated = copy.content.packages != machine.generations[0].content.packages
    loops = updated and machine.guest.boot_loops_after_update
    run.phase, run.booted = "booting", NEVER
    run.phase_ends = NEVER if loops else at + machine.guest.boot_seconds + extra
    if "boot" in machine.guest.dies_in:
        run.dies = at + machine.guest.boot_seconds / 2
    state.note(machine.id, "guest boots", f"boot {run.boot}", at=at)


def _write(state: State, machine: Machine, copy: Copy, **changes: Any) -> None:
    """Write to the disks that the copy runs on. Without protection that is not the copy's own disk."""
    copy.content = replace(copy.content, number=state.number(), **changes)
    if copy.before is None and state.keeps_original and not copy.by_outsider:
        machine.generations = [
            replace(g, content=copy.content) if g.name == machine.current else g for g in machine.generations
        ]


def offered(machine: Machine, content: Content, run: Running) -> list[Update]:
    """What the update source offers this guest now."""
    guest = machine.guest
    if guest.endless:
        version = int(content.version("endless") or "0")
        return [Update("endless", str(version + 1))]
    result: list[Update] = []
    for index, this in enumerate(guest.rounds):
        missing = [u for u in this.updates if content.version(u.package) != u.version]
        result += missing
        if any(not u.held for u in missing):
            break
        if this.restart and run.restart_needed and index + 1 < len(guest.rounds):
            break
    return result


def _end_job(state: State, machine: Machine, copy: Copy, run: Running, op: str) -> None:
    job, guest = run.jobs[op], machine.guest
    if job.kind == "scan":
        job.answer = _scan_answer(machine, copy.content, run)
        return
    updates = [u for u in offered(machine, copy.content, run) if not u.held]
    if guest.failing_installs > 0 and updates:
        guest.failing_installs -= 1
        broken = tuple(sorted({*copy.content.half_installed, updates[0].package}))
        _write(state, machine, copy, half_installed=broken)
        log = f"{updates[0].package}: the post-installation script returned error exit status 1"
        job.answer = _installed(run, False, "an update failed to install", log)
        return
    packages = dict(copy.content.packages) | {u.package: u.version for u in updates}
    fixed = tuple(p for p in copy.content.half_installed if p not in {u.package for u in updates})
    _write(state, machine, copy, packages=tuple(sorted(packages.items())), half_installed=fixed)
    names = {u.package for u in updates}
    if any(r.restart and names & {u.package for u in r.updates} for r in guest.rounds):
        run.restart_needed = True
    job.answer = _installed(run, True, f"{len(updates)} installed", "")
    state.note(machine.id, "guest installed", ", ".join(sorted(names)), at=job.ends)


def _installed(run: Running, ok: bool, note: str, log: str) -> dict[str, Any]:
    return {"state": "ended", "ok": ok, "note": note, "log": log, "restart_needed": run.restart_needed}


def _scan_answer(machine: Machine, content: Content, run: Running) -> dict[str, Any]:
    guest = machine.guest
    if guest.source_refused:
        return {"state": "refused", "note": "the update source's key has expired"}
    if not guest.source_reachable:
        return {"state": "failed", "note": "the update source can't be reached"}
    pending = offered(machine, content, run) if guest.source_offers else []
    return {
        "state": "ended",
        "pending": [
            [u.package, content.version(u.package), u.version, u.origin, u.security, u.held] for u in pending
        ],
        "packages": [list(p) for p in content.packages],
        "source_offers": guest.source_offers,
        "restart_needed": run.restart_needed,
    }
