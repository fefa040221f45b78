"""The MAC addresses of stored resources, one a row, so that twins are found by an index."""

from collections.abc import Iterable

from django.db import models

LONGEST = 64  # characters


class MacAddress(models.Model):
    """One address, in lower case, of one stored resource; made from its `mac_addresses`, never typed."""

    team_path = "resource__team"

    resource = models.ForeignKey("inventory.StoredResource", on_delete=models.CASCADE, related_name="macs")
    address = models.CharField(max_length=LONGEST, db_index=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["resource", "address"], name="inventory_macaddress_once"),
        ]

    def __str__(self) -> str:
        return self.address

    @classmethod
    def of(cls, resource: int, addresses: Iterable[str]) -> "list[MacAddress]":
        """The rows of a resource that has these addresses, not saved yet."""
        return [cls(resource_id=resource, address=each) for each in normal(addresses)]


def normal(addresses: Iterable[str]) -> list[str]:
    """As they are compared: lower case, each once, none empty."""
    return sorted({text for a in addresses if (text := str(a).strip().lower()[:LONGEST])})
