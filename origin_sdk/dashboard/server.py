"""The dashboard's web server: on this machine alone, for its own page alone.

A page on the web may make a browser ask this server: by a name that it points to this machine (DNS
rebinding), or by a request across sites. So the Host must be a loopback name with this port, a browser that
says that a request comes from another site is refused, and what changes anything needs a field that other
sites can't send without being asked first, and a purge an intent that only this server's answer tells.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from origin_sdk._values.errors import InvalidRequest, OriginSdkError
from origin_sdk._values.targets import NAMES
from origin_sdk.dashboard.observatory import Observatory
from origin_sdk.dashboard.ranges import DEFAULT_RANGE

__all__ = ["create_app"]

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_MARK = "x-edge-dashboard"
"""A field that a page of another site can't send: browsers ask first, and nothing here allows it."""
_MOST_BODY_BYTES = 100_000
_TARGETS = frozenset({*NAMES, "hard", "reason"})

_HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_FILES: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/dom.js": ("dom.js", "text/javascript; charset=utf-8"),
    "/format.js": ("format.js", "text/javascript; charset=utf-8"),
    "/sheet.js": ("sheet.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/vendor/uPlot.iife.min.js": ("vendor/uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/vendor/uPlot.min.css": ("vendor/uPlot.min.css", "text/css; charset=utf-8"),
    "/vendor/uPlot.LICENSE": ("vendor/uPlot.LICENSE", "text/plain; charset=utf-8"),
}


def create_app(observatory: Observatory, port: int) -> ASGIApp:
    """Return the application that answers at ``port`` of this machine."""
    routes = [Route(path, _file(*known), methods=["GET"]) for path, known in _FILES.items()]
    routes += [
        Route("/api/board", _answering(_board, observatory), methods=["GET"]),
        Route("/api/url", _answering(_url, observatory), methods=["GET"]),
        Route("/api/preview", _answering(_preview, observatory), methods=["POST"]),
        Route("/api/purge", _answering(_purge, observatory), methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes), port)


class Guard:
    """ASGI middleware that refuses what doesn't come from the dashboard's own page, and sets its fields."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = frozenset(f"{name}:{port}" for name in _LOOPBACK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app: ASGIApp = PlainTextResponse(f"{refusal}\n", 403) if refusal else self._app
        await app(scope, receive, send_with_fields)

    def _refusal(self, method: str, fields: Headers) -> str:
        host = fields.get("host", "")
        if host not in self._hosts:
            return f"Host {host!r} isn't this dashboard's: open it by the address that it printed"
        if fields.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return "the request comes from another site"
        origin = fields.get("origin")
        if origin is not None and origin not in {f"http://{name}" for name in self._hosts}:
            return "the request comes from another origin"
        if method not in {"GET", "HEAD"} and fields.get(_MARK) is None:
            return f"the field {_MARK} is missing"
        return ""


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = files("origin_sdk.dashboard").joinpath("page", *name.split("/")).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer


Answer = Callable[[Observatory, Mapping[str, Any]], Mapping[str, Any]]


def _answering(answer: Answer, observatory: Observatory) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            given = dict(request.query_params) if request.method == "GET" else await _body(request)
            return JSONResponse(await run_in_threadpool(answer, observatory, given))
        except OriginSdkError as error:
            status = 400 if isinstance(error, InvalidRequest) else 502
            return JSONResponse({"error": str(error)}, status)

    return handle


async def _body(request: Request) -> dict[str, Any]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BODY_BYTES:
            raise InvalidRequest("the request is too large")
    try:
        given = json.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"the request isn't JSON: {error}") from error
    if not isinstance(given, dict):
        raise InvalidRequest("the request isn't a JSON object")
    return given


def _board(observatory: Observatory, given: Mapping[str, Any]) -> Mapping[str, Any]:
    return observatory.board(given.get("range", DEFAULT_RANGE), given.get("source", ""))


def _url(observatory: Observatory, given: Mapping[str, Any]) -> Mapping[str, Any]:
    return observatory.kv().look_up(given.get("url", ""))


def _preview(observatory: Observatory, given: Mapping[str, Any]) -> Mapping[str, Any]:
    if unknown := given.keys() - _TARGETS:
        raise InvalidRequest(f"a purge from the dashboard has no {sorted(unknown)}")
    return observatory.kv().preview(given)


def _purge(observatory: Observatory, given: Mapping[str, Any]) -> Mapping[str, Any]:
    return observatory.kv().purge(str(given.get("intent", "")))
