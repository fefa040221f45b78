"""One machine's way through the cycle in one run: every stay in a step, and what was done in it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from ovmst_site import clock
from ovmst_site.access.gate import find_or_404
from ovmst_site.web.http import page_or_partial
from servicing.models import Operation, Run, RunTarget, StepRecord
from servicing.packages import of_target
from servicing.views.log import LogForm, part
from servicing.views.run import Row

LONGEST_WAY = 400  # stays shown: a machine that went round and round
POLL_EVERY = 5  # seconds


@dataclass(frozen=True, slots=True)
class Stay:
    """One stay in a step. `x` and `width` place it in the whole way, 1000 wide."""

    direction: str
    step: str
    entered_at: datetime
    left_at: datetime | None  # None: it is there now
    result: str
    note: str
    operations: Sequence[Operation]
    x: float
    width: float
    lasted: timedelta

    @property
    def is_trouble(self) -> bool:
        return self.result in ("turned back", "needs attention")


@require_safe
def target(request: HttpRequest, pk: int, target_pk: int) -> HttpResponse:
    run = find_or_404(request.user, Run.objects.all(), pk=pk)
    targets = RunTarget.objects.filter(run=run)
    found = find_or_404(
        request.user,
        targets.select_related("run__job", "resource__share__library_server", "host", "transfers_on"),
        pk=target_pk,
    )
    row = Row(found, clock.now())
    context = {
        "run": found.run,
        "target": found,
        "row": row,
        "stays": stays(found, row.now),
        "longest_way": LONGEST_WAY,
        "difference": of_target(found),
        "generations": list(found.generations.order_by("pk")),
        "poll_every": POLL_EVERY,
    }
    if not request.htmx or request.htmx.history_restore_request:  # type: ignore[attr-defined]
        # Beside what refreshes itself: earlier lines that somebody opened stay.
        its_lines = LogForm({"target": found.pk, "follow": not found.finished_at})
        its_lines.is_valid()
        context["log"] = part(found.run, its_lines)
    return page_or_partial(request, "servicing/target.html", "servicing/target_now.html", context)


def stays(target: RunTarget, now: datetime) -> list[Stay]:
    """Its way so far, oldest first; the step that it is in now comes last. Two queries."""
    records = list(StepRecord.objects.filter(target=target).order_by("-pk")[:LONGEST_WAY])[::-1]
    operations: dict[tuple[str, str, int], list[Operation]] = defaultdict(list)
    for operation in Operation.objects.filter(target=target).order_by("pk"):
        operations[operation.direction, operation.step, operation.visit].append(operation)
    begin = records[0].entered_at if records else target.entered_at
    if begin is None:
        return []
    is_there = target.state == RunTarget.State.ACTIVE
    end = now if is_there else max((record.left_at for record in records), default=begin)
    whole = max((end - begin).total_seconds(), 0.001)

    def stay(
        direction: str, step: str, visit: int, entered: datetime, left: datetime | None, result: str, note: str
    ) -> Stay:
        lasted = max((left or now) - entered, timedelta(0))
        return Stay(
            direction,
            step,
            entered,
            left,
            result,
            note,
            operations.get((direction, step, visit), ()),
            x=round(max((entered - begin).total_seconds(), 0) / whole * 1000, 2),
            width=round(max(lasted.total_seconds() / whole * 1000, 2), 2),  # too short to see is seen all the same
            lasted=lasted,
        )

    way = [stay(r.direction, r.step, r.visit, r.entered_at, r.left_at, r.result, r.note) for r in records]
    if is_there:
        entered = target.entered_at or now
        way.append(stay(target.direction, target.step, target.visit, entered, None, "", target.note))
    return way
