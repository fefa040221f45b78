"""A moment at which a job is to start by itself."""

from django.db import models
from django.db.models import Q


class Occurrence(models.Model):
    """One planned start of a job, and what became of it.

    The row is what starts a run, once: messages and beats that name it twice, or late, find it settled.
    """

    team_path = "job__team"

    class State(models.TextChoices):
        PLANNED = "planned", "planned"
        STARTED = "started", "started"
        MISSED = "missed", "missed: it was found too late"
        REFUSED = "refused", "refused"
        CANCELLED = "cancelled", "cancelled"

    job = models.ForeignKey("servicing.Job", on_delete=models.CASCADE, related_name="occurrences")
    due_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State, default=State.PLANNED)
    reason = models.TextField(blank=True, help_text="Why it was missed or refused.")
    planned_by = models.CharField(max_length=200, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)
    run = models.OneToOneField(
        "servicing.Run", null=True, blank=True, on_delete=models.PROTECT, related_name="occurrence"
    )

    class Meta:
        ordering = ["-due_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["job", "due_at"],
                name="servicing_occurrence_once",
                violation_error_message="This job is planned for this moment already.",
            ),
            models.UniqueConstraint(
                fields=["job"],
                condition=Q(state="planned"),
                name="servicing_occurrence_one_planned_per_job",
                violation_error_message="This job has a planned start already.",
            ),
            models.CheckConstraint(
                condition=Q(state="started", run__isnull=False) | (~Q(state="started") & Q(run=None)),
                name="servicing_occurrence_started_has_its_run",
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="servicing_occurrence_due", condition=Q(state="planned")),
        ]

    def __str__(self) -> str:
        return f"{self.job} at {self.due_at:%Y-%m-%d %H:%M %Z}"
