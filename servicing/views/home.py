"""The home page: what needs attention, what runs, what comes, what ended, how fresh the stock is."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from inventory.models import HostGroup, ManagementServer, StoredResource
from ovmst_site import clock
from ovmst_site.access.gate import Actor, visible
from ovmst_site.web.http import page_or_partial, person
from servicing.models import Group, Job, Occurrence, Run
from servicing.views.attention import waiting
from servicing.views.run_rows import rows_of

SHOWN = 8  # rows of each list
MISSED_FOR = timedelta(days=7)  # how long a start that didn't happen is shown
STOCK = "stock"  # the id of the part that is asked for less often


@dataclass(frozen=True, slots=True)
class NextStep:
    """What an empty installation needs, in this order."""

    title: str
    text: str
    done: bool
    href: str  # "" where this person can't do it
    action: str


def home(request: HttpRequest) -> HttpResponse:
    by = person(request)
    if request.htmx and request.htmx.target == STOCK:  # type: ignore[attr-defined]
        return render(request, "servicing/home_stock.html", {"stock": _stock(by)})
    context = _now(by) | {"steps": _next_steps(by)}
    if not request.htmx:  # type: ignore[attr-defined]
        context["stock"] = _stock(by)
    return page_or_partial(request, "servicing/home.html", "servicing/home_now.html", context)


def _now(by: Actor) -> dict[str, Any]:
    runs = visible(by, Run.objects.select_related("job", "started_by", "occurrence"))
    open_runs, ended = runs.filter(finished_at=None), runs.exclude(finished_at=None).order_by("-finished_at")
    shown = rows_of([*open_runs.order_by("-pk")[:SHOWN], *ended[:SHOWN]])
    occurrences = visible(by, Occurrence.objects.filter(job__archived_at=None)).select_related("job")
    unstarted = (Occurrence.State.MISSED, Occurrence.State.REFUSED)
    needing = waiting(by).order_by("since", "pk")
    return {
        "needing": needing[:SHOWN],
        "number_needing": needing.count(),
        "running": [row for row in shown if row.run.finished_at is None],
        "number_running": open_runs.count(),
        "ended": [row for row in shown if row.run.finished_at is not None],
        "planned": occurrences.filter(state=Occurrence.State.PLANNED).order_by("due_at")[:SHOWN],
        "unstarted": occurrences.filter(state__in=unstarted, due_at__gte=clock.now() - MISSED_FOR)[:SHOWN],
    }


def _stock(by: Actor) -> dict[str, Any]:
    """The stock in numbers, in one query. Machines that inventory misses are counted apart."""
    now = clock.now()
    there = Q(missing_since=None)
    compliance = {
        f"c{n}": Count("pk", filter=there & Q(compliance=value))
        for n, value in enumerate(StoredResource.Compliance.values)
    }
    counts = visible(by, StoredResource.objects.all()).aggregate(
        total=Count("pk", filter=there),
        missing=Count("pk", filter=Q(missing_since__isnull=False)),
        last_30=Count("pk", filter=there & Q(last_serviced_at__gte=now - timedelta(days=30))),
        last_90=Count("pk", filter=there & Q(last_serviced_at__gte=now - timedelta(days=90))),
        never=Count("pk", filter=there & Q(last_serviced_at=None)),
        **compliance,
    )
    values = StoredResource.Compliance.values
    return counts | {"compliance": [(value, counts[f"c{n}"]) for n, value in enumerate(values)]}


def _next_steps(by: Actor) -> list[NextStep]:
    """What is still to be done until the first run; nothing once there was one."""
    if visible(by, Run.objects.all()).exists():
        return []
    servers = ManagementServer.objects.all()
    return [
        NextStep(
            "Add a management server",
            "It is what OVMST talks to in order to work with machines. Its library shares and hosts go with it.",
            servers.exists() and visible(by, HostGroup.objects.all()).exists(),
            # Administrators of the installation add them.
            reverse("admin:inventory_managementserver_add") if getattr(by, "is_superuser", False) else "",
            "Add one",
        ),
        NextStep(
            "Sync its inventory",
            "OVMST looks which machines lie in the libraries. It changes nothing there.",
            visible(by, StoredResource.objects.all()).exists(),
            reverse("inventory:libraries"),
            "Go to the libraries",
        ),
        NextStep(
            "Make a group",
            "It says which machines: a list, or a filter.",
            visible(by, Group.objects.current()).exists(),
            reverse("servicing:group-new"),
            "Make a group",
        ),
        NextStep(
            "Make a job",
            "It says by what the group is updated, on which hosts, and when.",
            visible(by, Job.objects.current()).exists(),
            reverse("servicing:job-new"),
            "Make a job",
        ),
        NextStep(
            "Run it",
            "Each machine is woken on the servicing network, updated, and stored again.",
            False,
            reverse("servicing:jobs"),
            "Go to the jobs",
        ),
    ]
