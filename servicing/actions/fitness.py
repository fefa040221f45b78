"""Which machines of a run are left out, and why: one rule for previews and for starts, asked in SQL."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, CharField, Exists, OuterRef, Q, QuerySet, Value, When

from inventory.models import Host, HostGroup, StoredResource
from ovmst_site.access.models import Team
from servicing.models import RunTarget

# What a reason's text may name of its machine.
NAMED = ("pk", "missing_since", "handed_out_to", "management_server__name")
HELD = "held"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a machine is left out: in a preview, for many; in a run, of one (a row of NAMED)."""

    of_many: str
    of_one: Callable[[dict[str, Any]], str]


REASONS = {
    "team": Reason("belong to another team", lambda m: "it belongs to another team"),
    "missing": Reason(
        "are missing from the inventory",
        lambda m: f"inventory has not found it since {m['missing_since'].isoformat(' ', 'minutes')}",
    ),
    "disabled": Reason(
        "are on a management server that is disabled",
        lambda m: f"its management server {m['management_server__name']} is disabled",
    ),
    "handed_out": Reason("were handed out", lambda m: f"it was handed out to {m['handed_out_to']}"),
    "no_share": Reason(
        "are in no library share: adopt them first", lambda m: "it isn't in a library share; adopt it first"
    ),
    "no_host": Reason(
        "are on a management server of which the job has no host",
        lambda m: f"the job has no host of its management server {m['management_server__name']}",
    ),
    HELD: Reason("are being serviced by another run", lambda m: "another run is servicing it"),
}


def with_reasons(machines: QuerySet[StoredResource], team: Team, hosts: HostGroup | None) -> QuerySet[Any]:
    """The machines with `unfit`: a key of REASONS, or "" where nothing speaks against a run for this team on
    these hosts. The first reason counts."""
    on_its_server = Host.objects.filter(group=hosts, management_server=OuterRef("management_server"))
    conditions = {
        "team": ~Q(team=team),
        "missing": Q(missing_since__isnull=False),
        "disabled": Q(management_server__enabled=False),
        "handed_out": ~Q(handed_out_to=""),
        "no_share": Q(share=None),
        "no_host": ~Q(Exists(on_its_server)),
        HELD: Q(Exists(RunTarget.objects.filter(resource=OuterRef("pk"), finished_at=None))),
    }
    if hosts is None:
        del conditions["no_host"]
    cases = [When(condition, then=Value(key)) for key, condition in conditions.items()]
    return machines.annotate(unfit=Case(*cases, default=Value(""), output_field=CharField()))


def none_is_fit(count: Mapping[str, int]) -> str:
    """Why a run starts over none of its machines; `count` says how many there are of each key of REASONS."""
    total = sum(count.values())
    whose = "The only machine" if total == 1 else f"None of the {total} machines"
    why = "; ".join(f"{reason.of_many}: {count[key]}" for key, reason in REASONS.items() if count.get(key))
    left_out = f" Left out, because they: {why}." if why else ""
    return f"{whose} {'cannot' if total == 1 else 'can'} be serviced now.{left_out}"
