"""Create, edit and delete groups of machines."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from inventory.models import StoredResource
from ovmst_site import clock
from ovmst_site.access.gate import Actor, visible
from ovmst_site.access.models import Team
from ovmst_site.batches import batched
from ovmst_site.text import clean
from servicing import groups
from servicing.actions.names import one_of_a_name
from servicing.actions.permission import must_act_for, must_own_group
from servicing.models import Group

LONGEST_NAME = 100  # characters


def create_group(
    by: Actor,
    *,
    team: Team | None,
    name: str,
    kind: str = Group.Kind.STATIC,
    resources: Iterable[StoredResource] = (),
    filter: Mapping[str, Any] | None = None,
) -> Group:
    """A group of this team: a list of machines (`resources`), or a saved `filter`. An empty filter takes all
    machines; that is to be said, not left out."""
    _must_say_which(kind, filter)
    group = Group(team=must_act_for(team, by), name=_tidy(name), kind=kind, filter={})
    return _save(group, by, resources, filter or {})


def edit_group(
    group: Group,
    by: Actor,
    *,
    version: int,
    name: str | None = None,
    kind: str | None = None,
    resources: Iterable[StoredResource] | None = None,
    filter: Mapping[str, Any] | None = None,
) -> Group:
    """Change what is given of the group that was read at this `version`. A run that has started keeps its
    machines. Raises ValidationError, saving nothing, when somebody else has changed it since."""
    must_own_group(group, by)
    with transaction.atomic():
        fresh = _locked(group)
        if fresh.version != version:
            raise ValidationError(
                f"Somebody else changed {fresh.name!r} while you edited it. Nothing of yours was saved: "
                "open it again, and make your change to what it says now.",
                code="conflict",
            )
        if kind is not None and kind != fresh.kind:
            _must_say_which(kind, filter)
        fresh.name = fresh.name if name is None else _tidy(name)
        fresh.kind = fresh.kind if kind is None else kind
        fresh.version += 1
        return _save(fresh, by, resources, fresh.filter if filter is None else filter)


def add_to_group(group: Group, by: Actor, resources: Iterable[StoredResource]) -> int:
    """Put these machines into a list beside those that are in it; returns how many are new there."""
    must_own_group(group, by)
    if group.kind != Group.Kind.STATIC:
        raise ValidationError({"group": f"The group {group} is a filter: machines can't be put into it."})
    ids = _allowed(resources, group.team, by)
    with transaction.atomic():
        locked = _locked(group)
        there = set(locked.resources.values_list("pk", flat=True))
        new = [pk for pk in ids if pk not in there]
        for some in batched(new):
            locked.resources.add(*some)
    return len(new)


def delete_group(group: Group, by: Actor) -> None:
    """Raises ValidationError that names the jobs which use it. A group that only archived jobs used is
    archived with them."""
    must_own_group(group, by)
    with transaction.atomic():
        locked = _locked(group)
        users = [str(job) for job in locked.jobs.filter(archived_at=None)]
        if users:
            names = ", ".join(repr(name) for name in users[:10]) + (" and others" if len(users) > 10 else "")
            raise ValidationError(f"The group {locked} is used by {names}: give them another group first.")
        if locked.jobs.exists():
            locked.archived_at = clock.now()
            locked.save(update_fields=["archived_at"])
        else:
            locked.delete()


def remove_members(group: Group, by: Actor, machines: QuerySet[StoredResource]) -> int:
    """Take these machines off the list; returns how many were on it."""
    must_own_group(group, by)
    with transaction.atomic():
        locked = _locked_list(group)
        links = Group.resources.through.objects.filter(group=locked, storedresource__in=machines.values("pk"))
        return links.delete()[0]


def copy_group(group: Group, by: Actor) -> Group:
    """The same group again under another name, without machines that went to another team."""
    must_own_group(group, by)
    taken = set(Group.objects.current().filter(team=group.team).values_list("name", flat=True))
    name = free_name(group.name, taken)
    resources = group.resources.filter(team=group.team) if group.kind == Group.Kind.STATIC else ()
    return create_group(by, team=group.team, name=name, kind=group.kind, resources=resources, filter=group.filter)


def free_name(name: str, taken: Collection[str]) -> str:
    """A name for a copy that nothing has yet: "name (copy)", "name (copy 2)"."""
    number = 1
    while True:
        ending = " (copy)" if number == 1 else f" (copy {number})"
        candidate = name[: LONGEST_NAME - len(ending)] + ending
        if candidate not in taken:
            return candidate
        number += 1


def _locked(group: Group) -> Group:
    """Its row, which nobody else changes or deletes until this transaction ends."""
    locked = Group.objects.select_for_update().filter(pk=group.pk, archived_at=None).first()
    if locked is None:
        raise ValidationError(f"The group {group} was deleted.")
    return locked


def _locked_list(group: Group) -> Group:
    locked = _locked(group)
    if locked.kind != Group.Kind.STATIC:
        raise ValidationError(f"The group {locked} is a saved filter: it has no list of machines.")
    return locked


def _must_say_which(kind: str, filter: Mapping[str, Any] | None) -> None:
    if kind == Group.Kind.FILTER and filter is None:
        raise ValidationError(
            {"filter": "Say which machines: a filter that is left out isn't one of all machines."}
        )


def _save(group: Group, by: Actor, resources: Iterable[StoredResource] | None, filter: Mapping[str, Any]) -> Group:
    if group.kind == Group.Kind.FILTER:
        group.filter, resources = groups.clean_filter(filter, by=by, team=group.team), ()
    else:
        group.filter = {}
    ids = None if resources is None else _allowed(resources, group.team, by)
    group.full_clean()
    with transaction.atomic():
        with one_of_a_name(Group):
            group.save(update_fields=["name", "kind", "filter", "version"] if group.pk else None)
        if ids is not None:
            there, wanted = set(group.resources.values_list("pk", flat=True)), set(ids)
            for some in batched(sorted(there - wanted)):
                group.resources.remove(*some)
            for some in batched(sorted(wanted - there)):
                group.resources.add(*some)
    return group


def _allowed(resources: Iterable[StoredResource], team: Team, by: Actor) -> list[int]:
    """The ids of these machines. Raises ValidationError where one isn't the team's, or not theirs to see."""
    asked = {resource.pk for resource in resources}
    theirs = visible(by, StoredResource.objects.filter(team=team), "change")
    found: set[int] = set()
    for some in batched(sorted(asked)):
        found.update(theirs.filter(pk__in=some).values_list("pk", flat=True))
    if found != asked:
        raise ValidationError({"resources": f"{len(asked - found)} of these machines aren't machines of {team}."})
    return sorted(found)


def _tidy(name: str) -> str:
    return clean(str(name).strip(), 1000)
