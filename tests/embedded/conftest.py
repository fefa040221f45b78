"""Processes that a test started don't outlive it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.embedded.process import Process


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start(data: Path) -> Iterator[Callable[..., Process]]:
    """Start a command of manage.py that stays."""
    started: list[Process] = []

    def start(*arguments: str, **variables: str) -> Process:
        started.append(Process(data, *arguments, **variables))
        return started[-1]

    yield start
    for process in started:
        process.end()
