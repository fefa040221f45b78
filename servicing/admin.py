"""Groups, jobs, runs and what happened in them, in the plain Django admin."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from ovmst_site.access.admin_site import GatedAdmin, ReadOnlyAdmin
from servicing.actions import cancel_run, retry_failed, start_run
from servicing.models import (
    Event,
    Generation,
    Group,
    Job,
    Operation,
    PackageReport,
    Run,
    RunTarget,
    StepRecord,
    UpdateSystem,
)


@admin.register(UpdateSystem)
class UpdateSystemAdmin(GatedAdmin):
    list_display = ["name", "kind"]


@admin.register(Group)
class GroupAdmin(GatedAdmin):
    list_display = ["name", "team"]
    search_fields = ["name"]
    autocomplete_fields = ["resources"]


@admin.register(Job)
class JobAdmin(GatedAdmin):
    list_display = ["name", "team", "group", "update_system", "host_group", "on_failure"]
    search_fields = ["name"]
    list_filter = ["team", "update_system"]
    actions = ["start"]

    @admin.action(description="Start a run of each selected job", permissions=["change"])
    def start(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        for job in queryset:
            try:
                run = start_run(job, request.user)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                self.message_user(request, f"Started {run}.")


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "started_at", "started_by", "finished_at"]
    list_filter = ["job"]
    actions = ["cancel", "retry"]

    @admin.action(description="Cancel each selected run")
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._each(request, queryset, lambda run: f"{run}: {cancel_run(run, request.user)} machines turn back.")

    @admin.action(description="Retry what didn't succeed in each selected run")
    def retry(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._each(request, queryset, lambda run: f"Started {retry_failed(run, request.user)}.")

    def _each(self, request: HttpRequest, queryset: QuerySet[Run], act: Any) -> None:
        for run in queryset:
            try:
                self.message_user(request, act(run))
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)


@admin.register(RunTarget)
class RunTargetAdmin(ReadOnlyAdmin):
    list_display = ["resource", "run", "state", "outcome", "direction", "step", "note", "reason"]
    list_filter = ["state", "outcome", "run__job"]
    search_fields = ["resource__name"]
    list_select_related = ["resource", "run__job"]


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["at", "target", "n", "step", "level", "text"]
    list_filter = ["level"]
    list_select_related = ["target__resource", "target__run__job"]


@admin.register(StepRecord)
class StepRecordAdmin(ReadOnlyAdmin):
    list_display = ["target", "direction", "step", "result", "note", "entered_at", "left_at"]
    list_select_related = ["target__resource", "target__run__job"]


@admin.register(Operation)
class OperationAdmin(ReadOnlyAdmin):
    list_display = ["name", "target", "step", "begun_at", "failed_at"]
    list_select_related = ["target__resource", "target__run__job"]


@admin.register(Generation)
class GenerationAdmin(ReadOnlyAdmin):
    list_display = ["resource", "name", "based_on", "published_at", "compliance"]
    list_select_related = ["resource"]


@admin.register(PackageReport)
class PackageReportAdmin(ReadOnlyAdmin):
    list_display = ["target", "moment", "taken_at", "number"]
    list_select_related = ["target__resource", "target__run__job"]

    @admin.display(description="packages")
    def number(self, report: PackageReport) -> int:
        return len(report.packages)
