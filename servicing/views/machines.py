"""The machines' list: filter, sort, page, and make groups of what is found."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from inventory.models import StoredResource
from ovmst_site.access.models import Person
from ovmst_site.web.forms import add_errors
from ovmst_site.web.http import page_or_partial, person
from ovmst_site.web.listing import Column, Listing
from servicing.actions import create_group
from servicing.actions.groups import add_to_group
from servicing.filters import ServicingMachineFilter
from servicing.models import Group
from servicing.views.machine_groups import ListForm, SaveFilterForm
from servicing.views.machine_state import may_be_seen, state_of, with_open_targets

COLUMNS = [
    Column("Name", "name", ("name",), "name"),
    Column("State"),
    Column("Operating system", "system", ("operating_system",), "wide-only"),
    Column("Size", "size", ("disk_bytes",), "number wide-only"),
    Column("Compliance", "compliance", ("compliance",)),
    Column("Last compliant", "compliant", ("compliant_at",), "wide-only"),
    Column("Last serviced", "serviced", ("last_serviced_at",), "wide-only"),
]
# Those that people ask for most are always shown; the others where "More" is opened.
FIRST_FIELDS = ("q", "operating_system", "compliance", "state", "share")


@require_http_methods(["GET", "HEAD", "POST"])
def machines(request: HttpRequest) -> HttpResponse:
    """GET shows what the URL's filter finds. POST makes a group of it, and shows what was wrong where it was
    typed: nothing is made then."""
    me = person(request)
    found = ServicingMachineFilter(ServicingMachineFilter.own(request.GET), by=me)
    machines: QuerySet[StoredResource] = found.qs
    shown = machines.select_related("share").prefetch_related(with_open_targets())
    listing = Listing(request, shown, COLUMNS, sort="name")
    save, select = _forms(request, me, listing.total)
    if request.method == "POST":
        group = _make_group(request, me, found, save, select)
        if group is not None:
            return redirect("servicing:group", pk=group.pk)
    return page_or_partial(
        request,
        "servicing/machines.html",
        "servicing/machines_results.html",
        _shown(request, me, found, listing) | {"save": save, "select": select},
        status=422 if request.method == "POST" else 200,
    )


def _shown(
    request: HttpRequest, me: Person, found: ServicingMachineFilter, listing: Listing[StoredResource]
) -> dict[str, Any]:
    page = list(listing.page)
    seen = may_be_seen(page, me)
    more = [field for field in found.form if field.name not in FIRST_FIELDS]
    return {
        "filter": found,
        "listing": listing,
        "rows": [(machine, state_of(machine, seen)) for machine in page],
        "picked": set(request.POST.getlist("row")),
        "first_fields": [found.form[name] for name in FIRST_FIELDS],
        "more_fields": more,
        "more_open": any(field.value() for field in more),
        "is_filtered": bool(found.data),
        # Also where nothing is found: a filter may be saved before its machines come, and what was wrong is said.
        "shows_bar": not found.form.errors and (listing.total or found.data or request.method == "POST"),
        "count": count_words(listing.total, is_filtered=bool(found.data)),
    }


def _forms(request: HttpRequest, me: Person, total: int) -> tuple[SaveFilterForm, ListForm]:
    """The one that was sent is bound."""
    sent = request.POST.get("do") if request.method == "POST" else None
    save = SaveFilterForm(request.POST if sent == "save" else None, by=me, prefix="save")
    select = ListForm(request.POST if sent == "list" else None, by=me, total=total, prefix="list")
    return save, select


def _make_group(
    request: HttpRequest, me: Person, found: ServicingMachineFilter, save: SaveFilterForm, select: ListForm
) -> Group | None:
    """The group that was made or grew; None where the forms say why not."""
    if not save.is_bound and not select.is_bound:
        messages.error(request, "Nothing was done: a group is made by one of the two forms below.")
    try:
        if save.is_bound and save.is_valid():
            return _save_filter(request, me, found, save)
        if select.is_bound and select.is_valid():
            return _make_list(request, me, found, select)
    except ValidationError as error:
        add_errors(save if save.is_bound else select, error)
    return None


def _save_filter(request: HttpRequest, me: Person, found: ServicingMachineFilter, form: SaveFilterForm) -> Group:
    given, parameters = form.cleaned_data, found.cleaned()
    group = create_group(me, team=given["team"], name=given["name"], kind=Group.Kind.FILTER, filter=parameters)
    messages.success(request, f"The group “{group}” is saved: whatever this filter finds when a run starts.")
    return group


def _make_list(request: HttpRequest, me: Person, found: ServicingMachineFilter, form: ListForm) -> Group:
    given = form.cleaned_data
    found.cleaned()  # one that isn't valid finds nothing, and says why
    chosen: QuerySet[StoredResource] = found.qs
    if given["scope"] == ListForm.Scope.ROWS:
        ids = [int(row) for row in request.POST.getlist("row") if row.isascii() and row.isdigit() and len(row) < 19]
        chosen = chosen.filter(pk__in=ids)
    resources = list(chosen.order_by().only("pk"))
    if not resources:
        raise ValidationError({"scope": "Select at least one machine."})
    into: Group | None = given["group"]
    count = f"{len(resources)} machine{'s' if len(resources) != 1 else ''}"
    if into is None:
        group = create_group(me, team=given["team"], name=given["name"], resources=resources)
        messages.success(request, f"The group “{group}” is made, with {count}.")
        return group
    added = add_to_group(into, me, resources)
    messages.success(request, f"{added} of {count} are new in the group “{into}”.")
    return into


def count_words(total: int, *, is_filtered: bool) -> str:
    """For example "412 machines match this filter", "1 machine"."""
    words = f"{total} machine{'' if total == 1 else 's'}"
    return f"{words} match{'es' if total == 1 else ''} this filter" if is_filtered else words
