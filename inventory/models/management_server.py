"""What OVMST talks to in order to work with machines."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models

from inventory.platforms.registry import KINDS
from ovmst_site.access.paths import NoTeam


class ManagementServer(models.Model):
    """An SCVMM server, a set of libvirt hosts that share a pool, a lab. Its kind picks the driver."""

    team_path = NoTeam("management servers belong to the installation; teams own shares and host groups on them")

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20)
    address = models.CharField(
        max_length=300, blank=True, help_text="Empty where hosts are addressed one by one (libvirt)."
    )
    options = models.JSONField(
        default=dict,
        blank=True,
        help_text="The driver's own settings: names and texts, as its documentation says.",
    )
    credential = models.ForeignKey(
        "inventory.Credential",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="management_servers",
    )
    enabled = models.BooleanField(default=True)
    synced_at = models.DateTimeField(null=True, blank=True, editable=False)
    sync_every_minutes = models.PositiveIntegerField(
        default=60, validators=[MaxValueValidator(31 * 24 * 60)], help_text="0: only when somebody asks for it."
    )
    sync_requested_at = models.DateTimeField(null=True, blank=True, editable=False)
    sync_requested_by = models.CharField(max_length=200, blank=True, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.kind not in KINDS:
            raise ValidationError({"kind": f"There is no driver for {self.kind!r}; choose {', '.join(KINDS)}."})
        validate_options(self.options)


def validate_options(options: Any) -> None:
    """Options are a flat object of texts: anything else is refused where it was typed."""
    flat = isinstance(options, dict) and all(isinstance(v, str) for v in options.values())
    if not flat:
        raise ValidationError({"options": 'Write options as names and texts: {"accelerator": "qemu"}.'})
