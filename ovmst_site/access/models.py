"""Who there is: people, teams, and which role a person has in which team."""

from django.contrib.auth.models import AbstractUser
from django.db import models

from ovmst_site.access.paths import NoTeam


class Person(AbstractUser):
    """Somebody who signs in. What they may do comes from their memberships."""

    team_path = NoTeam("a person may belong to several teams; only administrators of the installation see people")

    must_change_password = models.BooleanField(
        default=False, help_text="Somebody else chose their password: a new one is asked for at sign-in."
    )

    class Meta:
        verbose_name_plural = "people"


class Team(models.Model):
    """Owns shares, host groups, groups, jobs and credentials."""

    team_path = "self"

    name = models.CharField(max_length=100, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What a person may do in a team. More roles follow; everyone asks `may`, nobody compares roles."""

    ADMINISTRATOR = "administrator", "administrator"

    def may(self, action: str) -> bool:
        """Whether this role allows `view` or `change` of its team's objects."""
        return action in ("view", "change")


class Membership(models.Model):
    """One role of one person in one team."""

    team_path = "team"

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role, default=Role.ADMINISTRATOR)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["person", "team"],
                name="access_membership_one_role_per_team",
                violation_error_message="This person already has a role in this team.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.person} is {self.role} of {self.team}"
