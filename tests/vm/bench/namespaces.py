"""Network namespaces of the bench: named by number, claimed by a lock, cleaned up whoever left them.

Number N stands for namespaces `ovmst-benchN` and `ovmst-benchN-prod`, the link `ovmst-benchN` in the root
namespace, and the subnets 10.87.N.0/24 and 10.88.N.0/24. Whoever holds the lock of a number may end all that
runs under it: a run that was killed holds no lock any more.
"""

import fcntl
import os
import re
import signal
import time
from pathlib import Path
from typing import IO

from .commands import BenchError, run

LOCKS = Path("/run/lock/ovmst-bench")
HIGHEST = 250


def namespace(number: int) -> str:
    return f"ovmst-bench{number}"


def claim() -> tuple[int, IO[str]]:
    """The lowest free number and its lock: close it when done. What killed runs left is cleaned up, all of it."""
    for name in names():
        left = re.fullmatch(r"ovmst-bench([0-9]+)(-prod)?", name)
        if left and (lock := _try_lock(int(left[1]))):
            with lock:
                clean_up(int(left[1]))
    for number in range(1, HIGHEST + 1):
        if lock := _try_lock(number):
            clean_up(number)
            return number, lock
    raise BenchError(f"{HIGHEST} bench hosts run already")


def _try_lock(number: int) -> IO[str] | None:
    LOCKS.mkdir(parents=True, exist_ok=True)
    lock = (LOCKS / str(number)).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def clean_up(number: int) -> None:
    """End all processes of this number's namespaces and delete them. Only with its lock held."""
    spaces = names() & {f"{namespace(number)}-prod", namespace(number)}
    for name in spaces:
        end_processes(name)
    # Before its namespace: with that, the kernel removes it some time later, and a new one finds it there.
    link = namespace(number)
    if Path(f"/sys/class/net/{link}").exists():
        run(["ip", "link", "delete", link], timeout=30)
    for name in spaces:
        run(["ip", "netns", "delete", name], timeout=30)


def names() -> set[str]:
    lines = run(["ip", "netns", "list"], timeout=30).decode().splitlines()
    return {line.split()[0] for line in lines if line.strip()}


def pids(name: str) -> list[int]:
    """The processes whose network namespace this is."""
    return [int(word) for word in run(["ip", "netns", "pids", name], timeout=30).split()]


def end_processes(name: str, *, but: frozenset[int] = frozenset()) -> None:
    """Kill every process of a network namespace except those named; raises BenchError if one stays."""
    deadline = time.monotonic() + 30
    while left := [pid for pid in pids(name) if pid not in but]:
        if time.monotonic() > deadline:
            raise BenchError(f"processes {left} in {name} don't end")
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)  # a stopped process ends by it too
            except ProcessLookupError:
                continue
        time.sleep(0.05)
