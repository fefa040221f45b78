"""What every page's header says."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from ovmst_site.access.gate import visible
from servicing.models import RunTarget


def header(request: HttpRequest) -> dict[str, Any]:
    """How many machines need attention, asked only where a template shows it."""

    def count() -> int:
        return visible(request.user, RunTarget.objects.filter(state=RunTarget.State.ATTENTION)).count()

    return {"attention_count": SimpleLazyObject(count) if hasattr(request, "user") else 0}
