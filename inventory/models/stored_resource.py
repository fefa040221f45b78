"""What can be serviced."""

from collections.abc import Sequence
from typing import Any

from django.db import models, transaction

from inventory.models.credential import Credential
from inventory.models.mac_address import MacAddress, normal
from inventory.platforms.base import Channel, MachineRef
from inventory.remote.base import Secret


class StoredResource(models.Model):
    """A machine in the library, a stopped machine on a host, a template, a virtual hard disk.

    Its external id is the platform's own key; names are for people and may be anything at all. One that
    inventory no longer finds is marked missing, never deleted: its history is what explains it.
    """

    team_path = "team"

    class Kind(models.TextChoices):
        MACHINE = "machine", "stored machine"
        STOPPED = "stopped", "stopped machine on a host"
        TEMPLATE = "template", "template"
        DISK = "disk", "virtual hard disk"

    class Compliance(models.TextChoices):
        COMPLIANT = "compliant"
        MISSING = "missing"
        NOTHING_OFFERED = "nothing offered"
        UNKNOWN = "unknown"

    class ChannelKind(models.TextChoices):
        AGENT = "agent", "guest agent (no network needed)"
        SSH = "ssh", "SSH"

    management_server = models.ForeignKey(
        "inventory.ManagementServer", on_delete=models.PROTECT, related_name="resources"
    )
    share = models.ForeignKey(
        "inventory.LibraryShare", null=True, blank=True, on_delete=models.PROTECT, related_name="resources"
    )
    team = models.ForeignKey("access.Team", on_delete=models.PROTECT, related_name="resources")
    external_id = models.CharField(max_length=200)
    name = models.TextField()
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.MACHINE)
    operating_system = models.CharField(max_length=200, blank=True)
    memory_mb = models.PositiveIntegerField(default=0)
    cpus = models.PositiveIntegerField(default=0)
    disk_bytes = models.BigIntegerField(default=0)

    uuid = models.CharField(max_length=64, blank=True, db_index=True)
    mac_addresses = models.JSONField(default=list, blank=True)
    computer_name = models.CharField(max_length=255, blank=True)

    channel_kind = models.CharField(max_length=20, choices=ChannelKind, default=ChannelKind.AGENT)
    channel_address = models.CharField(max_length=255, blank=True, help_text="Empty: the platform finds it out.")
    channel_port = models.PositiveIntegerField(default=22)
    channel_host_key = models.TextField(blank=True, help_text='The pinned key: "ssh-ed25519 AAAA…".')
    credential = models.ForeignKey(
        "inventory.Credential", null=True, blank=True, on_delete=models.PROTECT, related_name="resources"
    )

    generation = models.CharField(max_length=100, blank=True, help_text="What its library publishes.")
    missing_since = models.DateTimeField(null=True, blank=True)
    handed_out_to = models.CharField(max_length=300, blank=True)
    last_serviced_at = models.DateTimeField(null=True, blank=True)
    compliant_at = models.DateTimeField(null=True, blank=True, help_text="When it was last brought to compliant.")
    compliance = models.CharField(max_length=20, choices=Compliance, default=Compliance.UNKNOWN)
    first_in_line = models.BooleanField(
        default=False, help_text="It was stored half-way last time and comes first next time."
    )

    class Meta:
        ordering = ["name", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["management_server", "external_id"],
                name="inventory_storedresource_unique_external_id",
                violation_error_message="This management server has this machine already.",
            )
        ]
        indexes = [models.Index(fields=["team", "operating_system"], name="inventory_resource_system")]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Keeps the rows of its MAC addresses in step. Whoever writes many at once does so with
        `keep_addresses`."""
        super().save(*args, **kwargs)
        fields = kwargs.get("update_fields")
        if fields is None or "mac_addresses" in fields:
            keep_addresses([self])

    def ref(self, credential: Credential | None = None) -> MachineRef:
        """The machine as its driver needs to know it, credentials included: its own, else `credential`."""
        credential = self.credential or credential
        channel = Channel(
            kind=self.channel_kind,
            user=credential.user if credential and credential.user else "root",
            address=self.channel_address,
            port=self.channel_port,
            host_key=self.channel_host_key,
            secret=credential.secret() if credential else Secret(""),
        )
        return MachineRef(self.external_id, self.name, self.share.path if self.share else "", channel)

    def twins(self) -> list[str]:
        """Names of other resources with the same identity (UUID or a MAC address): two machines of which one
        could overwrite the other in a directory or an update system. Another team's is not named."""
        others = StoredResource.objects.exclude(pk=self.pk).filter(missing_since=None)
        found = list(others.filter(uuid=self.uuid).exclude(uuid=""))
        theirs = MacAddress.objects.filter(address__in=normal(self.mac_addresses)).values("resource")
        found += [other for other in others.filter(pk__in=theirs) if other not in found]
        return [other.name if other.team_id == self.team_id else "a machine of another team" for other in found]


def keep_addresses(resources: Sequence[StoredResource], *, at_once: int = 1000) -> None:
    """Write the addresses of these (saved) resources anew, a thousand at a time."""
    with transaction.atomic():
        for start in range(0, len(resources), at_once):
            some = resources[start : start + at_once]
            MacAddress.objects.filter(resource__in=[r.pk for r in some]).delete()
            MacAddress.objects.bulk_create(row for r in some for row in MacAddress.of(r.pk, r.mac_addresses))
