"""The tables of the simulated worlds: what `database.py` keeps, and nobody else writes.

A record is whole in its `record`; the columns beside it say what is looked for, in the words of
`Machine`'s methods, and are written together with it.
"""

from django.core.validators import MinValueValidator
from django.db import models

from ovmst_site.access.paths import NoTeam

LONGEST_ID = 200  # characters of a machine's id, as inventory takes it
LONGEST_NAME = 2000


class LabWorld(models.Model):
    """One simulated management server. Its row is the lock of all that is in it."""

    team_path = NoTeam("a simulated world belongs to the installation, like the server it plays", everyone=True)

    name = models.CharField(max_length=300, unique=True, help_text="The management server's address.")
    keeps_original = models.BooleanField(
        default=True, editable=False, help_text="Fetching copies; otherwise it moves the only copy."
    )
    time_scale = models.FloatField(default=1, editable=False, help_text="So many times faster than OVMST's clock.")
    clock_offset = models.FloatField(default=0, editable=False)  # seconds; see storage.Pace
    told = models.FloatField(default=0, editable=False)  # the last time that was told: time never goes back
    numbers = models.BigIntegerField(default=0, editable=False)
    record = models.BinaryField(default=b"", editable=False)  # hosts, shares, faults
    counts = models.JSONField(default=dict, editable=False)  # how often each thing happened
    lines = models.BigIntegerField(default=0, editable=False)  # ever written to the journal
    kept_lines = models.PositiveIntegerField(
        default=20_000, validators=[MinValueValidator(100)], help_text="Older lines of the journal are forgotten."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class LabMachine(models.Model):
    """One machine of a simulated world."""

    team_path = NoTeam("machines of a simulated world hold nothing real", everyone=True)

    world = models.ForeignKey(LabWorld, on_delete=models.CASCADE, related_name="machines")
    external_id = models.CharField(max_length=LONGEST_ID)
    name = models.CharField(max_length=LONGEST_NAME)
    uuid = models.CharField(max_length=64)
    host = models.CharField(max_length=500)  # where its copy is or goes; "" for none
    outsiders_host = models.CharField(max_length=500)  # where somebody else runs the original
    next_event = models.FloatField(null=True)  # by the world's clock; when it must be settled
    is_on_host = models.BooleanField()
    is_awake = models.BooleanField()
    is_working = models.BooleanField()
    is_marked = models.BooleanField()
    is_lost = models.BooleanField()
    is_gone = models.BooleanField()
    record = models.BinaryField()

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["world", "external_id"], name="lab_machine_unique_id")]
        indexes = [
            models.Index(fields=["world", "host"], name="lab_machine_host"),
            models.Index(fields=["world", "outsiders_host"], name="lab_machine_outsiders"),
            models.Index(fields=["world", "uuid"], name="lab_machine_uuid"),
            models.Index(fields=["world", "next_event"], name="lab_machine_next_event"),
            models.Index(fields=["world", "is_on_host"], name="lab_machine_on_host"),
        ]

    def __str__(self) -> str:
        return self.name


class LabJournal(models.Model):
    """One thing that happened in a simulated world. Broken promises are lines too, and kept for longer."""

    team_path = NoTeam("what happens in a simulated world concerns nothing real", everyone=True)

    world = models.ForeignKey(LabWorld, on_delete=models.CASCADE, related_name="journal")
    at = models.FloatField()  # by the world's clock
    machine = models.CharField(max_length=LONGEST_ID)  # or host; "" for none
    what = models.CharField(max_length=200)
    detail = models.TextField()

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(fields=["world", "machine", "what"], name="lab_journal_machine"),
            models.Index(fields=["world"], condition=models.Q(what="violation"), name="lab_journal_violations"),
        ]

    def __str__(self) -> str:
        return f"{self.machine}: {self.what}"
