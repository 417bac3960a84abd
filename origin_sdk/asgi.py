"""For FastAPI, Starlette and any other ASGI application.

app.add_middleware(CacheFields, strict=settings.debug)
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from origin_sdk.freshness import combined
from origin_sdk.responses import (
    Draft,
    Exchanged,
    Finished,
    add_groups,
    belongs_to_user,
    cache_for,
    drafting,
    finish,
    invalidate,
)

__all__ = ["CacheFields", "add_groups", "belongs_to_user", "cache_for", "invalidate"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class CacheFields:
    """ASGI middleware that sets the fields.

    ``strict`` raises in development what production answers as private.
    """

    def __init__(self, app: App, *, strict: bool = False) -> None:
        self._app = app
        self._strict = strict

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass the request on and finish its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with drafting() as draft:
            await self._app(scope, receive, _Response(scope, send, draft, strict=self._strict))


class _Response:
    """Holds the start of a response back until it is known whether its first body is all of it."""

    def __init__(self, scope: MutableMapping[str, Any], send: Send, draft: Draft, *, strict: bool) -> None:
        self._scope = scope
        self._send = send
        self._draft = draft
        self._strict = strict
        self._start: Message | None = None
        self._is_over = False

    async def __call__(self, message: Message) -> None:
        if self._is_over:
            return  # a 304 took the place of a body in several parts
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            finished = self._finished(start, message.get("body", b"") if is_whole else None)
            await self._send({**start, **_changed(start, finished)})
            if finished.not_modified:
                self._is_over = True
                message = {"type": "http.response.body", "body": b"", "more_body": False}
        if not message.get("more_body", False):
            self._draft.reads.shared_as = ""  # what runs behind the response may read anything
        await self._send(message)

    def _finished(self, start: Message, body: bytes | None) -> Finished:
        request, response = _fields(self._scope["headers"]), _fields(start.get("headers", ()))
        method, path = self._scope["method"], self._scope.get("path", "")
        # The template of FastAPI and Starlette, which have found it by now.
        route = f"{method} {getattr(self._scope.get('route'), 'path', path)}"
        exchanged = Exchanged(method, request, start["status"], response, body, route=route)
        return finish(self._draft, exchanged, strict=self._strict)


def _fields(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return combined((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)


def _changed(start: Message, finished: Finished) -> dict[str, Any]:
    raw = [
        (name, value)
        for name, value in start.get("headers", ())
        if name.decode("latin-1").lower() not in finished.fields
        and (not finished.not_modified or Finished.kept_by_304(name.decode("latin-1")))
    ]
    raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in finished.fields.items()]
    return {"headers": raw, "status": 304 if finished.not_modified else start["status"]}
