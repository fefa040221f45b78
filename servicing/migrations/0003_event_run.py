"""The run of each event that was written before events knew it."""

from django.db import migrations
from django.db.models import Max, OuterRef, Subquery

AT_A_TIME = 10_000


def fill(apps, schema_editor):
    event, target = apps.get_model("servicing", "Event"), apps.get_model("servicing", "RunTarget")
    of_its_target = target.objects.filter(pk=OuterRef("target")).values("run")[:1]
    last = event.objects.aggregate(last=Max("pk"))["last"] or 0
    for first in range(0, last, AT_A_TIME):
        some = event.objects.filter(pk__gt=first, pk__lte=first + AT_A_TIME, run=None)
        some.update(run=Subquery(of_its_target))


class Migration(migrations.Migration):
    # Each batch is a transaction of its own: workers go on meanwhile, and doing it again is harmless.
    atomic = False

    dependencies = [("servicing", "0002_event_order")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
