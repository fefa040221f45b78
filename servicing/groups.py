"""Who is in a group: evaluated for the group's team, when it is asked."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from inventory.models import StoredResource
from ovmst_site.access.gate import SERVICE, Actor, visible
from ovmst_site.access.models import Team
from ovmst_site.text import clean_json
from servicing.filters import ServicingMachineFilter
from servicing.models import Group


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
    aren't valid any more. A question for each saved filter of the machine's team."""
    mine = visible(by, Group.objects.current()).order_by("name", "pk")
    found = list(mine.filter(kind=Group.Kind.STATIC, resources=machine))
    unknown = []
    for group in mine.filter(kind=Group.Kind.FILTER, team=machine.team_id).select_related("team"):
        try:
            if members(group).filter(pk=machine.pk).exists():
                found.append(group)
        except ValidationError:
            unknown.append(group)
    return sorted(found, key=lambda group: (group.name, group.pk)), unknown


def matching(filter: Mapping[str, Any], *, by: Actor, team: Team) -> QuerySet[StoredResource]:
    """The team's machines that this filter finds. Raises ValidationError with the field "filter"."""
    asked = ServicingMachineFilter(clean_filter(filter, by=by, team=team), by=by, team=team)
    asked.cleaned()
    found: QuerySet[StoredResource] = asked.qs
    return found


def clean_filter(filter: Mapping[str, Any], *, by: Actor, team: Team) -> dict[str, str]:
    """The same filter, fit to be saved: known names, valid values, nothing empty. Raises ValidationError with
    the field "filter"."""
    if not isinstance(filter, Mapping):
        raise ValidationError({"filter": 'Write a filter as names and values: {"kind": "template"}.'})
    given = {str(name): clean_json(filter[name]) for name in filter}
    return ServicingMachineFilter(given, by=by, team=team).cleaned()


def describe(filter: Mapping[str, Any], *, by: Actor, team: Team) -> str:
    """A filter for people: "kind: template, state: missing"."""
    return ServicingMachineFilter(dict(filter), by=by, team=team).described()
