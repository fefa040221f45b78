"""Jobs: the list, one job, making and changing them, starting them now or at a planned moment."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from inventory.models import HostGroup
from ovmst_site.access.gate import find_or_404, may, visible
from ovmst_site.web.forms import add_errors
from ovmst_site.web.http import changes_from, page_or_partial, person, told
from ovmst_site.web.listing import Column, Listing
from servicing.actions import (
    Preview,
    copy_job,
    create_job,
    delete_job,
    edit_job,
    plan_job,
    preview,
    preview_draft,
    start_run,
    unplan_job,
)
from servicing.actions.jobs import KEEP
from servicing.forms import JobForm, PlanForm
from servicing.forms.fields import teams_of
from servicing.models import Group, Job, Occurrence, Run
from servicing.views.run_rows import rows_of

COLUMNS = [
    Column("Job", "name", ("name",)),
    Column("Group", "group", ("group__name",)),
    Column("Update system", "updates", ("update_system__name",), css="wide-only"),
    Column("Hosts", "hosts", ("host_group__name",), css="wide-only"),
    Column("Next start", "next", ("next_start_at",)),
    Column("Last run", "last", ("last_run",)),
    Column(""),
]
LAST_RUNS = 20
CONFLICT = "Somebody else has changed this job since you opened it. Nothing of yours is saved yet."
RELATED = ("team", "group", "update_system", "host_group", "credential")


def jobs(request: HttpRequest) -> HttpResponse:
    """All current jobs that the person may see."""
    last = Run.objects.filter(job=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    found = visible(person(request), Job.objects.current()).select_related(*RELATED)
    asked = request.GET.get("q", "").strip()[:100].replace("\0", "")
    if asked:
        found = found.filter(name__icontains=asked)
    annotated: QuerySet[Any] = found.annotate(last_run=Subquery(last))
    listing = Listing(request, annotated, COLUMNS, sort="name")
    runs = Run.objects.filter(pk__in=[job.last_run for job in listing.page]).select_related("job")
    by_run = {row.run.pk: row for row in rows_of(runs)}
    rows = [(job, by_run.get(job.last_run)) for job in listing.page]
    context = {"listing": listing, "rows": rows, "asked": asked, "may_make": _makes_things(request)}
    return page_or_partial(request, "servicing/jobs.html", "servicing/jobs_results.html", context)


def job(request: HttpRequest, pk: int) -> HttpResponse:
    """One job: what it does, what it would take now, its runs."""
    return _job_page(request, _job(request, pk))


def _job_page(request: HttpRequest, found: Job, plan: PlanForm | None = None) -> HttpResponse:
    may_change = may(person(request), found, "change")
    runs = found.runs.select_related("job", "started_by", "occurrence").order_by("-pk")[:LAST_RUNS]
    unstarted = (Occurrence.State.MISSED, Occurrence.State.REFUSED)
    context = {
        "job": found,
        "may_change": may_change,
        "preview": preview(found, person(request)) if may_change else None,
        "runs": rows_of(runs),
        "number_of_runs": found.runs.count(),
        "plan": plan or PlanForm(),
        "unstarted": found.occurrences.filter(state__in=unstarted)[:3],
    }
    return render(request, "servicing/job.html", context, status=422 if plan is not None else 200)


def new(request: HttpRequest) -> HttpResponse:
    """Make a job. `?group=5` chooses its group already."""
    by = person(request)
    chosen = {"group": request.GET["group"]} if request.GET.get("group") else {}
    form = JobForm(request.POST or None, by=by, initial=chosen)
    if request.method == "POST":
        if "preview" in request.POST:
            return _form_page(request, form, shown=_draft_preview(request, form))
        if form.is_valid():
            try:
                made = create_job(by, team=form.whose, start_at=form.cleaned_data["start_at"], **form.settings())
            except ValidationError as error:
                add_errors(form, error)
            else:
                messages.success(request, f"The job {made} is made.")
                return redirect("servicing:job", made.pk)
    return _form_page(request, form)


def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Change a job. Whoever comes second learns what the first one changed, and keeps what they wrote."""
    by, found = person(request), _job(request, pk, "change")
    form = JobForm(request.POST or None, by=by, job=found)
    differences: list[tuple[str, str, str]] = []
    if request.method == "POST":
        if "preview" in request.POST:
            return _form_page(request, form, shown=_draft_preview(request, form))
        if form.is_valid():
            moment = form.cleaned_data["start_at"] if "start_at" in form.changed_data else KEEP
            version = form.cleaned_data["version"] or 0
            try:
                edit_job(found, by, version=version, start_at=moment, **form.settings())
            except ValidationError as error:
                if getattr(error, "code", "") == "conflict":
                    differences = form.take_up(Job.objects.get(pk=pk))
                    form.add_error(None, CONFLICT)
                else:
                    add_errors(form, error)
            else:
                messages.success(request, f"The job {form.cleaned_data['name']} is saved.")
                return redirect("servicing:job", pk)
    return _form_page(request, form, differences=differences)


@changes_from("servicing:job")
def copy(request: HttpRequest, pk: int) -> HttpResponse:
    """The same job again, opened to be changed."""
    try:
        made = copy_job(_job(request, pk), person(request))
    except ValidationError as error:
        messages.error(request, told(error))
        return redirect("servicing:job", pk)
    messages.success(request, f"This is the copy, {made}: give it its name and change what is different.")
    return redirect("servicing:job-edit", made.pk)


@changes_from("servicing:job")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    found = _job(request, pk)
    try:
        archived = delete_job(found, person(request))
    except ValidationError as error:
        messages.error(request, told(error))
        return redirect("servicing:job", pk)
    kept = " Its runs are kept." if archived else ""
    messages.success(request, f"The job {found} is deleted.{kept}")
    return redirect("servicing:jobs")


@changes_from("servicing:job")
def start(request: HttpRequest, pk: int) -> HttpResponse:
    """Start a run now."""
    found = _job(request, pk)
    try:
        run = start_run(found, person(request))
    except ValidationError as error:
        messages.error(request, f"{found} was not started. {told(error)}")
    else:
        messages.success(request, f"Run {run.pk} has started.")
        return redirect("servicing:run", run.pk)
    return redirect("servicing:job", pk)


@changes_from("servicing:job")
def plan(request: HttpRequest, pk: int) -> HttpResponse:
    """Plan its next start, in place of the one that was planned."""
    found = _job(request, pk)
    form = PlanForm(request.POST)
    if form.is_valid():
        try:
            plan_job(found, form.cleaned_data["start_at"], person(request))
        except ValidationError as error:
            add_errors(form, error)
        else:
            messages.success(request, "Its start is planned.")
            return redirect("servicing:job", pk)
    return _job_page(request, found, form)


@changes_from("servicing:job")
def unplan(request: HttpRequest, pk: int) -> HttpResponse:
    try:
        unplan_job(_job(request, pk), person(request))
    except ValidationError as error:
        messages.error(request, told(error))
    else:
        messages.success(request, "Its planned start is cancelled.")
    return redirect("servicing:job", pk)


def _job(request: HttpRequest, pk: int, action: str = "view") -> Job:
    return find_or_404(person(request), Job.objects.current().select_related(*RELATED), action, pk=pk)


def _makes_things(request: HttpRequest) -> bool:
    return teams_of(person(request)).exists()


def _form_page(
    request: HttpRequest,
    form: JobForm,
    *,
    shown: tuple[Preview | None, str] = (None, ""),
    differences: list[tuple[str, str, str]] | None = None,
) -> HttpResponse:
    by = person(request)
    context: dict[str, Any] = {
        "form": form,
        "job": form.job,
        "preview": shown[0],
        "preview_problem": shown[1],
        "differences": differences,
        "has_teams": teams_of(by).exists(),
        "has_groups": visible(by, Group.objects.current(), "change").exists(),
        "has_hosts": visible(by, HostGroup.objects.all(), "change").exists(),
    }
    status = 422 if form.is_bound and form.errors and "preview" not in request.POST else 200
    return page_or_partial(request, "servicing/job_form.html", "servicing/preview.html", context, status=status)


def _draft_preview(request: HttpRequest, form: JobForm) -> tuple[Preview | None, str]:
    """What the job would take as it is written here, saved or not."""
    form.is_valid()
    given = form.cleaned_data
    chosen, hosts = given.get("group"), given.get("host_group")
    if form.whose is None or chosen is None or hosts is None:
        return None, "Choose a group and hosts first."
    try:
        return preview_draft(person(request), team=form.whose, group=chosen, hosts=hosts), ""
    except ValidationError as error:
        return None, told(error)
