"""The run page: what a run does right now, and what people may do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from ovmst_site import clock
from ovmst_site.access.gate import find_or_404, may, visible
from ovmst_site.web.http import changes_from, page_or_partial, person, told
from ovmst_site.web.listing import Column, Listing
from ovmst_site.web.templatetags.web import counted
from servicing import cycle
from servicing.actions import cancel_run, retry_failed
from servicing.cycle import Direction
from servicing.models import Run, RunTarget
from servicing.run_filters import TargetFilter
from servicing.tally import STANDINGS, standing, tally
from servicing.views import log

State = RunTarget.State
# What somebody must look at comes first, then what holds a slot and is worked on, then what waits for one, then
# what hasn't begun.
RANK = Case(
    When(state=State.ATTENTION, then=Value(0)),
    When(state=State.ACTIVE, reserved_mb__isnull=False, then=Value(1)),
    When(state=State.ACTIVE, then=Value(2)),
    When(state=State.QUEUED, then=Value(3)),
    default=Value(4),
    output_field=IntegerField(),
)
COLUMNS = (
    Column("Machine", "name", ("resource__name",)),
    Column("State", "state", ("state", "outcome")),
    Column("Step"),
    # Ascending: which machine hangs right now is on top.
    Column("In step for", "time", ("rank", "entered_at"), css="number wide-only"),
    Column("Host", "host", ("host__name",), css="wide-only"),
    Column("Waits for, and why", css="wide-only"),
)
PER_PAGE = 20  # the log is below them, or beside them
POLL_EVERY = 10  # seconds, where no live log tells of changes


@dataclass(frozen=True, slots=True)
class Row:
    """A target as its run's table shows it."""

    target: RunTarget
    now: datetime

    @property
    def standing(self) -> str:
        return standing(self.target.state, self.target.outcome)

    @property
    def label(self) -> str:
        return STANDINGS[self.standing][0]

    @property
    def in_cycle(self) -> bool:
        """Whether it is in a step now: begun, and not over."""
        return self.target.state in (State.ACTIVE, State.ATTENTION)

    @property
    def is_returning(self) -> bool:
        return self.target.direction == Direction.RETURN

    @property
    def position(self) -> tuple[int, int]:
        return cycle.position(Direction(self.target.direction), self.target.step)

    @property
    def width(self) -> float:
        at, of = self.position
        return 100 * at / of

    @property
    def is_asked_to_cancel(self) -> bool:
        return self.target.cancel_requested_at is not None and self.target.state in (State.QUEUED, State.ACTIVE)

    @property
    def lasted(self) -> timedelta | None:
        """How long it has been in its step, or queued; once it is over, how long it took in all."""
        target = self.target
        if target.finished_at is not None:
            return target.finished_at - target.created_at
        return self.now - (target.entered_at or target.created_at)


def rows(targets: Iterable[RunTarget]) -> list[Row]:
    now = clock.now()
    return [Row(target, now) for target in targets]


@require_safe
def run(request: HttpRequest, pk: int) -> HttpResponse:
    """One run. For htmx the targets, with head and counts beside them, as they are now."""
    run = _find(request, pk)
    wanted = TargetFilter(request.GET, RunTarget.objects.filter(run=run))
    targets: QuerySet[RunTarget] = wanted.qs.select_related("resource", "host").annotate(rank=RANK)
    listing = Listing(request, targets, COLUMNS, sort="time", per_page=PER_PAGE)
    counted = tally(run.pk)
    is_over = run.finished_at is not None
    context: dict[str, Any] = {
        "run": run,
        "tally": counted,
        "figures": [(part, listing.href(standing=part.key, page=None)) for part in counted.parts],
        "everything": listing.href(standing=None, page=None),
        "filter": wanted,
        "listing": listing,
        "rows": rows(listing.page),
        "retries": list(visible(request.user, Run.objects.filter(retry_of=run).order_by("pk"))),
        "may_change": may(request.user, run, "change"),
        "is_over": is_over,
        "took": (run.finished_at or clock.now()) - run.started_at,
        "poll_every": POLL_EVERY,
        "log_form": log.empty_form(),
        "log_end": lambda: log.tail(run),  # asked where the whole page is drawn
    }
    return page_or_partial(request, "servicing/run.html", "servicing/run_targets.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """GET: what a cancel means for this run, as it is now. POST: cancel it."""
    run = _find(request, pk, "change")
    if request.method != "POST":
        return render(request, "servicing/run_cancel.html", {"run": run, "tally": tally(run.pk)})
    queued = run.targets.filter(state=State.QUEUED, cancel_requested_at=None).count()
    try:
        asked = cancel_run(run, person(request))
    except ValidationError as error:
        messages.error(request, told(error))
    else:
        if asked:
            messages.success(request, _cancelled(min(queued, asked), max(asked - queued, 0)))
        else:
            messages.info(request, "Nothing was left to cancel.")
    return redirect("servicing:run", run.pk)


@changes_from("servicing:run")
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """A new run over what didn't succeed; leads to it."""
    run = _find(request, pk, "change")
    try:
        again = retry_failed(run, person(request))
    except ValidationError as error:
        messages.error(request, told(error))
        return redirect("servicing:run", run.pk)
    messages.success(request, f"Run {again.pk} takes up again what didn't succeed in run {run.pk}.")
    return redirect("servicing:run", again.pk)


def _cancelled(skipped: int, turning: int) -> str:
    said = [f"{counted(skipped, 'queued machine')} skipped"] if skipped else []
    said += [f"{counted(turning, 'machine')} asked to turn back"] if turning else []
    return f"{' and '.join(said)}."


def _find(request: HttpRequest, pk: int, action: str = "view") -> Run:
    return find_or_404(
        request.user, Run.objects.select_related("job", "started_by", "retry_of", "occurrence"), action, pk=pk
    )
