"""Fixtures for all tests. Nothing here reaches a network or a real data folder."""

from collections.abc import Iterator
from typing import Any

import pytest

from inventory.drivers import forget_platforms
from inventory.lab import worlds
from ovmst_site import clock
from ovmst_site.clock import JumpingClock
from tests.factories import LabSite, make_lab_site
from tests.serving import (  # noqa: F401 - fixtures
    _session_server,
    serve,
    served,
    shared_database,
    shared_lab,
    shared_rows,
)


@pytest.fixture(autouse=True)
def seldom(settings: Any) -> None:
    """Looks are far between where the clock jumps over them: the same steps, fewer of them."""
    settings.POLL_SECONDS = 6
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def jumping_clock() -> Iterator[JumpingClock]:
    mine = JumpingClock()
    before = clock.use(mine)
    yield mine
    clock.use(before)


@pytest.fixture
def lab(db: None, jumping_clock: JumpingClock) -> Iterator[LabSite]:
    """A lab whose library keeps the original, as libvirt's does."""
    forget_platforms()
    yield make_lab_site(jumping_clock)
    worlds.forget()


@pytest.fixture(params=[True, False], ids=["library keeps it", "fetching moves it"])
def either_lab(request: pytest.FixtureRequest, db: None, jumping_clock: JumpingClock) -> Iterator[LabSite]:
    forget_platforms()
    yield make_lab_site(jumping_clock, keeps_original=request.param)
    worlds.forget()
