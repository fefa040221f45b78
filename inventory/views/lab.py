"""The world of a built-in lab: what it looks like now, and forms to break things in it.

A lab's management server belongs to the installation, as every other one does: its administrators see it, and
they alone break things in it. Whoever may only see it gets no forms, and their posts are refused.
"""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from inventory.lab import worlds
from inventory.lab.deeds import BY_NAME, DEEDS, Argument, Deed, perform
from inventory.lab.state import WHERE
from inventory.lab.summary import Summary, summary
from inventory.lab.world import World
from inventory.models import ManagementServer
from ovmst_site.access.gate import find_or_404, may
from ovmst_site.faults import Fault
from ovmst_site.text import clean
from ovmst_site.web.http import page_or_partial, person

SIZE = 50  # machines on a page
LONGEST_SEARCH = 200  # characters
ON = (("machine", "Machines"), ("host", "Hosts"), ("share", "Library shares"), ("world", "The world"))


class DeedForm(forms.Form):
    """The fields of one deed. What they may say is judged by the world itself, in one place."""

    def __init__(self, data: Any, deed: Deed, now: Summary, *, target: str = "") -> None:
        super().__init__(data)
        if deed.on != "world":
            self.fields["target"] = self._target(deed, now, target)
        for argument in deed.arguments:
            self.fields[argument.name] = self._field(argument, now)

    def _target(self, deed: Deed, now: Summary, target: str) -> forms.CharField:
        if deed.on == "machine":
            widget: forms.Widget = forms.TextInput(attrs={"class": "mono", "autocomplete": "off"})
            return forms.CharField(label="Machine's id", initial=target, required=False, widget=widget)
        there = _hosts(now) if deed.on == "host" else _shares(now)
        label = "Host" if deed.on == "host" else "Library share"
        return forms.CharField(label=label, initial=target, required=False, widget=forms.Select(choices=there))

    def _field(self, argument: Argument, now: Summary) -> forms.CharField:
        choices: list[tuple[str, str]] | None = {
            "host": _hosts(now),
            "share": _shares(now),
            "network": sorted({(name, name) for each in now.hosts for name in each.host.networks}),
            "call": list(argument.choices),
            "choice": list(argument.choices),
        }.get(argument.kind)
        widget = (
            forms.TextInput(attrs={"autocomplete": "off"}) if choices is None else forms.Select(choices=choices)
        )
        return forms.CharField(label=argument.label, initial=argument.default, required=False, widget=widget)


@require_http_methods(["GET", "HEAD", "POST"])
def lab(request: HttpRequest, pk: int) -> HttpResponse:
    """GET shows the world; `deed` (and `target`) open that deed's form. POST does it, and says at the form why
    it can't be done."""
    me = person(request)
    action = "change" if request.method == "POST" else "view"
    server = find_or_404(me, ManagementServer.objects.filter(kind="lab"), action, pk=pk)
    context: dict[str, Any] = {"server": server, "may_break": may(me, server, "change")}
    status = 200
    try:
        world = worlds.get(server.address)
        context |= _seen(request, world)
        deed = BY_NAME.get(_asked(request, "deed"))
        if deed is not None and context["may_break"]:
            form = DeedForm(
                request.POST or None, deed, context["world"], target=request.GET.get("target", "")[:200]
            )
            context |= {"deed": deed, "form": form}
            if request.method == "POST":
                if _does(request, world, deed, form):
                    return redirect("inventory:lab", pk=pk)
                status = 422
        elif request.method == "POST":
            messages.error(request, "Nothing was done: nobody can do that.")
            return redirect("inventory:lab", pk=pk)
    except Fault as fault:
        context |= {"trouble": str(fault)}
    return page_or_partial(request, "inventory/lab.html", "inventory/lab_now.html", context, status=status)


def _does(request: HttpRequest, world: World, deed: Deed, form: DeedForm) -> bool:
    if not form.is_valid():
        return False
    given = dict(form.cleaned_data)
    target = clean(given.pop("target", ""), 1000)
    try:
        done = perform(world, deed.name, target, **given)
    except ValueError as reason:
        form.add_error(None, str(reason))
        return False
    messages.success(request, f"Done. {done}.")
    return True


def _seen(request: HttpRequest, world: World) -> dict[str, Any]:
    where, search = request.GET.get("where", ""), request.GET.get("q", "").replace("\0", "")[:LONGEST_SEARCH]
    where = where if where in WHERE else ""
    number = request.GET.get("page", "")
    page = max(1, int(number)) if number.isascii() and number.isdigit() and len(number) < 7 else 1
    now = summary(world, page=page, size=SIZE, where=where, search=search)
    last = max(1, -(-now.found // SIZE))
    if page > last:
        page = last
        now = summary(world, page=page, size=SIZE, where=where, search=search)
    return {
        "world": now,
        "now": _time(now.now),
        "journal": [(_time(entry.at), entry) for entry in now.journal],
        "where": where,
        "q": search,
        "places": [(value, value or "anywhere") for value in WHERE],
        "page": page,
        "last": last,
        "previous": _href(request, page - 1) if page > 1 else "",
        "following": _href(request, page + 1) if page < last else "",
        "here": _href(request, page),
        "target": _asked(request, "target")[:LONGEST_SEARCH],
        "deeds": [(label, [deed for deed in DEEDS if deed.on == on]) for on, label in ON],
    }


def _asked(request: HttpRequest, name: str) -> str:
    return str((request.POST if request.method == "POST" else request.GET).get(name, ""))


def _href(request: HttpRequest, page: int) -> str:
    query = request.GET.copy()
    for name in ("deed", "target"):
        query.pop(name, None)
    query["page"] = str(page)
    return f"{request.path}?{query.urlencode()}"


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _hosts(now: Summary) -> list[tuple[str, str]]:
    return [(each.host.id, each.host.name) for each in now.hosts]


def _shares(now: Summary) -> list[tuple[str, str]]:
    return [(share.name, share.name) for share in now.shares]
