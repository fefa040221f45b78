"""Machines with the same identity, found for a whole management server at once."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count

from inventory.models import MacAddress, ManagementServer, StoredResource

NAMED = 20  # twins of one machine that are named; ten thousand clones have ten thousand each

Row = tuple[str, int, str, int, int, str]  # identity, resource, name, team, management server, external id
ABOUT = ("name", "team", "management_server", "external_id")


@dataclass(slots=True)
class Twins:
    """What a machine shares with others."""

    name: str
    team: int
    external_id: str
    same: set[str] = field(default_factory=set)  # "UUID …" or a MAC address
    others: dict[int, str] = field(default_factory=dict)  # resource: name, as this machine's team may know it
    more: int = 0

    def as_json(self) -> dict[str, Any]:
        return {"same": sorted(self.same), "with": list(self.others.values()), "more": self.more}


def twins_of(server: ManagementServer) -> dict[int, Twins]:
    """The machines of this server that share a UUID or a MAC address with another one, on this or any other
    server. Two queries, however many machines."""
    found: dict[int, Twins] = {}
    there = StoredResource.objects.filter(missing_since=None).order_by()
    doubled = there.exclude(uuid="").values("uuid").annotate(n=Count("pk")).filter(n__gt=1).values("uuid")
    same_uuid = there.filter(uuid__in=doubled).order_by("pk")
    _collect(found, server, same_uuid.values_list("uuid", "pk", *ABOUT), "UUID ")
    addresses = MacAddress.objects.filter(resource__missing_since=None).order_by()
    shared = addresses.values("address").annotate(n=Count("pk")).filter(n__gt=1).values("address")
    same_mac = (
        addresses.filter(address__in=shared)
        .order_by("pk")
        .values_list("address", "resource", *(f"resource__{name}" for name in ABOUT))
    )
    _collect(found, server, same_mac, "")
    return found


def _collect(found: dict[int, Twins], server: ManagementServer, rows: Iterable[Row], what: str) -> None:
    alike: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        alike[row[0]].append(row)
    for identity, members in alike.items():
        for _, resource, name, team, its_server, external_id in members:
            if its_server != server.pk:
                continue
            twins = found.setdefault(resource, Twins(name, team, external_id))
            twins.same.add(what + identity)
            for _, other, others_name, others_team, *_ in members[: NAMED + 1]:
                if other != resource and len(twins.others) < NAMED:
                    twins.others[other] = others_name if others_team == team else "a machine of another team"
            twins.more = max(twins.more, len(members) - 1 - NAMED)
