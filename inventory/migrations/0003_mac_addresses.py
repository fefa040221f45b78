import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inventory", "0002_sync_records")]

    operations = [
        migrations.CreateModel(
            name="MacAddress",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("address", models.CharField(db_index=True, max_length=64)),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.AddField(
            model_name="macaddress",
            name="resource",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="macs", to="inventory.storedresource"
            ),
        ),
        migrations.AddConstraint(
            model_name="macaddress",
            constraint=models.UniqueConstraint(fields=("resource", "address"), name="inventory_macaddress_once"),
        ),
    ]
