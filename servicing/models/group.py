"""Which machines: a static list, or a saved filter that is evaluated when a run starts."""

from collections.abc import Collection
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q


class GroupQuerySet(models.QuerySet["Group"]):
    def current(self) -> "GroupQuerySet":
        """Those that weren't archived: what lists and choices show."""
        return self.filter(archived_at=None)


class Group(models.Model):
    """A static list of machines, or a saved filter. `servicing.groups.members` says who is in it."""

    team_path = "team"

    class Kind(models.TextChoices):
        STATIC = "static", "a list of machines"
        FILTER = "filter", "a filter, evaluated when a run starts"

    team = models.ForeignKey("access.Team", on_delete=models.PROTECT, related_name="groups")
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.STATIC)
    resources = models.ManyToManyField("inventory.StoredResource", blank=True, related_name="groups")
    filter: Any = models.JSONField(
        default=dict, blank=True, help_text='As in the address of the machines\' page: {"kind": "template"}.'
    )
    version = models.PositiveIntegerField(default=1, editable=False, help_text="Counts the times it was edited.")
    archived_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Kept for the history of archived jobs alone."
    )

    objects = GroupQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                condition=Q(archived_at=None),
                name="servicing_group_unique_current_name",
                violation_error_message="This team has a group of this name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """The only one is about the name, and is said there."""
        try:
            super().validate_constraints(exclude)
        except ValidationError as error:
            raise ValidationError({"name": error.messages}) from error
