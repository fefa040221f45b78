"""The plan is written in one transaction, in a constant number of queries for each thousand machines."""

import shlex
from collections import Counter

from django.db import transaction

from inventory.models import ManagementServer, StoredResource
from inventory.models.stored_resource import keep_addresses
from inventory.sync.away import away
from inventory.sync.planning import COMPARED, Plan
from ovmst_site.batches import batched
from ovmst_site.faults import NeedsAttention

UNKNOWN = StoredResource.Compliance.UNKNOWN.value
BATCH = 1000  # rows; a database that takes fewer at once splits them
WRITTEN = [*COMPARED, "share", "team", "missing_since"]


def apply(made: Plan, *, even_empty: bool = False) -> None:
    """Write the plan. Nothing is deleted: what vanished is marked missing. What OVMST is servicing is left
    alone; the plan then says so too.

    Raises NeedsAttention, changing nothing, where a share lists none of the machines that it had: a folder on
    which nothing is mounted looks like that. With `even_empty` a person has said that it is so.
    """
    with transaction.atomic():
        _leave_alone(made, away(made.server, made.at))
        if not even_empty:
            _must_list_something(made)
        StoredResource.objects.bulk_create(made.added, batch_size=BATCH)
        updated = [resource for resource, _ in made.changed] + made.returned
        differences = made.differences | {resource.pk: differing for resource, differing in made.changed}
        for some in batched(updated, BATCH):
            # Not its key: a run that starts refers to these rows, in another order, and isn't to wait for them.
            rows = StoredResource.objects.select_for_update(no_key=True).filter(pk__in=[r.pk for r in some])
            locked = rows.order_by("pk").values_list("pk", "generation", "compliance")
            now = {pk: known for pk, *known in locked}
            strange = []
            for resource in some:
                generation, compliance = now[resource.pk]
                if generation != made.generations[resource.pk]:  # published since the platform was asked
                    resource.generation = generation
                    differences[resource.pk].pop("generation", None)
                elif "generation" in differences[resource.pk]:
                    strange.append(resource.pk)
                    if compliance != UNKNOWN:
                        differences[resource.pk]["compliance"] = {"old": compliance, "new": UNKNOWN}
            # What OVMST found out was true of another state than the one that its library publishes now.
            if strange:
                StoredResource.objects.filter(pk__in=strange).update(compliance=UNKNOWN, compliant_at=None)
        before = len(made.changed)
        made.changed = [(resource, differing) for resource, differing in made.changed if differing]
        made.unchanged += before - len(made.changed)
        # Every row is there already, so each insert is an update; a CASE for each row and field takes minutes.
        StoredResource.objects.bulk_create(
            updated, batch_size=BATCH, update_conflicts=True, unique_fields=["id"], update_fields=WRITTEN
        )
        for some in batched(made.missing, BATCH):
            StoredResource.objects.filter(pk__in=[r.pk for r in some]).update(missing_since=made.at)
        readdressed = [resource for resource, differing in made.changed if "mac_addresses" in differing]
        readdressed += [r for r in made.returned if "mac_addresses" in made.differences[r.pk]]
        keep_addresses(made.added + readdressed, at_once=BATCH)
        ManagementServer.objects.filter(pk=made.server.pk).update(synced_at=made.at)


def _leave_alone(made: Plan, pks: set[int]) -> None:
    before = len(made.changed) + len(made.returned) + len(made.missing)
    made.changed = [(resource, differing) for resource, differing in made.changed if resource.pk not in pks]
    made.returned = [resource for resource in made.returned if resource.pk not in pks]
    made.missing = [resource for resource in made.missing if resource.pk not in pks]
    made.left_alone = before - len(made.changed) - len(made.returned) - len(made.missing)


def _must_list_something(made: Plan) -> None:
    gone = Counter(resource.share for resource in made.missing if resource.share is not None)
    wrong = [
        f"the share {share.path!r} lists none of the {count} machines that it had: is it mounted?"
        for share, count in gone.items()
        if count > 1 and share.pk not in made.listed  # one alone may well have been taken away
    ]
    if wrong:
        command = f"manage.py sync_inventory --even-empty {shlex.quote(made.server.name)}"
        raise NeedsAttention(f"{'; '.join(wrong)} If they are really gone, say so: {command}")
