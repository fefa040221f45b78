"""What of runs, and what of one run's targets, is wanted. Names are those of the pages' addresses.

What isn't valid is said at its field, and finds nothing.
"""

from collections.abc import Mapping
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q, QuerySet

from inventory.models import StoredResource
from ovmst_site.access.gate import Actor, visible
from ovmst_site.text import clean
from ovmst_site.web.templatetags.web import in_words
from servicing import cycle
from servicing.models import Job, Run, RunTarget
from servicing.tally import NOT_SUCCEEDED, STANDINGS

LONGEST_SEARCH = 200  # characters


class NameField(forms.CharField):
    """Part of a machine's name, in a form that a database can be asked for."""

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        if "\0" not in text and clean(text) != text:
            raise ValidationError("This can't be searched for: it isn't text.")
        return text


class NameFilter(django_filters.CharFilter):  # type: ignore[misc]
    field_class = NameField


class _Filter(django_filters.FilterSet):  # type: ignore[misc]
    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.form.errors:
            return queryset.none()
        found: QuerySet[Any] = super().filter_queryset(queryset)
        return found

    @property
    def is_narrow(self) -> bool:
        """Whether anything is asked for at all."""
        return any(self.data.get(name) for name in self.filters)


class RunFilter(_Filter):
    """Runs that `by` may see."""

    job = django_filters.ModelChoiceFilter(queryset=Job.objects.none(), label="Job")
    state = django_filters.ChoiceFilter(
        method="in_state", choices=[("open", "open"), ("finished", "finished")], label="State"
    )
    outcome = django_filters.ChoiceFilter(
        method="with_outcome",
        choices=[
            ("trouble", "something that didn't succeed"),
            *((key, STANDINGS[key][0]) for key in ("succeeded", *NOT_SUCCEEDED)),
        ],
        label="With one that is",
    )
    machine = NameFilter(method="with_machine", max_length=LONGEST_SEARCH, label="Machine's name")

    class Meta:
        model = Run
        fields: list[str] = []

    def __init__(self, data: Mapping[str, Any] | None, queryset: QuerySet[Run], *, by: Actor) -> None:
        super().__init__(data, visible(by, queryset))
        self._by = by
        self.filters["job"].queryset = visible(by, Job.objects.order_by("name", "pk"))

    def in_state(self, queryset: QuerySet[Run], name: str, value: str) -> QuerySet[Run]:
        return queryset.filter(finished_at__isnull=value == "open")

    def with_outcome(self, queryset: QuerySet[Run], name: str, value: str) -> QuerySet[Run]:
        wanted = NOT_SUCCEEDED if value == "trouble" else (value,)
        is_wanted = Q()
        for key in wanted:
            is_wanted |= STANDINGS[key][1]
        return queryset.filter(Exists(RunTarget.objects.filter(is_wanted, run=OuterRef("pk"))))

    def with_machine(self, queryset: QuerySet[Run], name: str, value: str) -> QuerySet[Run]:
        # From the machines to their targets, of which each has few; not through every target of every run.
        machines = visible(self._by, StoredResource.objects.filter(name__icontains=value)).order_by()
        return queryset.filter(pk__in=RunTarget.objects.filter(resource__in=machines).order_by().values("run"))


class TargetFilter(_Filter):
    """Targets of one run."""

    q = NameFilter(method="named", max_length=LONGEST_SEARCH, label="Machine's name")
    standing = django_filters.ChoiceFilter(
        method="standing_so",
        choices=[
            ("open", "not ended yet"),
            ("trouble", "ended, but didn't succeed"),
            *((key, label) for key, (label, _) in STANDINGS.items()),
        ],
        label="State or outcome",
    )
    step = django_filters.ChoiceFilter(
        method="in_step",
        choices=[
            (direction.value.capitalize(), [(f"{direction}.{step.name}", in_words(step.name)) for step in table])
            for direction, table in cycle.TABLES.items()
        ],
        label="In step",
    )

    class Meta:
        model = RunTarget
        fields: list[str] = []

    def named(self, queryset: QuerySet[RunTarget], name: str, value: str) -> QuerySet[RunTarget]:
        return queryset.filter(resource__name__icontains=value)

    def standing_so(self, queryset: QuerySet[RunTarget], name: str, value: str) -> QuerySet[RunTarget]:
        several = {"open": ("queued", "active"), "trouble": NOT_SUCCEEDED}
        wanted = Q()
        for key in several.get(value, (value,)):
            wanted |= STANDINGS[key][1]
        return queryset.filter(wanted)

    def in_step(self, queryset: QuerySet[RunTarget], name: str, value: str) -> QuerySet[RunTarget]:
        direction, _, step = value.partition(".")
        is_there = Q(direction=direction, step=step) & ~Q(state=RunTarget.State.FINISHED)
        return queryset.filter(is_there)
