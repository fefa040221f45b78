"""Whether a share is there: an empty folder may be a mount point on which nothing is mounted."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from inventory.platforms.base import Damaged, FoundMachine, Observed, Place, Power
from inventory.platforms.libvirt import observing
from inventory.platforms.libvirt.layout import SIGN, Folder
from inventory.platforms.libvirt.library import machines
from ovmst_site.faults import NeedsAttention
from tests.inventory.platforms.libvirt.conftest import Machine

KEY = "11111111-2222-3333-4444-555555555555"
OTHER = "66666666-2222-3333-4444-555555555555"
Make = Callable[..., Machine]


def seen(share: Path) -> tuple[Place, Power]:
    found: Observed = observing.observe(Folder(str(share), KEY), ())
    assert found.place is Place.ABSENT or "is it mounted" in found.detail
    return found.place, found.power


def test_an_empty_folder_says_nothing_about_its_machines(tmp_path: Path) -> None:
    assert seen(tmp_path) == (Place.UNKNOWN, Power.UNKNOWN)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "README").touch()
    assert seen(tmp_path) == (Place.UNKNOWN, Power.UNKNOWN)
    assert seen(tmp_path / "nowhere") == (Place.UNKNOWN, Power.UNKNOWN)


@pytest.mark.parametrize("sign", [f"{OTHER}/generations", "web/current", SIGN])
def test_a_share_with_a_machine_or_the_sign_is_there(tmp_path: Path, sign: str) -> None:
    (tmp_path / sign).mkdir(parents=True)
    assert seen(tmp_path) == (Place.ABSENT, Power.OFF)


def test_a_damaged_machine_is_known_by_its_id(tmp_path: Path) -> None:
    (tmp_path / KEY).mkdir()
    (found,) = machines(str(tmp_path))
    assert isinstance(found, Damaged)
    assert found.external_id == KEY


@pytest.mark.vm
def test_the_first_adopted_machine_brings_the_sign(adopted: Make, share: Path) -> None:
    machine = adopted()
    assert (share / SIGN).is_file()
    assert [type(found) for found in machines(str(share))] == [FoundMachine]
    away = share.with_name(f"{share.name}-unmounted")
    share.rename(away)
    share.mkdir()  # the mount point alone
    assert machine.observe().place is Place.UNKNOWN
    with pytest.raises(NeedsAttention, match="is it mounted"):
        machine.platform.inspect(machine.ref)
    share.rmdir()
    away.rename(share)
    assert machine.observe().place is Place.LIBRARY
    shutil.rmtree(machine.folder.path)
    assert machine.observe().place is Place.ABSENT
