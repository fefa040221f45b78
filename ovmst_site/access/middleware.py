"""What is asked of a person before anything else."""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import resolve, reverse

GetResponse = Callable[[HttpRequest], HttpResponse]
# Where somebody with a password that isn't theirs yet may go.
ALLOWED = {"access:password", "access:sign-in", "access:sign-out"}


class OwnPasswordFirst:
    """Whoever signs in with a password that somebody else chose is led to choose their own, from every page,
    part of a page and stream; nothing is shown or changed before."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        person = request.user
        if not (person.is_authenticated and person.must_change_password):
            return self._get_response(request)
        if request.path.startswith("/static/") or resolve(request.path_info).view_name in ALLOWED:
            return self._get_response(request)
        leads_to = reverse("access:password")
        if request.headers.get("HX-Request") == "true":
            answer = HttpResponse(status=204)
            answer["HX-Redirect"] = leads_to
            return answer
        messages.warning(request, "Choose a password of your own first.")
        return redirect(leads_to)
