"""What needs a person: the list, and one of them with all that is known and the two ways on."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from ovmst_site.access.gate import Actor, find_or_404, may, visible
from ovmst_site.text import printable
from ovmst_site.web.forms import add_errors
from ovmst_site.web.http import page_or_partial, person
from ovmst_site.web.listing import Column, Listing
from servicing.actions import resolve_attention
from servicing.forms import ResolveForm
from servicing.models import Event, RunTarget, StepRecord
from servicing.views.looks import look_at

COLUMNS = [
    Column("Machine", "name", ("resource__name",)),
    Column("Why"),
    Column("Since", "since", ("since",)),
    Column("Where", "host", ("host__name",), css="wide-only"),
    Column("Held", css="wide-only"),
    Column("Run", "run", ("run",), css="wide-only"),
]
RELATED = (
    *("resource__share__library_server", "resource__management_server__credential", "resource__credential"),
    *("run__job__team", "run__job__credential", "host", "transfers_on"),
)
LOG_TAIL = 40


def waiting(by: Actor) -> QuerySet[Any]:
    """What needs attention of what somebody may see, with `since`."""
    parked = StepRecord.objects.filter(target=OuterRef("pk"), result="needs attention").order_by("-pk")
    found = visible(by, RunTarget.objects.filter(state=RunTarget.State.ATTENTION)).select_related(*RELATED)
    return found.annotate(since=Coalesce(Subquery(parked.values("left_at")[:1]), "entered_at", "created_at"))


def attention(request: HttpRequest) -> HttpResponse:
    """All machines that need attention, those that wait longest first."""
    listing = Listing(request, waiting(person(request)), COLUMNS, sort="since")
    return page_or_partial(
        request, "servicing/attention.html", "servicing/attention_results.html", {"listing": listing}
    )


def resolve(request: HttpRequest, pk: int) -> HttpResponse:
    """One machine that needs attention. Once it is resolved the page says by whom and why."""
    by = person(request)
    target = find_or_404(by, RunTarget.objects.select_related(*RELATED), pk=pk)
    form = ResolveForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        bring_back = form.cleaned_data["choice"] == "return"
        try:
            resolve_attention(target, by, form.cleaned_data["reason"], bring_back=bring_back)
        except ValidationError as error:
            add_errors(form, error)
            target.refresh_from_db()
        else:
            done = "is being brought back as it was" if bring_back else "is closed"
            messages.success(request, f"{target.resource} {done}.")
            return redirect("servicing:attention")
    lines = Event.objects.filter(target=target).order_by("-n")[:LOG_TAIL]
    since = waiting(by).filter(pk=pk).values_list("since", flat=True).first()
    context = {
        "target": target,
        "since": since,
        "needs_attention": target.state == RunTarget.State.ATTENTION,
        "may_change": may(by, target, "change"),
        "lines": [(line, printable(line.text)) for line in reversed(lines)],
        "more_lines": max(target.events - LOG_TAIL, 0),
        "form": form,
    }
    return render(request, "servicing/attention_resolve.html", context, status=422 if form.errors else 200)


def platform(request: HttpRequest, pk: int) -> HttpResponse:
    """What the platform says of the machine at this moment; a part of the page above, or a page of its own."""
    target = find_or_404(person(request), RunTarget.objects.select_related(*RELATED), pk=pk)
    context = {"target": target, "look": look_at(target)}
    return page_or_partial(
        request, "servicing/attention_platform.html", "servicing/attention_platform_now.html", context
    )
