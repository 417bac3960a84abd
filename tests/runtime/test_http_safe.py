"""What the safe profile, the default, does more carefully than the RFCs ask, and the windows that it adds."""

from __future__ import annotations

import re

import pytest

from tests.runtime.http_rows import (
    ASKED,
    FETCHED,
    REUSED,
    VALIDATED,
    Make,
    Results,
    Row,
    Value,
    at,
    cc,
    get,
    hang_up,
    parameters,
    says,
)
from tests.runtime.origin import ScriptedOrigin

HOUR = "max-age=3600"
SHORT = "max-age=1"
OVER = 2.2
ETAG = ("ETag", '"a"')
COOKIE = ("Cookie", "session=1")
AUTHORIZED = ("Authorization", "Bearer t")
MISS = [get(FETCHED), get(ASKED)]


def set_cookie(value: str) -> list[Make]:
    return [cc(value, ("Set-Cookie", "a=1"))]


def one(value: str, *others: tuple[str, Value]) -> list[Make]:
    return [cc(value, *others)]


ROWS = [
    Row("a plain response is reused", "safe", one(HOUR), [get(FETCHED), get(REUSED)]),
    Row("a response that sets a cookie isn't stored", "safe", set_cookie(HOUR), MISS),
    Row("nor is a public one that sets a cookie", "safe", set_cookie("public, max-age=3600"), MISS),
    Row(
        "the cookie reaches the client",
        "safe",
        set_cookie(HOUR),
        [get(FETCHED, shows={"Set-Cookie": "a=1"})],
    ),
    Row(
        "a 304 doesn't store a cookie",
        "safe",
        [cc(SHORT, ETAG), cc(HOUR, ETAG, ("Set-Cookie", "a=1"), status=304)],
        [get(FETCHED), get(VALIDATED, pause=OVER), get(shows={"Set-Cookie": None})],
    ),
    Row(
        "a response to a request with cookies isn't stored",
        "safe",
        one(HOUR),
        [get(FETCHED, COOKIE), get(ASKED, COOKIE), get(ASKED)],
    ),
    Row(
        "unless it is public",
        "safe",
        one("public, max-age=3600"),
        [get(FETCHED, COOKIE), get(REUSED, COOKIE), get(REUSED)],
    ),
    Row(
        "or has a lifetime for shared caches",
        "safe",
        one("s-maxage=3600"),
        [get(FETCHED, COOKIE), get(REUSED)],
    ),
    Row(
        "or varies by them",
        "safe",
        one(HOUR, ("Vary", "Cookie")),
        [get(FETCHED, COOKIE), get(REUSED, COOKIE), get(ASKED, ("Cookie", "session=2"))],
    ),
    Row(
        "what is stored for no one by name isn't shown to credentials",
        "safe",
        one(HOUR),
        [get(FETCHED), get(ASKED, AUTHORIZED), get(REUSED)],
    ),
    Row(
        "what is public is",
        "safe",
        one("public, max-age=3600"),
        [get(FETCHED), get(REUSED, AUTHORIZED)],
    ),
    Row(
        "a failing origin is stood in for by default",
        "safe",
        [cc(SHORT), says(status=503)],
        [get(FETCHED), get(ASKED, pause=OVER, status=200, body=b"reply 1")],
    ),
    Row(
        "so is one that hangs up",
        "safe",
        [cc(SHORT), hang_up()],
        [get(FETCHED), get(ASKED, pause=OVER, status=200, body=b"reply 1")],
    ),
    Row(
        "but not by what an upstream cache had kept for longer than its lifetime",
        "safe",
        [cc(SHORT, ("Age", "9")), says(status=503)],
        [get(FETCHED), get(ASKED, status=503)],
    ),
    Row(
        "but not where must-revalidate forbids it",
        "safe",
        [cc("max-age=1, must-revalidate"), says(status=503)],
        [get(FETCHED), get(ASKED, pause=OVER, status=503)],
    ),
    Row(
        "nor for longer than the response says",
        "safe",
        [cc("max-age=1, stale-if-error=0"), says(status=503)],
        [get(FETCHED), get(ASKED, pause=OVER, status=503)],
    ),
    *(
        Row(f"a {status} isn't stored, whatever its freshness", "safe", [cc(HOUR, status=status)], MISS)
        for status in (500, 501, 502, 503, 504, 599)
    ),
    *(
        Row(
            f"a {status} with freshness is stored",
            "safe",
            [cc(HOUR, status=status)],
            [get(FETCHED), get(REUSED, status=status)],
        )
        for status in (301, 302, 404, 410)
    ),
    Row(
        "no lifetime is guessed",
        "safe",
        [says(("Date", at(0)), ("Last-Modified", at(-9_999_999)))],
        MISS,
    ),
    Row("what is stale at once and can't be validated isn't stored", "safe", one("max-age=0"), MISS),
    Row(
        "what is stale at once and may stand in for errors is",
        "safe",
        [cc("max-age=0, stale-if-error=60"), says(status=500)],
        [get(FETCHED), get(ASKED, status=200, body=b"reply 1")],
    ),
    Row(
        "what can be validated is",
        "safe",
        one("max-age=0", ETAG),
        [get(FETCHED), get(VALIDATED)],
    ),
    Row(
        "lifetimes are shortened a little, and by chance",
        "safe",
        one(HOUR),
        [get(FETCHED), get(REUSED, cache_status=r"ttl=3[45]\d\d;")],
    ),
    Row(
        "a client doesn't choose the host that the origin sees",
        "safe",
        one(HOUR),
        [
            get(
                FETCHED,
                ("X-Forwarded-Host", "evil.example"),
                ("X-Original-URL", "/evil"),
                origin_sees={"X-Forwarded-Host": re.compile(r"^127\.0\.0\.1"), "X-Original-URL": None},
            )
        ],
    ),
    Row(
        "a part is stored as the whole would be",
        "safe",
        [cc(HOUR, ETAG, ("Content-Range", "bytes 0-1/10"), status=206, body=b"01")],
        [get(ASKED, ("Range", "bytes=0-1")), get(REUSED, ("Range", "bytes=1-1"), status=206, body=b"1")],
    ),
    Row(
        "no part with a cookie is stored",
        "safe",
        [cc(HOUR, ("Set-Cookie", "a=1"), ("Content-Range", "bytes 0-1/10"), status=206, body=b"01")],
        [get(ASKED, ("Range", "bytes=0-1")), get(ASKED, ("Range", "bytes=0-1"))],
    ),
]


@pytest.fixture(scope="module")
def results(safe_url: str, running_origin: ScriptedOrigin) -> Results:
    return Results(safe_url, running_origin, ROWS)


@pytest.mark.parametrize("row", parameters(ROWS))
def test_safe(row: Row, results: Results) -> None:
    results.check(row)
