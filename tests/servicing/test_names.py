"""Names of jobs and groups are a team's own, and of two who choose one at the same moment one is told so."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from inventory.models import HostGroup
from ovmst_site.access.gate import SERVICE
from ovmst_site.access.models import Team
from servicing.actions import copy_job, create_group, create_job, edit_group, edit_job
from servicing.models import Group, Job
from tests.factories import LabSite


def used(site: LabSite) -> dict[str, Any]:
    job = site.job
    return {"group": job.group, "update_system": job.update_system, "host_group": job.host_group}


def test_no_team_learns_what_anothers_jobs_are_called(lab: LabSite):
    other = Team.objects.create(name="Other")
    theirs = create_job(
        SERVICE,
        team=other,
        name=lab.job.name,
        group=Group.objects.create(team=other, name="g"),
        host_group=HostGroup.objects.create(team=other, name="h"),
        update_system=lab.job.update_system,
    )
    assert theirs.name == lab.job.name
    assert copy_job(theirs, SERVICE).name == copy_job(lab.job, SERVICE).name


@pytest.mark.parametrize("act", ["create", "edit", "copy"])
def test_a_jobs_name_that_another_takes_at_the_same_moment_is_said_at_the_name(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch, act: str
):
    """The other's row comes between the question whether there is one and the save."""
    other = create_job(SERVICE, team=lab.job.team, name="another", **used(lab))
    monkeypatch.setattr(Job, "validate_constraints", lambda *args, **kwargs: None)
    acts: dict[str, Callable[[], Any]] = {
        "create": lambda: create_job(SERVICE, team=lab.job.team, name="another", **used(lab)),
        "edit": lambda: edit_job(other, SERVICE, version=1, name=lab.job.name, rounds=3),
        "copy": lambda: copy_job(other, SERVICE, name=lab.job.name),
    }
    with pytest.raises(ValidationError) as refused:
        acts[act]()
    assert refused.value.message_dict == {"name": ["This team has a job of this name already."]}
    assert set(Job.objects.values_list("name", "version", "rounds")) == {("Monthly x", 1, 10), ("another", 1, 10)}


def test_a_groups_name_that_another_takes_at_the_same_moment_is_said_at_the_name(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch
):
    """The other's row comes between the question whether there is one and the save."""
    group = create_group(SERVICE, team=lab.job.team, name="one")
    two = create_group(SERVICE, team=lab.job.team, name="two")
    monkeypatch.setattr(Group, "validate_constraints", lambda *args, **kwargs: None)
    for act in (
        lambda: create_group(SERVICE, team=lab.job.team, name="one"),
        lambda: edit_group(two, SERVICE, version=1, name=group.name),
    ):
        with pytest.raises(ValidationError) as refused:
            act()
        assert refused.value.message_dict == {"name": ["This team has a group of this name already."]}
    assert Group.objects.filter(name="one").count() == 1
