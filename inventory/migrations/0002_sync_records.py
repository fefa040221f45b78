import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0001_initial"),
        ("inventory", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="SyncChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("external_id", models.CharField(blank=True, max_length=200)),
                ("name", models.TextField()),
                (
                    "what",
                    models.CharField(
                        choices=[
                            ("added", "added"),
                            ("changed", "changed"),
                            ("missing", "missing"),
                            ("returned", "returned"),
                            ("twin", "has a twin"),
                            ("damaged", "damaged"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "detail",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="A field's old and new value, what twins share and with whom, or a reason.",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="SyncRecord",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("lease_until", models.DateTimeField()),
                ("by", models.CharField(help_text="A person, or the schedule.", max_length=200)),
                (
                    "result",
                    models.CharField(
                        choices=[("running", "running"), ("succeeded", "succeeded"), ("failed", "failed")],
                        default="running",
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField(blank=True, help_text="Why it failed.")),
                ("found", models.PositiveIntegerField(default=0, help_text="Machines that could be read.")),
                ("added", models.PositiveIntegerField(default=0)),
                ("changed", models.PositiveIntegerField(default=0)),
                ("missing", models.PositiveIntegerField(default=0)),
                ("returned", models.PositiveIntegerField(default=0)),
                ("twins", models.PositiveIntegerField(default=0)),
                ("damaged", models.PositiveIntegerField(default=0)),
                ("unchanged", models.PositiveIntegerField(default=0)),
                (
                    "left_alone",
                    models.PositiveIntegerField(
                        default=0, help_text="Differ, and are being serviced by OVMST itself."
                    ),
                ),
            ],
            options={
                "ordering": ["-pk"],
            },
        ),
        migrations.AddField(
            model_name="managementserver",
            name="sync_every_minutes",
            field=models.PositiveIntegerField(
                default=60,
                help_text="0: only when somebody asks for it.",
                validators=[django.core.validators.MaxValueValidator(44640)],
            ),
        ),
        migrations.AddField(
            model_name="managementserver",
            name="sync_requested_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="managementserver",
            name="sync_requested_by",
            field=models.CharField(blank=True, editable=False, max_length=200),
        ),
        migrations.AddIndex(
            model_name="storedresource",
            index=models.Index(fields=["team", "operating_system"], name="inventory_resource_system"),
        ),
        migrations.AddField(
            model_name="syncchange",
            name="resource",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="sync_changes",
                to="inventory.storedresource",
            ),
        ),
        migrations.AddField(
            model_name="syncchange",
            name="team",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="sync_changes",
                to="access.team",
            ),
        ),
        migrations.AddField(
            model_name="syncrecord",
            name="server",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="syncs", to="inventory.managementserver"
            ),
        ),
        migrations.AddField(
            model_name="syncchange",
            name="sync",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="changes", to="inventory.syncrecord"
            ),
        ),
        migrations.AddIndex(
            model_name="syncrecord",
            index=models.Index(fields=["server", "started_at"], name="inventory_sync_started"),
        ),
        migrations.AddConstraint(
            model_name="syncrecord",
            constraint=models.UniqueConstraint(
                condition=models.Q(("result", "running")),
                fields=("server",),
                name="inventory_syncrecord_one_running_per_server",
                violation_error_message="This management server is being synced.",
            ),
        ),
        migrations.AddIndex(
            model_name="syncchange",
            index=models.Index(fields=["sync", "what"], name="inventory_syncchange_what"),
        ),
    ]
