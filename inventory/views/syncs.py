"""What each sync found. It reads a whole management server: only the installation's administrators see it."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from inventory.models import SyncChange, SyncRecord
from ovmst_site.access.gate import find_or_404, visible
from ovmst_site.web.http import page_or_partial, person
from ovmst_site.web.listing import Column, Listing

SYNCS = [
    Column("Began", "started", ("started_at",)),
    Column("Management server", "server", ("server__name",), "name"),
    Column("Result", "result", ("result",)),
    Column("Added", "added", ("added",), "number"),
    Column("Changed", "changed", ("changed",), "number"),
    Column("Missing", "missing", ("missing",), "number"),
    Column("Returned", "returned", ("returned",), "number wide-only"),
    Column("Twins", "twins", ("twins",), "number wide-only"),
    Column("Damaged", "damaged", ("damaged",), "number wide-only"),
    Column("By", "", (), "wide-only"),
]
CHANGES = [Column("Machine", "name", ("name",), "name"), Column("What", "what", ("what",)), Column("How")]


@require_safe
def syncs(request: HttpRequest) -> HttpResponse:
    found = visible(person(request), SyncRecord.objects.select_related("server"))
    server = request.GET.get("server", "")
    if server.isascii() and server.isdigit() and len(server) < 19:
        found = found.filter(server=int(server))
    listing = Listing(request, found, SYNCS, sort="-started")
    return page_or_partial(request, "inventory/syncs.html", "inventory/syncs_results.html", {"listing": listing})


@require_safe
def sync(request: HttpRequest, pk: int) -> HttpResponse:
    me = person(request)
    record = find_or_404(me, SyncRecord.objects.select_related("server"), pk=pk)
    what = request.GET.get("what", "")
    found = visible(me, SyncChange.objects.filter(sync=record))
    shown = found.filter(what=what) if what in SyncChange.What.values else found
    listing = Listing(request, shown, CHANGES, sort="name")
    counts = [
        (value, label, getattr(record, _COUNTED[SyncChange.What(value)]))
        for value, label in SyncChange.What.choices
    ]
    context = {
        "record": record,
        "counts": counts,
        "what": what if what in SyncChange.What.values else "",
        "listing": listing,
        "rows": [(change, list(_said(change.what, change.detail))) for change in listing.page],
    }
    return page_or_partial(request, "inventory/sync.html", "inventory/sync_changes.html", context)


_COUNTED = {
    SyncChange.What.ADDED: "added",
    SyncChange.What.CHANGED: "changed",
    SyncChange.What.MISSING: "missing",
    SyncChange.What.RETURNED: "returned",
    SyncChange.What.TWIN: "twins",
    SyncChange.What.DAMAGED: "damaged",
}


def _said(what: str, detail: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A change's details as lines: a word, and what it says."""
    if what == SyncChange.What.DAMAGED:
        yield "reason", str(detail.get("reason", ""))
    elif what == SyncChange.What.TWIN:
        more = f" and {detail['more']} more" if detail.get("more") else ""
        yield "the same", ", ".join(str(same) for same in detail.get("same", []))
        yield "with", ", ".join(str(name) for name in detail.get("with", [])) + more
    else:
        for field, values in detail.items():
            old, new = (values.get("old"), values.get("new")) if isinstance(values, dict) else ("", values)
            yield field.replace("_", " "), f"{_value(old)} → {_value(new)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(part) for part in value) or "none"
    return "none" if value in ("", None) else str(value)
