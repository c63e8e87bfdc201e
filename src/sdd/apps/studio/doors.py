"""Which of a web server's doors are open: those that the page itself uses, to whoever may come in.

Gradio has many more: uploads into files, files by their path, a proxy, an API. None of them is needed here, since
pictures come and go inside events, so that all of them are shut.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from sdd.apps.studio.limits import MAX_REQUEST

API = "/gradio_api"
OPEN = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|login|logout|robots\.txt|manifest\.json)/?"
    r"|/(static|assets)/[\w./@-]+"
    rf"|{API}/(queue/join|queue/data|run/predict|cancel|reset|startup-events|app_id|user|token|login_check|heartbeat/\w+)/?"
)
LOCAL = ("localhost", "127.0.0.1", "[::1]")
SAID = {
    # Scripts of ours are inside the page, and gradio makes functions of text; nothing is to be had from elsewhere.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Doors:
    """Middleware that lets pass what is allowed, and refuses anything else before it is read.

    Args:
        hosts: names under which the studio may be asked, against pages elsewhere that are rebound to this machine; None
            for any.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], hosts: Iterable[str] | None = LOCAL) -> None:
        self.app, self.hosts = app, None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope.get("headers", [])}
        if (refused := self._refusal(scope.get("path", ""), headers)) is not None:
            await _refuse(send, *refused)
            return
        await self.app(scope, _limited(receive), _with_headers(send))

    def _refusal(self, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and reason; None for who may come in."""
        host, origin, length = (headers.get(name, "") for name in ("host", "origin", "content-length"))
        if not OPEN.fullmatch(path) or ".." in path:
            return 404, "not found"
        if self.hosts is not None and _host(host) not in self.hosts:
            return 403, "this studio is for this machine alone"
        if origin and origin.partition("://")[2] != host:  # another page has the browser ask
            return 403, "this studio answers its own page alone"
        if length and (not length.isdecimal() or int(length) > MAX_REQUEST):
            return 413, "too large"
        return None


def _host(header: str) -> str:
    return re.sub(r":\d+$", "", header.lower())


def _limited(receive: Receive) -> Receive:
    """What is received, up to the limit: a request need not say how long it is."""
    taken = 0

    async def limited() -> dict[str, Any]:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return message if taken <= MAX_REQUEST else {"type": "http.disconnect"}

    return limited


def _with_headers(send: Send) -> Send:
    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in SAID.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, why: str) -> None:
    body = why.encode()
    head = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
