"""What is read of a request where CacheFields isn't: in threads, outside of it, through other packages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from types import FunctionType
from typing import Any

import flask
import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from origin_sdk.asgi import CacheFields
from origin_sdk.errors import NotCacheable
from origin_sdk.flask import CacheFields as FlaskFields
from origin_sdk.responses import cache_for

PRIVATE = "private, no-store"
Read = Callable[[], str]


async def ask(app: Any, *, path: str = "/", raises: bool = True) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=raises)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
        return await client.get(path, headers={"cookie": "jwt=alice"})


def application(handler: Callable[[Request], Any]) -> Starlette:
    app = Starlette(routes=[Route("/", handler)])
    app.add_middleware(CacheFields)
    return app


async def in_own_thread(read: Read) -> str:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(read).result()


async def in_executor(read: Read) -> str:
    return await asyncio.get_running_loop().run_in_executor(None, read)


async def in_empty_context(read: Read) -> str:
    return Context().run(read)


async def in_task_of_another_context(read: Read) -> str:
    async def task() -> str:
        return read()

    return await asyncio.get_running_loop().create_task(task(), context=Context())


@pytest.mark.parametrize("run", [in_own_thread, in_executor, in_empty_context, in_task_of_another_context])
async def test_a_body_is_cut_off_wherever_it_reads_on_its_way(run: Callable[[Read], Awaitable[str]]) -> None:
    async def stream(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"for everyone"
            yield (await run(lambda: request.cookies["jwt"])).encode()

        cache_for(60)
        return StreamingResponse(parts())

    with pytest.raises(NotCacheable, match="cut off: Cookie was read"):
        await ask(application(stream))


async def test_a_middleware_outside_that_reads_when_a_stream_begins_makes_it_private() -> None:
    async def stream(_: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"a"
            yield b"b"

        cache_for(60)
        return StreamingResponse(parts())

    async def show_user(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-user"] = request.cookies["jwt"]
        return response

    app = application(stream)
    app.add_middleware(BaseHTTPMiddleware, dispatch=show_user)
    answer = await ask(app)
    assert (answer.headers["cache-control"], answer.content) == (PRIVATE, b"ab")


def fail(_: Request) -> bytes:
    raise LookupError


def show_user(request: Request) -> bytes:
    return request.cookies["jwt"].encode()


@pytest.mark.parametrize("is_inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize(("rest", "error"), [(fail, LookupError), (show_user, NotCacheable)])
async def test_no_middleware_ends_a_body_that_breaks_off(
    rest: Callable[[Request], bytes],
    error: type[Exception],
    is_inside: bool,
) -> None:
    async def stream(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"for everyone"
            yield rest(request)

        cache_for(60)
        return StreamingResponse(parts())

    async def pass_on(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    app = application(stream)
    app.user_middleware.insert(int(is_inside), Middleware(BaseHTTPMiddleware, dispatch=pass_on))
    sent: list[Any] = []

    async def over_the_wire(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Any) -> None:
            sent.append(message)
            await send(message)

        await app(scope, receive, sending)

    with pytest.raises(error):
        await ask(over_the_wire)
    assert "http.response.start" in [message["type"] for message in sent]
    assert all(message["more_body"] for message in sent[1:])


async def test_a_handler_of_errors_that_stands_outside_counts() -> None:
    async def fail(_: Request) -> Response:
        cache_for(60)
        raise LookupError

    async def show_user(request: Request, _: Exception) -> Response:
        return PlainTextResponse(request.cookies["jwt"], 404, {"cache-control": "public, max-age=60"})

    app = application(fail)
    app.add_exception_handler(Exception, show_user)
    assert (await ask(app, raises=False)).headers["cache-control"] == PRIVATE


def of_package(name: str, function: Any) -> Any:
    """Return a function as if it stood in another module."""
    return FunctionType(function.__code__, {"__name__": name, "len": len}, closure=function.__closure__)


def remote_address(request: Request) -> str:
    return request.client.host  # type: ignore[union-attr]  # there is one


@pytest.mark.parametrize("package", ["slowapi.util", "flask_limiter.util", "django_ratelimit.core"])
async def test_a_limit_on_requests_says_nothing_of_the_response_unless_its_handler_asks(package: str) -> None:
    address = of_package(package, remote_address)

    async def limited(_: Request) -> Response:
        cache_for(60)
        return PlainTextResponse("")

    async def shown(request: Request) -> Response:
        cache_for(60)
        return PlainTextResponse(address(request))

    app = application(limited)
    app.add_middleware(BaseHTTPMiddleware, dispatch=of_package(package, _limiting(address)))
    assert "max-age=60" in (await ask(app)).headers["cdn-cache-control"]
    assert (await ask(application(shown))).headers["cache-control"] == PRIVATE


def _limiting(address: Callable[[Request], str]) -> Any:
    async def limit(request: Request, call_next: Any) -> Response:
        address(request)
        response: Response = await call_next(request)
        return response

    return limit


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_a_limit_asks_for_itself_whatever_stands_around_it(kind: type[Starlette]) -> None:
    address = of_package("slowapi.util", lambda scope: scope["client"][0])

    def limiting(app: ASGIApp) -> ASGIApp:
        async def limit(scope: Scope, receive: Receive, send: Send) -> None:
            address(scope)
            await app(scope, receive, send)

        limiter: ASGIApp = of_package("slowapi.middleware", limit)
        return limiter

    def around(app: ASGIApp) -> ASGIApp:
        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)

        return call

    app = kind(routes=[Route("/", say_nothing)])
    app.add_middleware(CacheFields)
    app.add_middleware(limiting)
    app.add_middleware(around)
    assert "max-age=60" in (await ask(app)).headers["cdn-cache-control"]


async def say_nothing(_: Request) -> Response:
    cache_for(60)
    return PlainTextResponse("")


class EmptySession(dict[str, Any], flask.sessions.SessionMixin):
    """As Flask-Session has them: permanent from the start, and false while nothing else is in it."""

    def __bool__(self) -> bool:
        return dict.keys(self) != {"_permanent"}


class OfServer(flask.sessions.SessionInterface):
    def open_session(self, *_: Any) -> EmptySession:
        return EmptySession({"_permanent": True})

    def save_session(self, *_: Any) -> None:
        """Keep nothing."""


@pytest.mark.parametrize(
    ("path", "control"),
    [("/unused", "public, max-age=0"), *((f"/{verb}", PRIVATE) for verb in ("get", "item", "pop"))],
)
def test_a_session_that_is_kept_on_the_server_counts_where_it_is_used(path: str, control: str) -> None:
    app = flask.Flask("shop")
    app.session_interface = OfServer()
    FlaskFields(app)

    def respond() -> str:
        cache_for(60)
        session: Any = flask.globals.request_ctx._session  # before Flask 3.1.3 to look at it didn't count
        {"/get": session.get, "/item": session.setdefault, "/pop": session.pop}.get(path, max)("user", "")
        return ""

    app.add_url_rule(path, view_func=respond)
    assert app.test_client().get(path).headers["Cache-Control"] == control
