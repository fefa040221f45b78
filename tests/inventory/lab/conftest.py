"""A lab with one machine on its way, for tests of the world itself."""

import pytest

from tests.contracts.lab_bench import LabBench
from tests.contracts.servicing import Servicing


@pytest.fixture(params=[True, False], ids=["keeps the original", "moves the only copy"])
def bench(request: pytest.FixtureRequest) -> LabBench:
    return LabBench(keeps_original=request.param)


@pytest.fixture
def servicing(bench: LabBench) -> Servicing:
    return Servicing(bench, bench.machine())


@pytest.fixture
def up(bench: LabBench, servicing: Servicing) -> Servicing:
    """Its guest answers."""
    servicing.ready_to_start().start()
    bench.guest_writes(servicing.machine)
    return servicing
