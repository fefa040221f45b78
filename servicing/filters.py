"""The machine filter with what servicing knows of a machine."""

from collections.abc import Callable, Mapping

from django.db.models import Exists, OuterRef, Q

from inventory.filters import MachineFilter
from servicing.models import RunTarget

OPEN = RunTarget.objects.filter(resource=OuterRef("pk"), finished_at=None)


class ServicingMachineFilter(MachineFilter):
    """Pages, groups and previews use this one."""

    STATES: Mapping[str, tuple[str, Callable[[], Q]]] = {
        **MachineFilter.STATES,
        "servicing": ("being serviced", lambda: Q(Exists(OPEN))),
        "attention": ("needs attention", lambda: Q(Exists(OPEN.filter(state=RunTarget.State.ATTENTION)))),
    }
