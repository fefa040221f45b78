"""The plan: what changed since last time. Making it changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from inventory.drivers import platform_for
from inventory.models import LibraryShare, ManagementServer, StoredResource
from inventory.platforms.base import Damaged, FoundMachine
from ovmst_site.access.models import Team
from ovmst_site.text import clean, clean_json

LONGEST_ID = 200  # characters
LONGEST_NAME = 2000  # characters; longer ones are cut, the external id tells machines apart


Changes = dict[str, dict[str, Any]]  # field: {"old": …, "new": …}, fit for JSON


@dataclass(slots=True)
class Plan:
    """What a sync would change. `resources` are whole rows, not saved yet."""

    server: ManagementServer
    at: datetime
    found: int = 0
    added: list[StoredResource] = field(default_factory=list)
    changed: list[tuple[StoredResource, Changes]] = field(default_factory=list)
    returned: list[StoredResource] = field(default_factory=list)
    missing: list[StoredResource] = field(default_factory=list)
    unchanged: int = 0
    damaged: list[Damaged] = field(default_factory=list)
    generations: dict[int, str] = field(default_factory=dict)  # as the rows had them when the plan was made
    differences: dict[int, Changes] = field(default_factory=dict)  # of what returned
    known: dict[str, StoredResource] = field(default_factory=dict)  # what there was, by external id
    listed: set[int] = field(default_factory=set)  # the shares in which something was found
    left_alone: int = 0  # known when it is applied: OVMST itself is servicing them

    def __str__(self) -> str:
        return (
            f"{len(self.added)} added, {len(self.changed)} changed, {len(self.returned)} returned, "
            f"{len(self.missing)} missing, {self.unchanged} unchanged, {len(self.damaged)} damaged"
            + (f", {self.left_alone} left alone while they are serviced" if self.left_alone else "")
        )


def plan(server: ManagementServer, now: datetime, alive: Callable[[], None] = lambda: None) -> Plan:
    """Ask the platform for everything and compare. Changes nothing. Raises the platform's faults: half an
    inventory is none. Calls `alive` with each thing that the platform names."""
    made = Plan(server, now)
    theirs = LibraryShare.objects.filter(library_server__management_server=server).select_related("team")
    shares = {share.path: share for share in theirs}
    team = _team_without_share(server, shares)
    rows = StoredResource.objects.filter(management_server=server).select_related("share", "team")
    known = made.known = {r.external_id: r for r in rows}
    seen: set[str] = set()
    damaged_ids: set[str] = set()
    for found in platform_for(server).inventory():
        alive()
        if isinstance(found, Damaged):
            made.damaged.append(found)
            damaged_ids.add(found.external_id)
            its_row = known.get(found.external_id)
            if its_row is not None and its_row.share_id is not None:
                made.listed.add(its_row.share_id)
        elif isinstance(found, FoundMachine) and found.external_id in seen:
            made.damaged.append(Damaged(found.external_id, "the platform reports it twice", found.external_id))
        elif isinstance(found, FoundMachine) and len(found.external_id) > LONGEST_ID:
            made.damaged.append(Damaged(found.external_id[:80], "its id is too long to be kept"))
        elif isinstance(found, FoundMachine):
            seen.add(found.external_id)
            made.found += 1
            _compare(made, known.get(found.external_id), found, shares, team)
    for external_id, resource in known.items():
        # What is damaged is there: it must not look as if somebody had taken it away.
        gone = external_id not in seen and external_id not in damaged_ids
        if gone and resource.missing_since is None:
            made.missing.append(resource)
    return made


COMPARED = (
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
    if share is not None:
        made.listed.add(share.pk)
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
    differing: Changes = {
        name: {"old": getattr(resource, name), "new": values[name]}
        for name in COMPARED
        if getattr(resource, name) != values[name]
    }
    if resource.share_id != (share.pk if share else None):
        differing["share"] = {"old": str(resource.share or ""), "new": str(share or "")}
        resource.share = share
    if resource.team_id != owner.pk:  # a machine belongs to the team of its share
        differing["team"] = {"old": str(resource.team), "new": str(owner)}
        resource.team = owner
    made.generations[resource.pk] = resource.generation
    for name, value in values.items():
        setattr(resource, name, value)
    if resource.missing_since is not None:
        made.differences[resource.pk] = differing
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
