"""What the tests of real guests rely on, whatever ran before them."""

import subprocess

import libvirt
import pytest

from tests.vm.bench.hosts import BenchHost
from tests.vm.site import RealSite

pytestmark = pytest.mark.vm


def answers(host: BenchHost) -> bool:
    """Whether the servicing network answers here, as a worker would ask it."""
    ping = ["busybox", "ping", "-c", "1", "-W", "2", host.bridge_address]
    return subprocess.run(ping, capture_output=True, timeout=30, check=False).returncode == 0


def test_a_network_that_is_created_again_can_be_reached_again(site: RealSite):
    host = site.hosts[1]
    assert answers(host)
    connection = libvirt.open(host.uri)
    try:
        network = connection.networkLookupByName("servicing")
        network.destroy()
        assert not answers(host)
        network.create()
    finally:
        connection.close()
    assert any(answers(host) for _ in range(10))
