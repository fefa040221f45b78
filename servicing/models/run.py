"""Executions of jobs, and each machine's way through the cycle in one."""

from datetime import datetime

from django.db import models
from django.db.models import Q

from inventory.models import ManagementServer


class Run(models.Model):
    """One execution of a job."""

    team_path = "job__team"

    job = models.ForeignKey("servicing.Job", on_delete=models.PROTECT, related_name="runs")
    started_at = models.DateTimeField()
    started_by = models.ForeignKey(
        "access.Person", null=True, blank=True, on_delete=models.PROTECT, related_name="runs"
    )
    retry_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="retries")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.job}"


class RunTarget(models.Model):
    """One stored resource going once through the cycle in a run.

    Only the engine moves it, and only while it holds its lease; `due_at` is empty when nothing is to be done
    by itself (finished, or waiting for a person). A target that needs attention stays open: its machine,
    its reservation and its alarm are kept until a person resolves it.
    """

    team_path = "run__job__team"

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        ACTIVE = "active", "being serviced"
        ATTENTION = "attention", "needs attention"
        FINISHED = "finished", "finished"

    class Outcome(models.TextChoices):
        NONE = "", "-"
        SUCCEEDED = "succeeded"
        PARTIAL = "partial"
        RESTORED = "restored"
        SKIPPED = "skipped"
        ATTENTION = "needs attention"
        RESOLVED = "resolved by a person"

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="targets")
    resource = models.ForeignKey("inventory.StoredResource", on_delete=models.PROTECT, related_name="run_targets")
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    outcome = models.CharField(max_length=20, choices=Outcome, blank=True, default=Outcome.NONE)
    reason = models.TextField(blank=True, help_text="Why it took the way back, was skipped or needs attention.")
    note = models.TextField(blank=True, help_text="What it waits for.")

    cycle_version = models.PositiveIntegerField()
    direction = models.CharField(max_length=10, default="forward")
    step = models.CharField(max_length=30, default="preflight")
    visit = models.PositiveIntegerField(default=1, help_text="How many steps it has entered; names operations.")
    tries = models.PositiveIntegerField(default=0, help_text="Faults in a row that may pass.")
    entered_at = models.DateTimeField(null=True, blank=True)
    deadline = models.DateTimeField(null=True, blank=True, help_text="When the step's patience ends.")
    notes = models.JSONField(default=dict, blank=True)

    queue = models.CharField(max_length=50, default="servicing")
    due_at = models.DateTimeField(null=True, blank=True)
    lease_owner = models.CharField(max_length=120, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    epoch = models.PositiveIntegerField(default=0)
    events = models.PositiveIntegerField(default=0, help_text="Number of its last event.")

    host = models.ForeignKey(
        "inventory.Host", null=True, blank=True, on_delete=models.PROTECT, related_name="run_targets"
    )
    reserved_mb = models.PositiveIntegerField(null=True, blank=True, help_text="Memory held on the host.")
    transfers_on = models.ForeignKey(
        "inventory.LibraryServer", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.CharField(max_length=200, blank=True)
    alarm_sent_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=200, blank=True)
    resolution = models.TextField(blank=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["resource"],
                condition=Q(finished_at=None),
                name="servicing_runtarget_one_open_per_resource",
                violation_error_message="This machine is being serviced by another run.",
            ),
            models.CheckConstraint(
                condition=Q(due_at=None) | Q(finished_at=None),
                name="servicing_runtarget_finished_is_not_due",
            ),
        ]
        indexes = [
            # The claim: due, not leased, oldest first.
            models.Index(fields=["queue", "due_at"], name="servicing_due", condition=Q(due_at__isnull=False)),
            # A run's counts, from the index alone: a run may have ten thousand targets, a list 25 runs.
            models.Index(fields=["run", "state", "outcome"], name="servicing_run_tally"),
        ]

    def __str__(self) -> str:
        return f"{self.resource} in run {self.run_id}"

    @classmethod
    def away(cls, server: ManagementServer, since: datetime) -> set[int]:
        """The resources of this server that OVMST itself may have moved at some moment after `since`: their
        target has left preflight and isn't over, or was over only then."""
        untouched = Q(direction="forward", step__in=("preflight", "place"))
        moving = Q(finished_at=None) & ~untouched | Q(finished_at__gte=since)
        found = cls.objects.filter(moving, resource__management_server=server)
        return set(found.values_list("resource", flat=True))
