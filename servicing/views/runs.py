"""The list of runs."""

from django.db.models import DurationField, ExpressionWrapper, F
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from ovmst_site.access.gate import visible
from ovmst_site.web.http import page_or_partial
from ovmst_site.web.listing import Column, Listing
from servicing.models import Job, Run
from servicing.run_filters import RunFilter
from servicing.views.run_rows import rows_of

COLUMNS = (
    Column("Run", "run", ("pk",)),
    Column("Job", "job", ("job__name",)),
    Column("Started", "started", ("started_at",)),
    Column("Progress"),
    Column("Machines", css="number"),
    Column("Took", "took", ("took",), css="number wide-only"),
)
TOOK = ExpressionWrapper(F("finished_at") - F("started_at"), output_field=DurationField())
PER_PAGE = 25  # each is counted, and a run may have ten thousand targets


@require_safe
def runs(request: HttpRequest) -> HttpResponse:
    wanted = RunFilter(
        request.GET,
        Run.objects.select_related("job", "started_by", "occurrence").annotate(took=TOOK),
        by=request.user,
    )
    listing = Listing(request, wanted.qs, COLUMNS, sort="-run", per_page=PER_PAGE)
    context = {
        "filter": wanted,
        "listing": listing,
        "rows": rows_of(listing.page),
        "has_jobs": listing.total > 0 or visible(request.user, Job.objects.all()).exists(),
    }
    return page_or_partial(request, "servicing/runs.html", "servicing/runs_results.html", context)
