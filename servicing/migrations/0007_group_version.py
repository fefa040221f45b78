"""Two who edit a group at once: the later one is told."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("servicing", "0006_missed_says_no_reason")]

    operations = [
        migrations.AddField(
            model_name="group",
            name="version",
            field=models.PositiveIntegerField(
                default=1, editable=False, help_text="Counts the times it was edited."
            ),
        ),
    ]
