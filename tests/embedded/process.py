"""Real processes of OVMST, each test's on a data folder of its own."""

import http.client
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parents[2]
LONGEST_START = 120.0  # seconds, on a machine that has other things to do
LONGEST_STOP = 8.0  # what "within seconds" means here


def manage(data: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of manage.py, to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=environment(data, **variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def ask(data: Path, code: str) -> Any:
    """What an expression (or the last line of some) is there, as JSON."""
    *before, last = code.strip().splitlines()
    done = manage(data, "shell", "-v", "0", "-c", "\n".join([*before, f"import json; print(json.dumps({last}))"]))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def environment(data: Path, **variables: str) -> dict[str, str]:
    mine = {k: v for k, v in os.environ.items() if not k.startswith("OVMST_")}
    return mine | {"OVMST_DATA": str(data), "OVMST_POLL_SECONDS": "0.1", "PYTHONUNBUFFERED": "1"} | variables


class Process:
    """A command of manage.py that stays. Its output comes line by line."""

    def __init__(self, data: Path, *arguments: str, **variables: str) -> None:
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env=environment(data, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._new.put(line.rstrip("\n"))
        self._new.put(None)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def until(self, pattern: str, *, times: int = 1, longest: float = LONGEST_START) -> re.Match[str]:
        """Read on to the line in which this is found for the so-manieth time from now on."""
        end = time.monotonic() + longest
        while True:
            try:
                line = self._new.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{pattern!r} wasn't said within {longest} s:\n{self.said}") from None
            assert line is not None, f"it ended before it said {pattern!r}:\n{self.said}"
            self.lines.append(line)
            if found := re.search(pattern, line):
                times -= 1
                if not times:
                    return found

    def url(self) -> str:
        return self.until(r"OVMST is at\s+(http://\S+/)")[1]

    def stop(self, number: signal.Signals = signal.SIGTERM, *, longest: float = LONGEST_STOP) -> int:
        """Send the signal; the exit status, which comes within seconds."""
        self._process.send_signal(number)
        return self.wait(longest)

    def wait(self, longest: float) -> int:
        try:
            status = self._process.wait(timeout=longest)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended after {longest} s:\n{self.said}") from None
        while (line := self._new.get(timeout=5)) is not None:
            self.lines.append(line)
        return status

    def end(self) -> None:
        """At a test's end, whatever became of it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def status_of(url: str) -> int:
    """What a GET is answered with; redirects aren't followed."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=30)) as connection:
        connection.request("GET", parts.path)
        return connection.getresponse().status
