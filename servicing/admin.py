"""Groups, jobs, runs and what happened in them, in the plain Django admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from ovmst_site.access.admin_site import GatedAdmin, ReadOnlyAdmin
from ovmst_site.access.gate import SERVICE
from servicing import groups
from servicing.actions import cancel_run, delete_job, retry_failed, start_run
from servicing.models import (
    Event,
    Generation,
    Group,
    Job,
    Occurrence,
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


class GroupForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Group
        fields = ["team", "name", "kind", "filter", "resources"]

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if given.get("kind") == Group.Kind.FILTER and given.get("team") and "filter" in given:
            given["filter"] = groups.clean_filter(given["filter"] or {}, by=SERVICE, team=given["team"])
        return given


@admin.register(Group)
class GroupAdmin(GatedAdmin):
    form = GroupForm
    list_display = ["name", "team", "kind", "archived_at"]
    list_filter = ["team", "kind"]
    search_fields = ["name"]
    autocomplete_fields = ["resources"]


@admin.register(Job)
class JobAdmin(GatedAdmin):
    list_display = [
        *("name", "team", "group", "update_system", "host_group", "on_failure"),
        *("enabled", "next_start_at", "archived_at"),
    ]
    search_fields = ["name"]
    list_filter = ["team", "update_system", "enabled"]
    readonly_fields = ["version", "next_start_at", "archived_at"]  # starts are planned on the job's page
    actions = ["start", "delete"]

    def save_model(self, request: HttpRequest, obj: Job, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        # Whoever edits the job on its page meanwhile must notice.
        obj.version = Job.objects.get(pk=obj.pk).version + 1
        obj.save(update_fields=[*(name for name in form.changed_data if name in form.fields), "version"])

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # "delete" below archives what has runs

    @admin.action(description="Delete each selected job, or archive it where it has runs", permissions=["change"])
    def delete(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        for job in queryset:
            try:
                archived = delete_job(job, request.user)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                self.message_user(request, f"{job} was {'archived' if archived else 'deleted'}.")

    @admin.action(description="Start a run of each selected job", permissions=["change"])
    def start(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        for job in queryset:
            try:
                run = start_run(job, request.user)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                self.message_user(request, f"Started {run}.")


@admin.register(Occurrence)
class OccurrenceAdmin(ReadOnlyAdmin):
    list_display = ["job", "due_at", "state", "reason", "planned_by", "run"]
    list_filter = ["state", "job"]
    list_select_related = ["job", "run__job"]


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
