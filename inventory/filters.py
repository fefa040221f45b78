"""The one machine filter: the machines' page, saved groups and previews of jobs all ask it.

A filter is a handful of query parameters. What isn't valid is said and finds nothing: a filter that one part
of couldn't be understood must never be taken for "every machine". `servicing.filters` adds what only
servicing knows.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q, QuerySet

from inventory.models import LibraryShare, ManagementServer, StoredResource
from ovmst_site import clock
from ovmst_site.access.gate import Actor, visible
from ovmst_site.access.models import Team
from ovmst_site.text import clean

LONGEST_SEARCH = 200  # characters
LONGEST_AGO = 36_500  # days
YES_NO = (("yes", "yes"), ("no", "no"))


class ShareField(django_filters.fields.ModelChoiceField):  # type: ignore[misc]
    """Two library servers may have a share of the same path."""

    def label_from_instance(self, share: LibraryShare) -> str:
        return f"{share.path} on {share.library_server.name}"


class ShareFilter(django_filters.ModelChoiceFilter):  # type: ignore[misc]
    field_class = ShareField


class SearchField(forms.CharField):
    """Text that a database can be asked for."""

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        if clean(text, LONGEST_SEARCH + 1) != text and "\0" not in text:
            raise ValidationError("This can't be searched for: it is too long, or isn't text.")
        return text


class SearchFilter(django_filters.CharFilter):  # type: ignore[misc]
    field_class = SearchField


class DaysFilter(django_filters.Filter):  # type: ignore[misc]
    field_class = forms.IntegerField


class MachineFilter(django_filters.FilterSet):  # type: ignore[misc]
    """`MachineFilter(request.GET, by=request.user)`: `.qs` are the machines, `.form` the fields, `.errors` what
    isn't valid (then `.qs` is empty).

    `by` is who asks: machines and choices are what they may see. `team` narrows both down to one team's.
    `like` is another filter of the same person and team: what may be chosen is read once for both.
    Names that the filter doesn't have (a page's own: sort, page) are ignored here; `cleaned` refuses them.
    """

    STATES: Mapping[str, tuple[str, Callable[[], Q]]] = {
        "library": ("in the library", lambda: Q(missing_since=None, handed_out_to="", share__isnull=False)),
        "missing": ("missing", lambda: Q(missing_since__isnull=False)),
        "handed_out": ("handed out", lambda: ~Q(handed_out_to="")),
    }

    q = SearchFilter(method="search", label="Search", max_length=LONGEST_SEARCH)
    operating_system = django_filters.ChoiceFilter(choices=(), label="Operating system")
    kind = django_filters.ChoiceFilter(choices=StoredResource.Kind.choices, label="Kind")
    share = ShareFilter(queryset=LibraryShare.objects.none(), label="Library share")
    management_server = django_filters.ModelChoiceFilter(
        queryset=ManagementServer.objects.none(), label="Management server"
    )
    compliance = django_filters.ChoiceFilter(
        choices=[(value, value) for value in StoredResource.Compliance.values], label="Compliance"
    )
    state = django_filters.ChoiceFilter(method="in_state", choices=(), label="State")
    serviced_before = DaysFilter(
        method="not_compliant_for",
        label="Not brought to compliant for (days)",
        min_value=0,
        max_value=LONGEST_AGO,
    )
    first_in_line = django_filters.ChoiceFilter(method="in_line", choices=YES_NO, label="First in line")

    class Meta:
        model = StoredResource
        fields: list[str] = []

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        queryset: QuerySet[StoredResource] | None = None,
        *,
        by: Actor,
        team: Team | None = None,
        like: "MachineFilter | None" = None,
        **kwargs: Any,
    ) -> None:
        machines = visible(by, StoredResource.objects.all() if queryset is None else queryset)
        shares = visible(by, LibraryShare.objects.select_related("library_server"))
        if team is not None:
            machines, shares = machines.filter(team=team), shares.filter(team=team)
        super().__init__(data, machines, **kwargs)
        seen = machines.order_by()
        servers = ManagementServer.objects.filter(Exists(seen.filter(management_server=OuterRef("pk"))))
        systems = seen.exclude(operating_system="").order_by("operating_system")
        names = systems.values_list("operating_system", flat=True).distinct()
        self._systems: Callable[[], list[str]] = cache(lambda: list(names)) if like is None else like._systems
        self.filters["share"].queryset = shares
        self.filters["management_server"].queryset = servers
        self.filters["operating_system"].extra["choices"] = lambda: [(name, name) for name in self._systems()]
        self.filters["state"].extra["choices"] = [(key, label) for key, (label, _) in self.STATES.items()]

    def filter_queryset(self, queryset: QuerySet[StoredResource]) -> QuerySet[StoredResource]:
        if self.form.errors:
            return queryset.none()
        found: QuerySet[StoredResource] = super().filter_queryset(queryset)
        return found

    def search(self, queryset: QuerySet[StoredResource], name: str, value: str) -> QuerySet[StoredResource]:
        found = Q()
        # SQLite knows the cases of ASCII alone; for others the usual spellings are asked for.
        for text in {value} if value.isascii() else {value, value.lower(), value.upper(), value.title()}:
            for field in ("name", "external_id", "computer_name", "uuid"):
                found |= Q(**{f"{field}__icontains": text})
        return queryset.filter(found)

    def in_state(self, queryset: QuerySet[StoredResource], name: str, value: str) -> QuerySet[StoredResource]:
        return queryset.filter(self.STATES[value][1]())

    def not_compliant_for(
        self, queryset: QuerySet[StoredResource], name: str, value: int
    ) -> QuerySet[StoredResource]:
        return queryset.filter(Q(compliant_at=None) | Q(compliant_at__lt=clock.now() - timedelta(days=int(value))))

    def in_line(self, queryset: QuerySet[StoredResource], name: str, value: str) -> QuerySet[StoredResource]:
        return queryset.filter(first_in_line=value == "yes")

    @classmethod
    def own(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Of a page's parameters, those that are this filter's and say something."""
        return {name: parameters[name] for name in cls.base_filters if parameters.get(name)}

    def cleaned(self) -> dict[str, str]:
        """The parameters that say something, as texts, to be saved. Raises ValidationError with the field
        "filter" for values that aren't valid and for names that this filter doesn't have. An empty text is a
        field that a person left empty; anything else that says nothing is a mistake, not "every machine"."""
        wrong = [f"There is nothing to filter by {name!r}." for name in self.data if name not in self.filters]
        for name, messages in self.form.errors.items():
            label = self.filters[name].label if name in self.filters else name
            wrong += [f"{label}: {message}" for message in messages]
        given = {name: self.data[name] for name in self.filters if name in self.data}
        for name, value in given.items():
            if name not in self.form.errors and (isinstance(value, bool) or not isinstance(value, str | int)):
                wrong.append(f"{self.filters[name].label}: Write a text or a number.")
        if wrong:
            raise ValidationError({"filter": wrong})
        return {name: str(value).strip() for name, value in given.items() if str(value).strip()}

    def described(self) -> str:
        """For people: "kind: template, compliance: missing". Says "not valid" of what isn't."""
        parts = []
        for name, value in self.data.items():
            if name in self.filters and str(value).strip():
                parts.append(f"{str(self.filters[name].label).lower()}: {self._said(name, str(value))}")
        return ", ".join(parts) or "all machines"

    def _said(self, name: str, raw: str) -> str:
        if name in self.form.errors:
            return f"{raw} (not valid)"
        value = self.form.cleaned_data.get(name)
        if name == "share":
            return ShareField.label_from_instance(self.form.fields["share"], value)
        choices = getattr(self.form.fields[name], "choices", None)
        if choices is not None and isinstance(value, str):
            return str(dict(choices).get(value, value))
        return str(value)
