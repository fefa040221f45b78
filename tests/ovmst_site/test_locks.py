"""Locks between processes; two descriptors of one process are as strange to each other as two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovmst_site.locks import FileLock


def test_one_holds_it_alone_or_several_share_it(tmp_path: Path):
    first, second, third = (FileLock(tmp_path / "lock") for _ in range(3))
    assert first.take()
    assert not second.take()
    assert not second.take(shared=True)
    assert first.take(shared=True)  # from alone to shared
    assert second.take(shared=True)
    assert not third.take()
    first.release()
    second.release()
    first.release()  # harmless
    assert third.take()
    third.release()


def test_its_holder_says_who_it_is(tmp_path: Path):
    lock = FileLock(tmp_path / "lock")
    assert lock.holder() == ""
    assert not (tmp_path / "lock").exists()
    with pytest.raises(RuntimeError, match="isn't held"):
        lock.write("me")
    with lock:
        lock.take()
        lock.write("a long name")
        lock.write("me")
        assert FileLock(tmp_path / "lock").holder() == "me"
    assert lock.holder() == ""
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_child_does_not_keep_it(tmp_path: Path):
    with FileLock(tmp_path / "lock") as lock:
        lock.take()
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    other = FileLock(tmp_path / "lock")
    assert child.poll() is None
    assert other.take()
    other.release()
    child.communicate(os.linesep.encode())
