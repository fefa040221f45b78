"""What holds for every answer."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.utils.cache import patch_vary_headers
from whitenoise.middleware import WhiteNoiseMiddleware

GetResponse = Callable[[HttpRequest], HttpResponse]


class WholePageSignIn:
    """Where htmx asks for a part of a page and the session is over, the browser is sent to sign in: the sign-in
    page must not appear inside a table."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self._get_response(request)
        leads_to = answer.headers.get("Location", "")
        sign_in = resolve_url(settings.LOGIN_URL)
        if request.headers.get("HX-Request") == "true" and leads_to.split("?")[0] == sign_in:
            answer = HttpResponse(status=204)
            answer["HX-Redirect"] = sign_in
        return answer


class NothingKept:
    """An address may answer with a page or a part of it, and answers each person something else: a browser keeps
    the two apart, asks again before it shows either once more, and nothing between keeps them at all."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self._get_response(request)
        patch_vary_headers(answer, ("HX-Request",))
        answer.headers.setdefault("Cache-Control", "private, no-cache")
        return answer


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise with whole answers. Ours are small, and an answer that is streamed by a plain iterator is read
    whole by ASGI all the same, with a warning for each."""

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        found = static_file.get_response(request.method, request.META)
        answer = HttpResponse(found.file.read() if found.file else b"", status=int(found.status))
        if found.file:
            found.file.close()
        del answer["Content-Type"]
        for name, value in found.headers:
            answer[name] = value
        return answer
