"""Starts a command anew at every change of the code, for who works on it.

The command is a process of its own that is stopped with SIGTERM, so that a reload is a clean stop each time.
"""

import signal
import subprocess
import sys
import threading
from pathlib import Path

from django.conf import settings

WATCHED = ("*.py", "*.html")
FOLDERS = ("ovmst_site", "inventory", "servicing", "templates")
LOOK_EVERY = 0.5  # seconds
LONGEST_STOP = 15.0  # seconds


def run(arguments: list[str]) -> int:
    """Run this Python command until a signal comes; returns its last exit status. One that ended by itself
    (a slip in the code) is started again at the next change."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while True:
        before = _seen()
        child = subprocess.Popen([sys.executable, *arguments])
        while not stop.wait(LOOK_EVERY) and (changed := _seen()) == before:
            pass
        status = _end(child)
        if stop.is_set():
            return status
        names = sorted(str(path) for path, _ in set(changed.items()) ^ set(before.items()))
        print(f"Changed: {names[0]}. Starting anew.", flush=True)  # noqa: T201


def _end(child: subprocess.Popen[bytes]) -> int:
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(LONGEST_STOP)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _seen() -> dict[Path, int]:
    """Every watched file and when it was changed."""
    found: dict[Path, int] = {}
    for folder in FOLDERS:
        for pattern in WATCHED:
            for path in (settings.BASE_DIR / folder).rglob(pattern):
                try:
                    found[path.relative_to(settings.BASE_DIR)] = path.stat().st_mtime_ns
                except FileNotFoundError:  # an editor's passing file
                    continue
    return found
