"""Who we are to the platforms: two installations on one platform leave each other's machines alone."""

import uuid

from django.db import models

from ovmst_site.access.paths import NoTeam


class Installation(models.Model):
    """The one row that names this installation. It is in every marker and every operation's name."""

    team_path = NoTeam("the installation itself")

    only = models.BooleanField(primary_key=True, default=True, editable=False)
    name = models.UUIDField(default=uuid.uuid4, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(only=True), name="servicing_installation_only_one")
        ]

    def __str__(self) -> str:
        return str(self.name)

    @classmethod
    def current_name(cls) -> str:
        return str(cls.objects.get_or_create(only=True)[0].name)
