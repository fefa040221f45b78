"""The lab's driver keeps the contract of platforms, in both kinds of world; and no promise is broken by it."""

from collections.abc import Iterator

import pytest

from tests.contracts.lab_bench import LabBench
from tests.contracts.platform_contract import PlatformContract


class TestLabThatKeepsTheOriginal(PlatformContract):
    @pytest.fixture
    def bench(self) -> Iterator[LabBench]:
        bench = LabBench(keeps_original=True)
        yield bench
        assert bench.world.violations == []
        assert [m for m in bench.world.lost_machines() if not bench.world.machine(m).gone] == []  # type: ignore[union-attr]


class TestLabThatMovesTheOnlyCopy(PlatformContract):
    @pytest.fixture
    def bench(self) -> Iterator[LabBench]:
        bench = LabBench(keeps_original=False)
        yield bench
        assert bench.world.violations == []
        assert [m for m in bench.world.lost_machines() if not bench.world.machine(m).gone] == []  # type: ignore[union-attr]
