"""Requests and answers of pages: one view, one template, its swappable parts as partials of it."""

from typing import Any, cast

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django_htmx.middleware import HtmxDetails

from ovmst_site.access.models import Person


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
    answer = render(request, partial if only_part else page, context | {"is_partial": only_part}, status=status)
    patch_vary_headers(answer, ("HX-Request",))
    return answer


def told(error: ValidationError) -> str:
    """What a refused action says, in one line for a message above the page."""
    return " ".join(error.messages)
