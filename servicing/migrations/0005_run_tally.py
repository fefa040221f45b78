"""A run's counts from an index alone."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("servicing", "0004_groups_jobs_occurrences")]

    operations = [
        migrations.AddIndex(
            model_name="runtarget",
            index=models.Index(fields=["run", "state", "outcome"], name="servicing_run_tally"),
        ),
        migrations.RemoveIndex(model_name="runtarget", name="servicing_run_state"),
    ]
