"""A lab with one machine on its way, for tests of the world itself."""

import pytest

from tests.contracts.lab_bench import STORAGES, LabBench
from tests.contracts.servicing import Servicing


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["keeps the original", "moves the only copy"])
def bench(request: pytest.FixtureRequest, storage: str) -> LabBench:
    return LabBench(keeps_original=request.param, storage=storage)


@pytest.fixture
def servicing(bench: LabBench) -> Servicing:
    return Servicing(bench, bench.machine())


@pytest.fixture
def up(bench: LabBench, servicing: Servicing) -> Servicing:
    """Its guest answers."""
    servicing.ready_to_start().start()
    bench.guest_writes(servicing.machine)
    return servicing
