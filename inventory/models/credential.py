"""Secrets for guests and management servers: encrypted at rest, the key outside the database."""

from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models

from inventory.remote.base import Secret
from ovmst_site.faults import TryLater
from ovmst_site.keys import keep


@cache
def _fernet() -> MultiFernet:
    text = keep(settings.CREDENTIAL_KEY_FILE, lambda: Fernet.generate_key().decode() + "\n")
    return MultiFernet([Fernet(line) for line in text.split()])


class Credential(models.Model):
    """A user name with a password or private key. The secret goes in and is never shown again."""

    team_path = "team"

    team = models.ForeignKey("access.Team", on_delete=models.PROTECT, related_name="credentials")
    name = models.CharField(max_length=100)
    user = models.CharField(max_length=200, blank=True)
    encrypted = models.BinaryField(editable=False, default=b"")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                name="inventory_credential_unique_name",
                violation_error_message="This team has a credential of this name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def seal(self, secret: str) -> None:
        """Keep this secret; the row must be saved afterwards."""
        self.encrypted = _fernet().encrypt(secret.encode())

    def secret(self) -> Secret:
        """The secret, for a driver. Raises TryLater where the key file is not the one it was sealed
        with: machines wait until the right one is back."""
        if not self.encrypted:
            return Secret("")
        try:
            return Secret(_fernet().decrypt(bytes(self.encrypted)).decode())
        except InvalidToken:
            raise TryLater(
                f"Credential {self.name!r} was sealed with a key that {settings.CREDENTIAL_KEY_FILE} doesn't hold"
            ) from None
