"""A run's log as it happens: replays what a viewer missed, then goes on live, until the run is over."""

import time
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.decorators import login_not_required
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.views.decorators.http import require_safe

from ovmst_site.access.gate import Actor, visible
from ovmst_site.threads import ask
from servicing import log, tail
from servicing.log import Cursor
from servicing.models import Run

HEARTBEAT = 15.0  # seconds
ASK_AGAIN = 30.0  # seconds after which a viewer's right is asked for again

HELLO = b": here it comes\n\n"
# The comment keeps proxies awake, the event tells the page that the line still works.
BEAT = b": still here\nevent: beat\ndata: {}\n\n"
CHANGED = b"event: changed\ndata: {}\n\n"
END = b"event: end\ndata: {}\n\n"
CUT = b"event: cut\ndata: {}\n\n"


@login_not_required  # a stream can't show the sign-in page: it says 401 itself
@require_safe
async def events(request: HttpRequest, pk: int) -> HttpResponseBase:
    """GET ?after=CURSOR: server-sent events. `line` (its id is its cursor), `changed` (counts or targets did),
    `beat`, `end` (the run is over), `cut` (the person may not watch any more). 401 where nobody is signed in,
    404 where they may not see the run."""
    try:
        after = max(_cursor(request.GET.get("after")), _cursor(request.headers.get("Last-Event-ID")))
    except ValueError as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
    if not await ask(lambda: request.user.is_authenticated):
        return HttpResponse("Sign in first.", status=401, content_type="text/plain; charset=utf-8")
    if not await ask(lambda: _sees(request.user, pk)):
        raise Http404
    if request.method == "HEAD":  # what a page asks when its stream is refused: why
        return HttpResponse(content_type="text/event-stream; charset=utf-8")
    body = _stream(request.session.session_key, pk, after)
    response = StreamingHttpResponse(body, content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-store, no-transform"
    response["X-Accel-Buffering"] = "no"
    return response


async def _stream(session: str | None, run: int, cursor: Cursor) -> AsyncIterator[bytes]:
    asked = time.monotonic()
    yield HELLO
    # A cursor from the future is nobody's: the stream begins at the end then.
    cursor = min(cursor, await ask(log.newest, run))
    while lines := await ask(log.after, run, cursor):
        yield b"".join(map(tail.encode, lines))
        cursor = lines[-1].cursor
        if tail.is_stopping():
            return
        if time.monotonic() - asked > ASK_AGAIN:
            if not await ask(_sees_still, session, run):
                yield CUT
                return
            asked = time.monotonic()
    viewer = tail.watch(run, cursor)
    try:
        # What came between the last look and the first batch.
        while cursor < viewer.since and (lines := await ask(log.after, run, cursor, until=viewer.since)):
            yield b"".join(map(tail.encode, lines))
            cursor = lines[-1].cursor
        while (batch := await viewer.next(HEARTBEAT)) is not None:
            if time.monotonic() - asked > ASK_AGAIN:
                if not await ask(_sees_still, session, run):
                    yield CUT
                    return
                asked = time.monotonic()
            fresh = [text for place, text in batch.lines if place > cursor]
            if batch.lines:
                cursor = max(cursor, batch.lines[-1][0])
            if batch.changed:
                fresh.append(CHANGED)
            if batch.over:
                fresh.append(END)
            if fresh or not batch.lines:
                yield b"".join(fresh) or BEAT
            if batch.over:
                return
    finally:
        tail.leave(run, viewer)


def _cursor(text: str | None) -> Cursor:
    return Cursor.parse(text) if text else log.START


def _sees(person: Actor, run: int) -> bool:
    return visible(person, Run.objects.filter(pk=run)).exists()


def _sees_still(session: str | None, run: int) -> bool:
    """The same, as a new request of this session would be answered: signed out, deactivated, no right."""
    again = HttpRequest()
    store: Any = import_module(settings.SESSION_ENGINE).SessionStore
    again.session = store(session)
    return _sees(get_user(again), run)
