import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servicing.updaters.private_apt import PrivateApt, stop_workers


@pytest.fixture
def apt(tmp_path: Path) -> Iterator[PrivateApt]:
    """A guest with real apt and dpkg on a root folder of its own."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("apt and dpkg are needed, as Debian has them")
    yield PrivateApt(tmp_path)
    stop_workers(tmp_path)
