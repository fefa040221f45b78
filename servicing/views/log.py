"""A run's log in ranges, searched, and as a file."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from ovmst_site.access.gate import visible
from ovmst_site.text import one_line, printable
from ovmst_site.threads import ask
from servicing import log
from servicing.log import LARGEST, Cursor, Line, Only
from servicing.models import Event, Run

AT_A_TIME = 200  # lines of a range
AUTO_ID = "log_%s"  # beside another form on one page


class CursorField(forms.CharField):
    """A place in a log, or None."""

    def clean(self, value: Any) -> Cursor | None:
        text = super().clean(value)
        try:
            return Cursor.parse(text) if text else None
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class LogForm(forms.Form):
    """What of a log is wanted. Its names are those of the URL."""

    q = forms.CharField(label="Text in the log", max_length=200, required=False, strip=False)
    machine = forms.CharField(label="Machine's name", max_length=200, required=False)
    level = forms.ChoiceField(choices=[("", "every level"), *Event.Level.choices], required=False)
    target = forms.IntegerField(min_value=1, max_value=LARGEST, required=False, widget=forms.HiddenInput)
    before = CursorField(required=False, widget=forms.HiddenInput)
    after = CursorField(required=False, widget=forms.HiddenInput)
    follow = forms.BooleanField(required=False, widget=forms.HiddenInput)  # lines to come are fetched by themselves

    def only(self) -> Only:
        wanted = self.cleaned_data
        return Only(wanted["q"], wanted["target"], wanted["level"], wanted["machine"])

    def address(self, run: int, **place: object) -> str:
        """The range of the same lines at another place."""
        return f"{reverse('servicing:run-log', args=[run])}?{urlencode(self._wanted() | place)}"

    def file_address(self, run: int) -> str:
        """The same lines as a file."""
        return f"{reverse('servicing:run-log-download', args=[run])}?{urlencode(self._wanted())}".rstrip("?")

    def _wanted(self) -> dict[str, Any]:
        names = ("q", "machine", "level", "target")
        return {name: self.cleaned_data[name] for name in names if self.cleaned_data[name]}


@require_safe
def lines(request: HttpRequest, pk: int) -> HttpResponse:
    """GET ?before=CURSOR | after=CURSOR, &q= &machine= &level= &target=: a page of the log. For htmx its part
    of a page, or, at a place in the log, the lines there alone."""
    run = get_object_or_404(visible(request.user, Run.objects.select_related("job")), pk=pk)
    form = LogForm(request.GET, auto_id=AUTO_ID)
    if not form.is_valid():
        if _wants_part(request):
            return _refused(form)
        return render(request, "servicing/run_log.html", {"run": run, "form": form}, status=400)
    context: dict[str, Any] = {"run": run, "form": form, "log": part(run, form)}
    if not _wants_part(request):
        return render(request, "servicing/run_log.html", context)
    if form.cleaned_data["before"] or form.cleaned_data["after"]:
        return render(request, "servicing/run_log_lines.html", context["log"])
    return render(request, "servicing/run_log_part.html", context)


def part(run: Run, form: LogForm) -> dict[str, Any]:
    """What templates/servicing/run_log_part.html shows: the lines that a valid form asks for, where the ranges
    beside them begin, and whether they are the live end of the log."""
    only, before, after = form.only(), form.cleaned_data["before"], form.cleaned_data["after"]
    follows = form.cleaned_data["follow"] and not log.is_over(run.pk)  # before the lines are read
    found_as = {"download": form.file_address(run.pk), "is_narrow": bool(only)}
    if after is not None:
        found = log.after(run.pk, after, AT_A_TIME + 1, only)
        shown, more = found[:AT_A_TIME], len(found) > AT_A_TIME
        later = form.address(run.pk, after=shown[-1].cursor) if more else ""
        end = shown[-1].cursor if shown else after
        follow = form.address(run.pk, follow="on", after=end) if follows else ""
        return found_as | {"lines": _shown(shown), "later": later, "after": end, "follow": follow}
    is_over = log.is_over(run.pk)  # before the lines are read, so that none is missed between
    found = log.before(run.pk, before, AT_A_TIME + 1, only) if before else log.latest(run.pk, AT_A_TIME + 1, only)
    shown, more = found[-AT_A_TIME:], len(found) > AT_A_TIME
    earlier = form.address(run.pk, before=shown[0].cursor) if more else ""
    end = shown[-1].cursor if shown else log.START
    return found_as | {
        "lines": _shown(shown),
        "earlier": earlier,
        "after": end,
        "follow": form.address(run.pk, follow="on", after=end) if follows and before is None else "",
        "is_tail": not only and before is None,
        "is_open": not is_over,
    }


def tail(run: Run) -> dict[str, Any]:
    """The live end of a run's log, as a part of another page."""
    return part(run, empty_form())


def empty_form() -> LogForm:
    form = LogForm({}, auto_id=AUTO_ID)
    form.is_valid()
    return form


@require_safe
async def download(request: HttpRequest, pk: int) -> HttpResponseBase:
    """GET &q= &machine= &level= &target=: the log as text, a line for each event, times in UTC."""
    if not await ask(lambda: visible(request.user, Run.objects.filter(pk=pk)).exists()):
        raise Http404
    form = LogForm(request.GET)
    if not form.is_valid():
        return _refused(form)
    response = StreamingHttpResponse(_text(pk, form.only()), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="run-{pk}-log.txt"'
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


async def _text(run: int, only: Only) -> AsyncIterator[str]:
    cursor = log.START
    while found := await ask(log.after, run, cursor, only=only):
        yield "".join(map(as_text, found))
        cursor = found[-1].cursor


def as_text(line: Line) -> str:
    """One line of a file, whatever the guest said."""
    at = line.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{at} {line.level:7} {one_line(line.machine)}: {one_line(line.step)}: {one_line(line.text)}\n"


def _refused(form: LogForm) -> HttpResponse:
    said = "\n".join(f"{name}: {message}" for name, messages in form.errors.items() for message in messages)
    return HttpResponse(said, status=400, content_type="text/plain; charset=utf-8")


def _shown(lines: Sequence[Line]) -> list[Line]:
    return [replace(line, machine=printable(line.machine), text=printable(line.text)) for line in lines]


def _wants_part(request: HttpRequest) -> bool:
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers
