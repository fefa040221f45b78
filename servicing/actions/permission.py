"""What actions ask before they act. What somebody may not see doesn't exist for them."""

from django.core.exceptions import ValidationError

from ovmst_site.access.gate import Actor, may
from ovmst_site.access.models import Team
from servicing.models import Group, Job


def must_be_allowed(job: Job, by: Actor) -> None:
    """Raises ValidationError unless `by` may change, and so start, this job."""
    if job.archived_at is not None or not may(by, job, "change"):
        raise ValidationError(f"There is no job {job.name!r} that you may run.")


def must_own_group(group: Group, by: Actor) -> None:
    """Raises ValidationError unless `by` may change this group."""
    if group.archived_at is not None or not may(by, group, "change"):
        raise ValidationError(f"There is no group {group.name!r} that you may change.")


def must_act_for(team: Team | None, by: Actor) -> Team:
    """The team. Raises ValidationError unless `by` may make things for it."""
    if team is None or not may(by, team, "change"):
        raise ValidationError({"team": "Choose a team that you act for."})
    return team
