"""Inventory sync: plan what changed since last time, then apply it in one transaction."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction

from inventory.drivers import platform_for
from inventory.models import LibraryShare, ManagementServer, StoredResource
from inventory.platforms.base import Damaged, FoundMachine
from ovmst_site.access.models import Team
from ovmst_site.faults import NeedsAttention
from ovmst_site.text import clean, clean_json

LONGEST_ID = 200  # characters
LONGEST_NAME = 2000  # characters; longer ones are cut, the external id tells machines apart


@dataclass(slots=True)
class Plan:
    """What a sync would change. `resources` are whole rows, not saved yet."""

    server: ManagementServer
    at: datetime
    added: list[StoredResource] = field(default_factory=list)
    changed: list[tuple[StoredResource, list[str]]] = field(default_factory=list)  # and which fields
    returned: list[StoredResource] = field(default_factory=list)
    missing: list[StoredResource] = field(default_factory=list)
    unchanged: int = 0
    damaged: list[Damaged] = field(default_factory=list)
    generations: dict[int, str] = field(default_factory=dict)  # as the rows had them when the plan was made

    def __str__(self) -> str:
        return (
            f"{len(self.added)} added, {len(self.changed)} changed, {len(self.returned)} returned, "
            f"{len(self.missing)} missing, {self.unchanged} unchanged, {len(self.damaged)} damaged"
        )


def plan(server: ManagementServer, now: datetime) -> Plan:
    """Ask the platform for everything and compare. Changes nothing. Raises the platform's faults: half an
    inventory is none."""
    made = Plan(server, now)
    shares = {s.path: s for s in LibraryShare.objects.filter(library_server__management_server=server)}
    team = _team_without_share(server, shares)
    known = {r.external_id: r for r in StoredResource.objects.filter(management_server=server)}
    seen: set[str] = set()
    damaged_ids: set[str] = set()
    for found in platform_for(server).inventory():
        if isinstance(found, Damaged):
            made.damaged.append(found)
            damaged_ids.add(found.external_id)
        elif isinstance(found, FoundMachine) and found.external_id in seen:
            made.damaged.append(Damaged(found.external_id, "the platform reports it twice", found.external_id))
        elif isinstance(found, FoundMachine) and len(found.external_id) > LONGEST_ID:
            made.damaged.append(Damaged(found.external_id[:80], "its id is too long to be kept"))
        elif isinstance(found, FoundMachine):
            seen.add(found.external_id)
            _compare(made, known.get(found.external_id), found, shares, team)
    for external_id, resource in known.items():
        # What is damaged is there: it must not look as if somebody had taken it away.
        gone = external_id not in seen and external_id not in damaged_ids
        if gone and resource.missing_since is None:
            made.missing.append(resource)
    return made


def apply(made: Plan) -> None:
    """Write the plan in one transaction. Nothing is deleted: what vanished is marked missing."""
    with transaction.atomic():
        StoredResource.objects.bulk_create(made.added, batch_size=500)
        updated = [resource for resource, _ in made.changed] + made.returned
        now = dict(StoredResource.objects.filter(pk__in=[r.pk for r in updated]).values_list("pk", "generation"))
        for resource in updated:
            if now[resource.pk] != made.generations[resource.pk]:  # published since the platform was asked
                resource.generation = now[resource.pk]
        if updated:
            fields = [*_COMPARED, "share", "team", "missing_since"]
            StoredResource.objects.bulk_update(updated, fields, batch_size=200)
        gone = [resource.pk for resource in made.missing]
        StoredResource.objects.filter(pk__in=gone).update(missing_since=made.at)
        ManagementServer.objects.filter(pk=made.server.pk).update(synced_at=made.at)


_COMPARED = (
    "name",
    "kind",
    "operating_system",
    "memory_mb",
    "cpus",
    "disk_bytes",
    "uuid",
    "mac_addresses",
    "computer_name",
    "generation",
)


def _compare(
    made: Plan,
    resource: StoredResource | None,
    found: FoundMachine,
    shares: dict[str, LibraryShare],
    team: Team | None,
) -> None:
    share = shares.get(found.share)
    owner = share.team if share else team
    if owner is None:
        made.damaged.append(
            Damaged(found.external_id, "no team owns a share or a host group here", found.external_id)
        )
        return
    values: dict[str, Any] = {
        "name": clean(found.name, LONGEST_NAME),
        "kind": found.kind,
        "operating_system": clean(found.operating_system, 200),
        "memory_mb": found.memory_mb,
        "cpus": found.cpus,
        "disk_bytes": found.disk_bytes,
        "uuid": clean(found.uuid, 64),
        "mac_addresses": clean_json(list(found.mac_addresses)),
        "computer_name": clean(found.computer_name, 255),
        "generation": clean(found.generation, 100),
    }
    if resource is None:
        made.added.append(
            StoredResource(
                management_server=made.server, external_id=found.external_id, share=share, team=owner, **values
            )
        )
        return
    differing = [name for name in _COMPARED if getattr(resource, name) != values[name]]
    if resource.share_id != (share.pk if share else None):
        differing.append("share")
        resource.share = share
    if resource.team_id != owner.pk:  # a machine belongs to the team of its share
        differing.append("team")
        resource.team = owner
    made.generations[resource.pk] = resource.generation
    for name, value in values.items():
        setattr(resource, name, value)
    if resource.missing_since is not None:
        resource.missing_since = None
        made.returned.append(resource)
    elif differing:
        made.changed.append((resource, differing))
    else:
        made.unchanged += 1


def _team_without_share(server: ManagementServer, shares: dict[str, LibraryShare]) -> Team | None:
    """Who owns a stopped machine on a host: the team of the hosts, else of the first share."""
    host = server.hosts.select_related("group__team").first()
    if host is not None:
        return host.group.team
    return next((share.team for share in shares.values()), None)


def sync(server: ManagementServer, now: datetime) -> Plan:
    """Plan and apply. Raises the platform's faults, and NeedsAttention for a server that is disabled."""
    if not server.enabled:
        raise NeedsAttention(f"{server.name} is disabled")
    made = plan(server, now)
    apply(made)
    return made
