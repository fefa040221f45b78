"""What to service, with which update system, on which hosts, and what to do when something goes wrong."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from ovmst_site.access.paths import NoTeam
from servicing import cycle
from servicing.context import Policy
from servicing.updaters.registry import KINDS

LONGEST_PATIENCE = 30 * 24 * 60  # minutes
MOST_ROUNDS = 1000


class UpdateSystem(models.Model):
    """WSUS, Configuration Manager, apt, the lab: what a driver in updaters/ drives."""

    team_path = NoTeam("update systems belong to the installation", everyone=True)

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.kind not in KINDS:
            raise ValidationError({"kind": f"There is no driver for {self.kind!r}; choose {', '.join(KINDS)}."})


class JobQuerySet(models.QuerySet["Job"]):
    def current(self) -> "JobQuerySet":
        """Those that weren't archived: what lists and choices show."""
        return self.filter(archived_at=None)


class Job(models.Model):
    """A servicing job. One that has runs is archived, not deleted: its runs are history."""

    team_path = "team"

    class OnFailure(models.TextChoices):
        RESTORE = "restore", "restore the state from before"
        KEEP = "keep", "keep a machine that proved healthy"

    team = models.ForeignKey("access.Team", on_delete=models.PROTECT, related_name="jobs")
    name = models.CharField(max_length=100)
    enabled = models.BooleanField(default=True, help_text="A job that is switched off starts no run.")
    group = models.ForeignKey("servicing.Group", on_delete=models.PROTECT, related_name="jobs")
    update_system = models.ForeignKey(UpdateSystem, on_delete=models.PROTECT, related_name="jobs")
    host_group = models.ForeignKey("inventory.HostGroup", on_delete=models.PROTECT, related_name="jobs")
    credential = models.ForeignKey(
        "inventory.Credential",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="jobs",
        help_text="For guests that have none of their own.",
    )
    on_failure = models.CharField(max_length=10, choices=OnFailure, default=OnFailure.RESTORE)
    allow_force_off = models.BooleanField(
        default=False, help_text="Power off a guest that doesn't shut down within ten minutes."
    )
    rounds = models.PositiveSmallIntegerField(
        default=10,
        help_text="Rounds of scan, install and restart before a healthy machine is stored as partial.",
    )
    checks = models.JSONField(
        default=list,
        blank=True,
        help_text='Programs in the guest that must succeed: [["/usr/bin/systemctl", "is-active", "nginx"]].',
    )

    patience = models.JSONField(
        default=dict,
        blank=True,
        help_text="Minutes that a step may take, where the cycle's own patience doesn't fit: {\"ready\": 5}.",
    )

    version = models.PositiveIntegerField(default=1, editable=False, help_text="Counts the times it was edited.")
    next_start_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Its planned occurrence's moment, for lists."
    )
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                condition=Q(archived_at=None),
                name="servicing_job_unique_name_of_team",
                violation_error_message="This team has a job of this name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """The only one is about the name, and is said there."""
        try:
            super().validate_constraints(exclude)
        except ValidationError as error:
            raise ValidationError({"name": error.messages}) from error

    def clean(self) -> None:
        super().clean()
        validate_checks(self.checks)
        validate_patience(self.patience)
        # What isn't a number at all, its field says.
        if isinstance(self.rounds, int) and not 1 <= self.rounds <= MOST_ROUNDS:
            raise ValidationError({"rounds": f"Between one round and {MOST_ROUNDS}."})
        self.must_use_its_teams_own()

    def must_use_its_teams_own(self) -> None:
        """Raises ValidationError at each field whose row another team has, or nobody any more."""
        wrong = {}
        for name in ("group", "host_group", "credential"):
            used = getattr(self, name) if getattr(self, f"{name}_id") is not None else None
            gone = getattr(used, "archived_at", None) is not None
            if used is not None and self.team_id is not None and (gone or used.team_id != self.team_id):
                wrong[name] = f"Choose a {name.replace('_', ' ')} of the team {self.team}."
        if wrong:
            raise ValidationError(wrong)

    def patience_for(self, step: str, usual: timedelta | None) -> timedelta | None:
        """How long a step may take in this job; None is for ever."""
        minutes = self.patience.get(step)
        return usual if minutes is None else timedelta(minutes=minutes)

    def policy(self) -> Policy:
        return Policy(
            rounds=self.rounds,
            allow_force_off=self.allow_force_off,
            keep_healthy=self.on_failure == self.OnFailure.KEEP,
            checks=tuple(tuple(check) for check in self.checks),
        )


def validate_patience(patience: Any) -> None:
    """An object of step names and positive minutes."""
    steps = {step.name for table in cycle.TABLES.values() for step in table}
    for step, minutes in patience.items() if isinstance(patience, dict) else [(None, None)]:
        known = step in steps
        if (
            not known
            or isinstance(minutes, bool)
            or not isinstance(minutes, int | float)
            or not 0 < minutes <= LONGEST_PATIENCE
        ):
            known_steps = ", ".join(sorted(steps))
            raise ValidationError({"patience": f'Write minutes per step: {{"ready": 5}}. Steps: {known_steps}.'})


def validate_checks(checks: Any) -> None:
    """A list of commands, each a list of a program and its arguments."""
    commands = checks if isinstance(checks, list) else [None]
    for command in commands:
        if not (isinstance(command, list) and command and all(isinstance(word, str) for word in command)):
            raise ValidationError({"checks": 'Write each check as a list: [["/usr/bin/true"]].'})
