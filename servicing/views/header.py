"""What every page's header says."""

from functools import cache
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from inventory.models import ManagementServer
from ovmst_site.access.gate import visible
from servicing.models import RunTarget


def header(request: HttpRequest) -> dict[str, Any]:
    """How many machines need attention, and the lab that one may look at; asked only where a template shows it."""

    def count() -> int:
        return visible(request.user, RunTarget.objects.filter(state=RunTarget.State.ATTENTION)).count()

    def lab() -> ManagementServer | None:
        return visible(request.user, ManagementServer.objects.filter(kind="lab")).order_by("name").first()

    if not hasattr(request, "user"):
        return {"attention_count": 0, "lab_server": None}
    return {"attention_count": cache(count), "lab_server": SimpleLazyObject(lab)}
