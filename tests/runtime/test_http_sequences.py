"""Rules that meet: what one request leaves behind for the next one."""

from __future__ import annotations

import pytest

from tests.runtime.http_rows import (
    ASKED,
    FETCHED,
    REFRESHED,
    REUSED,
    VALIDATED,
    Make,
    Results,
    Row,
    cc,
    do,
    get,
    in_chunks,
    parameters,
    says,
)
from tests.runtime.origin import ScriptedOrigin

HOUR = "max-age=3600"
SWR = "max-age=1, stale-while-revalidate=60"
OVER = 2.2
ETAG = ("ETag", '"a"')
DIGITS = b"0123456789"
A, B = ("X-A", "1"), ("X-B", "1")
FIRST_HALF = ("Range", "bytes=0-4")
LARGE = b"ab" * 900_000


def first_half(value: str) -> Make:
    return cc(value, ETAG, ("Content-Range", "bytes 0-4/10"), status=206, body=DIGITS[:5])


ROWS = [
    Row(
        "no-cache is validated anew after each 304",
        "5.2.2.4",
        [cc("no-cache", ETAG), cc("no-cache", ETAG, status=304)],
        [get(FETCHED), get(VALIDATED, body=b"reply 1"), get(VALIDATED, body=b"reply 1")],
    ),
    Row(
        "a response that may be stored after one that may not",
        "3",
        [in_chunks(("Cache-Control", "no-store")), in_chunks(("Cache-Control", HOUR))],
        [get(FETCHED), get(FETCHED), get(REUSED)],
    ),
    Row(
        "a range of what may be stored after what may not",
        "3.3",
        [cc("no-store"), cc(HOUR, ETAG, body=DIGITS)],
        [get(FETCHED), get(FETCHED, ("Range", "bytes=0-1")), get(REUSED, body=DIGITS)],
    ),
    Row(
        "a precondition goes to the origin where nothing is stored, and its 304 to the client alone",
        "4.3.2",
        [cc("no-store"), cc(HOUR, ETAG, status=304), cc(HOUR, ETAG)],
        [
            get(FETCHED),
            get(ASKED, ("If-None-Match", '"a"'), status=304),
            get(ASKED, status=200),
            get(REUSED, status=200),
        ],
    ),
    Row(
        "what was deleted and made again",
        "4.4",
        [cc(HOUR), says(status=204), cc(HOUR)],
        [get(FETCHED), do("DELETE", ASKED, status=204), get(FETCHED), get(REUSED)],
    ),
    Row(
        "a range of what is stale, while the whole is refreshed",
        "5861 3",
        [cc(SWR, ETAG, body=DIGITS), cc(HOUR, ETAG, body=DIGITS)],
        [
            get(FETCHED),
            get(REFRESHED, ("Range", "bytes=0-1"), pause=OVER, status=206, body=b"01"),
            get(REUSED, body=DIGITS),
        ],
    ),
    Row(
        "a stale part that is refreshed by the whole",
        "5861 3",
        [first_half(SWR), cc(HOUR, ETAG, body=DIGITS)],
        [
            get(ASKED, FIRST_HALF, status=206),
            get(REFRESHED, FIRST_HALF, pause=OVER, status=206, body=DIGITS[:5]),
            get(REUSED, status=200, body=DIGITS),
        ],
    ),
    Row(
        "a stale part that is refreshed by a 304 stays a part",
        "5861 3",
        [first_half(SWR), cc(HOUR, ETAG, status=304), cc(HOUR, ETAG, body=DIGITS)],
        [
            get(ASKED, FIRST_HALF, status=206),
            get(REFRESHED, FIRST_HALF, pause=OVER, status=206, body=DIGITS[:5]),
            get(REUSED, FIRST_HALF, status=206, body=DIGITS[:5]),
            get(ASKED, status=200, body=DIGITS),
        ],
    ),
    Row(
        "HEAD, GET, HEAD",
        "4.3.5",
        [cc(HOUR)],
        [do("HEAD", ASKED), get(FETCHED), do("HEAD", REUSED)],
    ),
    Row(
        "HEAD of a stored 204",
        "3",
        [says(("Cache-Control", HOUR), status=204)],
        [get(FETCHED, status=204), get(REUSED, status=204), do("HEAD", REUSED, status=204)],
    ),
    Row(
        "a 304 that adds a name to Vary",
        "4.3.4",
        [
            cc("max-age=1", ETAG, ("Vary", "X-A")),
            cc(HOUR, ETAG, ("Vary", "X-A, X-B"), status=304),
            cc(HOUR, ("ETag", '"b"'), ("Vary", "X-A, X-B")),
        ],
        [
            get(FETCHED, A),
            get(VALIDATED, A, pause=OVER, body=b"reply 1"),
            get(REUSED, A, body=b"reply 1"),
            get(ASKED, A, B, body=b"reply 3"),
            get(REUSED, A, B, body=b"reply 3"),
        ],
    ),
    Row(
        "a range of a body that lies in KV alone",
        "3.3",
        [cc(HOUR, ETAG, body=LARGE)],
        [
            get(FETCHED, body=LARGE),
            get(REUSED, ("Range", "bytes=1000000-1000003"), pause=0.5, status=206, body=b"abab"),
            get(REUSED, ("If-None-Match", '"a"'), status=304),
        ],
    ),
    Row(
        "a large body in chunks",
        "3",
        [in_chunks(("Cache-Control", HOUR), body=(LARGE, LARGE))],
        [get(FETCHED, body=LARGE + LARGE), get(REUSED, pause=1.0, body=LARGE + LARGE)],
    ),
]


@pytest.fixture(scope="module")
def results(strict_url: str, running_origin: ScriptedOrigin) -> Results:
    return Results(strict_url, running_origin, ROWS)


@pytest.mark.parametrize("row", parameters(ROWS))
def test_sequences(row: Row, results: Results) -> None:
    results.check(row)
