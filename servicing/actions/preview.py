"""What a start would take, without starting it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet

from inventory.models import HostGroup, StoredResource
from ovmst_site.access.gate import Actor
from ovmst_site.access.models import Team
from servicing import groups
from servicing.actions.fitness import REASONS, none_is_fit, with_reasons
from servicing.actions.permission import must_act_for, must_be_allowed, must_own_group
from servicing.actions.start import must_be_enabled, must_be_startable
from servicing.models import Group, Job


@dataclass(frozen=True, slots=True)
class LeftOut:
    """So many machines are left out; `reason` follows "12 machines …"."""

    key: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Preview:
    total: int
    fit: int
    left_out: tuple[LeftOut, ...]
    problem: str = ""  # why a start would be refused as a whole; "" when it wouldn't


def preview(what: Job | Group | Mapping[str, Any], by: Actor, *, team: Team | None = None) -> Preview:
    """What a job, a group or a filter (of `team`) would take if it started now: a handful of queries, however
    many machines. Raises ValidationError where `by` may not, or where the filter isn't valid."""
    if isinstance(what, Job):
        must_be_allowed(what, by)
        return _of_job(what)
    if isinstance(what, Group):
        must_own_group(what, by)
        return _count(groups.members(what), what.team, None)
    team = must_act_for(team, by)
    return _count(groups.matching(what, by=by, team=team), team, None)


def preview_draft(by: Actor, *, team: Team, group: Group, hosts: HostGroup) -> Preview:
    """The same for a job that isn't saved (yet)."""
    must_act_for(team, by)
    must_own_group(group, by)
    return _of_job(Job(team=team, group=group, host_group=hosts))


def _of_job(job: Job) -> Preview:
    try:
        machines = groups.members(job.group)
        must_be_enabled(job)
        must_be_startable(job, machines)
        problem = ""
    except ValidationError as error:
        problem = " ".join(error.messages)
        try:
            machines = groups.members(job.group)
        except ValidationError:
            machines = StoredResource.objects.none()
    return _count(machines, job.team, job.host_group, problem)


def _count(machines: QuerySet[StoredResource], team: Team, hosts: HostGroup | None, problem: str = "") -> Preview:
    counted = with_reasons(machines, team, hosts).order_by().values_list("unfit").annotate(n=Count("pk"))
    count = dict(counted)
    if hosts is not None and count and "" not in count:
        problem = problem or none_is_fit(count)
    left_out = tuple(LeftOut(key, r.of_many, count[key]) for key, r in REASONS.items() if key in count)
    return Preview(sum(count.values()), count.get("", 0), left_out, problem)
