"""An address names a world, in this process."""

from collections.abc import Iterator

import pytest

from inventory.lab import worlds
from inventory.lab.world import World
from inventory.platforms.base import HostRef, ServerConfig
from inventory.platforms.lab import LabPlatform


@pytest.fixture(autouse=True)
def no_worlds() -> Iterator[None]:
    worlds.forget()
    yield
    worlds.forget()


def test_a_name_stays_with_its_world() -> None:
    world = World()
    worlds.use("here", world)
    assert worlds.get("here") is world


def test_a_driver_reaches_the_world_that_its_server_address_names() -> None:
    world = World(keeps_original=False)
    world.add_share("gold")
    worlds.use("here", world)
    config = ServerConfig("a name", "here", (HostRef("h1", "h1", "servicing"),), ("gold",), "")
    assert LabPlatform(config).keeps_original is False
    assert list(LabPlatform(config).inventory()) == []
    world.add_machine("m1", share="gold")
    assert len(list(LabPlatform(config).inventory())) == 1


def test_what_is_there_already_is_not_added_twice() -> None:
    world = World()
    world.add_machine("m1", share="gold")
    with pytest.raises(ValueError, match="already"):
        world.add_machine("m1", share="gold")
