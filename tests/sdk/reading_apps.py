"""One application in FastAPI, Django and Flask, in a process of its own: it reads what a row tells it to.

Django has one configuration a process. The input has lists of rows, `[read, said, status, as, client]`, under
`lenient` and `strict`; the output says there of each response for whom it is, `private`, `shared` or
`nothing`, or gives the error's message.

usage: python -m tests.sdk.reading_apps FRAMEWORK
"""

import asyncio
import copy
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from types import FunctionType, SimpleNamespace
from typing import Annotated, Any

import httpx

from origin_sdk.errors import NotCacheable
from origin_sdk.responses import aside, belongs_to_user, cache_for

SECRET = "of no account"  # noqa: S105 - it is said to be none
CLIENTS = {
    "a stranger": {},
    "a user": {
        "cookie": "jwt=alice",
        "x-api-key": "alice",
        "accept-language": "de",
        "x-forwarded-for": "203.0.113.9",
    },
    "a bearer": {"authorization": "Bearer alice"},
}
VARY = {"cookie": "Cookie", "key": "X-API-Key", "authorization": "Authorization"}


def say(said: str, read: str) -> dict[str, str]:
    """Say of a response what a row says; return fields to set by hand."""
    name = next((field for word, field in VARY.items() if word in read), "Accept-Language")
    match said:
        case "cache_for":
            cache_for(60, negative=5)
        case "in Vary":
            cache_for(60, negative=5, vary=[name])
        case "in Vary by hand":
            cache_for(60, negative=5)
            return {"Vary": f"Accept-Encoding, {name.lower()}"}
        case "for everyone":
            cache_for(60, negative=5, for_everyone=True)
        case "a user's own":
            cache_for(60, negative=5)
            belongs_to_user("shows the basket")
        case "a user's own, no more":
            belongs_to_user()
        case "public by hand":
            return {"Cache-Control": "public, max-age=60"}
        case "at the edge by hand":
            return {"CDN-Cache-Control": "max-age=60"}
    return {}


ON_THE_WAY_OUT = "a key, by a middleware outside on the way out"
TRACED = "the user, by a tracer alone"


def behind_gateway(app: Any) -> Any:
    """Return an application in another, which began it, and leaves something of each request to it."""
    state: dict[str, str] = {}

    async def gateway(scope: Any, receive: Any, send: Any) -> None:
        if "gateway" not in state and hasattr(app, "router"):
            state["gateway"] = "begun"
            messages = iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))
            await app(
                {"type": "lifespan", "app": app, "state": state},
                lambda: asyncio.sleep(0, next(messages)),
                lambda _: asyncio.sleep(0),
            )
        left = {"gateway.user": "alice", "state": {**state, "left": "alice"}}
        await app({**scope, **left}, receive, send)

    return gateway


class Readers(dict[str, Callable[[], object]]):
    """Named ways to read; any other word is an expression over a handler's names."""

    def __init__(self, named: Mapping[str, Callable[[], object]], names: Mapping[str, Any]) -> None:
        super().__init__(named)
        self._names = dict(names)

    def __missing__(self, expression: str) -> Callable[[], object]:
        def read() -> object:
            with suppress(LookupError):
                return eval(expression, self._names)  # noqa: S307 - a test's own
            return None

        return read


def answer(read: str, row: Mapping[str, str], readers: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    """Read and say, in this order."""
    if row["said"] == "aside":
        with aside():
            readers[read]()
        cache_for(60, negative=5)
        return {}
    if row["as"] != "stream":
        readers[read]()
    return say(row["said"], read)


def parts(read: str, row: Mapping[str, str], readers: Mapping[str, Callable[[], object]]) -> Iterator[bytes]:
    yield b"part"
    if row["as"] == "stream":
        readers[read]()
    yield b"part"


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[dict[str, str]]:
    yield {"of_lifespan": "all"}


async def remember_key_outside(request: Any, call_next: Any) -> Any:
    if request.query_params["read"] == "a key, through a middleware outside":
        request.state.key = request.headers.get("x-api-key")
    response = await call_next(request)
    if request.query_params["read"] == ON_THE_WAY_OUT:
        response.headers["x-shown"] = request.headers.get("x-api-key", "")
    return response


def fastapi_app(*, strict: bool) -> httpx.AsyncBaseTransport:
    import fastapi  # noqa: PLC0415 - one framework a process
    from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer  # noqa: PLC0415
    from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser  # noqa: PLC0415
    from starlette.middleware.authentication import AuthenticationMiddleware  # noqa: PLC0415
    from starlette.middleware.base import BaseHTTPMiddleware  # noqa: PLC0415
    from starlette.middleware.cors import CORSMiddleware  # noqa: PLC0415
    from starlette.middleware.gzip import GZipMiddleware  # noqa: PLC0415
    from starlette.middleware.sessions import SessionMiddleware  # noqa: PLC0415

    from origin_sdk.asgi import CacheFields  # noqa: PLC0415

    class Anybody(AuthenticationBackend):
        async def authenticate(self, conn: Any) -> Any:
            del conn
            return AuthCredentials(), SimpleUser("anybody")

    async def present_certificate(scope: Any, receive: Any, send: Any) -> None:
        if "tls" in scope["query_string"].decode():
            scope["extensions"] = {"tls": {"client_cert_name": "CN=alice"}}
        await in_gateway(scope, receive, send)

    app = fastapi.FastAPI(lifespan=lifespan)
    in_gateway = behind_gateway(app)
    app.add_middleware(GZipMiddleware)
    app.add_middleware(AuthenticationMiddleware, backend=Anybody())
    app.add_middleware(SessionMiddleware, secret_key=SECRET)
    app.add_middleware(CacheFields, strict=strict)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    app.add_middleware(BaseHTTPMiddleware, dispatch=remember_key_outside)

    def read(request: fastapi.Request) -> Any:
        return fastapi_answer(request)

    def read_cookie(request: fastapi.Request, jwt: Annotated[str, fastapi.Cookie()] = "") -> Any:
        del jwt
        return fastapi_answer(request)

    async def read_key(request: fastapi.Request, x_api_key: Annotated[str, fastapi.Header()] = "") -> Any:
        del x_api_key
        return fastapi_answer(request)

    methods = ["GET", "HEAD"]
    app.add_api_route("/", read, methods=methods, name="read")
    app.add_api_route("/a cookie, as a parameter", read_cookie, methods=methods)
    app.add_api_route("/a key, as a parameter", read_key, methods=methods)
    schemes: dict[str, Callable[..., Any]] = {
        "/a cookie, as a key": APIKeyCookie(name="jwt", auto_error=False),
        "/a key, as a key": APIKeyHeader(name="X-API-Key", auto_error=False),
        "/authorization, as a bearer": HTTPBearer(auto_error=False),
    }
    for path, scheme in schemes.items():
        app.add_api_route(path, read, methods=methods, dependencies=[fastapi.Depends(scheme)])
    return httpx.ASGITransport(present_certificate)


def fastapi_answer(request: Any) -> Any:
    import fastapi  # noqa: PLC0415 - one framework a process
    from fastapi.responses import StreamingResponse  # noqa: PLC0415
    from starlette.datastructures import Headers, MutableHeaders  # noqa: PLC0415

    scope = request.scope
    readers: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "the URL": lambda: (request.url, request.base_url, request.query_params, request.url_for("read")),
        "a condition": lambda: (request.headers.get("if-none-match"), request.headers.get("range")),
        "a cookie": lambda: request.cookies.get("jwt"),
        "all cookies": lambda: {**request.cookies},
        "the field cookie": lambda: request.headers.getlist("cookie"),
        "whether there is a cookie": lambda: "Cookie" in request.headers,
        "a key": lambda: request.headers.get("X-API-Key"),
        "a key, raw": lambda: [value for name, value in scope["headers"] if name == b"x-api-key"],
        "a key, through a middleware outside": lambda: request.state.key,
        ON_THE_WAY_OUT: lambda: None,
        "authorization": lambda: request.headers.get("authorization"),
        "a language": lambda: request.headers.get("accept-language"),
        "every field": lambda: dict(request.headers),
        "every field, raw": lambda: dict(scope["headers"]),
        "every value": request.headers.values,
        "every value, raw": lambda: [value.decode() for _, value in request.headers.raw],
        "the session": lambda: request.session.get("user"),
        "the session, raw": lambda: scope["session"].get("user"),
        "the user": lambda: request.user.display_name,
        "the address": lambda: request.client,
        "the address, raw": lambda: request["client"][0],
        "the address, of a copied scope": lambda: fastapi.Request(dict(scope)).client,
        "a forwarded address": lambda: request.headers.get("x-forwarded-for"),
    }
    names = {
        "request": request,
        "Headers": Headers,
        "MutableHeaders": MutableHeaders,
        "Request": fastapi.Request,
    }
    readers = Readers(readers | dict.fromkeys(PARAMETERS, lambda: None), names)
    row = request.query_params
    fields = answer(row["read"], row, readers)
    if row["as"] in {"parts", "stream"}:
        return StreamingResponse(parts(row["read"], row, readers), int(row["status"]), fields)
    if row["as"] == "exception":
        raise fastapi.HTTPException(int(row["status"]), headers=fields)
    return fastapi.Response(b"whole", int(row["status"]), fields)


PARAMETERS = (
    *("a cookie, as a parameter", "a key, as a parameter", "a cookie, as a key", "a key, as a key"),
    "authorization, as a bearer",
)


def set_up_django(*, strict: bool) -> None:
    import django  # noqa: PLC0415 - one framework a process
    from django.conf import settings  # noqa: PLC0415

    if settings.configured:
        settings.DEBUG = strict
        return
    settings.configure(
        SECRET_KEY=SECRET,
        ROOT_URLCONF=Urls,
        MIDDLEWARE=[
            f"{__name__}.remember_key",
            "django.middleware.gzip.GZipMiddleware",
            "origin_sdk.django.CacheFields",
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
            "django.middleware.http.ConditionalGetMiddleware",
        ],
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages"],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {"context_processors": CONTEXT_PROCESSORS},
            }
        ],
        ALLOWED_HOSTS=["*"],
        DEBUG_PROPAGATE_EXCEPTIONS=True,
        DEBUG=strict,
        LOGGING_CONFIG=None,
    )
    django.setup()
    from django.urls import path  # noqa: PLC0415 - once it is set up

    Urls.urlpatterns = [path("", django_view)]


CONTEXT_PROCESSORS = [
    *("django.template.context_processors.debug", "django.template.context_processors.request"),
    *("django.contrib.auth.context_processors.auth", "django.contrib.messages.context_processors.messages"),
]
"""Those of `startproject`."""


class Urls:
    """A URL configuration, as a module would be."""

    urlpatterns: list[Any]


def remember_key(get_response: Any) -> Any:
    """Make a middleware that stands above CacheFields and keeps what it reads for the view."""

    def middleware(request: Any) -> Any:
        if request.GET["read"] == "a key, through a middleware outside":
            request.key = request.headers.get("x-api-key")
        response = get_response(request)
        if request.GET["read"] == ON_THE_WAY_OUT:
            response["X-Shown"] = request.headers.get("x-api-key", "")
        return response

    return middleware


def read_asynchronously(session: Any) -> object:
    """Run a coroutine that never waits, as Django's sessions in cookies have them since 5.1."""
    if not hasattr(session, "aget"):
        return session.get("user")
    return run(session.aget("user"))


def is_known(request: Any) -> bool:
    return bool(request.user.is_authenticated)


traced: Any = FunctionType(is_known.__code__, {"__name__": "sentry_sdk.integrations.django", "bool": bool})
"""As a tracer looks at the user."""


def found_for_a_log(find: Callable[[], Any]) -> Any:
    """Return a user whom a middleware has logged before."""
    with aside():
        find()
    return find()


def run(coroutine: Any) -> Any:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def django_view(request: Any) -> Any:
    from django.contrib import messages  # noqa: PLC0415 - one framework a process
    from django.http import HttpResponse, StreamingHttpResponse  # noqa: PLC0415
    from django.template import engines  # noqa: PLC0415
    from django.utils.translation import get_language_from_request  # noqa: PLC0415

    drf: Any = SimpleNamespace(  # it has no types
        **{name: import_module(f"rest_framework.{name}") for name in ("authentication", "request")}
    )
    authenticators = [drf.authentication.SessionAuthentication(), drf.authentication.BasicAuthentication()]

    def render(template: str) -> object:
        return engines["django"].from_string(template).render({}, request)

    readers: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "the URL": lambda: (
            request.build_absolute_uri("/x"),
            request.GET,
            request.get_host(),
            request.scheme,
        ),
        "a condition": lambda: (request.headers.get("if-none-match"), request.META.get("HTTP_RANGE")),
        "a cookie": lambda: request.COOKIES.get("jwt"),
        "all cookies": lambda: {**request.COOKIES},
        "the field cookie": lambda: request.META.get("HTTP_COOKIE"),
        "whether there is a cookie": lambda: "Cookie" in request.headers,
        "a signed cookie": lambda: request.get_signed_cookie("jwt", default=""),
        "messages, in a cookie": lambda: list(messages.get_messages(request)),
        "a key": lambda: request.headers.get("X-API-Key"),
        "a key, raw": lambda: request.META.get("HTTP_X_API_KEY"),
        "a key, through a middleware outside": lambda: request.key,
        ON_THE_WAY_OUT: lambda: None,
        "a key, as the server has it": lambda: request.environ.get("HTTP_X_API_KEY"),
        "authorization": lambda: request.headers.get("authorization"),
        "a language": lambda: request.headers.get("accept-language"),
        "what is accepted": lambda: request.accepts("text/html"),
        "every field": lambda: dict(request.headers),
        "every field, raw": lambda: {**request.META},
        "every value": lambda: list(request.headers.values()),
        "the session, asynchronously": lambda: read_asynchronously(request.session),
        "the session": lambda: request.session.get("user"),
        "the session's key": lambda: request.session.session_key,
        "the user": lambda: request.user.is_authenticated,
        "the user, logged before": lambda: found_for_a_log(lambda: request.user.is_authenticated),
        "the user, logged before, asynchronously": lambda: found_for_a_log(
            lambda: run(request.auser()) if hasattr(request, "auser") else request.user.is_authenticated
        ),
        TRACED: lambda: traced(request),
        "the user, traced before": lambda: (traced(request), request.user.is_authenticated),
        "the address": lambda: request.META["REMOTE_ADDR"],
        "the user of the server": lambda: request.META.get("REMOTE_USER"),
        "a forwarded address": lambda: request.META.get("HTTP_X_FORWARDED_FOR"),
    }
    names = {
        "request": request,
        "api": drf.request.Request(request, authenticators=authenticators),
        "messages": messages,
        "render": render,
        "copy": copy,
        "json": json,
        "get_language_from_request": get_language_from_request,
    }
    readers = Readers(readers, names)
    row = request.GET
    fields = answer(row["read"], row, readers)
    if row["as"] in {"parts", "stream"}:
        made = parts(row["read"], row, readers)
        return StreamingHttpResponse(made, status=int(row["status"]), headers=fields)
    return HttpResponse(b"whole", status=int(row["status"]), headers=fields)


def django_wsgi(*, strict: bool) -> httpx.BaseTransport:
    from django.core.handlers.wsgi import WSGIHandler  # noqa: PLC0415 - one framework a process

    set_up_django(strict=strict)
    return httpx.WSGITransport(WSGIHandler())


def django_asgi(*, strict: bool) -> httpx.AsyncBaseTransport:
    from django.core.handlers.asgi import ASGIHandler  # noqa: PLC0415 - one framework a process

    set_up_django(strict=strict)
    return httpx.ASGITransport(behind_gateway(ASGIHandler()))


def flask_app(*, strict: bool) -> httpx.BaseTransport:
    import flask  # noqa: PLC0415 - one framework a process
    import werkzeug  # noqa: PLC0415

    from origin_sdk.flask import CacheFields  # noqa: PLC0415

    app = flask.Flask("shop")
    app.config.update(ORIGIN_SDK_STRICT=strict, PROPAGATE_EXCEPTIONS=True, SECRET_KEY=SECRET)

    @app.before_request
    def remember_key() -> None:
        if flask.request.args["read"] == "a key, through a middleware outside":
            flask.g.key = flask.request.headers.get("x-api-key")

    @app.after_request
    def show_key(response: Any) -> Any:
        if flask.request.args["read"] == ON_THE_WAY_OUT:
            response.headers["X-Shown"] = flask.request.headers.get("x-api-key", "")
        return response

    CacheFields(app)

    def respond() -> Any:
        request, row = flask.request, flask.request.args
        readers: dict[str, Callable[[], object]] = {
            "nothing": lambda: None,
            "the URL": lambda: (
                request.url,
                request.args,
                request.host,
                flask.url_for("respond", _external=True),
            ),
            "a condition": lambda: (request.if_none_match, request.range),
            "a cookie": lambda: request.cookies.get("jwt"),
            "all cookies": lambda: {**request.cookies},
            "the field cookie": lambda: request.environ.get("HTTP_COOKIE"),
            "whether there is a cookie": lambda: "Cookie" in request.headers,
            "a cookie, in a template": lambda: flask.render_template_string("{{ request.cookies.jwt }}"),
            "a key": lambda: request.headers.get("X-API-Key"),
            "a key, raw": lambda: request.environ.get("HTTP_X_API_KEY"),
            "a key, through a middleware outside": lambda: flask.g.key,
            ON_THE_WAY_OUT: lambda: None,
            "authorization": lambda: request.authorization,
            "a language": lambda: request.accept_languages.best,
            "every field": lambda: dict(request.headers),
            "every field, raw": lambda: {**request.environ},
            "every value": lambda: list(request.headers.values()),
            "the session": lambda: flask.session.get("user"),
            "the user of the server": lambda: request.remote_user,
            "the address": lambda: request.remote_addr,
            "the address, raw": lambda: request.environ.get("REMOTE_ADDR"),
            "a forwarded address": lambda: request.access_route,
            "what a server put there": lambda: request.environ.get("auth.user"),
        }
        names = {"request": request, "session": flask.session, "flask": flask, "werkzeug": werkzeug}
        readers = Readers(readers, names)
        fields = answer(row["read"], row, readers)
        if row["as"] in {"parts", "stream"}:
            made = flask.stream_with_context(parts(row["read"], row, readers))
            return flask.Response(made, int(row["status"]), fields)
        if row["as"] == "exception":
            flask.abort(flask.Response(b"whole", int(row["status"]), fields))
        return flask.Response(b"whole", int(row["status"]), fields)

    app.add_url_rule("/", view_func=respond, methods=["GET", "HEAD"])
    return httpx.WSGITransport(app)


FRAMEWORKS: dict[str, Callable[..., Any]] = {
    "FastAPI": fastapi_app,
    "Django": django_wsgi,
    "Django, asynchronous": django_asgi,
    "Flask": flask_app,
}


def outcome(response: httpx.Response) -> str:
    """Return for whom a response is, by what shared caches go by."""
    fields = [response.headers.get(name, "") for name in ("cache-control", "cdn-cache-control")]
    if fields[0] == "private, no-store" and fields[1] in {"", "private, no-store"}:
        return "private"
    return (
        "shared"
        if "max-age" in fields[1] or "public" in fields[0]
        else "nothing"
        if fields == ["", ""]
        else str(fields)
    )


async def outcomes(transport: Any, rows: list[list[str]]) -> list[str]:
    found = []
    is_sync = isinstance(transport, httpx.BaseTransport)
    client: Any = (httpx.Client if is_sync else httpx.AsyncClient)(
        transport=transport, base_url="http://shop.example"
    )
    for read, said, status, kind, who in rows:
        params = {"read": read, "said": said, "status": status, "as": kind}
        path = f"/{read}" if read in PARAMETERS else "/"
        method = "HEAD" if kind == "head" else "GET"
        try:
            asked = client.request(method, path, params=params, headers=CLIENTS[who])
            response = asked if is_sync else await asked
            found.append(outcome(response) if response.status_code == int(status) else str(response))
        except NotCacheable as error:
            found.append(str(error))
    return found


if __name__ == "__main__":
    make, modes = FRAMEWORKS[sys.argv[1]], json.load(sys.stdin)
    found = {mode: asyncio.run(outcomes(make(strict=mode == "strict"), rows)) for mode, rows in modes.items()}
    print(json.dumps(found))  # noqa: T201 - what it is for
