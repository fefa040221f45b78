"""People, teams and memberships in the Django admin."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from ovmst_site.access.admin_site import GatedAdmin
from ovmst_site.access.models import Membership, Person, Team


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Membership
    extra = 0


@admin.register(Person)
class PersonAdmin(GatedAdmin, UserAdmin):  # type: ignore[type-arg]
    inlines = [MembershipInline]


@admin.register(Team)
class TeamAdmin(GatedAdmin):
    list_display = ["name"]
    search_fields = ["name"]
    inlines = [MembershipInline]
