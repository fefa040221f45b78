"""What each sync of a management server found, and what happened to which machine."""

from django.db import models
from django.db.models import Q

from ovmst_site.access.paths import NoTeam


class SyncRecord(models.Model):
    """One sync. The database lets one at a time run for each management server.

    Its lease says that its process lives: one that ran out belongs to a process that died, and the next sync
    takes over. One that failed changed nothing, and says why.
    """

    team_path = NoTeam("a management server holds machines of several teams; each change belongs to its own")

    class Result(models.TextChoices):
        RUNNING = "running", "running"
        SUCCEEDED = "succeeded", "succeeded"
        FAILED = "failed", "failed"

    server = models.ForeignKey("inventory.ManagementServer", on_delete=models.CASCADE, related_name="syncs")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField()
    by = models.CharField(max_length=200, help_text="A person, or the schedule.")
    result = models.CharField(max_length=10, choices=Result, default=Result.RUNNING)
    reason = models.TextField(blank=True, help_text="Why it failed.")

    found = models.PositiveIntegerField(default=0, help_text="Machines that could be read.")
    added = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    missing = models.PositiveIntegerField(default=0)
    returned = models.PositiveIntegerField(default=0)
    twins = models.PositiveIntegerField(default=0)
    damaged = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    left_alone = models.PositiveIntegerField(default=0, help_text="Differ, and are being serviced by OVMST itself.")

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["server"],
                condition=Q(result="running"),
                name="inventory_syncrecord_one_running_per_server",
                violation_error_message="This management server is being synced.",
            )
        ]
        indexes = [models.Index(fields=["server", "started_at"], name="inventory_sync_started")]

    def __str__(self) -> str:
        return f"sync of {self.server} at {self.started_at:%Y-%m-%d %H:%M %Z}: {self.result}"


class SyncChange(models.Model):
    """What one sync found out about one machine."""

    team_path = "team"

    class What(models.TextChoices):
        ADDED = "added", "added"
        CHANGED = "changed", "changed"
        MISSING = "missing", "missing"
        RETURNED = "returned", "returned"
        TWIN = "twin", "has a twin"
        DAMAGED = "damaged", "damaged"

    sync = models.ForeignKey(SyncRecord, on_delete=models.CASCADE, related_name="changes")
    resource = models.ForeignKey(
        "inventory.StoredResource", null=True, blank=True, on_delete=models.CASCADE, related_name="sync_changes"
    )
    # As it was then. Without a team (what is damaged has none yet) it is the installation's administrators'.
    team = models.ForeignKey(
        "access.Team", null=True, blank=True, on_delete=models.CASCADE, related_name="sync_changes"
    )
    external_id = models.CharField(max_length=200, blank=True)
    name = models.TextField()
    what = models.CharField(max_length=10, choices=What)
    # changed, returned: {"name": {"old": …, "new": …}}; twin: {"same": […], "with": […], "more": 0};
    # damaged: {"reason": …}
    detail = models.JSONField(
        default=dict,
        blank=True,
        help_text="A field's old and new value, what twins share and with whom, or a reason.",
    )

    class Meta:
        ordering = ["pk"]
        indexes = [models.Index(fields=["sync", "what"], name="inventory_syncchange_what")]

    def __str__(self) -> str:
        return f"{self.name[:80]}: {self.what}"
