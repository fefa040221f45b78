"""Where stored machines lie."""

from django.db import models

from ovmst_site.access.paths import NoTeam


class LibraryServer(models.Model):
    """Holds shares; its transfer limit is shared by all that fetches from it and stores to it."""

    team_path = NoTeam("a library server holds shares of several teams")

    management_server = models.ForeignKey(
        "inventory.ManagementServer", on_delete=models.PROTECT, related_name="library_servers"
    )
    name = models.CharField(max_length=200)
    transfers_limit = models.PositiveIntegerField(default=4, help_text="Fetches and stores at a time.")
    transfers_used = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["management_server", "name"],
                name="inventory_libraryserver_unique_name",
                violation_error_message="This management server has a library server of this name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class LibraryShare(models.Model):
    """A folder of a library server, owned by a team."""

    team_path = "team"

    library_server = models.ForeignKey(LibraryServer, on_delete=models.PROTECT, related_name="shares")
    path = models.CharField(
        max_length=500,
        help_text="As the platform names it: a folder that hosts and workers mount at the same place (libvirt).",
    )
    team = models.ForeignKey("access.Team", on_delete=models.PROTECT, related_name="shares")

    class Meta:
        ordering = ["path"]
        constraints = [
            models.UniqueConstraint(
                fields=["library_server", "path"],
                name="inventory_libraryshare_unique_path",
                violation_error_message="This library server has this share already.",
            )
        ]

    def __str__(self) -> str:
        return self.path
