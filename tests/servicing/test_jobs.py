"""Jobs: made, edited by two at once, copied, deleted; what a start refuses; what a preview says."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inventory.models import Credential, Host, HostGroup, ManagementServer, StoredResource
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.access.models import Membership, Person, Team
from servicing import engine, ledger
from servicing.actions import copy_job, create_job, delete_job, edit_job, preview, retry_failed, start_run
from servicing.actions.fitness import NAMED, with_reasons
from servicing.models import Group, Job, Run, RunTarget
from tests.factories import LabSite


def fields(site: LabSite, **others: Any) -> dict[str, Any]:
    job = site.job
    return {
        "name": "another",
        "group": job.group,
        "update_system": job.update_system,
        "host_group": job.host_group,
        **others,
    }


def fill(site: LabSite, number: int = 3) -> None:
    for n in range(number):
        site.machine(f"m{n}", name=f"machine {n}")
    sync(site.server, clock.now())
    site.job.group.resources.set(StoredResource.objects.all())


def member_of(team: Team) -> Person:
    person = Person.objects.create_user(f"member of {team}")
    Membership.objects.create(person=person, team=team)
    return person


def test_a_member_makes_a_job(lab: LabSite):
    person = member_of(lab.job.team)
    job = create_job(person, team=lab.job.team, **fields(lab, rounds=3, patience={"ready": 5}))
    assert (Job.objects.get(pk=job.pk).rounds, job.version, job.enabled) == (3, 1, True)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "Monthly x"}, "name"),
        ({"group": None}, "group"),
        ({"host_group": None}, "host_group"),
        ({"update_system": None}, "update_system"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": "many"}, "rounds"),
        ({"rounds": None}, "rounds"),
        ({"rounds": 10**9}, "rounds"),
        ({"on_failure": "explode"}, "on_failure"),
        ({"checks": "rm -rf /"}, "checks"),
        ({"patience": {"no such step": 5}}, "patience"),
        ({"patience": {"ready": float("nan")}}, "patience"),
    ],
)
def test_what_is_not_valid_is_said_where_it_belongs(lab: LabSite, wrong: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as refused:
        create_job(SERVICE, team=lab.job.team, **fields(lab, **wrong))
    assert field in refused.value.message_dict
    assert Job.objects.count() == 1


def test_what_a_job_uses_is_its_teams_own(lab: LabSite):
    other = Team.objects.create(name="Other")
    foreign = {
        "group": Group.objects.create(team=other, name="g"),
        "host_group": HostGroup.objects.create(team=other, name="h"),
        "credential": Credential.objects.create(team=other, name="c"),
    }
    with pytest.raises(ValidationError) as refused:
        create_job(SERVICE, team=lab.job.team, **fields(lab, **foreign))
    assert set(refused.value.message_dict) == set(foreign)


def test_the_later_of_two_edits_is_refused(lab: LabSite):
    mine, theirs = Job.objects.get(), Job.objects.get()
    edit_job(mine, SERVICE, version=mine.version, rounds=2)
    with pytest.raises(ValidationError, match="Somebody else changed 'Monthly x'") as refused:
        edit_job(theirs, SERVICE, version=theirs.version, rounds=7, name="theirs")
    assert refused.value.code == "conflict"
    job = Job.objects.get()
    assert (job.rounds, job.name, job.version) == (2, "Monthly x", 2)
    edit_job(theirs, SERVICE, version=job.version, rounds=7)
    assert Job.objects.get().rounds == 7


def test_a_refused_edit_changes_nothing(lab: LabSite):
    with pytest.raises(ValidationError):
        edit_job(lab.job, SERVICE, version=1, name="new", rounds=0)
    assert (Job.objects.get().name, Job.objects.get().version) == ("Monthly x", 1)


def test_a_stranger_can_do_nothing_with_a_job(lab: LabSite):
    fill(lab)
    stranger = member_of(Team.objects.create(name="Other"))
    acts: list[Callable[[], Any]] = [
        lambda: create_job(stranger, team=lab.job.team, **fields(lab)),
        lambda: edit_job(lab.job, stranger, version=1, rounds=1),
        lambda: copy_job(lab.job, stranger),
        lambda: delete_job(lab.job, stranger),
        lambda: preview(lab.job, stranger),
        lambda: start_run(lab.job, stranger),
    ]
    for act in acts:
        with pytest.raises(ValidationError):
            act()
    assert Job.objects.count() == 1
    assert not Run.objects.exists()


def test_copies_have_names_of_their_own(lab: LabSite):
    Job.objects.update(rounds=4, name="x" * 100)
    job = Job.objects.get()
    first, second = copy_job(job, SERVICE), copy_job(job, SERVICE)
    assert first.name.endswith("x (copy)")
    assert second.name.endswith("x (copy 2)")
    assert (first.rounds, len(second.name)) == (4, 100)


def test_a_job_without_runs_is_deleted_one_with_runs_archived(lab: LabSite):
    fill(lab)
    unused = copy_job(lab.job, SERVICE)
    assert delete_job(unused, SERVICE) is False
    assert not Job.objects.filter(pk=unused.pk).exists()
    run = start_run(lab.job, SERVICE)
    with pytest.raises(ValidationError, match="3 machines are still in a run"):
        delete_job(lab.job, SERVICE)
    lab.run_to_end(run)
    assert delete_job(lab.job, SERVICE) is True
    assert not Job.objects.current().exists()
    assert Run.objects.get().job.name == "Monthly x"
    with pytest.raises(ValidationError, match="no job"):
        start_run(Job.objects.get(), SERVICE)
    create_job(SERVICE, team=lab.job.team, **fields(lab, name="Monthly x"))  # its name is free again


# --- Starting -----------------------------------------------------------------------------------------


def test_a_job_that_is_switched_off_starts_nothing(lab: LabSite):
    fill(lab)
    job = edit_job(lab.job, SERVICE, version=1, enabled=False)
    with pytest.raises(ValidationError, match="switched off"):
        start_run(job, SERVICE)
    assert "switched off" in preview(job, SERVICE).problem


def test_a_job_that_was_deleted_or_switched_off_meanwhile_starts_nothing(lab: LabSite):
    fill(lab)
    stale = Job.objects.get()
    edit_job(lab.job, SERVICE, version=1, enabled=False)
    with pytest.raises(ValidationError, match="switched off"):
        start_run(stale, SERVICE)
    edit_job(lab.job, SERVICE, version=2, enabled=True)
    Job.objects.update(archived_at=clock.now())
    with pytest.raises(ValidationError, match="was deleted"):
        start_run(stale, SERVICE)
    assert not Run.objects.exists()


def test_an_empty_group_starts_nothing(lab: LabSite):
    with pytest.raises(ValidationError, match="has no machines"):
        start_run(lab.job, SERVICE)


def test_hosts_in_maintenance_start_nothing(lab: LabSite):
    fill(lab)
    Host.objects.update(in_maintenance=True)
    with pytest.raises(ValidationError, match="in maintenance"):
        start_run(lab.job, SERVICE)
    assert "in maintenance" in preview(lab.job, SERVICE).problem
    assert not Run.objects.exists()


def test_hosts_of_other_management_servers_are_none(lab: LabSite):
    fill(lab)
    Host.objects.update(
        management_server=ManagementServer.objects.create(name="elsewhere", kind="lab", address="x")
    )
    with pytest.raises(ValidationError, match="no host of the management servers"):
        start_run(lab.job, SERVICE)
    Host.objects.all().delete()
    with pytest.raises(ValidationError, match="has no hosts"):
        start_run(lab.job, SERVICE)


def spoil(site: LabSite) -> dict[str, str]:
    """One machine for each reason to be left out; and what its target will say."""
    fill(site, 7)
    machines = {r.external_id: r for r in StoredResource.objects.all()}
    one = {name: StoredResource.objects.filter(pk=r.pk) for name, r in machines.items()}
    off = ManagementServer.objects.create(name="off", kind="lab", address="off", enabled=False)
    hostless = ManagementServer.objects.create(name="hostless", kind="lab", address="hostless")
    one["m0"].update(missing_since=clock.now())
    one["m1"].update(handed_out_to="somebody")
    one["m2"].update(share=None)
    one["m3"].update(team=Team.objects.create(name="Other"))
    one["m4"].update(management_server=off)
    one["m5"].update(management_server=hostless)
    return {
        "m0": "inventory has not found it since",
        "m1": "handed out to somebody",
        "m2": "isn't in a library share",
        "m3": "belongs to another team",
        "m4": "off is disabled",
        "m5": "no host of its management server hostless",
    }


def test_a_preview_says_what_the_run_then_does(lab: LabSite):
    reasons = spoil(lab)
    said = preview(lab.job, SERVICE)
    assert (said.total, said.fit, said.problem) == (7, 1, "")
    assert {left.key: left.count for left in said.left_out} == dict.fromkeys(
        ("team", "missing", "disabled", "handed_out", "no_share", "no_host"), 1
    )
    run = start_run(lab.job, SERVICE)
    targets = {t.resource.external_id: t for t in run.targets.all()}
    assert targets["m6"].state == "queued"
    for name, reason in reasons.items():
        assert targets[name].outcome == "skipped"
        assert reason in targets[name].reason
    held = preview(lab.job, SERVICE)
    assert (held.fit, {left.key for left in held.left_out} & {"held"}) == (0, {"held"})
    with pytest.raises(ValidationError) as refused:
        start_run(lab.job, SERVICE)
    assert refused.value.messages == [held.problem]
    assert "None of the 7 machines can be serviced now." in held.problem
    assert "were handed out: 1;" in held.problem
    assert Run.objects.get() == run


@pytest.mark.parametrize("lost", ["group", "host_group", "credential"])
def test_what_went_to_another_team_starts_nothing(lab: LabSite, lost: str):
    fill(lab)
    other = Team.objects.create(name="Other")
    Job.objects.update(credential=Credential.objects.create(team=lab.job.team, name="c"))
    job = Job.objects.get()
    row = getattr(job, lost)
    type(row).objects.filter(pk=row.pk).update(team=other)
    job = Job.objects.get()
    with pytest.raises(ValidationError, match=f"Choose a {lost.replace('_', ' ')} of the team") as refused:
        start_run(job, SERVICE)
    assert preview(job, SERVICE).problem == " ".join(refused.value.messages)
    assert not Run.objects.exists()


def test_a_filter_is_previewed_before_it_is_saved(lab: LabSite):
    fill(lab)
    StoredResource.objects.filter(external_id="m0").update(handed_out_to="x")
    said = preview({"kind": "machine"}, SERVICE, team=lab.job.team)
    assert (said.total, said.fit, [left.key for left in said.left_out]) == (3, 2, ["handed_out"])
    with pytest.raises(ValidationError):
        preview({"kind": "x"}, SERVICE, team=lab.job.team)


def test_a_machine_that_another_run_takes_at_the_same_moment_is_skipped(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch
):
    """The other run's target is written after this one has asked who is free."""
    fill(lab)
    from servicing.actions import start

    asked = with_reasons

    def late(*args: Any) -> Any:
        free = list(asked(*args).order_by("pk").values(*NAMED, "unfit"))
        other = Run.objects.create(job=lab.job, started_at=clock.now())
        RunTarget.objects.create(
            run=other,
            resource=StoredResource.objects.get(external_id="m1"),
            cycle_version=1,
            created_at=clock.now(),
        )
        return Frozen(free)

    monkeypatch.setattr(start, "with_reasons", late)
    run = start_run(lab.job, SERVICE)
    skipped = run.targets.get(outcome="skipped")
    assert skipped.resource.external_id == "m1"
    assert skipped.reason == "refused: another run is servicing it"
    assert run.targets.filter(state="queued").count() == 2


class Frozen:
    """What a query answered, before it was out of date."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def order_by(self, *_: str) -> "Frozen":
        return self

    def values(self, *_: str) -> list[dict[str, Any]]:
        return self.rows


def test_a_retry_asks_what_a_start_asks(lab: LabSite):
    fill(lab)
    run = start_run(lab.job, SERVICE)
    RunTarget.objects.filter(run=run).update(
        state="finished", outcome="restored", due_at=None, finished_at=clock.now()
    )
    with pytest.raises(ValidationError, match="isn't over yet"):
        retry_failed(run, SERVICE)
    Run.objects.filter(pk=run.pk).update(finished_at=clock.now())
    Host.objects.update(in_maintenance=True)
    with pytest.raises(ValidationError, match="in maintenance"):
        retry_failed(run, SERVICE)
    Host.objects.update(in_maintenance=False)
    again = retry_failed(run, SERVICE)
    assert (again.retry_of, again.targets.count()) == (run, 3)


def make_machines(site: LabSite, first: int, number: int) -> None:
    StoredResource.objects.bulk_create(
        StoredResource(
            management_server=site.server, share=site.share, team=site.share.team, external_id=f"b{n}", name=f"b{n}"
        )
        for n in range(first, first + number)
    )
    site.job.group.resources.set(StoredResource.objects.all())


def queries_of(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        act()
    return len(captured)


def test_starts_and_previews_take_few_queries(lab: LabSite):
    make_machines(lab, 0, 1000)
    looks = queries_of(lambda: preview(lab.job, SERVICE))
    first = queries_of(lambda: start_run(lab.job, SERVICE))
    RunTarget.objects.all().delete()
    make_machines(lab, 1000, 1000)
    assert queries_of(lambda: preview(lab.job, SERVICE)) == looks
    second = queries_of(lambda: start_run(lab.job, SERVICE))
    assert looks < 15
    assert second - first <= 50  # a thousand rows more: SQLite takes 999 values at once
    assert first < 70


# --- Credentials -----------------------------------------------------------------------------------------


def test_the_jobs_credential_is_for_guests_that_have_none(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    def credential(name: str) -> Credential:
        made = Credential(team=lab.job.team, name=name, user=name)
        made.seal(f"secret of {name}")
        made.save()
        return made

    fill(lab, 2)
    StoredResource.objects.filter(external_id="m1").update(credential=credential("its-own"))
    edit_job(lab.job, SERVICE, version=1, credential=credential("jobs"))
    seen: dict[str, str] = {}
    observe = type(lab.platform).observe

    def spy(self: Any, machine: Any) -> Any:
        seen[machine.external_id] = machine.channel.user
        return observe(self, machine)

    monkeypatch.setattr(type(lab.platform), "observe", spy)
    start_run(lab.job, SERVICE)
    for lease in ledger.claim("me", "servicing", clock.now(), engine._lease_length(), limit=2):
        engine.take_one_step(lease)
    assert seen == {"m0": "jobs", "m1": "its-own"}
