"""The fixtures that the contract's parts share."""

import pytest

from tests.contracts.bench import Bench
from tests.contracts.servicing import Servicing


class OnABench:
    """Each test has a `bench` of its own; the driver's test module provides it."""

    @pytest.fixture
    def bench(self) -> Bench:
        raise NotImplementedError

    @pytest.fixture
    def servicing(self, bench: Bench) -> Servicing:
        return Servicing(bench, bench.machine())

    @pytest.fixture
    def running(self, servicing: Servicing) -> Servicing:
        return servicing.ready_to_start().start()
