"""People, teams and memberships in the Django admin."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group

from ovmst_site.access import beat_admin  # noqa: F401 - it registers what it is for
from ovmst_site.access.admin_site import GatedAdmin
from ovmst_site.access.models import Membership, Person, Team

admin.site.unregister(Group)
admin.site.site_title = admin.site.site_header = "OVMST administration"
admin.site.index_title = "All that there is"


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Membership
    extra = 0
    autocomplete_fields = ["person", "team"]


@admin.register(Person)
class PersonAdmin(GatedAdmin, UserAdmin):  # type: ignore[type-arg]
    inlines = [MembershipInline]
    # What a person may do comes from memberships alone; Django's own groups and permissions aren't used.
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Access", {"fields": ["is_active", "is_staff", "is_superuser", "must_change_password"]}),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]
    list_display = ["username", "email", "is_active", "is_staff", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_superuser", "memberships__team"]


@admin.register(Team)
class TeamAdmin(GatedAdmin):
    list_display = ["name"]
    search_fields = ["name"]
    inlines = [MembershipInline]
