"""Who is in a group: evaluated for the group's team, when it is asked."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Exists, QuerySet

from inventory.models import StoredResource
from ovmst_site.access.gate import SERVICE, Actor, visible
from ovmst_site.access.models import Team
from ovmst_site.text import clean_json
from servicing.filters import ServicingMachineFilter
from servicing.models import Group

AT_ONCE = 20  # saved filters in one question


def members(group: Group) -> QuerySet[StoredResource]:
    """The group's machines now. Raises ValidationError where its saved filter isn't valid any more (its share
    was deleted): that is no group of all machines, and none of nothing either."""
    if group.kind == Group.Kind.STATIC:
        return group.resources.all()
    try:
        return matching(group.filter, by=SERVICE, team=group.team)
    except ValidationError as error:
        wrong = " ".join(error.messages)
        raise ValidationError(
            f"The filter of group {group} isn't valid any more; correct it first. {wrong}"
        ) from error


def strays(group: Group) -> QuerySet[StoredResource]:
    """Machines on its list that went to another team: no run of this one services them."""
    return group.resources.exclude(team=group.team_id)


def containing(machine: StoredResource, by: Actor) -> tuple[list[Group], list[Group]]:
    """The groups that hold this machine now, and the saved filters of which that can't be told because they
    aren't valid any more. Saved filters are asked many at once; one that names a share or a server looks it up."""
    mine = visible(by, Group.objects.current()).order_by("name", "pk")
    found = list(mine.filter(kind=Group.Kind.STATIC, resources=machine))
    unknown, asked = [], {}
    like: ServicingMachineFilter | None = None
    for group in mine.filter(kind=Group.Kind.FILTER, team=machine.team_id).select_related("team"):
        try:
            like = _asked(group.filter, by=SERVICE, team=group.team, like=like)
            like.cleaned()
            asked[group] = like.qs
        except ValidationError:
            unknown.append(group)
    pairs = list(asked.items())
    for some in (pairs[n : n + AT_ONCE] for n in range(0, len(pairs), AT_ONCE)):
        holds = {f"in_{group.pk}": Exists(machines.order_by().filter(pk=machine.pk)) for group, machines in some}
        row = StoredResource.objects.filter(pk=machine.pk).values(**holds).first() or {}
        found += [group for group, _ in some if row.get(f"in_{group.pk}")]
    return sorted(found, key=lambda group: (group.name, group.pk)), unknown


def matching(filter: Mapping[str, Any], *, by: Actor, team: Team) -> QuerySet[StoredResource]:
    """The team's machines that this filter finds. Raises ValidationError with the field "filter"."""
    asked = _asked(filter, by=by, team=team)
    asked.cleaned()
    found: QuerySet[StoredResource] = asked.qs
    return found


def clean_filter(filter: Mapping[str, Any], *, by: Actor, team: Team) -> dict[str, str]:
    """The same filter, fit to be saved: known names, valid values, nothing empty. Raises ValidationError with
    the field "filter"."""
    return _asked(filter, by=by, team=team).cleaned()


def _asked(
    filter: Mapping[str, Any], *, by: Actor, team: Team, like: ServicingMachineFilter | None = None
) -> ServicingMachineFilter:
    if not isinstance(filter, Mapping):
        raise ValidationError({"filter": 'Write a filter as names and values: {"kind": "template"}.'})
    given = {str(name): clean_json(filter[name]) for name in filter}
    return ServicingMachineFilter(given, by=by, team=team, like=like)


def describe(filter: Mapping[str, Any], *, by: Actor, team: Team) -> str:
    """A filter for people: "kind: template, state: missing"."""
    return ServicingMachineFilter(dict(filter), by=by, team=team).described()
