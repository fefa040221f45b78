"""What happened: steps, operations and events. Written once, never changed."""

from django.db import models

from servicing.models.transactions import CurrentTransaction


class StepRecord(models.Model):
    """One stay of a target in a step, until it left it or was asked to wait."""

    team_path = "target__run__job__team"

    target = models.ForeignKey("servicing.RunTarget", on_delete=models.CASCADE, related_name="step_records")
    direction = models.CharField(max_length=10)
    step = models.CharField(max_length=30)
    visit = models.PositiveIntegerField()
    epoch = models.PositiveIntegerField()
    entered_at = models.DateTimeField()
    left_at = models.DateTimeField()
    result = models.CharField(max_length=20)
    note = models.TextField(blank=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.direction}.{self.step}: {self.result}"


class Operation(models.Model):
    """An effect on the platform or in the guest, written down before it was caused.

    Its name goes out with the call, so that after a crash the effect is found by its name, not caused twice.
    """

    team_path = "target__run__job__team"

    target = models.ForeignKey("servicing.RunTarget", on_delete=models.CASCADE, related_name="operations")
    direction = models.CharField(max_length=10)
    step = models.CharField(max_length=30)
    visit = models.PositiveIntegerField()
    number = models.PositiveIntegerField(help_text="Counts the tries within one visit of the step.")
    epoch = models.PositiveIntegerField()
    name = models.CharField(max_length=60, unique=True)
    begun_at = models.DateTimeField()
    failed_at = models.DateTimeField(null=True, blank=True)
    failure = models.TextField(blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["target", "direction", "step", "visit", "number"],
                name="servicing_operation_once",
                violation_error_message="This operation is written down already.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Event(models.Model):
    """One line of a target's log, numbered per target without gaps.

    A run's lines have one stable order, (tx, id): see `servicing.log`, which reads them. Written by the
    ledger alone.
    """

    team_path = "target__run__job__team"

    class Level(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        ALARM = "alarm"

    target = models.ForeignKey("servicing.RunTarget", on_delete=models.CASCADE, related_name="log")
    # The target's own run, kept here so that a run's log is one range of one index. Without a constraint: the
    # target's holds it, and a check would lock the run's row for each line of each of its targets.
    # Empty only where a worker of the version before wrote it during an upgrade; required a release later.
    run = models.ForeignKey(
        "servicing.Run",
        null=True,
        on_delete=models.CASCADE,
        related_name="log",
        db_index=False,
        db_constraint=False,
    )
    tx = models.BigIntegerField(
        db_default=CurrentTransaction(), editable=False, help_text="The transaction that wrote it; the database's."
    )
    n = models.PositiveIntegerField()
    at = models.DateTimeField()
    step = models.CharField(max_length=30)
    level = models.CharField(max_length=10, choices=Level, default=Level.INFO)
    text = models.TextField()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["target", "n"],
                name="servicing_event_once",
                violation_error_message="This event is written down already.",
            )
        ]
        indexes = [models.Index(fields=["run", "tx", "id"], name="servicing_event_order")]

    def __str__(self) -> str:
        return self.text[:80]
