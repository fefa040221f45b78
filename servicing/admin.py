"""Groups, jobs, runs and what happened in them, in the plain Django admin: to look at, and to act on many at once.

Groups and jobs are made and changed on their own pages, by the actions that know the rules.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from ovmst_site.access.admin_site import GatedAdmin, ReadOnlyAdmin
from servicing.actions import (
    cancel_run,
    copy_group,
    copy_job,
    delete_group,
    delete_job,
    edit_job,
    retry_failed,
    start_run,
    unplan_job,
)
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


class ActingAdmin(ReadOnlyAdmin):
    """Nothing is typed here; actions on what was selected go the way that the pages go, one by one, and each says
    what came of it. `page` names the URL of a row's own page, `add_page` that of a new one."""

    page = ""
    add_page = ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(self.add_page) and bool(request.user.is_active)

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return redirect(self.add_page)

    def view_on_site(self, obj: Model) -> str:
        return reverse(self.page, args=[obj.pk])

    def each(self, request: HttpRequest, queryset: QuerySet[Any], act: Callable[[Any], str]) -> None:
        for row in queryset:
            try:
                self.message_user(request, act(row))
            except ValidationError as error:
                self.message_user(request, f"{row}: {' '.join(error.messages)}", messages.ERROR)


@admin.register(UpdateSystem)
class UpdateSystemAdmin(GatedAdmin):
    list_display = ["name", "kind"]
    list_filter = ["kind"]
    search_fields = ["name"]


@admin.register(Group)
class GroupAdmin(ActingAdmin):
    page, add_page = "servicing:group", "servicing:group-new"
    list_display = ["name", "team", "kind", "filter", "archived_at"]
    list_filter = ["team", "kind", ("archived_at", admin.EmptyFieldListFilter)]
    list_select_related = ["team"]
    search_fields = ["name"]
    # A list may have thousands of machines: its page shows them.
    fields = ["team", "name", "kind", "filter", "archived_at"]
    actions = ["copy", "delete"]

    @admin.action(description="Copy each selected group")
    def copy(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        self.each(request, queryset, lambda group: f"Made {copy_group(group, request.user)}.")

    @admin.action(description="Delete each selected group that no job uses")
    def delete(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        def act(group: Group) -> str:
            delete_group(group, request.user)
            return f"{group} was deleted."

        self.each(request, queryset, act)


@admin.register(Job)
class JobAdmin(ActingAdmin):
    page, add_page = "servicing:job", "servicing:job-new"
    list_display = [
        *("name", "team", "group", "update_system", "host_group", "on_failure"),
        *("enabled", "next_start_at", "version", "archived_at"),
    ]
    search_fields = ["name", "group__name"]
    list_filter = ["team", "update_system", "enabled", "on_failure", ("archived_at", admin.EmptyFieldListFilter)]
    list_select_related = ["team", "group", "update_system", "host_group"]
    actions = ["start", "switch_on", "switch_off", "unplan", "copy", "delete"]

    @admin.action(description="Start a run of each selected job")
    def start(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self.each(request, queryset, lambda job: f"Started {start_run(job, request.user)}.")

    @admin.action(description="Switch each selected job on")
    def switch_on(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self._switch(request, queryset, enabled=True)

    @admin.action(description="Switch each selected job off: it starts no run")
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self._switch(request, queryset, enabled=False)

    @admin.action(description="Cancel the planned start of each selected job")
    def unplan(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self.each(request, queryset, lambda job: f"{unplan_job(job, request.user)} has no planned start.")

    @admin.action(description="Copy each selected job")
    def copy(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self.each(request, queryset, lambda job: f"Made {copy_job(job, request.user)}.")

    @admin.action(description="Delete each selected job, or archive it where it has runs")
    def delete(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        def act(job: Job) -> str:
            return f"{job} was {'archived' if delete_job(job, request.user) else 'deleted'}."

        self.each(request, queryset, act)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Job], *, enabled: bool) -> None:
        def act(job: Job) -> str:
            edit_job(job, request.user, version=job.version, enabled=enabled)
            return f"{job} is switched {'on' if enabled else 'off'}."

        self.each(request, queryset, act)


@admin.register(Occurrence)
class OccurrenceAdmin(ReadOnlyAdmin):
    list_display = ["job", "due_at", "state", "reason", "planned_by", "settled_at", "run"]
    list_filter = ["state", "job"]
    list_select_related = ["job", "run__job"]
    search_fields = ["job__name", "reason"]
    date_hierarchy = "due_at"


@admin.register(Run)
class RunAdmin(ActingAdmin):
    page = "servicing:run"
    list_display = ["__str__", "started_at", "started_by", "finished_at", "retry_of"]
    list_filter = ["job", ("finished_at", admin.EmptyFieldListFilter)]
    list_select_related = ["job", "started_by", "retry_of__job"]
    search_fields = ["job__name", "=pk"]
    date_hierarchy = "started_at"
    actions = ["cancel", "retry"]

    @admin.action(description="Cancel each selected run")
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self.each(request, queryset, lambda run: f"{run}: {cancel_run(run, request.user)} machines turn back.")

    @admin.action(description="Retry what didn't succeed in each selected run")
    def retry(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self.each(request, queryset, lambda run: f"Started {retry_failed(run, request.user)}.")


@admin.register(RunTarget)
class RunTargetAdmin(ReadOnlyAdmin):
    list_display = ["resource", "run", "state", "outcome", "direction", "step", "host", "note", "reason"]
    list_filter = ["state", "outcome", "direction", "step", "run__job"]
    search_fields = ["resource__name", "resource__external_id", "reason"]
    list_select_related = ["resource", "run__job", "host"]

    def view_on_site(self, obj: RunTarget) -> str:
        if obj.state == RunTarget.State.ATTENTION:
            return reverse("servicing:attention-resolve", args=[obj.pk])
        return reverse("servicing:run-target", args=[obj.run_id, obj.pk])


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["at", "target", "n", "step", "level", "text"]
    list_filter = ["level", "step"]
    search_fields = ["text"]
    list_select_related = ["target__resource", "target__run__job"]


@admin.register(StepRecord)
class StepRecordAdmin(ReadOnlyAdmin):
    list_display = ["target", "direction", "step", "result", "note", "entered_at", "left_at"]
    list_filter = ["result", "direction", "step"]
    search_fields = ["target__resource__name", "note"]
    list_select_related = ["target__resource", "target__run__job"]


@admin.register(Operation)
class OperationAdmin(ReadOnlyAdmin):
    list_display = ["name", "target", "step", "begun_at", "failed_at", "failure"]
    list_filter = ["step", ("failed_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "target__resource__name"]
    list_select_related = ["target__resource", "target__run__job"]


@admin.register(Generation)
class GenerationAdmin(ReadOnlyAdmin):
    list_display = ["resource", "name", "based_on", "published_at", "compliance"]
    list_filter = ["compliance"]
    search_fields = ["resource__name", "name"]
    list_select_related = ["resource"]


@admin.register(PackageReport)
class PackageReportAdmin(ReadOnlyAdmin):
    list_display = ["target", "moment", "taken_at", "number"]
    list_filter = ["moment"]
    search_fields = ["target__resource__name"]
    list_select_related = ["target__resource", "target__run__job"]

    @admin.display(description="packages")
    def number(self, report: PackageReport) -> int:
        return len(report.packages)
