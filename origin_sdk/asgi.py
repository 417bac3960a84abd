"""For FastAPI, Starlette and any other ASGI application.

app.add_middleware(CacheFields, strict=settings.debug)
"""

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import partial, wraps
from typing import Any, Final, TypeAlias, cast

from origin_sdk._responses.observed import OBSERVERS, Observed, unobserved
from origin_sdk._responses.observed_scope import KEPT_IN_SCOPE, ObservedFields, ObservedScope
from origin_sdk._values.header_fields import combined
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
    revise,
)

__all__ = ["CacheFields", "add_groups", "belongs_to_user", "cache_for", "invalidate"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


_OBSERVED: Final = "origin_sdk._responses.observed"
_FRAMEWORK = (
    # What they read themselves is for HTTP, or is kept where a handler has to look it up again.
    *("fastapi._body_limit", "fastapi.applications", "fastapi.openapi", "fastapi.routing", "uvicorn"),
    *("starlette._exception_handler", "starlette.applications", "starlette.responses", "starlette.routing"),
    *("starlette.staticfiles", "starsessions"),
    *(
        f"starlette.middleware.{name}"
        for name in ("base", "body_limit", "cors", "errors", "exceptions", "gzip")
    ),
    *(f"starlette.middleware.{name}" for name in ("httpsredirect", "sessions", "trustedhost")),
)
_FASTAPI_PARAMETERS = "fastapi.dependencies.utils"
_ASKED = frozenset({b"authorization", b"if-none-match"})
"""What a request is asked for to finish its response."""


class CacheFields:
    """ASGI middleware that sets the fields.

    ``strict`` raises in development what production answers as private. ``observers`` names packages, beside
    the well-known ones, whose reading of a request says nothing about the response: they log or trace it.
    """

    def __init__(self, app: App, *, strict: bool = False, observers: Iterable[str] = ()) -> None:
        self._app = app
        self._strict = strict
        self._observers = (*OBSERVERS, *observers)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass the request on and finish its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope, send = _observing(scope, send)
        observed: Observed = scope[_OBSERVED]
        with drafting(observed, strict=self._strict) as draft:
            response = _Response(scope, send, draft, self._observers, strict=self._strict)
            observed.decide = observed.decide or response.revised
            try:
                await self._app(scope, receive, response)
            except Exception as error:
                observed.break_off(error)
                raise


def _observing(
    scope: MutableMapping[str, Any], send: Send, lifespan_state: Mapping[str, Any] | None = None
) -> tuple[ObservedScope, Send]:
    """Return a scope that notes what is read, whoever copies it, and a ``send`` that goes by all of that."""
    if isinstance(scope, ObservedScope):
        return scope, send
    if observed := scope.get(_OBSERVED):
        return ObservedScope(scope, observed), send
    observed = Observed(_FRAMEWORK, lambda: observing.get("endpoint"))
    observing = ObservedScope(scope, observed, lifespan_state)
    observing[_OBSERVED] = observed
    return observing, _revising(observed, send)


class _Cookies(dict[str, str]):
    """Cookies that FastAPI takes for each request, and looks at where a parameter asks for one."""

    __slots__ = ("_observed",)

    def __init__(self, cookies: dict[str, str], observed: Observed) -> None:
        super().__init__(cookies)
        self._observed = observed

    def __contains__(self, name: object) -> bool:
        self._observed.note("cookie")
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, noting that it was looked up."""
        self._observed.note("cookie")
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self._observed.note("cookie")
        return super().__iter__()


def _observe_starlette() -> None:
    """Observe from where an application begins, so that it doesn't matter what stands outside of CacheFields.

    And see cookies each time that they are taken: Starlette keeps what it has parsed.
    """
    try:
        from starlette.applications import Starlette  # noqa: PLC0415 - any ASGI application will do
        from starlette.datastructures import Headers  # noqa: PLC0415
        from starlette.requests import HTTPConnection  # noqa: PLC0415
        from starlette.routing import Router  # noqa: PLC0415
    except ImportError:
        return
    call: Any = Starlette.__call__

    @wraps(call)
    async def observed_call(self: Any, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._origin_sdk_lifespan_state = scope.get("state")
        if scope["type"] == "http":
            scope, send = _observing(scope, send, getattr(self, "_origin_sdk_lifespan_state", None))
        await call(self, scope, receive, send)

    Starlette.__call__ = observed_call  # type: ignore[method-assign]
    _observe_router(Router)
    _observe_headers(Headers)
    reads = {name: _observed_property(what) for name, what in KEPT_IN_SCOPE.items()}
    for name, observed_read in {"cookies": _observed_cookies, **reads}.items():
        if read := getattr(vars(HTTPConnection).get(name), "fget", None):
            setattr(HTTPConnection, name, property(wraps(read)(partial(observed_read, read))))


def _observe_router(router: Any) -> None:
    """Note a body that breaks off where it does: a BaseHTTPMiddleware says so once it has sent an end."""
    call: Any = router.__call__

    @wraps(call)
    async def observed_call(self: Any, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        observed: Observed | None = scope.get(_OBSERVED)
        if observed is None:
            await call(self, scope, receive, send)
            return
        has_begun = False

        async def beginning(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await call(self, scope, receive, beginning)
        except Exception as error:
            if has_begun:  # else a handler of errors answers
                observed.cut = error
            raise

    router.__call__ = observed_call


def _observe_headers(headers: Any) -> None:
    """Let a request's raw fields note those who go through them, also where Starlette has copied them."""
    begin, raw = headers.__init__, headers.raw.fget

    @wraps(begin)
    def observed_begin(self: Any, *arguments: Any, scope: Any = None, **named: Any) -> None:
        given = None if scope is None else scope["headers"]
        begin(self, *arguments, scope=scope, **named)
        if isinstance(given, ObservedFields):
            self._list = scope["headers"] = given.copy()

    @wraps(raw)
    def observed_raw(self: Any) -> Any:
        return self._list.copy() if isinstance(self._list, ObservedFields) else raw(self)

    headers.__init__, headers.raw = observed_begin, property(observed_raw)


def _revising(observed: Observed, send: Send) -> Send:
    """Decide again on a response if middleware outside of CacheFields reads something on its way out.

    And let none of it end a body that broke off, as Starlette's BaseHTTPMiddleware does: the edge would store
    a part of it for the whole.
    """

    async def revising(message: Message) -> None:
        if message["type"] == "http.response.start":
            observed.broken = None  # it is another response
            if observed.decide and observed.is_undecided:
                message = {**message, **observed.decide(message)}
        elif observed.broken:
            raise observed.broken
        await send(message)
        observed.depart()

    return revising


def _observed_property(what: str) -> Callable[[Any, Any], Any]:
    """Note what a request hands out, also of a scope that a middleware has copied."""

    def observed_read(read: Any, request: Any) -> Any:
        if observed := request.scope.get(_OBSERVED):
            observed.note(what)
        return read(request)

    return observed_read


def _observed_cookies(read: Any, request: Any) -> dict[str, str]:
    observed: Observed | None = request.scope.get(_OBSERVED)
    if observed is None:
        return cast("dict[str, str]", read(request))
    with unobserved():
        found: dict[str, str] = read(request)
    if sys._getframe(1).f_globals.get("__name__") == _FASTAPI_PARAMETERS:  # noqa: SLF001
        return _Cookies(found, observed)
    observed.note("cookie")
    return found


_observe_starlette()


class _Response:
    """Holds the start of a response back until it is known whether its first body is all of it."""

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        send: Send,
        draft: Draft,
        observers: tuple[str, ...],
        *,
        strict: bool,
    ) -> None:
        self._scope = scope
        self._send = send
        self._draft = draft
        self._observers = observers
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
            finished = None if self._draft.is_empty else self._finished(start, _whole_body(start, message))
            await self._send({**start, **_changed(start, finished)} if finished else start)
            if finished and finished.not_modified:
                self._is_over = True
                message = {"type": "http.response.body", "body": b"", "more_body": False}
        self._draft.observed.check()
        if not message.get("more_body", False):
            self._draft.reads.shared_as = ""  # what runs behind the response may read anything
            self._draft.observed.over()
        await self._send(message)

    def revised(self, start: Message) -> dict[str, Any]:
        """Return what changes of a response's start by what was read since its fields were set."""
        exchanged = self._exchanged(start, None)
        return _changed(start, revise(self._draft, exchanged, strict=self._strict, observers=self._observers))

    def _finished(self, start: Message, body: bytes | None) -> Finished:
        exchanged = self._exchanged(start, body)
        return finish(self._draft, exchanged, strict=self._strict, observers=self._observers)

    def _exchanged(self, start: Message, body: bytes | None) -> Exchanged:
        with unobserved():
            request = _fields(field for field in self._scope["headers"] if field[0].lower() in _ASKED)
        response = _fields(start.get("headers", ()))
        method, path = self._scope["method"], self._scope.get("path", "")
        # The template of FastAPI and Starlette, which have found it by now.
        route = f"{method} {getattr(self._scope.get('route'), 'path', path)}"
        return Exchanged(method, request, start["status"], response, body, route=route)


def _whole_body(start: Message, message: Message) -> bytes | None:
    """Return the first part of a body if it is all of it, though its sender may not know that."""
    if message["type"] != "http.response.body":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    lengths = [value for name, value in start.get("headers", ()) if name.lower() == b"content-length"]
    return body if lengths == [b"%d" % len(body)] else None


def _fields(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return combined((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)


def _changed(start: Message, finished: Finished) -> dict[str, Any]:
    raw = [
        (name, value)
        for name, value in start.get("headers", ())
        if name.decode("latin-1").lower() not in finished.fields
        and (not finished.not_modified or Finished.kept_by_304(name.decode("latin-1")))
    ]
    raw += [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in finished.fields.items() if value
    ]
    return {"headers": raw, "status": 304 if finished.not_modified else start["status"]}
