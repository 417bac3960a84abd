"""Refusing requests that don't come through the Worker, for ASGI and WSGI applications.

    app.add_middleware(OnlyFromEdge, secrets=[os.environ["ORIGIN_SECRET"]])      # FastAPI, Starlette
    app.wsgi_app = OnlyFromEdgeWSGI(app.wsgi_app, secrets=[...])                 # Flask; Django in wsgi.py

The Worker signs what it asks where it has ``ORIGIN_SECRET``. Whatever isn't signed so gets 403. While the
secret changes, give both: first here, then the new one to the Worker.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any, Generic, TypeAlias, TypeVar

from origin_sdk._values.errors import InvalidSettings
from origin_sdk_wire.edge_signature import EDGE_SIGNATURE, WINDOW_SECONDS, OriginRequest, is_signed

__all__ = ["OnlyFromEdge", "OnlyFromEdgeWSGI"]

App: TypeAlias = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]
WSGIApp: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]
_App = TypeVar("_App")

_LEAST_BYTES = 32
_REFUSAL = b"This service is reached through its edge only.\n"
_FIELDS = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")]


class _Gate(Generic[_App]):
    """What both kinds of middleware hold. ``open_paths`` are let through unsigned: a health check's, say."""

    def __init__(
        self,
        app: _App,
        *,
        secrets: Collection[str],
        open_paths: Collection[str] = (),
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        if isinstance(secrets, str) or not secrets:
            raise InvalidSettings("secrets: give a list of one secret, or of two while they change")
        if any(len(secret.encode()) < _LEAST_BYTES for secret in secrets):
            raise InvalidSettings(f"secrets: each has at least {_LEAST_BYTES} bytes, as ORIGIN_SECRET has")
        self._app = app
        self._secrets = tuple(secrets)
        self._open_paths = frozenset(open_paths)
        self._window_seconds = window_seconds

    def _lets_in(self, value: str, asked: OriginRequest) -> bool:
        """Whether a request may pass."""
        if asked.path.decode("latin-1") in self._open_paths:
            return True
        return is_signed(value, asked, self._secrets, time.time(), self._window_seconds)  # noqa: TID251


class OnlyFromEdge(_Gate[App]):
    """ASGI middleware: what the Worker didn't sign is answered with 403, and a WebSocket closed."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Pass the request on, if it is signed."""
        kind = scope["type"]
        if kind not in {"http", "websocket"} or self._lets_in(*_of_asgi(scope)):
            await self._app(scope, receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            fields = [(name.encode(), value.encode()) for name, value in _FIELDS]
            await send({"type": "http.response.start", "status": 403, "headers": fields})
            await send({"type": "http.response.body", "body": _REFUSAL})


class OnlyFromEdgeWSGI(_Gate[WSGIApp]):
    """WSGI middleware: what the Worker didn't sign is answered with 403."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Pass the request on, if it is signed."""
        if self._lets_in(*_of_wsgi(environ)):
            return self._app(environ, start_response)
        start_response("403 Forbidden", [*_FIELDS, ("content-length", str(len(_REFUSAL)))])
        return [_REFUSAL]


def _of_asgi(scope: MutableMapping[str, Any]) -> tuple[str, OriginRequest]:
    fields: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        fields.setdefault(name.lower(), []).append(value)

    def only(name: str) -> str:
        values = fields.get(name.encode(), [])
        return values[0].decode("latin-1") if len(values) == 1 else ""

    raw = scope.get("raw_path")
    path = raw if raw is not None else scope["path"].encode()
    method = scope.get("method", "GET")
    host, scheme = only("x-forwarded-host") or only("host"), only("x-forwarded-proto")
    asked = OriginRequest(method, scheme, host, path, scope.get("query_string", b""), is_decoded=raw is None)
    return only(EDGE_SIGNATURE), asked


def _of_wsgi(environ: dict[str, Any]) -> tuple[str, OriginRequest]:
    host = environ.get("HTTP_X_FORWARDED_HOST") or environ.get("HTTP_HOST", "")
    # PEP 3333: what was decoded is passed as if it were Latin-1.
    path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1")
    query = environ.get("QUERY_STRING", "").encode("latin-1")
    scheme = environ.get("HTTP_X_FORWARDED_PROTO", "")
    asked = OriginRequest(environ["REQUEST_METHOD"], scheme, host, path, query, is_decoded=True)
    return environ.get("HTTP_EDGE_SIGNATURE", ""), asked
