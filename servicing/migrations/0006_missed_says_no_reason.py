"""A missed start is told by what is known of it: it was found too late. Only the choice's label changes."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("servicing", "0005_run_tally")]

    operations = [
        migrations.AlterField(
            model_name="occurrence",
            name="state",
            field=models.CharField(
                choices=[
                    ("planned", "planned"),
                    ("started", "started"),
                    ("missed", "missed: it was found too late"),
                    ("refused", "refused"),
                    ("cancelled", "cancelled"),
                ],
                default="planned",
                max_length=10,
            ),
        ),
    ]
