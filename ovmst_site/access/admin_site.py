"""The base of every model's admin: it asks the gate for each list and each object."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import get_fields_from_path
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from ovmst_site.access.gate import may, visible
from ovmst_site.access.paths import NoTeam


class GatedRelationFilter(admin.RelatedOnlyFieldListFilter):
    """A filter by a related row offers what the rows that the person sees lead to; of what belongs to teams, only
    what they may see itself. Django's own offers the whole related table."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        model = field.remote_field.model
        led_to = model_admin.get_queryset(request).order_by().values(f"{self.field_path}__pk")
        wanted = Q(pk__in=led_to)
        if not isinstance(getattr(model, "team_path", None), NoTeam):
            wanted &= Q(pk__in=visible(request.user, model._default_manager.all()).order_by().values("pk"))
        ordering = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(include_blank=False, limit_choices_to=wanted, ordering=ordering)


class GatedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows and lets change what `access` allows, nothing else."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return visible(request.user, super().get_queryset(request))

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return [self._gated(each) for each in super().get_list_filter(request)]

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, obj, "view")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, obj, "change")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, obj, "change")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_staff

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("queryset", visible(request.user, db_field.remote_field.model._default_manager.all()))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("queryset", visible(request.user, db_field.remote_field.model._default_manager.all()))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def _gated(self, each: Any) -> Any:
        if isinstance(each, str) and get_fields_from_path(self.model, each)[-1].is_relation:
            return (each, GatedRelationFilter)
        return each

    @staticmethod
    def _may(request: HttpRequest, obj: Model | None, action: str) -> bool:
        if obj is not None:
            return may(request.user, obj, action)
        return request.user.is_active and request.user.is_staff


class ReadOnlyAdmin(GatedAdmin):
    """For records: nobody adds, changes or deletes them here."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
