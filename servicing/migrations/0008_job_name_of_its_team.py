"""A job's name is its team's own, as a group's is: no team learns what another one's jobs are called."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("servicing", "0007_group_version")]

    operations = [
        migrations.RemoveConstraint(model_name="job", name="servicing_job_unique_current_name"),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.UniqueConstraint(
                fields=["team", "name"],
                condition=models.Q(archived_at=None),
                name="servicing_job_unique_name_of_team",
                violation_error_message="This team has a job of this name already.",
            ),
        ),
    ]
