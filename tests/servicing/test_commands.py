"""The commands, as a person types them."""

import dataclasses
import re
import signal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from inventory.models import StoredResource
from inventory.sync import sync
from ovmst_site.access.models import Team
from servicing import cycle
from servicing.management.commands import run_job
from servicing.models import Job, Run, RunTarget
from servicing.updaters import lab as lab_updater
from servicing.updaters.base import Installed
from tests.factories import LabSite, make_lab_site


def test_run_job_says_what_it_did_and_its_numbers_add_up(lab: LabSite, capsys: pytest.CaptureFixture[str]):
    lab.machine("m1")
    lab.start()
    RunTarget.objects.all().delete()
    call_command("run_job", "Monthly x")
    assert "1 targets" in capsys.readouterr().out


def test_run_job_names_machines_of_which_none_can_be_serviced(lab: LabSite, capsys: pytest.CaptureFixture[str]):
    lab.machine("m1")
    lab.start()
    with pytest.raises(SystemExit):
        call_command("run_job", "Monthly x", "--wait")
    assert "1 skipped" in capsys.readouterr().out
    assert "another run" in lab.serviced().reason


def test_an_unknown_job_names_those_there_are(lab: LabSite):
    with pytest.raises(CommandError, match="Monthly x"):
        call_command("run_job", "Weekly")


def test_two_teams_may_have_a_job_of_one_name(lab: LabSite, capsys: pytest.CaptureFixture[str]):
    lab.machine("m1")
    sync(lab.server, lab.clock.now())
    other = make_lab_site(lab.clock, name="y")
    Job.objects.filter(pk=other.job.pk).update(team=Team.objects.create(name="Others"), name="Monthly x")
    lab.job.group.resources.set(StoredResource.objects.all())
    with pytest.raises(CommandError, match="--team: 'Others', 'Virtualization'"):
        call_command("run_job", "Monthly x")
    with pytest.raises(CommandError, match="no job 'Monthly x' of a team 'Nobody'"):
        call_command("run_job", "Monthly x", "--team", "Nobody")
    call_command("run_job", "Monthly x", "--team", "Virtualization")
    assert "1 targets" in capsys.readouterr().out
    assert Run.objects.get().job == lab.job


def test_a_job_on_an_empty_group_says_so(lab: LabSite):
    with pytest.raises(CommandError, match="no machines"):
        call_command("run_job", "Monthly x", "--wait")


def test_the_diagram_shows_every_step_of_both_tables(capsys: pytest.CaptureFixture[str]):
    call_command("draw_cycle")
    drawn = capsys.readouterr().out
    for direction, table in cycle.TABLES.items():
        for step in table:
            assert f'{direction}_{step.name}["' in drawn
    assert not re.search(r"None|object at", drawn)


def test_doctor_says_what_is_wrong_and_what_to_do(lab: LabSite, settings: Any, capsys: pytest.CaptureFixture[str]):
    settings.CELERY_BROKER_URL = "memory://localhost/"
    lab.machine("m1")
    call_command("doctor")
    assert "all well" in capsys.readouterr().out
    lab.world.outsiders.remove_network("h1", "servicing")
    with pytest.raises(SystemExit):
        call_command("doctor")
    said = capsys.readouterr().out
    assert "BAD host host-1" in said
    assert "servicing" in said


def test_attention_is_listed_and_resolved_with_a_reason(lab: LabSite, capsys: pytest.CaptureFixture[str]):
    lab.machine("m1")
    run = lab.start()
    lab.run_until(run, "protect")
    lab.world.outsiders.start("m1", "h1")
    lab.run_to_end(run)
    target = lab.serviced()
    call_command("resolve_attention")
    assert "1 need attention" in capsys.readouterr().out
    with pytest.raises(CommandError, match="reason"):
        call_command("resolve_attention", str(target.pk), "--return")
    with pytest.raises(CommandError, match="stop it first"):
        call_command("resolve_attention", str(target.pk), "--close", "--reason", "x")
    lab.world.outsiders.stop("m1")
    with pytest.raises(CommandError, match="not in its library"):
        call_command("resolve_attention", str(target.pk), "--close", "--reason", "x")
    call_command("resolve_attention", str(target.pk), "--return", "--reason", "stopped it by hand")
    lab.run_to_end(run)
    target.refresh_from_db()
    assert (target.state, target.outcome) == ("finished", "restored")
    assert target.resolution == "stopped it by hand"
    assert target.reserved_mb is None


def test_what_a_guest_says_steers_no_terminal_and_passes_for_no_line_of_ours(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real = lab_updater.LabUpdater.install

    def install(self: lab_updater.LabUpdater, guest: Any, op: str) -> Any:
        found = real(self, guest, op)
        said = "\x1b[2J\x9b\r\u202e\n12:00:00 other: store: done\tNa\u00efve \U0001f4a5"
        return dataclasses.replace(found, log=said) if isinstance(found, Installed) else found

    monkeypatch.setattr(lab_updater.LabUpdater, "install", install)
    lab.machine("m1")
    run = lab.start()
    lab.run_to_end(run)
    monkeypatch.setattr(run_job, "_work", lambda run, stop: None)  # all is done already
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    call_command("run_job", "Monthly x", "--wait", "--resume", str(run.pk))
    printed = capsys.readouterr().out
    assert r"\x1b[2J\x9b\r\u202e" in printed
    assert "\n    12:00:00 other: store: done\tNa\u00efve \U0001f4a5" in printed
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", printed)
