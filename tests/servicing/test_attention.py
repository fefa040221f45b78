"""Closing what needs attention, and what the machine's rows must survive on the way there."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError

from inventory.lab.world import GuestBehaviour
from inventory.models import Host, LibraryServer, ManagementServer
from ovmst_site.access.gate import SERVICE
from ovmst_site.text import clean, clean_json
from servicing.actions import resolve_attention, start_run
from servicing.models import RunTarget
from servicing.updaters import lab as lab_updater
from servicing.updaters.base import Package, Scan
from tests.factories import LabSite

Outcome = RunTarget.Outcome


def parked(site: LabSite) -> RunTarget:
    """A target that needs attention because an outsider started its machine; they have stopped it again."""
    site.machine("m1")
    run = site.start()
    site.run_until(run, "protect")
    site.world.outsiders.start("m1", "h1")
    site.run_to_end(run)
    site.world.outsiders.stop("m1")
    target = site.serviced()
    assert target.outcome == Outcome.ATTENTION
    return target


def test_closing_refuses_a_machine_that_still_lies_on_a_host(either_lab: LabSite):
    target = parked(either_lab)
    with pytest.raises(ValidationError, match="not in its library"):
        resolve_attention(target, SERVICE, "looked", bring_back=False)
    target.refresh_from_db()
    assert target.state == "attention"
    assert Host.objects.get().slots_used == 1


def test_closing_what_is_being_serviced_changes_nothing(lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    lab.run_until(run, "fetch")
    with pytest.raises(ValidationError):
        resolve_attention(lab.serviced(), SERVICE, "a mistake", bring_back=False)
    lab.run_to_end(run)
    assert lab.serviced().outcome == Outcome.SUCCEEDED


def test_closing_leaves_another_installations_marker(lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    RunTarget.objects.update(step="defragment")
    lab.run_to_end(run)
    target = lab.serviced()
    lab.world.outsiders.mark("m1", "another installation", str(target.pk))
    resolve_attention(target, SERVICE, "looked", bring_back=False)
    assert lab.platform.observe(target.resource.ref()).marker is not None


def test_what_needs_attention_holds_no_transfer_token(lab: LabSite):
    LibraryServer.objects.update(transfers_limit=1)
    lab.machine("m1")
    run = lab.start()
    lab.run_until(run, "store", operation=True)
    lab.world.outsiders.publish("m1")
    lab.run_to_end(run)
    assert lab.serviced().outcome in (Outcome.ATTENTION, Outcome.SUCCEEDED)
    assert LibraryServer.objects.get().transfers_used == 0


def test_a_library_that_changed_is_never_called_restored(lab: LabSite):
    lab.machine("m1", guest=GuestBehaviour(failing_installs=9))
    run = lab.start()
    lab.run_until(run, "install")
    lab.world.outsiders.publish("m1")
    lab.run_to_end(run)
    target = lab.serviced()
    assert target.outcome == Outcome.ATTENTION
    assert "meanwhile" in target.reason
    assert lab.world.awake() == []


def test_an_outsiders_power_off_is_not_a_clean_end(either_lab: LabSite):
    either_lab.job.allow_force_off = True
    either_lab.job.save()
    either_lab.machine("m1")
    run = either_lab.start()
    either_lab.run_until(run, "shut_down")
    either_lab.world.outsiders.power_off("m1")
    either_lab.run_to_end(run)
    assert either_lab.serviced().outcome == Outcome.RESTORED


def test_a_guest_that_does_not_listen_is_forced_off_where_the_job_allows(either_lab: LabSite):
    either_lab.job.allow_force_off = True
    either_lab.job.save()
    either_lab.machine("m1", guest=GuestBehaviour(ignores_shut_down=True))
    run = either_lab.start()
    either_lab.run_to_end(run)
    assert either_lab.serviced().outcome == Outcome.SUCCEEDED
    assert either_lab.world.violations == []


def test_hours_without_a_worker_cost_no_patience(either_lab: LabSite):
    either_lab.machine("m1")
    run = either_lab.start()
    either_lab.run_until(run, "install")
    either_lab.clock.jump(timedelta(hours=8))
    either_lab.run_to_end(run)
    assert either_lab.serviced().outcome == Outcome.SUCCEEDED


def test_a_machine_that_fits_no_host_is_refused(lab: LabSite):
    Host.objects.update(memory_mb=1)
    lab.machine("m1")
    run = lab.start()
    lab.run_to_end(run)
    assert lab.serviced().outcome == Outcome.SKIPPED
    assert "MiB" in lab.serviced().reason


def test_whoever_waits_longest_gets_the_slot(lab: LabSite):
    Host.objects.update(slots=1)
    for n in range(5):
        lab.machine(f"m{n}", name=f"machine {n}")
    run = lab.start()
    lab.run_to_end(run)
    placed = run.targets.filter(step_records__step="place").order_by("step_records__left_at")
    assert [t.resource.external_id for t in placed] == [f"m{n}" for n in range(5)]


def test_a_disabled_management_server_is_not_touched(lab: LabSite):
    lab.machine("m1")
    lab.run_to_end(lab.start())
    ManagementServer.objects.update(enabled=False)
    again = start_run(lab.job, SERVICE, name_each=True)
    assert again.targets.get().outcome == Outcome.SKIPPED


def test_hostile_words_of_a_guest_are_recorded_and_do_not_stop_the_engine(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch
):
    real = lab_updater.LabUpdater.scan

    def scan(self: object, guest: object, op: str) -> object:
        found = real(self, guest, op)  # type: ignore[arg-type]
        if isinstance(found, Scan):
            return Scan(found.pending, (*found.packages, Package("evil\0\udcff", "1\0")), True, note="\udcff")
        return found

    monkeypatch.setattr(lab_updater.LabUpdater, "scan", scan)
    lab.machine("m1")
    lab.run_to_end(lab.start())
    assert lab.serviced().outcome == Outcome.SUCCEEDED


def test_what_cannot_be_recorded_leads_back_not_nowhere(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: object, *args: object) -> None:
        raise ValueError("no row takes this")

    monkeypatch.setattr("servicing.holding.Holding.packages", refuse)
    lab.machine("m1")
    lab.run_to_end(lab.start())
    assert lab.serviced().outcome == Outcome.RESTORED
    assert lab.world.awake() == []


def test_text_from_outside():
    assert clean("a\0b\udcff") == "a\N{SYMBOL FOR NULL}b?"
    assert len(clean("x" * 100, 10)) == 10
    assert clean_json({"k\0": ["\udcff", 1, None]}) == {"k\N{SYMBOL FOR NULL}": ["?", 1, None]}
