"""Every machine's MAC addresses, which lay in JSON alone, become rows."""

from itertools import islice
from typing import Any

from django.db import migrations

AT_ONCE = 1000


def fill(apps: Any, schema_editor: Any) -> None:
    StoredResource = apps.get_model("inventory", "StoredResource")
    MacAddress = apps.get_model("inventory", "MacAddress")
    rows = iter(StoredResource.objects.order_by("pk").values_list("pk", "mac_addresses").iterator(AT_ONCE))
    while some := list(islice(rows, AT_ONCE)):
        found = {(pk, str(address).strip().lower()[:64]) for pk, addresses in some for address in addresses}
        MacAddress.objects.bulk_create(
            MacAddress(resource_id=pk, address=address) for pk, address in sorted(found) if address
        )


def empty(apps: Any, schema_editor: Any) -> None:
    apps.get_model("inventory", "MacAddress").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [("inventory", "0003_mac_addresses")]

    operations = [migrations.RunPython(fill, empty)]
