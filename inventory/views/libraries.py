"""Libraries and the management servers that they are read from."""

from datetime import timedelta
from itertools import groupby
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Max, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from inventory.actions import request_sync
from inventory.models import LibraryServer, LibraryShare, ManagementServer, StoredResource, SyncRecord
from ovmst_site.access.gate import Actor, find_or_404, visible
from ovmst_site.web.http import changes_from, person, told


@require_safe
def libraries(request: HttpRequest) -> HttpResponse:
    """Shares are their teams'; the servers they lie on belong to the installation, so only its administrators
    see more of those than the name."""
    me = person(request)
    shares = visible(me, LibraryShare.objects.select_related("library_server__management_server", "team"))
    ordered = list(shares.order_by("library_server__name", "library_server", "path", "pk"))
    counts = {
        row["share"]: row
        for row in visible(me, StoredResource.objects.filter(share__in=ordered))
        .order_by()
        .values("share")
        .annotate(machines=Count("pk"), missing=Count("pk", filter=Q(missing_since__isnull=False)))
    }
    seen_libraries = set(visible(me, LibraryServer.objects.all()).values_list("pk", flat=True))
    groups = [
        (server, server.pk in seen_libraries, [(share, counts.get(share.pk)) for share in members])
        for server, members in groupby(ordered, key=lambda share: share.library_server)
    ]
    return render(request, "inventory/libraries.html", {"groups": groups, "servers": _servers(me)})


@changes_from("inventory:libraries", of_row=False)
def sync_now(request: HttpRequest, pk: int) -> HttpResponse:
    me = person(request)
    server = find_or_404(me, ManagementServer.objects.all(), pk=pk)
    try:
        request_sync(server, me)
    except ValidationError as error:
        messages.error(request, told(error))
    else:
        messages.success(request, f"{server} will be synced in a moment.")
    return redirect("inventory:libraries")


def _servers(me: Actor) -> list[dict[str, Any]]:
    servers = list(visible(me, ManagementServer.objects.all()).order_by("name", "pk"))
    latest: dict[int, SyncRecord] = {}
    newest = SyncRecord.objects.filter(server__in=servers).order_by()
    ids = [row["newest"] for row in newest.values("server").annotate(newest=Max("pk"))]
    for record in SyncRecord.objects.filter(pk__in=ids):
        latest[record.server_id] = record
    return [{"server": s, "last": latest.get(s.pk), "next": _next(s, latest.get(s.pk))} for s in servers]


def _next(server: ManagementServer, last: SyncRecord | None) -> Any:
    """When the schedule syncs it next; None where it doesn't, or does so as soon as it looks."""
    if not server.enabled or not server.sync_every_minutes or last is None:
        return None
    return last.started_at + timedelta(minutes=server.sync_every_minutes)
