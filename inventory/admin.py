"""Management servers, libraries, hosts, machines and credentials, in the plain Django admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from inventory.actions import CHANNEL, request_sync
from inventory.models import (
    Credential,
    Host,
    HostGroup,
    LibraryServer,
    LibraryShare,
    ManagementServer,
    StoredResource,
    SyncChange,
    SyncRecord,
)
from ovmst_site.access.admin_site import GatedAdmin, ReadOnlyAdmin


class CountedAdmin(GatedAdmin):
    """Rows with counters that the ledger keeps: only what was typed is saved, never a counter read before."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=[name for name in form.changed_data if name in form.fields])
        else:
            super().save_model(request, obj, form, change)


@admin.register(ManagementServer)
class ManagementServerAdmin(GatedAdmin):
    list_display = ["name", "kind", "address", "enabled", "synced_at", "sync_every_minutes"]
    list_filter = ["kind", "enabled"]
    search_fields = ["name", "address"]
    actions = ["sync"]

    @admin.action(description="Sync each selected management server soon", permissions=["change"])
    def sync(self, request: HttpRequest, queryset: QuerySet[ManagementServer]) -> None:
        for server in queryset:
            try:
                request_sync(server, request.user)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                self.message_user(request, f"{server} will be synced in a moment.")


@admin.register(SyncRecord)
class SyncRecordAdmin(ReadOnlyAdmin):
    list_display = [
        *("server", "started_at", "by", "result", "reason", "found", "added", "changed"),
        *("missing", "returned", "twins", "damaged", "unchanged", "left_alone"),
    ]
    list_filter = ["server", "result"]
    list_select_related = ["server"]


@admin.register(SyncChange)
class SyncChangeAdmin(ReadOnlyAdmin):
    list_display = ["name", "what", "detail", "sync", "team"]
    list_filter = ["what", "sync__server"]
    list_select_related = ["sync__server", "team"]
    search_fields = ["name", "external_id"]
    raw_id_fields = ["resource"]


@admin.register(LibraryServer)
class LibraryServerAdmin(CountedAdmin):
    list_display = ["name", "management_server", "transfers_limit", "transfers_used"]
    list_filter = ["management_server"]
    list_select_related = ["management_server"]
    search_fields = ["name"]


@admin.register(LibraryShare)
class LibraryShareAdmin(GatedAdmin):
    list_display = ["path", "library_server", "team"]
    list_filter = ["team", "library_server"]
    list_select_related = ["library_server", "team"]
    search_fields = ["path"]


@admin.register(HostGroup)
class HostGroupAdmin(GatedAdmin):
    list_display = ["name", "team"]
    list_filter = ["team"]
    list_select_related = ["team"]
    search_fields = ["name"]


@admin.register(Host)
class HostAdmin(CountedAdmin):
    list_display = [
        "name",
        "management_server",
        "group",
        "slots",
        "slots_used",
        "servicing_network",
        "in_maintenance",
    ]
    list_filter = ["management_server", "group", "in_maintenance"]
    list_select_related = ["management_server", "group"]
    search_fields = ["name", "external_id"]


@admin.register(StoredResource)
class StoredResourceAdmin(CountedAdmin):
    list_display = ["name", "kind", "operating_system", "share", "compliance", "last_serviced_at", "missing_since"]
    list_filter = ["management_server", "share", "kind", "compliance"]
    search_fields = ["name", "external_id", "uuid", "computer_name"]
    list_select_related = ["share"]
    exclude = ["credential"]  # it may be another team's
    # What inventory finds and servicing records isn't typed; its team is its share's. How it is reached is changed
    # on its own page, by the action that knows the rules.
    readonly_fields = [
        *("management_server", "external_id", "name", "kind", "share", "team", "uuid", "mac_addresses"),
        *("generation", "missing_since", "last_serviced_at", "compliant_at", "compliance", "handed_out_to"),
        *(name for name in CHANNEL if name != "credential"),
        "how_it_is_reached",
    ]

    @admin.display(description="How it is reached")
    def how_it_is_reached(self, machine: StoredResource) -> str:
        page = reverse("servicing:machine-edit", args=[machine.pk])
        return format_html('<a href="{}">Change it on the machine\'s own page</a>', page)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class CredentialForm(forms.ModelForm):  # type: ignore[type-arg]
    secret = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "autocomplete": "off"}),
        help_text="A password or a private key. It is never shown again; leave empty to keep what is there.",
    )

    class Meta:
        model = Credential
        fields = ["team", "name", "user"]


@admin.register(Credential)
class CredentialAdmin(GatedAdmin):
    form = CredentialForm
    list_display = ["name", "user", "team"]
    list_filter = ["team"]
    list_select_related = ["team"]
    search_fields = ["name", "user"]

    def save_model(self, request: HttpRequest, obj: Credential, form: Any, change: bool) -> None:
        if form.cleaned_data.get("secret"):
            obj.seal(form.cleaned_data["secret"])
        super().save_model(request, obj, form, change)
