"""django-celery-beat's rows in the administration: to look at. Settings and jobs write them; what was typed here
would be written over, and beat's own form needs a script in its page, which the policy forbids."""

from typing import Any

import django_celery_beat.admin  # noqa: F401 - it registers them, before they are registered anew here
from django.contrib import admin
from django.http import HttpRequest
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)


class BeatAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Administrators of the installation see them: nobody else has Django's own permissions."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PeriodicTaskAdmin(BeatAdmin):
    list_display = ["name", "task", "enabled", "scheduler", "one_off", "last_run_at", "total_run_count"]
    list_filter = ["enabled", "one_off", "task"]
    list_select_related = ["interval", "crontab", "solar", "clocked"]
    search_fields = ["name", "task"]


for model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, SolarSchedule):
    admin.site.unregister(model)
    admin.site.register(model, BeatAdmin)
admin.site.unregister(PeriodicTask)
admin.site.register(PeriodicTask, PeriodicTaskAdmin)
