"""Entity tags stay the same where a middleware compresses, on whichever side of CacheFields it stands."""

import asyncio
import gzip
import itertools
from collections.abc import Callable
from typing import Any

import fastapi
import flask
import httpx
import pytest
from starlette.middleware.gzip import GZipMiddleware

import origin_sdk.asgi
import origin_sdk.flask
from origin_sdk.responses import Draft, Exchanged, cache_for, drafting, finish

BODY = b"a product, at length; " * 100


def draft() -> Draft:
    with drafting() as made:
        cache_for(60)
    return made


def etag_of(body: bytes, **fields: str) -> str:
    response = {name.replace("_", "-"): value for name, value in fields.items()}
    return finish(draft(), Exchanged("GET", {}, 200, response, body), strict=True).fields.get("etag", "")


def compressed(padding: int = 0, *, level: int = 6) -> bytes:
    return gzip.compress(BODY, level, mtime=padding)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(compressed(1), compressed(2), id="at another time"),
        pytest.param(compressed(level=1), compressed(level=9), id="by another level"),
        pytest.param(
            compressed(), gzip.compress(BODY[:100]) + gzip.compress(BODY[100:]), id="in two members"
        ),
        pytest.param(gzip.compress(BODY * 500), gzip.compress(BODY * 500, 1), id="large"),
    ],
)
def test_what_is_compressed_has_the_tag_of_its_content(one: bytes, other: bytes) -> None:
    assert one != other
    assert etag_of(one, content_encoding="gzip") == etag_of(other, content_encoding="GZIP ")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(gzip.compress(BODY + b"!"), id="other content"),
        pytest.param(b"not gzip", id="not gzip after all"),
        pytest.param(compressed()[:-100], id="cut off"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_other_content_has_another_tag(other: bytes) -> None:
    assert etag_of(compressed(), content_encoding="gzip") != etag_of(other, content_encoding="gzip")


def test_the_tag_of_what_was_compressed_is_weak_and_otherwise_the_same() -> None:
    assert etag_of(compressed(), content_encoding="gzip") == f"W/{etag_of(BODY)}"
    assert not etag_of(BODY, content_encoding="br").startswith("W/")


class Asking:
    """A client of an ASGI application that is used like one without."""

    def __init__(self, app: Any) -> None:
        self._transport = httpx.ASGITransport(app)

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://shop.example") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())


def fastapi_app(*, is_outside: bool) -> Any:
    app = fastapi.FastAPI()
    both: list[Any] = [GZipMiddleware, origin_sdk.asgi.CacheFields]
    for middleware in reversed(both) if is_outside else both:  # what is added last stands outside
        app.add_middleware(middleware)

    @app.get("/")
    def read() -> fastapi.Response:
        cache_for(60)
        return fastapi.Response(BODY)

    return Asking(app)


def flask_app(*, is_outside: bool) -> Any:
    app = flask.Flask("shop")
    times = itertools.count()

    def compress(response: flask.Response) -> flask.Response:
        if "gzip" in flask.request.headers.get("accept-encoding", "") and response.status_code == 200:
            response.set_data(gzip.compress(response.get_data(), mtime=next(times)))
            response.headers["Content-Encoding"] = "gzip"
            response.vary.add("Accept-Encoding")
        return response

    # What is registered first comes last.
    if is_outside:
        app.after_request(compress)
        origin_sdk.flask.CacheFields(app)
    else:
        origin_sdk.flask.CacheFields(app)
        app.after_request(compress)

    @app.get("/")
    def read() -> flask.Response:
        cache_for(60)
        return flask.Response(BODY)

    return httpx.Client(transport=httpx.WSGITransport(app), base_url="http://shop.example")


@pytest.mark.parametrize("make", [fastapi_app, flask_app])
@pytest.mark.parametrize("is_outside", [True, False], ids=["gzip outside", "gzip inside"])
def test_a_client_that_has_it_gets_a_304(make: Callable[..., Any], *, is_outside: bool) -> None:
    client = make(is_outside=is_outside)
    first, second = client.get("/"), client.get("/")
    assert first.headers["content-encoding"] == "gzip"
    assert first.content == BODY
    assert first.headers["etag"] == second.headers["etag"]
    assert client.get("/", headers={"if-none-match": first.headers["etag"]}).status_code == 304
    plain = client.get("/", headers={"accept-encoding": "identity"})
    assert plain.headers["etag"].removeprefix("W/") == first.headers["etag"].removeprefix("W/")
    assert client.get("/", headers={"if-none-match": plain.headers["etag"]}).status_code == 304
