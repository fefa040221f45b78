"""Sync: plan what changed, then apply it; what vanished is marked missing, never deleted."""

import pytest
from django.core.management import CommandError, call_command

from inventory.models import ManagementServer, StoredResource
from inventory.sync import plan, sync
from ovmst_site import clock
from ovmst_site.faults import Fault
from tests.factories import LabSite

HOSTILE = [
    'a"; $(reboot)\n',
    "x" * 300,
    "\u202e\u0645\u0631\u062d\u0628\u0627",
    "\U0001f4a5 'q' <b>",
    "NUL\0inside",
]


def test_what_is_found_is_added_once(lab: LabSite):
    lab.machine("m1")
    assert len(sync(lab.server, clock.now()).added) == 1
    again = sync(lab.server, clock.now())
    assert (again.added, again.changed, again.missing, again.unchanged) == ([], [], [], 1)
    resource = StoredResource.objects.get()
    assert (resource.external_id, resource.share, resource.team) == ("m1", lab.share, lab.share.team)
    assert resource.uuid
    assert resource.mac_addresses


def test_hostile_names_are_names(lab: LabSite):
    for n, name in enumerate(HOSTILE):
        lab.machine(f"m{n}", name=name)
    sync(lab.server, clock.now())
    found = {r.external_id: r.name for r in StoredResource.objects.all()}
    for n, name in enumerate(HOSTILE):
        assert found[f"m{n}"] == name.replace("\0", "\N{SYMBOL FOR NULL}")


def test_what_vanished_is_missing_and_comes_back(lab: LabSite):
    lab.machine("m1")
    sync(lab.server, clock.now())
    Administrator(lab).hide()
    assert [r.external_id for r in sync(lab.server, clock.now()).missing] == ["m1"]
    assert StoredResource.objects.get().missing_since == lab.clock.now()
    assert sync(lab.server, clock.now()).missing == []
    Administrator(lab).show()
    assert [r.external_id for r in sync(lab.server, clock.now()).returned] == ["m1"]
    assert StoredResource.objects.get().missing_since is None


def test_a_plan_changes_nothing(lab: LabSite):
    lab.machine("m1")
    plan(lab.server, clock.now())
    assert not StoredResource.objects.exists()


def test_half_an_inventory_is_none(lab: LabSite):
    lab.machine("m1")
    sync(lab.server, clock.now())
    lab.world.outsiders.share_answers("gold", False)
    with pytest.raises(Fault):
        sync(lab.server, clock.now())
    assert StoredResource.objects.get().missing_since is None


def test_the_command_names_what_there_is(lab: LabSite, capsys: pytest.CaptureFixture[str]):
    lab.machine("m1")
    call_command("sync_inventory", lab.server.name)
    assert "1 added" in capsys.readouterr().out
    with pytest.raises(CommandError, match="Lab x"):
        call_command("sync_inventory", "nobody")


def test_a_share_that_does_not_exist_is_said_and_changes_nothing(lab: LabSite, capsys: pytest.CaptureFixture[str]):
    lab.machine("m1")
    sync(lab.server, clock.now())
    lab.share.path = "/no/such/share"
    lab.share.save()
    from inventory.drivers import forget_platforms

    forget_platforms()
    with pytest.raises(CommandError):
        call_command("sync_inventory")
    assert "/no/such/share" in capsys.readouterr().err
    assert StoredResource.objects.get().missing_since is None
    assert ManagementServer.objects.get().enabled


class Administrator:
    """An administrator moves the machine to a share that isn't ours, and back."""

    def __init__(self, lab: LabSite) -> None:
        self.lab = lab

    def hide(self) -> None:
        self.lab.world.add_share("elsewhere")
        self.lab.world.outsiders.move("m1", share="elsewhere")

    def show(self) -> None:
        self.lab.world.outsiders.move("m1", share="gold")
