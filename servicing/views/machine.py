"""One machine: what is known of it, what is done with it now, and what was."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Exists, Min, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from inventory.actions import CHANNEL, change_channel
from inventory.models import Credential, StoredResource
from inventory.remote.host_key import fingerprint
from ovmst_site.access.gate import Actor, find_or_404, may, visible
from ovmst_site.web.forms import add_errors
from ovmst_site.web.http import page_or_partial, person
from ovmst_site.web.listing import Column, Listing
from servicing import packages as difference
from servicing.groups import containing
from servicing.models import Generation, Operation, PackageReport, RunTarget
from servicing.views.machine_state import may_be_seen, state_of, step_words, with_open_targets

HISTORY = [
    Column("Run", "started", ("created_at",)),
    Column("Job", "", (), "wide-only"),
    Column("Outcome", "outcome", ("outcome",)),
    Column("Reason", "", (), "reason"),
    Column("Waited", "", (), "number wide-only"),
    Column("Took", "", (), "number"),
    Column("Packages"),
]
GENERATIONS_SHOWN = 10
LONGEST_SEARCH = 100  # characters


@require_safe
def machine(request: HttpRequest, pk: int) -> HttpResponse:
    me = person(request)
    found = find_or_404(me, _machines(), pk=pk)
    seen = may_be_seen([found], me)
    state = state_of(found, seen)
    listing = Listing(request, _history(found, me), HISTORY, sort="-started", per_page=20)
    context = {"machine": found, "listing": listing, "rows": [(t, *_spans(t)) for t in listing.page]}
    if not request.htmx or request.htmx.history_restore_request:  # type: ignore[attr-defined]
        context |= _everything(request, found, me) | {"state": state}
        if state.target is not None:
            context |= {"now": state.target, "step": step_words(state.target)}
    return page_or_partial(request, "servicing/machine.html", "servicing/machine_history.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    me = person(request)
    found = find_or_404(me, StoredResource.objects.select_related("team"), "change", pk=pk)
    form = ChannelForm(request.POST or None, instance=found, by=me)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            change_channel(
                found,
                me,
                kind=given["channel_kind"],
                address=given["channel_address"],
                port=given["channel_port"],
                pinned=given["channel_host_key"],
                credential=given["credential"] if "credential" in form.changed_data else ...,
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            messages.success(request, "Saved. It holds from the machine's next step on.")
            return redirect("servicing:machine", pk=pk)
    status = 422 if request.method == "POST" else 200
    return render(request, "servicing/machine_edit.html", {"machine": found, "form": form}, status=status)


@require_safe
def groups(request: HttpRequest, pk: int) -> HttpResponse:
    """The groups that hold it: beside the machine's own page, since every saved filter of its team is asked."""
    me = person(request)
    found = find_or_404(me, StoredResource.objects.all(), pk=pk)
    hold, unknown = containing(found, me)
    context = {"machine": found, "groups": hold, "unknown_groups": unknown}
    return page_or_partial(request, "servicing/machine_groups.html", "servicing/machine_groups_list.html", context)


@require_safe
def packages(request: HttpRequest, pk: int, target: int) -> HttpResponse:
    """The packages before and after one target; `q` narrows them down to names that hold it, `all` lists those
    that stayed as they were too."""
    me = person(request)
    found = find_or_404(me, StoredResource.objects.all(), pk=pk)
    whose = find_or_404(me, RunTarget.objects.select_related("run__job"), pk=target, resource=found)
    wanted = request.GET.get("q", "").replace("\0", "").strip()[:LONGEST_SEARCH]
    everything = bool(request.GET.get("all"))
    made = difference.of_target(whose)
    context = {
        "machine": found,
        "target": whose,
        "q": wanted,
        "difference": made.narrowed(wanted) if wanted else made,
        "everything": everything,
        "all_packages": difference.listed(whose, wanted) if everything else None,
    }
    return page_or_partial(
        request, "servicing/machine_packages.html", "servicing/machine_packages_list.html", context
    )


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    """How a machine's guest is reached. Everything else of it is found by inventory."""

    class Meta:
        model = StoredResource
        fields = CHANNEL
        labels = {
            "channel_kind": "Channel",
            "channel_address": "Address",
            "channel_port": "Port",
            "channel_host_key": "Pinned host key",
        }
        widgets = {"channel_host_key": forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"})}
        help_texts = {
            "channel_port": "Of SSH alone.",
            "channel_host_key": "Of SSH alone: “ssh-ed25519 AAAA…”. No guest with another key is spoken to.",
            "credential": "Without one, the job's is used.",
        }

    def __init__(self, *args: Any, by: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["credential"]
        field.queryset = visible(by, Credential.objects.filter(team=self.instance.team_id))
        field.empty_label = "none of its own"
        has = self.instance.credential_id
        if has is not None and not field.queryset.filter(pk=has).exists():
            # What isn't offered isn't taken away by not choosing it.
            self.initial["credential"] = None
            field.empty_label = "the one that it has, of another team"
            field.help_text = "It has one that you may not see; it is kept unless you choose another."

    def _post_clean(self) -> None:
        """The action judges and writes; the row that the page shows stays as it is."""


def _machines() -> QuerySet[StoredResource]:
    return StoredResource.objects.select_related(
        "share__library_server", "management_server", "team", "credential"
    ).prefetch_related(with_open_targets())


def _history(machine: StoredResource, me: Actor) -> QuerySet[RunTarget]:
    first_effect = Operation.objects.filter(target=OuterRef("pk")).values("target").values(at=Min("begun_at"))
    return (
        visible(me, RunTarget.objects.filter(resource=machine))
        .select_related("run__job", "host")
        .annotate(
            began_at=Subquery(first_effect),
            has_packages=Exists(PackageReport.objects.filter(target=OuterRef("pk"))),
        )
    )


def _spans(target: Any) -> tuple[Any, Any]:
    """How long it waited for its turn, and how long it was worked on: until now, while it is."""
    ends = target.finished_at
    waited = (target.began_at or ends) - target.created_at if target.began_at or ends else None
    took = ends - target.began_at if ends and target.began_at else None
    return waited, took


def _everything(request: HttpRequest, machine: StoredResource, me: Actor) -> dict[str, Any]:
    generations = visible(me, Generation.objects.filter(resource=machine))
    shown = generations.select_related("target__run").order_by("-pk")
    if not request.GET.get("generations"):
        shown = shown[:GENERATIONS_SHOWN]
    shown_list = list(shown)
    ids = [generation.target_id for generation in shown_list if generation.target_id]
    return {
        "generations": shown_list,
        "generations_total": generations.count(),
        "seen_targets": set(visible(me, RunTarget.objects.filter(pk__in=ids)).values_list("pk", flat=True)),
        "twins": machine.twins() if machine.missing_since is None else [],
        "fingerprint": fingerprint(machine.channel_host_key),
        "credential": machine.credential if machine.credential and may(me, machine.credential, "view") else None,
        "may_change": may(me, machine, "change"),
    }
