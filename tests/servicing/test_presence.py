"""Who performs runs here, and what becomes of the leases of those who don't any more."""

from datetime import timedelta
from pathlib import Path

import pytest

from inventory.models import ManagementServer
from ovmst_site.locks import FileLock
from servicing import engine, ledger, presence
from servicing.actions import QUEUE
from servicing.models import Event, RunTarget
from tests.factories import LabSite

LENGTH = timedelta(seconds=90)


@pytest.fixture
def lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "performing"
    monkeypatch.setattr(presence, "lock_file", lambda: path)
    return path


def claimed(lab: LabSite, owner: str, number: int = 1) -> list[ledger.Lease]:
    leases = ledger.claim(owner, QUEUE, lab.clock.now(), LENGTH, limit=number)
    assert len(leases) == number
    return leases


def test_who_is_alone_takes_the_leases_of_the_dead(lab: LabSite, lock_file: Path):
    lab.machine("m1")
    lab.machine("m2")
    lab.start()
    dead = claimed(lab, "killed", 2)
    assert not ledger.next_due(QUEUE, lab.clock.now())
    with presence.performing() as taken:
        assert taken == 2
        assert ledger.next_due(QUEUE, lab.clock.now())
    # Should the killed one live after all, it finds out before it does anything.
    with pytest.raises(ledger.LeaseLost):
        ledger.renew(dead[0], lab.clock.now(), LENGTH)


def test_while_somebody_performs_nothing_is_taken_from_them(lab: LabSite, lock_file: Path):
    lab.machine("m1")
    lab.start()
    with FileLock(lock_file) as other:
        other.take(shared=True)
        lease = claimed(lab, "alive")[0]
        with presence.performing() as taken:
            assert taken == 0
        ledger.renew(lease, lab.clock.now(), LENGTH)


def test_several_perform_together(lab: LabSite, lock_file: Path):
    with presence.performing(), presence.performing(), FileLock(lock_file) as third:
        assert not third.take()
    with FileLock(lock_file) as alone:
        assert alone.take()


def test_where_the_database_is_no_file_leases_run_out(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(presence, "lock_file", lambda: None)
    lab.machine("m1")
    lab.start()
    claimed(lab, "perhaps on another machine")
    with presence.performing() as taken:
        assert taken == 0
    assert not ledger.next_due(QUEUE, lab.clock.now())


def test_the_lock_lies_beside_an_embedded_database_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    beside = tmp_path / "memory" / "ovmst.sqlite3.performing"
    (tmp_path / "link").symlink_to(tmp_path / "memory" / "ovmst.sqlite3")
    monkeypatch.chdir(tmp_path)
    for vendor, name, expected in [
        ("sqlite", str(tmp_path / "memory" / "ovmst.sqlite3"), beside),
        ("sqlite", str(tmp_path / "link"), beside),
        ("sqlite", "memory/../memory/ovmst.sqlite3", beside),
        ("sqlite", ":memory:", None),
        ("sqlite", "file:memorydb_default?mode=memory&cache=shared", None),
        ("postgresql", "ovmst", None),
    ]:

        class Connection:
            settings_dict = {"NAME": name}

        Connection.vendor = vendor  # type: ignore[attr-defined]
        monkeypatch.setattr(presence, "connection", Connection())
        assert presence.lock_file() == expected


def test_where_a_call_may_outlive_its_process_leases_run_out(lab: LabSite, lock_file: Path):
    """libvirt's daemon goes on with a start whose caller was killed."""
    lab.machine("m1")
    lab.start()
    ManagementServer.objects.update(kind="libvirt")
    claimed(lab, "killed, or ended in the middle of a call")
    with presence.performing() as taken:
        assert taken == 0
        assert not ledger.next_due(QUEUE, lab.clock.now())
        lab.clock.jump(LENGTH)
        assert ledger.next_due(QUEUE, lab.clock.now())


def test_a_worker_that_ends_lets_go_after_the_step_it_is_at(lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    lab.run_until(run, "place")
    stopping = iter([False, True])  # it may begin; after the first step it shall end
    assert engine.advance_due(QUEUE, stop=lambda: next(stopping, True)) == 1
    target = lab.serviced()
    assert (target.step, target.lease_owner, target.lease_until) == ("mark", "", None)
    assert ledger.next_due(QUEUE, lab.clock.now())  # whoever comes next goes on at once
    lab.run_to_end(run)
    target.refresh_from_db()
    assert target.outcome == RunTarget.Outcome.SUCCEEDED
    numbers = list(Event.objects.filter(target=target).order_by("n").values_list("n", flat=True))
    assert numbers == list(range(1, target.events + 1))
    for effect in ("mark", "fetch", "store"):
        assert lab.world.effects(effect, "m1") == 1
