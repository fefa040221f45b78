"""Where machines run while they are serviced."""

from django.core.exceptions import ValidationError
from django.db import models

from inventory.models.management_server import validate_options
from inventory.platforms.base import HostRef


class HostGroup(models.Model):
    """Hosts that a job is given together."""

    team_path = "team"

    name = models.CharField(max_length=100)
    team = models.ForeignKey("access.Team", on_delete=models.PROTECT, related_name="host_groups")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                name="inventory_hostgroup_unique_name",
                violation_error_message="This team has a host group of this name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Host(models.Model):
    """A maintenance host: slots, memory, and the network on which serviced machines run.

    The counters are changed by the ledger's conditional updates only; the database refuses to exceed them.
    """

    team_path = "group__team"

    management_server = models.ForeignKey(
        "inventory.ManagementServer", on_delete=models.PROTECT, related_name="hosts"
    )
    group = models.ForeignKey(HostGroup, on_delete=models.PROTECT, related_name="hosts")
    name = models.CharField(max_length=200)
    external_id = models.CharField(
        max_length=500, help_text="How the platform is asked for it: a URI for libvirt, an id for SCVMM."
    )
    slots = models.PositiveIntegerField(default=2, help_text="Machines at a time.")
    memory_mb = models.PositiveIntegerField(help_text="Memory for serviced machines, in MiB.")
    servicing_network = models.CharField(
        max_length=200, blank=True, help_text="Without one, no machine is started on this host."
    )
    in_maintenance = models.BooleanField(default=False, help_text="Takes no new machines.")
    options = models.JSONField(default=dict, blank=True)
    slots_used = models.PositiveIntegerField(default=0, editable=False)
    memory_used_mb = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["management_server", "external_id"],
                name="inventory_host_unique_external_id",
                violation_error_message="This management server has this host already.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        validate_options(self.options)
        if self.slots_used and self.slots < 1:
            raise ValidationError({"slots": "Machines are being serviced on this host."})

    def ref(self) -> HostRef:
        return HostRef(self.external_id, self.name, self.servicing_network, dict(self.options))
