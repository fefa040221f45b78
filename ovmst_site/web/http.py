"""Requests and answers of pages: one view, one template, its swappable parts as partials of it."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods
from django_htmx.middleware import HtmxDetails

from ovmst_site.access.models import Person

View = Callable[[HttpRequest, int], HttpResponse]


class Request(HttpRequest):
    """What every view of ours gets: somebody who is signed in, and whether htmx asks."""

    htmx: HtmxDetails


def person(request: HttpRequest) -> Person:
    """Who asks. Every page but the sign-in page has one: LoginRequiredMiddleware sees to it."""
    return cast(Person, request.user)


def page_or_partial(
    request: HttpRequest, page: str, partial: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """The whole page; or only its swappable part where htmx asks for that part.

    `partial` is a template that `page` includes, so both say the same from the same context.
    """
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]
    only_part = bool(htmx) and not htmx.boosted and not htmx.history_restore_request
    return render(request, partial if only_part else page, context | {"is_partial": only_part}, status=status)


def changes_from(page: str, *, of_row: bool = True) -> Callable[[View], View]:
    """For a view that only changes something, by POST: where its address is typed, or loaded again after signing
    in, nothing is changed and the browser is led to `page`, which is the row's own or, without `of_row`, a list."""

    def decorate(view: View) -> View:
        @require_http_methods(["GET", "HEAD", "POST"])
        @wraps(view)
        def guarded(request: HttpRequest, pk: int) -> HttpResponse:
            if request.method == "POST":
                return view(request, pk)
            return redirect(page, pk) if of_row else redirect(page)

        return guarded

    return decorate


def told(error: ValidationError) -> str:
    """What a refused action says, in one line for a message above the page."""
    return " ".join(error.messages)
