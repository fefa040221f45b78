"""Groups: the list, one group, making and changing them, choosing the machines of a list."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse

from inventory.models import StoredResource
from ovmst_site.access.gate import Actor, find_or_404, may, visible
from ovmst_site.access.models import Team
from ovmst_site.web.forms import add_errors
from ovmst_site.web.http import changes_from, page_or_partial, person, told
from ovmst_site.web.listing import Column, Listing
from servicing import groups as membership
from servicing.actions import add_to_group, copy_group, create_group, delete_group, edit_group, remove_members
from servicing.filters import ServicingMachineFilter
from servicing.forms import GroupForm
from servicing.forms.fields import teams_of
from servicing.models import Group, Job

COLUMNS = [
    Column("Group", "name", ("name",)),
    Column("Kind", "kind", ("kind",)),
    Column("Machines now", css="number"),
    Column("Used by", "jobs", ("users",), css="number"),
]
MACHINES = [
    Column("Machine", "name", ("name",)),
    Column("Operating system", "system", ("operating_system",), css="wide-only"),
    Column("Library share", "share", ("share__path",), css="wide-only"),
    Column("Compliance", "compliance", ("compliance",)),
    Column("Last compliant", "compliant", ("compliant_at",), css="wide-only"),
]
NAMES_SHOWN = 8
CONFLICT = "Somebody else has changed this group since you opened it. Nothing of yours is saved yet."
CHOSEN = "machine"  # the name of a list's check boxes


def groups(request: HttpRequest) -> HttpResponse:
    """All current groups that the person may see. What saved filters take is counted by a second request."""
    asked = request.GET.get("q", "").strip()[:100].replace("\0", "")
    found = visible(person(request), Group.objects.current()).select_related("team")
    if asked:
        found = found.filter(name__icontains=asked)
    users = Count("jobs", filter=Q(jobs__archived_at=None))
    listing = Listing(request, found.annotate(users=users), COLUMNS, sort="name")
    through = Group.resources.through.objects.filter(
        group__in=[group.pk for group in listing.page], storedresource__team=F("group__team")
    )
    sizes = dict(through.values_list("group").annotate(n=Count("pk")))
    rows = [(group, sizes.get(group.pk, 0)) for group in listing.page]
    filters = QueryDict(mutable=True)
    filters.setlist("group", [str(group.pk) for group in listing.page if group.kind == Group.Kind.FILTER])
    context = {
        "listing": listing,
        "rows": rows,
        "asked": asked,
        "may_make": teams_of(person(request)).exists(),
        "filters": filters.urlencode(),
    }
    return page_or_partial(request, "servicing/groups.html", "servicing/groups_results.html", context)


def sizes(request: HttpRequest) -> HttpResponse:
    """How many machines the saved filters of one page of the list take now: fills in the list's cells."""
    asked = [pk for pk in request.GET.getlist("group")[:100] if pk.isascii() and pk.isdigit() and len(pk) < 18]
    found = visible(person(request), Group.objects.current()).filter(pk__in=asked, kind=Group.Kind.FILTER)
    rows: list[tuple[Group, int | None]] = []
    for group in found.select_related("team"):
        try:
            rows.append((group, membership.members(group).count()))
        except ValidationError:
            rows.append((group, None))
    return render(request, "servicing/groups_sizes.html", {"rows": rows})


def group(request: HttpRequest, pk: int) -> HttpResponse:
    """One group: its machines now, and the jobs that use it."""
    by, found = person(request), _group(request, pk)
    context: dict[str, Any] = {
        "group": found,
        "may_change": may(by, found, "change"),
        "jobs": visible(by, Job.objects.current()).filter(group=found).order_by("name"),
        "tick": CHOSEN,
    }
    try:
        machines = visible(by, membership.members(found).filter(team=found.team)).select_related("share")
        context["listing"] = Listing(request, machines, MACHINES, sort="name")
    except ValidationError as error:
        context["problem"] = told(error)
    if found.kind == Group.Kind.STATIC:
        strays = membership.strays(found).count()
        context["strays"] = _went(strays) if strays else ""
    else:
        context["described"] = membership.describe(found.filter, by=by, team=found.team)
    return page_or_partial(request, "servicing/group.html", "servicing/group_machines.html", context)


def new(request: HttpRequest) -> HttpResponse:
    """Make a group. `?kind_of=filter`, or any of the machine filter's own parameters, makes a saved filter:
    that is where "save this filter as a group" leads."""
    by = person(request)
    given = request.POST if request.method == "POST" else request.GET
    of_filter = given.get("kind_of", "") == Group.Kind.FILTER or bool(ServicingMachineFilter.own(given))
    form = GroupForm(request.POST or None, by=by)
    team = _team_of(request, form)
    filters = ServicingMachineFilter(given, by=by, team=team) if of_filter else None
    if request.method == "POST" and "preview" not in request.POST and form.is_valid():
        kind = Group.Kind.FILTER if of_filter else Group.Kind.STATIC
        try:
            saved = ServicingMachineFilter.own(given) if of_filter else {}
            made = create_group(by, team=form.whose, name=form.cleaned_data["name"], kind=kind, filter=saved)
        except ValidationError as error:
            add_errors(form, error)
        else:
            messages.success(request, f"The group {made} is made.")
            return redirect("servicing:group" if of_filter else "servicing:group-add", made.pk)
    return _form_page(request, form, filters, None)


def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Change a group's name, and what a saved filter filters by."""
    by, found = person(request), _group(request, pk, "change")
    of_filter, theirs = found.kind == Group.Kind.FILTER, None
    form = GroupForm(request.POST or None, by=by, group=found)
    # htmx asks for a preview of what is in the form now; a plain GET shows what is saved.
    given: Any = found.filter
    if request.method == "POST":
        given = request.POST
    elif request.htmx:  # type: ignore[attr-defined]
        given = request.GET
    filters = ServicingMachineFilter(given, by=by, team=found.team) if of_filter else None
    if request.method == "POST" and "preview" not in request.POST and form.is_valid():
        try:
            saved = ServicingMachineFilter.own(given) if of_filter else None
            version = form.cleaned_data["version"] or 0
            edit_group(found, by, version=version, name=form.cleaned_data["name"], filter=saved)
        except ValidationError as error:
            if getattr(error, "code", "") == "conflict":
                theirs = Group.objects.select_related("team").get(pk=pk)
                form.take_up(theirs)
                form.add_error(None, CONFLICT)
            else:
                add_errors(form, error)
        else:
            messages.success(request, f"The group {form.cleaned_data['name']} is saved.")
            return redirect("servicing:group", pk)
    return _form_page(request, form, filters, found, theirs)


def add(request: HttpRequest, pk: int) -> HttpResponse:
    """Choose machines for a list: by hand, or all that a filter finds."""
    by, found = person(request), _group(request, pk, "change")
    if found.kind != Group.Kind.STATIC:
        messages.error(request, "This group is a saved filter: change what it filters by.")
        return redirect("servicing:group-edit", pk)
    filters = ServicingMachineFilter(request.GET, by=by, team=found.team)
    outside = filters.qs.exclude(pk__in=found.resources.values("pk"))
    if request.method == "POST":
        return _added(request, found, filters, outside)
    listing = Listing(request, outside.select_related("share"), MACHINES, sort="name")
    context = {
        "group": found,
        "filters": filters,
        "listing": listing,
        "described": filters.described(),
        "tick": CHOSEN,
        "already": found.resources.filter(team=found.team).count(),
        "action": f"{request.path}?{request.GET.urlencode()}",
    }
    return page_or_partial(request, "servicing/group_add.html", "servicing/group_add_results.html", context)


def _added(
    request: HttpRequest, found: Group, filters: ServicingMachineFilter, outside: QuerySet[StoredResource]
) -> HttpResponse:
    by, back = person(request), f"{request.path}?{request.GET.urlencode()}"
    if "all" in request.POST:
        if filters.form.errors:
            messages.error(request, "Nothing was added: the filter isn't valid.")
            return redirect(back)
        machines = outside
    else:
        machines = outside.filter(pk__in=_chosen(request))
    try:
        number = add_to_group(found, by, machines.order_by().only("pk"))
    except ValidationError as error:
        messages.error(request, told(error))
        return redirect(back)
    if not number:
        messages.warning(request, "Nothing was added: choose at least one machine.")
        return redirect(back)
    messages.success(request, f"Added {number} machine{'' if number == 1 else 's'}.")
    return redirect("servicing:group", found.pk) if "all" in request.POST else redirect(back)


@changes_from("servicing:group")
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Take the chosen machines off a list."""
    found = _group(request, pk, "change")
    try:
        if "strays" in request.POST:
            machines = membership.strays(found)
        elif "all" in request.POST:
            machines = found.resources.all()
        else:
            machines = found.resources.filter(pk__in=_chosen(request))
        number = remove_members(found, person(request), machines)
    except ValidationError as error:
        messages.error(request, told(error))
    else:
        messages.success(request, f"Took {number} machine{'' if number == 1 else 's'} off the list.")
    return redirect("servicing:group", pk)


@changes_from("servicing:group")
def copy(request: HttpRequest, pk: int) -> HttpResponse:
    """The same group again under another name, opened to be changed."""
    found = _group(request, pk)
    try:
        made = copy_group(found, person(request))
    except ValidationError as error:
        messages.error(request, told(error))
        return redirect("servicing:group", pk)
    left_out = membership.strays(found).count() if found.kind == Group.Kind.STATIC else 0
    without = f" {_went(left_out)}: not in the copy." if left_out else ""
    messages.success(request, f"This is the copy, {made}: give it its name.{without}")
    return redirect("servicing:group-edit", made.pk)


@changes_from("servicing:group")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    found = _group(request, pk)
    try:
        delete_group(found, person(request))
    except ValidationError as error:
        messages.error(request, told(error))
        return redirect("servicing:group", pk)
    messages.success(request, f"The group {found} is deleted. Its machines stay as they are.")
    return redirect("servicing:groups")


def _group(request: HttpRequest, pk: int, action: str = "view") -> Group:
    return find_or_404(person(request), Group.objects.current().select_related("team"), action, pk=pk)


def _went(number: int) -> str:
    return f"{number} machine{'' if number == 1 else 's'} went to another team"


def _chosen(request: HttpRequest) -> list[str]:
    chosen = request.POST.getlist(CHOSEN)[:1000]
    return [pk for pk in chosen if pk.isascii() and pk.isdigit() and len(pk) < 18]


def _team_of(request: HttpRequest, form: GroupForm) -> Team | None:
    """The team that a new group is for, as far as the form says; a filter is narrowed down to it."""
    if form.whose is not None:
        return form.whose
    asked = (request.POST if request.method == "POST" else request.GET).get("team", "")
    usable = asked.isascii() and asked.isdigit() and len(asked) < 18
    return teams_of(person(request)).filter(pk=asked).first() if usable else None


def _form_page(
    request: HttpRequest,
    form: GroupForm,
    filters: ServicingMachineFilter | None,
    found: Group | None,
    theirs: Group | None = None,
) -> HttpResponse:
    by: Actor = person(request)
    context: dict[str, Any] = {
        "form": form,
        "filters": filters,
        "group": found,
        "has_teams": teams_of(by).exists(),
        "here": reverse("servicing:group-edit", args=[found.pk]) if found else reverse("servicing:group-new"),
    }
    if theirs is not None:
        context["theirs"] = theirs
        context["takes"] = membership.describe(theirs.filter, by=by, team=theirs.team)
    if filters is not None and not filters.form.errors:
        machines = filters.qs
        context["total"] = machines.count()
        context["names"] = list(machines.order_by("name", "pk").values_list("name", flat=True)[:NAMES_SHOWN])
    is_wrong = form.is_bound and bool(form.errors) and "preview" not in request.POST
    template = "servicing/group_form.html"
    return page_or_partial(
        request, template, "servicing/group_preview.html", context, status=422 if is_wrong else 200
    )
