"""The one gate: what a person may see and do.

Every read that is shown to somebody goes through `visible`. It uses nothing but the model's `team_path`,
so a model is guarded by declaring where its team is, and one that doesn't declare it fails a test.
"""

from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.db.models import Model, QuerySet
from django.http import Http404

from ovmst_site.access.models import Membership, Person, Role
from ovmst_site.access.paths import NoTeam

M = TypeVar("M", bound=Model)


class Service:
    """Workers and commands that act for the installation itself, not for a person."""

    def __str__(self) -> str:
        return "OVMST"


SERVICE = Service()
Actor = Person | AnonymousUser | Service


def visible(actor: Actor, queryset: QuerySet[M], action: str = "view") -> QuerySet[M]:
    """The rows of `queryset` on which `actor` may do `action` ("view" or "change"); what isn't there
    doesn't exist for them. Raises TypeError for a model without a `team_path`."""
    path = getattr(queryset.model, "team_path", None)
    if path is None:
        raise TypeError(f"{queryset.model.__name__} does not declare its team_path")
    if isinstance(actor, Service):
        return queryset
    if not isinstance(actor, Person) or not actor.is_active:
        return queryset.none()
    if actor.is_superuser:
        return queryset
    if isinstance(path, NoTeam):
        return queryset if path.everyone and action == "view" else queryset.none()
    roles = [role for role in Role if role.may(action)]
    teams = Membership.objects.filter(person=actor, role__in=roles).values("team")
    return queryset.filter(**{"pk__in" if path == "self" else f"{path}__in": teams})


def may(actor: Actor, instance: Model, action: str) -> bool:
    """Whether `actor` may do `action` on this one row."""
    manager = type(instance)._default_manager
    return visible(actor, manager.filter(pk=instance.pk), action).exists()


def find_or_404(actor: Actor, queryset: QuerySet[M], action: str = "view", **lookup: Any) -> M:
    """The one row that fits `lookup` and on which `actor` may do `action`. Raises Http404 for all others:
    what a person may not see doesn't exist for them."""
    found = visible(actor, queryset, action).filter(**lookup).first()
    if found is None:
        raise Http404(f"No {queryset.model._meta.verbose_name} here")
    return found
