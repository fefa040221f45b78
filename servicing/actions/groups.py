"""Create, edit and delete groups of machines."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from inventory.models import StoredResource
from ovmst_site import clock
from ovmst_site.access.gate import Actor, visible
from ovmst_site.access.models import Team
from ovmst_site.text import clean
from servicing import groups
from servicing.actions.permission import must_act_for, must_own_group
from servicing.models import Group

AT_ONCE = 5000  # ids in one question; SQLite takes 32,766


def create_group(
    by: Actor,
    *,
    team: Team | None,
    name: str,
    kind: str = Group.Kind.STATIC,
    resources: Iterable[StoredResource] = (),
    filter: Mapping[str, Any] | None = None,
) -> Group:
    """A group of this team: a list of machines (`resources`), or a saved `filter`."""
    group = Group(team=must_act_for(team, by), name=_tidy(name), kind=kind, filter={})
    return _save(group, by, resources, filter or {})


def edit_group(
    group: Group,
    by: Actor,
    *,
    name: str | None = None,
    kind: str | None = None,
    resources: Iterable[StoredResource] | None = None,
    filter: Mapping[str, Any] | None = None,
) -> Group:
    """Change what is given. A run that has started keeps its machines."""
    must_own_group(group, by)
    group = Group.objects.get(pk=group.pk)
    group.name = group.name if name is None else _tidy(name)
    group.kind = group.kind if kind is None else kind
    return _save(group, by, resources, group.filter if filter is None else filter)


def delete_group(group: Group, by: Actor) -> None:
    """Raises ValidationError that names the jobs which use it. A group that only archived jobs used is
    archived with them."""
    must_own_group(group, by)
    with transaction.atomic():
        locked = Group.objects.select_for_update().get(pk=group.pk)
        users = [str(job) for job in locked.jobs.filter(archived_at=None)]
        if users:
            names = ", ".join(repr(name) for name in users[:10]) + (" and others" if len(users) > 10 else "")
            raise ValidationError(f"The group {locked} is used by {names}: give them another group first.")
        if locked.jobs.exists():
            locked.archived_at = clock.now()
            locked.save(update_fields=["archived_at"])
        else:
            locked.delete()


def _save(group: Group, by: Actor, resources: Iterable[StoredResource] | None, filter: Mapping[str, Any]) -> Group:
    if group.kind == Group.Kind.FILTER:
        group.filter, resources = groups.clean_filter(filter, by=by, team=group.team), ()
    else:
        group.filter = {}
    ids = None if resources is None else _allowed(resources, group.team, by)
    group.full_clean()
    with transaction.atomic():
        group.save()
        if ids is not None:
            group.resources.set(ids)
    return group


def _allowed(resources: Iterable[StoredResource], team: Team, by: Actor) -> list[int]:
    """The ids of these machines. Raises ValidationError where one isn't the team's, or not theirs to see."""
    asked = {resource.pk for resource in resources}
    theirs = visible(by, StoredResource.objects.filter(team=team), "change")
    found: set[int] = set()
    ids = iter(sorted(asked))
    while some := list(islice(ids, AT_ONCE)):
        found.update(theirs.filter(pk__in=some).values_list("pk", flat=True))
    if found != asked:
        raise ValidationError({"resources": f"{len(asked - found)} of these machines aren't machines of {team}."})
    return sorted(found)


def _tidy(name: str) -> str:
    return clean(str(name).strip(), 1000)
