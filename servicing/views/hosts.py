"""Maintenance hosts by group: what is taken, what runs on each, and whether it takes new machines."""

from collections import defaultdict
from itertools import groupby

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from inventory.actions import set_maintenance
from inventory.models import Host
from ovmst_site.access.gate import find_or_404, visible
from ovmst_site.web.http import changes_from, person, told
from servicing.models import RunTarget
from servicing.views.machine_state import step_words


@require_safe
def hosts(request: HttpRequest) -> HttpResponse:
    me = person(request)
    found = visible(me, Host.objects.select_related("group__team", "management_server"))
    ordered = list(found.order_by("group__name", "group", "name", "pk"))
    changeable = set(visible(me, Host.objects.all(), "change").values_list("pk", flat=True))
    # One that waits for its host's slot holds none yet; one that was given its slot back is over.
    open_targets = RunTarget.objects.filter(finished_at=None, host__in=ordered)
    running = defaultdict(list)
    for target in visible(me, open_targets).select_related("resource").order_by("resource__name", "pk"):
        running[target.host_id].append((target, step_words(target)))
    groups = [
        (group, [(host, running[host.pk], host.pk in changeable) for host in members])
        for group, members in groupby(ordered, key=lambda host: host.group)
    ]
    return render(request, "servicing/hosts.html", {"groups": groups, "total": len(ordered)})


@changes_from("servicing:hosts", of_row=False)
def maintenance(request: HttpRequest, pk: int) -> HttpResponse:
    """`on=1` takes the host out of service, `on=0` gives it back; anything else changes nothing."""
    me = person(request)
    host = find_or_404(me, Host.objects.all(), pk=pk)
    wanted = {"1": True, "0": False}.get(request.POST.get("on", ""))
    if wanted is None:
        messages.error(request, "Nothing was changed: it wasn't said whether maintenance begins or ends.")
        return redirect("servicing:hosts")
    try:
        set_maintenance(host, me, in_maintenance=wanted)
    except ValidationError as error:
        messages.error(request, told(error))
    else:
        does = (
            "is in maintenance: it takes no new machines; what runs on it goes on"
            if wanted
            else "takes machines again"
        )
        messages.success(request, f"{host} {does}.")
    return redirect("servicing:hosts")
