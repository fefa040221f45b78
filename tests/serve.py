"""The site in a process of its own, over a real web server.

    python -m tests.serve [--port=N] [MODULE.NAME=VALUE ...]

Says "port N" once it listens. Serves static files as they lie in the tree, and answers under the strictest
content policy where the site names none. Each argument sets a module's number, so that a test needn't wait for
minutes.
"""

import os
import signal
import socket
import sys
from importlib import import_module
from types import FrameType
from typing import Any

import uvicorn

POLICY = b"default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"


class Server(uvicorn.Server):
    """One that ends its streams when it is told to stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        from servicing import tail

        tail.stop_all()
        super().handle_exit(sig, frame)


def under_policy(application: Any) -> Any:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                if b"content-security-policy" not in names:
                    message["headers"] = [*message["headers"], (b"content-security-policy", POLICY)]
            await send(message)

        await application(scope, receive, send_with_policy)

    return answer


def main(changes: list[str]) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "ovmst_site.settings"
    from django.conf import settings

    settings.ROOT_URLCONF = "tests.urls"
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

    from ovmst_site.asgi import application

    port = 0
    for change in changes:
        if change.startswith("--port="):
            port = int(change.removeprefix("--port="))
            continue
        name, _, value = change.partition("=")
        module, _, attribute = name.rpartition(".")
        getattr(import_module(module), attribute)  # a name that went away is an error
        setattr(import_module(module), attribute, float(value))
    listening = socket.create_server(("127.0.0.1", port), backlog=500)
    print(f"port {listening.getsockname()[1]}", flush=True)  # noqa: T201
    config = uvicorn.Config(under_policy(ASGIStaticFilesHandler(application)), lifespan="off", log_level="warning")
    Server(config).run(sockets=[listening])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    main(sys.argv[1:])
