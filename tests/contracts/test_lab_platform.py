"""The lab's driver keeps the contract of platforms, in both kinds of world and
wherever it is kept; and no promise is broken by it."""

from collections.abc import Iterator

import pytest

from tests.contracts.lab_bench import STORAGES, LabBench
from tests.contracts.platform_contract import PlatformContract


def a_bench(storage: str, *, keeps_original: bool) -> Iterator[LabBench]:
    bench = LabBench(keeps_original=keeps_original, storage=storage)
    yield bench
    assert bench.world.violations == []
    assert [m for m in bench.world.lost_machines() if not bench.world.machine(m).gone] == []  # type: ignore[union-attr]


@pytest.mark.parametrize("storage", STORAGES)
class TestLabThatKeepsTheOriginal(PlatformContract):
    @pytest.fixture
    def bench(self, storage: str) -> Iterator[LabBench]:
        yield from a_bench(storage, keeps_original=True)


@pytest.mark.parametrize("storage", STORAGES)
class TestLabThatMovesTheOnlyCopy(PlatformContract):
    @pytest.fixture
    def bench(self, storage: str) -> Iterator[LabBench]:
        yield from a_bench(storage, keeps_original=False)
