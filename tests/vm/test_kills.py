"""kill -9 of the worker during fetch, install and store, and of the publisher in the middle of its work."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.db import connection

from inventory.models import StoredResource
from servicing.models import Job, RunTarget
from tests.vm.bench import offline
from tests.vm.site import PROJECT, RealSite, log_of, manage

pytestmark = [pytest.mark.vm, pytest.mark.long]

MOMENTS = ["fetch", "install", "store", "publish"]


def worker(job: Job) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, str(PROJECT / "manage.py"), "run_job", job.name, "--wait"],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def publishers(external_id: str) -> list[int]:
    """Processes that publish a generation of this machine."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if (
                b"filework" in command
                and b"publish" in command
                and external_id.encode() in _open_paths(entry, command)
            ):
                found.append(int(entry.name))
    return found


def _open_paths(entry: Path, command: bytes) -> bytes:
    paths = [command]
    with contextlib.suppress(OSError):
        paths += [os.readlink(fd).encode() for fd in (entry / "fd").iterdir()]
    return b" ".join(paths)


def kill_at(moment: str, job: Job, resource: StoredResource, killed: dict[str, bool]) -> None:
    process = worker(job)
    try:
        end = time.monotonic() + 1800
        while time.monotonic() < end and process.poll() is None:
            target = RunTarget.objects.filter(resource=resource).first()
            begun = target is not None and target.direction == "forward"
            if begun and moment == "publish":
                if pids := publishers(resource.external_id):
                    process.kill()
                    for pid in pids:
                        os.kill(pid, signal.SIGKILL)
                    killed[moment] = True
                    return
            elif begun and target.step == moment and target.operations.filter(step=moment).exists():  # type: ignore[union-attr]
                process.kill()
                killed[moment] = True
                return
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
        connection.close()


def test_after_a_kill_each_target_finishes_and_nothing_is_done_twice(site: RealSite):
    resources = {moment: site.adopt(f"killed at {moment}", "tiny") for moment in MOMENTS}
    jobs = {moment: site.job(f"killed at {moment}", [resource]) for moment, resource in resources.items()}
    killed: dict[str, bool] = {}
    threads = [threading.Thread(target=kill_at, args=(m, jobs[m], resources[m], killed)) for m in MOMENTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(killed) == set(MOMENTS), "each worker was killed where it should be"
    runs = {m: jobs[m].runs.get() for m in MOMENTS}
    waiting = [
        threading.Thread(target=manage, args=("run_job", jobs[m].name, "--wait", "--resume", str(runs[m].pk)))
        for m in MOMENTS
    ]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    for moment, resource in resources.items():
        target = runs[moment].targets.get()
        assert target.outcome == "succeeded", log_of(target)
        assert offline.package_version(site.image(resource), "toy") == "2.0"
        generations = sorted(p.name for p in (site.library / resource.external_id / "generations").iterdir())
        assert generations == ["g000001", "g000002"], "published once, and nothing left behind"
        assert not (site.library / resource.external_id / "marker.json").exists()
    assert site.running() == []
