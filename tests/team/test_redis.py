"""Redis as the broker, by an environment variable alone."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.embedded.process import Process, manage

pytestmark = pytest.mark.team


@pytest.fixture
def broker() -> Iterator[str]:
    url = os.environ.get("OVMST_TEST_REDIS_URL", "")
    if not url:
        pytest.skip("OVMST_TEST_REDIS_URL names no Redis to test with")
    with redis.Redis.from_url(url) as client:
        assert not client.dbsize(), f"{url} isn't empty: name a database that nobody uses"
        yield url
        client.flushdb()


def test_another_process_reaches_the_worker_through_redis(start: Callable[..., Process], data: Path, broker: str):
    server = start("serve", "--port", "0", "--with-worker", OVMST_BROKER_URL=broker)
    server.url()
    said = manage(data, "doctor", OVMST_BROKER_URL=broker).stdout
    assert "ok broker (redis)" in said
    assert "ok workers (1 answer)" in said
    assert server.stop() == 0
    assert "Traceback" not in server.said


def test_a_run_over_redis(data: Path, broker: str):
    done = manage(data, "demo", "--once", "--port", "0", OVMST_BROKER_URL=broker)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("run 1: 60 targets, ")
