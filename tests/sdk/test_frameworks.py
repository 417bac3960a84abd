"""One application in FastAPI, Django of both kinds and Flask: the same fields from each."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import django
import fastapi
import flask
import httpx
import pytest
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

import origin_sdk.asgi
import origin_sdk.django
import origin_sdk.flask
from origin_sdk.asgi import CacheFields
from origin_sdk.errors import DataClassViolation, InvalidRequest, NotCacheable
from origin_sdk.layers import AsyncLayeredCache, DataClass, Family, LayeredCache
from origin_sdk.responses import add_groups, belongs_to_user, cache_for, invalidate
from origin_sdk.testing import assert_cacheable, assert_not_cacheable
from origin_sdk_wire.bounds import MAX_GROUPS

BODY = b'{"id":7}'
PRICES = Family("price", "{id}", str, groups=("price-{id}",), data_class=DataClass.PUBLIC)
ORDERS = Family("order", "{id}", str, groups=("order-{id}",))
cache = LayeredCache()
async_cache = AsyncLayeredCache()


def read_cached(family: Family[str]) -> None:
    cache_for(300)
    cache.get_or_load(family.key(id=7), lambda _: "x")


def parts_that_read(family: Family[str]) -> Iterator[bytes]:
    yield BODY[:2]
    cache.get_or_load(family.key(id=7), lambda _: "x")
    yield BODY[2:]


async def load_asynchronously(_: object) -> str:
    return "x"


async def read_cached_asynchronously(family: Family[str]) -> None:
    cache_for(300)
    await async_cache.get_or_load(family.key(id=7), load_asynchronously)


def say_shared() -> None:
    cache_for(300, browser=30, stale_while_revalidate=60)
    add_groups("products", "product-7")


def say_groups(kind: str) -> None:
    groups: dict[str, list[Any]] = {
        "newline": ["a\nb"],
        "space of no width": ["a\u200bb"],
        "too long": ["x" * 257],
        "empty": [""],
        "not of ASCII": ["größe"],
        "no text": [None],
        "many": [f"product-{number}" for number in range(MAX_GROUPS)],
    }
    cache_for(300, stale_while_revalidate=60)
    add_groups("products", *groups[kind])


def say_private() -> None:
    cache_for(300)
    belongs_to_user("shows the basket")


def add_cached_routes(app: fastapi.FastAPI) -> None:
    @app.get("/price/{number}")
    def price(number: int) -> int:
        read_cached(PRICES)
        return number

    @app.get("/order/{number}")
    def order(number: int) -> int:
        read_cached(ORDERS)
        return number

    @app.get("/order-in-parts")
    def order_in_parts() -> StreamingResponse:
        cache_for(300)
        return StreamingResponse(parts_that_read(ORDERS))

    @app.get("/order-after")
    def order_after(behind: fastapi.BackgroundTasks) -> int:
        cache_for(300)
        behind.add_task(read_cached, ORDERS)
        return 7

    @app.get("/async-price/{number}")
    async def async_price(number: int) -> int:
        await read_cached_asynchronously(PRICES)
        return number

    @app.get("/async-order/{number}")
    async def async_order(number: int) -> int:
        await read_cached_asynchronously(ORDERS)
        return number


def fastapi_app(*, strict: bool) -> httpx.BaseTransport | httpx.AsyncBaseTransport:
    app = fastapi.FastAPI()
    app.add_middleware(origin_sdk.asgi.CacheFields, strict=strict)

    @app.get("/shared")
    def shared() -> fastapi.Response:
        say_shared()
        return fastapi.Response(BODY, media_type="application/json")

    @app.get("/grouped")
    def grouped(kind: str) -> fastapi.Response:
        say_groups(kind)
        return fastapi.Response(BODY)

    @app.get("/streamed")
    async def streamed() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield BODY[:2]
            yield BODY[2:]

        say_shared()
        return StreamingResponse(parts(), media_type="application/json")

    @app.get("/cookie")
    def cookie() -> fastapi.Response:
        say_shared()
        response = fastapi.Response(BODY)
        response.set_cookie("a", "b")
        return response

    @app.get("/private")
    def private() -> fastapi.Response:
        say_private()
        return fastapi.Response(BODY)

    add_cached_routes(app)

    @app.put("/shared")
    def write() -> fastapi.Response:
        invalidate("product-7")
        return fastapi.Response(status_code=204)

    return httpx.ASGITransport(app)


def django_shared(request: Any) -> HttpResponse:
    if request.method == "PUT":
        invalidate("product-7")
        return HttpResponse(status=204)
    say_shared()
    return HttpResponse(BODY, content_type="application/json")


def django_grouped(request: Any) -> HttpResponse:
    say_groups(request.GET["kind"])
    return HttpResponse(BODY)


def django_long(_: Any) -> HttpResponse:
    say_shared()
    return HttpResponse(BODY * 100)


def django_streamed(_: Any) -> StreamingHttpResponse:
    say_shared()
    return StreamingHttpResponse(iter([BODY[:2], BODY[2:]]), content_type="application/json")


async def django_streamed_asynchronously(_: Any) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield BODY[:2]
        yield BODY[2:]

    say_shared()
    return StreamingHttpResponse(parts(), content_type="application/json")


def django_cookie(_: Any) -> HttpResponse:
    say_shared()
    response = HttpResponse(BODY)
    response.set_cookie("a", "b")
    return response


def django_private(_: Any) -> HttpResponse:
    say_private()
    return HttpResponse(BODY)


def django_price(_: Any, number: int) -> HttpResponse:
    read_cached(PRICES)
    return HttpResponse(str(number))


def django_order(_: Any, number: int) -> HttpResponse:
    read_cached(ORDERS)
    return HttpResponse(str(number))


def django_order_in_parts(_: Any) -> StreamingHttpResponse:
    cache_for(300)
    return StreamingHttpResponse(parts_that_read(ORDERS))


async def django_async_order_in_parts(_: Any) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield BODY[:2]
        await async_cache.get_or_load(ORDERS.key(id=7), load_asynchronously)

    cache_for(300)
    return StreamingHttpResponse(parts())


async def django_async_price(_: Any, number: int) -> HttpResponse:
    await read_cached_asynchronously(PRICES)
    return HttpResponse(str(number))


async def django_async_order(_: Any, number: int) -> HttpResponse:
    await read_cached_asynchronously(ORDERS)
    return HttpResponse(str(number))


class DjangoUrls:
    """A URL configuration, as a module would be."""

    urlpatterns = (
        path("shared", django_shared),
        path("grouped", django_grouped),
        path("long", django_long),
        path("streamed", django_streamed),
        path("streamed-async", django_streamed_asynchronously),
        path("cookie", django_cookie),
        path("private", django_private),
        path("price/<int:number>", django_price),
        path("order/<int:number>", django_order),
        path("order-in-parts", django_order_in_parts),
        path("async-order-in-parts", django_async_order_in_parts),
        path("async-price/<int:number>", django_async_price),
        path("async-order/<int:number>", django_async_order),
    )


@pytest.fixture(scope="session", autouse=True)
def _django() -> None:
    django_settings.configure(
        SECRET_KEY="of no account",  # noqa: S106
        ROOT_URLCONF=DjangoUrls,
        MIDDLEWARE=["origin_sdk.django.CacheFields"],
        ALLOWED_HOSTS=["*"],
        DEBUG_PROPAGATE_EXCEPTIONS=True,
    )
    django.setup()


def django_wsgi(*, strict: bool) -> httpx.BaseTransport:
    django_settings.ORIGIN_SDK_STRICT = strict
    return httpx.WSGITransport(WSGIHandler())


def django_asgi(*, strict: bool) -> httpx.AsyncBaseTransport:
    django_settings.ORIGIN_SDK_STRICT = strict
    return httpx.ASGITransport(ASGIHandler())


def flask_grouped() -> flask.Response:
    say_groups(flask.request.args["kind"])
    return flask.Response(BODY)


def flask_app(*, strict: bool) -> httpx.BaseTransport:
    app = flask.Flask("shop")
    app.config.update(ORIGIN_SDK_STRICT=strict, PROPAGATE_EXCEPTIONS=True, SECRET_KEY="of no account")  # noqa: S106
    origin_sdk.flask.CacheFields(app)
    app.add_url_rule("/grouped", view_func=flask_grouped)

    @app.route("/shared", methods=["GET", "PUT"])
    def shared() -> flask.Response:
        if flask.request.method == "PUT":
            invalidate("product-7")
            return flask.Response(status=204)
        say_shared()
        return flask.Response(BODY, mimetype="application/json")

    @app.get("/streamed")
    def streamed() -> flask.Response:
        def parts() -> Iterator[bytes]:
            yield BODY[:2]
            yield BODY[2:]

        say_shared()
        return flask.Response(parts(), mimetype="application/json")

    @app.get("/cookie")
    def cookie() -> flask.Response:
        say_shared()
        response = flask.Response(BODY)
        response.set_cookie("a", "b")
        return response

    @app.get("/private")
    def private() -> flask.Response:
        say_private()
        return flask.Response(BODY)

    @app.get("/price/<int:number>")
    def price(number: int) -> str:
        read_cached(PRICES)
        return str(number)

    @app.get("/order/<int:number>")
    def order(number: int) -> str:
        read_cached(ORDERS)
        return str(number)

    @app.get("/order-in-parts")
    def order_in_parts() -> flask.Response:
        cache_for(300)
        return flask.Response(parts_that_read(ORDERS))

    return httpx.WSGITransport(app)


@dataclass(frozen=True)
class App:
    """An application, asked from outside."""

    make: Callable[..., Any]

    def ask(
        self, path: str, *, method: str = "GET", strict: bool = True, fields: Mapping[str, str] | None = None
    ) -> httpx.Response:
        transport = self.make(strict=strict)
        if isinstance(transport, httpx.BaseTransport):
            with httpx.Client(transport=transport, base_url="http://shop.example") as client:
                return client.request(method, path, headers=fields)
        return asyncio.run(self._ask(transport, method, path, fields))

    @staticmethod
    async def _ask(
        transport: httpx.AsyncBaseTransport, method: str, path: str, fields: Mapping[str, str] | None
    ) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
            return await client.request(method, path, headers=fields)


APPS = {
    "FastAPI": fastapi_app,
    "Django": django_wsgi,
    "Django, asynchronous": django_asgi,
    "Flask": flask_app,
}


@pytest.fixture(params=APPS)
def app(request: pytest.FixtureRequest) -> App:
    return App(APPS[request.param])


def test_a_shared_response_carries_all_fields(app: App) -> None:
    response = app.ask("/shared")
    assert response.content == BODY
    assert response.headers["cache-control"] == "public, max-age=30"
    assert response.headers["cdn-cache-control"] == "max-age=300, stale-while-revalidate=60"
    assert response.headers["cache-groups"] == '"products", "product-7"'
    assert response.headers["etag"].startswith('"')
    assert_cacheable(response)


def test_a_client_that_has_it_gets_a_304(app: App) -> None:
    etag = app.ask("/shared").headers["etag"]
    response = app.ask("/shared", fields={"if-none-match": f'"x", {etag}'})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == etag
    assert response.headers["cache-groups"] == '"products", "product-7"'
    assert "content-type" not in response.headers


@pytest.mark.parametrize("make", [django_wsgi, django_asgi])
@pytest.mark.parametrize("place", [0, 1], ids=["gzip outside", "gzip inside"])
def test_django_s_random_padding_leaves_the_etag_as_it_is(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any], place: int
) -> None:
    middleware = ["origin_sdk.django.CacheFields"]
    middleware.insert(place, "django.middleware.gzip.GZipMiddleware")
    monkeypatch.setattr(django_settings, "MIDDLEWARE", middleware)
    app, fields = App(make), {"accept-encoding": "gzip"}
    answers = [app.ask("/long", fields=fields) for _ in range(3)]
    assert {answer.headers["content-encoding"] for answer in answers} == {"gzip"}
    assert len({answer.headers["etag"] for answer in answers}) == 1
    etag = answers[0].headers["etag"]
    assert app.ask("/long", fields={**fields, "if-none-match": etag}).status_code == 304
    plain = app.ask("/long", fields={"accept-encoding": "identity"})
    assert plain.headers["etag"].removeprefix("W/") == etag.removeprefix("W/")


def test_a_streamed_response_is_not_held_up(request: pytest.FixtureRequest, app: App) -> None:
    is_async_django = "asynchronous" in request.node.name
    response = app.ask("/streamed-async" if is_async_django else "/streamed")
    assert response.content == BODY
    assert "etag" not in response.headers
    assert response.headers["cdn-cache-control"] == "max-age=300, stale-while-revalidate=60"


@pytest.mark.parametrize(("path", "named"), [("/cookie", "Set-Cookie"), ("/private", "basket")])
def test_what_must_not_be_shared_fails_in_development(app: App, path: str, named: str) -> None:
    with pytest.raises(NotCacheable, match=named):
        app.ask(path)


@pytest.mark.parametrize("path", ["/cookie", "/private"])
def test_and_is_private_in_production(app: App, path: str) -> None:
    response = app.ask(path, strict=False)
    assert response.headers["cache-control"] == "private, no-store"
    assert "cache-groups" not in response.headers
    assert_not_cacheable(response)


@pytest.fixture(params=["", "async-"], ids=["in a thread", "in the loop"])
def loop(request: pytest.FixtureRequest, app: App) -> str:
    """The prefix of routes that are coroutine functions, which Flask hasn't."""
    return "" if app.make is flask_app else str(request.param)


def test_a_response_has_the_groups_of_the_cached_values_it_is_made_of(app: App, loop: str) -> None:
    response = app.ask(f"/{loop}price/7")
    assert response.headers["cache-groups"] == '"price-7"'
    assert_cacheable(response)


def test_a_value_that_must_not_reach_the_edge_fails_in_development(app: App, loop: str) -> None:
    with pytest.raises(DataClassViolation, match="'order'"):
        app.ask(f"/{loop}order/7")


def test_and_in_production_the_log_names_the_route(
    app: App, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = app.ask(f"/{loop}order/7", strict=False)
    assert response.headers["cache-control"] == response.headers["cdn-cache-control"] == "private, no-store"
    assert "cache-groups" not in response.headers
    [line] = [record.message for record in caplog.records if record.name == "origin_sdk"]
    assert f"GET /{loop}order/{{number}}: " in line.replace("<int:number>", "{number}")


def test_a_body_that_streams_to_the_edge_is_cut_off_where_it_reads_what_must_not_be_there(
    request: pytest.FixtureRequest, app: App
) -> None:
    is_async_django = "asynchronous" in request.node.name
    with pytest.raises(DataClassViolation, match=r"cut off.*'order'"):
        app.ask("/async-order-in-parts" if is_async_django else "/order-in-parts", strict=False)


def test_what_runs_behind_a_response_may_read_anything() -> None:
    response = App(fastapi_app).ask("/order-after")
    assert response.headers["cdn-cache-control"] == "max-age=300"


@pytest.mark.parametrize(
    "kind", ["newline", "space of no width", "too long", "empty", "not of ASCII", "no text"]
)
def test_a_group_of_users_input_that_cannot_be_sent_is_left_out_and_told_of(
    app: App, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = app.ask(f"/grouped?kind={kind}", strict=False)
    assert response.status_code == 200
    assert response.headers["cache-groups"] == '"products"'
    assert response.headers["cdn-cache-control"] == "max-age=60, must-revalidate"
    [record] = [record for record in caplog.records if record.name == "origin_sdk"]
    assert "left out" in record.message
    assert "/grouped" in record.message
    with pytest.raises(InvalidRequest):
        app.ask(f"/grouped?kind={kind}")


def test_more_groups_than_a_response_may_have_are_told_of(app: App, caplog: pytest.LogCaptureFixture) -> None:
    response = app.ask("/grouped?kind=many", strict=False)
    assert response.headers["cache-groups"].count(",") == MAX_GROUPS - 1
    assert response.headers["cdn-cache-control"] == "max-age=60, must-revalidate"
    assert "coarser group" in caplog.text
    with pytest.raises(NotCacheable, match="coarser group"):
        app.ask("/grouped?kind=many")


def test_a_write_names_what_it_changed(app: App) -> None:
    response = app.ask("/shared", method="PUT")
    assert (response.status_code, response.headers["cache-group-invalidation"]) == (204, '"product-7"')
    assert "cache-control" not in response.headers


@pytest.mark.parametrize("module", [origin_sdk.asgi, origin_sdk.django, origin_sdk.flask])
def test_the_verbs_are_the_same_in_each(module: Any) -> None:
    assert module.__all__ == ["CacheFields", "add_groups", "belongs_to_user", "cache_for", "invalidate"]
    assert module.cache_for is cache_for


def test_responses_that_are_built_at_once_do_not_mix() -> None:
    app = fastapi.FastAPI()
    app.add_middleware(origin_sdk.asgi.CacheFields, strict=True)
    both = asyncio.Barrier(2)

    @app.get("/{name}")
    async def read(name: str) -> str:
        add_groups(f"{name}-1")
        await both.wait()
        add_groups(f"{name}-2")
        return name

    async def ask() -> list[str]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://shop.example"
        ) as client:
            responses = await asyncio.gather(client.get("/a"), client.get("/b"))
            return [response.headers["cache-groups"] for response in responses]

    assert asyncio.run(ask()) == ['"a-1", "a-2"', '"b-1", "b-2"']


def test_a_session_that_was_used_is_noticed_by_flask() -> None:
    app = flask.Flask("shop")
    app.config.update(ORIGIN_SDK_STRICT=True, PROPAGATE_EXCEPTIONS=True, SECRET_KEY="of no account")  # noqa: S106
    origin_sdk.flask.CacheFields(app)

    @app.get("/")
    def read() -> str:
        cache_for(60)
        return str(flask.session.get("user"))

    with pytest.raises(NotCacheable, match="session"):
        app.test_client().get("/")


async def sent(
    app: Any, *messages: dict[str, Any], fields: tuple[tuple[bytes, bytes], ...] = ()
) -> list[dict[str, Any]]:
    """Let an ASGI application send messages through the middleware; return what came out."""
    out: list[dict[str, Any]] = []

    async def inner(_scope: Any, _receive: Any, send: Any) -> None:
        app()
        for message in messages:
            await send(message)

    async def collect(message: Any) -> None:
        out.append(message)

    async def nothing() -> Any:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "headers": list(fields)}
    await origin_sdk.asgi.CacheFields(inner, strict=True)(scope, nothing, collect)
    return out


START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"etag", b'"1"'), (b"content-length", b"2")],
}


async def test_a_304_replaces_a_body_in_several_parts() -> None:
    parts = [{"type": "http.response.body", "body": b"x", "more_body": more} for more in (True, False)]
    start, *bodies = await sent(lambda: cache_for(60), START, *parts, fields=((b"if-none-match", b'"1"'),))
    assert start["status"] == 304
    assert [name for name, _ in start["headers"]] == [b"etag", b"cache-control", b"cdn-cache-control"]
    assert bodies == [{"type": "http.response.body", "body": b"", "more_body": False}]


async def test_a_file_that_the_server_sends_itself_passes() -> None:
    file = {"type": "http.response.pathsend", "path": "/x"}
    start, message = await sent(lambda: cache_for(60), START, file)
    assert (b"cdn-cache-control", b"max-age=60") in start["headers"]
    assert message == file


async def test_repeated_fields_are_kept_apart() -> None:
    repeated = {**START, "headers": [(b"link", b"<a>"), (b"link", b"<b>")]}
    start, _ = await sent(lambda: cache_for(60), repeated, {"type": "http.response.body", "body": b""})
    assert [value for name, value in start["headers"] if name == b"link"] == [b"<a>", b"<b>"]


async def test_a_body_whose_length_says_that_it_is_whole_has_an_etag() -> None:
    """As behind Starlette's BaseHTTPMiddleware, which hands on whole bodies as if more came."""
    start = {**START, "headers": [(b"content-length", b"1")]}
    parts = [{"type": "http.response.body", "body": body, "more_body": bool(body)} for body in (b"x", b"")]
    first, *bodies = await sent(lambda: cache_for(60), start, *parts)
    assert b"etag" in dict(first["headers"])
    assert bodies == parts


def test_an_inner_middleware_answers_for_what_it_knows_of() -> None:
    inner = fastapi.FastAPI()
    inner.add_middleware(origin_sdk.asgi.CacheFields, strict=True)

    @inner.get("/")
    def read(request: fastapi.Request) -> str | None:
        cache_for(60, for_everyone=True)
        return request.headers.get("x-tenant")

    outer = fastapi.FastAPI()
    outer.add_middleware(origin_sdk.asgi.CacheFields, strict=True)
    outer.mount("/shop", inner)
    response = App(lambda **_: httpx.ASGITransport(outer)).ask("/shop/")
    assert response.headers["cdn-cache-control"] == "public, max-age=60"


def test_a_session_that_flask_makes_last_keeps_the_response_from_everyone() -> None:
    app = flask.Flask("shop")
    app.config.update(SECRET_KEY="of no account")  # noqa: S106
    origin_sdk.flask.CacheFields(app)

    @app.get("/login")
    def log_in() -> str:
        flask.session.permanent = True
        return ""

    @app.get("/")
    def read() -> str:
        cache_for(60)
        return ""

    with app.test_client() as client:
        assert "max-age" in client.get("/").headers["cdn-cache-control"]
        client.get("/login")
        response = client.get("/")
    assert "Set-Cookie" in response.headers
    assert response.headers["cache-control"] == "private, no-store"


def test_a_request_class_that_came_later_counts_as_read() -> None:
    app = flask.Flask("shop")
    origin_sdk.flask.CacheFields(app)
    app.request_class = flask.Request

    @app.get("/")
    def read() -> str:
        cache_for(60)
        return ""

    assert app.test_client().get("/").headers["cache-control"] == "private, no-store"


def test_packages_that_only_watch_can_be_named() -> None:
    app = fastapi.FastAPI()
    app.add_middleware(origin_sdk.asgi.CacheFields, strict=True, observers=[__name__])

    @app.get("/")
    def read(request: fastapi.Request) -> str | None:
        cache_for(60)
        return request.headers.get("user-agent")

    response = App(lambda **_: httpx.ASGITransport(app)).ask("/")
    assert response.headers["cdn-cache-control"] == "max-age=60"


async def test_web_sockets_are_none_of_its_business() -> None:
    seen: list[str] = []

    async def inner(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    await origin_sdk.asgi.CacheFields(inner)({"type": "websocket"}, None, None)  # type: ignore[arg-type]  # unused
    assert seen == ["websocket"]


COPIES: dict[str, Callable[[Any], Any]] = {
    "dict()": dict,
    "**": lambda scope: {**scope},
    "|": lambda scope: scope | {"method": "GET"},
    "copy()": lambda scope: scope.copy(),
    "copy.copy": copy.copy,
    "as it is": lambda scope: scope,
}


@pytest.mark.parametrize("place", ["outside", "inside", "around another application"])
@pytest.mark.parametrize("copied", COPIES)
async def test_a_middleware_that_copies_the_scope_reads_nothing_of_it(copied: str, place: str) -> None:
    """As those do that answer HEAD as GET, mount applications, or add to a scope."""

    async def endpoint(_: Request) -> Response:
        cache_for(60)
        return PlainTextResponse("the same for all")

    def copying(app: Any) -> Any:
        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            await app(COPIES[copied](scope) if scope["type"] == "http" else scope, receive, send)

        return middleware

    inner = Starlette(routes=[Route("/x", endpoint)])
    if place == "inside":
        app: Any = CacheFields(copying(copying(inner)), strict=True)
    elif place == "outside":
        app = copying(copying(CacheFields(inner, strict=True)))
    else:
        outer = Starlette(routes=[Mount("/", copying(inner))])
        app = copying(CacheFields(outer, strict=True))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a.test") as client:
        response = await client.get("/x", headers={"x-api-key": "k", "cookie": "a=b"})
    assert response.headers["cache-control"].startswith("public")
