"""What is stale is sent where it may be: RFC 9111 section 4.2.4, RFC 5861."""

from __future__ import annotations

from tests.runtime.http_rows import (
    ASKED,
    FETCHED,
    REFRESHED,
    REUSED,
    VALIDATED,
    Make,
    Row,
    at,
    cc,
    cut,
    do,
    get,
    hang_up,
    raw,
    reset,
    says,
)
from tests.runtime.replies import Pause, head
from tests.runtime.rows.terms import ETAG, HOUR, OVER, SHORT, SWR, unchanged

SIE = "max-age=1, stale-if-error=600"

FAILURES: dict[str, Make] = {
    **{f"a {status}": says(status=status) for status in (500, 502, 503, 504)},
    "a closed connection": hang_up(),
    "a reset connection": reset(),
}

STALE = [
    Row(
        "stale-while-revalidate sends what is stale and refreshes it",
        "5861 3",
        [cc(SWR), cc(HOUR)],
        [get(FETCHED), get(REFRESHED, pause=OVER, body=b"reply 1"), get(REUSED, body=b"reply 2")],
    ),
    Row(
        "stale-while-revalidate validates",
        "5861 3",
        [cc(SWR, ETAG), unchanged(HOUR, ETAG)],
        [get(FETCHED), get(REFRESHED, pause=OVER, body=b"reply 1"), get(REUSED, body=b"reply 1", age=(0, 3))],
    ),
    Row(
        "stale-while-revalidate keeps its age",
        "5861 3",
        [cc(SWR), cc(HOUR)],
        [get(FETCHED), get(REFRESHED, pause=OVER, age=(2, 4), body=b"reply 1")],
    ),
    Row(
        "stale-while-revalidate ends",
        "5861 3",
        [cc("max-age=1, stale-while-revalidate=1")],
        [get(FETCHED), get(ASKED, pause=3.2, body=b"reply 2")],
    ),
    Row(
        "must-revalidate wins over stale-while-revalidate",
        "4.2.4",
        [cc(SWR + ", must-revalidate")],
        [get(FETCHED), get(ASKED, pause=OVER, body=b"reply 2")],
    ),
    Row(
        "proxy-revalidate wins over stale-while-revalidate",
        "4.2.4",
        [cc(SWR + ", proxy-revalidate")],
        [get(FETCHED), get(ASKED, pause=OVER, body=b"reply 2")],
    ),
    Row(
        "no-cache wins over stale-while-revalidate",
        "4.2.4",
        [cc(SWR + ", no-cache", ETAG)],
        [get(FETCHED), get(VALIDATED, body=b"reply 2")],
    ),
    Row(
        "a failed refresh leaves what is stale in use",
        "5861 3",
        [cc(SWR), says(status=500)],
        [get(FETCHED), get(REFRESHED, pause=OVER, body=b"reply 1"), get(body=b"reply 1", status=200)],
    ),
    *(
        Row(
            f"stale-if-error stands in for {name}",
            "5861 4",
            [cc(SIE), failure],
            [get(FETCHED), get(ASKED, pause=OVER, status=200, body=b"reply 1", age=(2, 5))],
        )
        for name, failure in FAILURES.items()
    ),
    *(
        Row(
            f"a request's stale-if-error stands in for {name}",
            "5861 4",
            [cc(SHORT), failure],
            [
                get(FETCHED),
                get(ASKED, ("Cache-Control", "stale-if-error=600"), pause=OVER, status=200, body=b"reply 1"),
            ],
        )
        for name, failure in FAILURES.items()
    ),
    *(
        Row(
            f"a disconnected cache sends what is stale for {name}",
            "4.2.4",
            [cc(SHORT), failure],
            [get(FETCHED), get(ASKED, pause=OVER, status=200, body=b"reply 1")],
        )
        for name, failure in FAILURES.items()
    ),
    *(
        Row(
            f"{name} isn't hidden by what {directive} forbids",
            "4.2.4",
            [cc(f"{value}, {directive}", ETAG), failure],
            [get(FETCHED), get(ASKED, pause=OVER, status=status)],
        )
        for directive, value in (
            ("must-revalidate", SIE),
            ("proxy-revalidate", SIE),
            ("no-cache", SIE),
            ("s-maxage=1", SHORT),
        )
        for name, failure, status in (
            ("a 503", says(status=503), 503),
            ("a closed connection", hang_up(), 502),
        )
    ),
    Row(
        "stale-if-error ends",
        "5861 4",
        [cc("max-age=1, stale-if-error=1, must-understand"), says(status=404)],
        [get(FETCHED), get(ASKED, pause=3.2, status=404)],
    ),
    Row(
        "stale-if-error doesn't stand in for a 404",
        "5861 4",
        [cc(SIE), says(status=404)],
        [get(FETCHED), get(ASKED, pause=OVER, status=404)],
    ),
    Row(
        "stale-while-revalidate goes on while the refresh is under way",
        "5861 3",
        [cc(SWR), raw(Pause(1.0), head(200, [("Cache-Control", HOUR), ("Content-Length", "3")]), b"new")],
        [
            get(FETCHED),
            get(REFRESHED, pause=OVER, body=b"reply 1"),
            get(REUSED, body=b"reply 1"),
            get(REUSED, pause=1.2, body=b"new"),
        ],
    ),
    Row(
        "a request's max-age takes nothing stale, not even while it is refreshed",
        "5.2.1.1",
        [cc(SWR)],
        [get(FETCHED), get(ASKED, ("Cache-Control", "max-age=600"), pause=OVER, body=b"reply 2")],
    ),
    Row(
        "HEAD is answered from what is stale, and refreshed by a GET",
        "5861 3",
        [cc(SWR), cc(HOUR)],
        [get(FETCHED), do("HEAD", REFRESHED, pause=OVER, status=200), get(REUSED, body=b"reply 2")],
    ),
    Row(
        "a targeted stale-while-revalidate counts",
        "9213 2.2",
        [says(("CDN-Cache-Control", SWR), ("Date", at(0))), cc(HOUR)],
        [get(FETCHED), get(REFRESHED, pause=OVER, body=b"reply 1"), get(REUSED, body=b"reply 2")],
    ),
    Row(
        "a targeted must-revalidate counts",
        "9213 2.2",
        [says(("CDN-Cache-Control", "max-age=1, must-revalidate"), ("Date", at(0))), says(status=503)],
        [get(FETCHED), get(ASKED, pause=OVER, status=503)],
    ),
    Row(
        "an error isn't hidden by a stale error",
        "5861 4",
        [cc("max-age=1, stale-if-error=600", status=500), says(status=503)],
        [get(FETCHED, status=500), get(ASKED, pause=OVER, status=503)],
    ),
    Row(
        "a later answer takes over again",
        "5861 4",
        [cc(SIE), says(status=503), cc(HOUR)],
        [
            get(FETCHED),
            get(ASKED, pause=OVER, body=b"reply 1"),
            get(ASKED, body=b"reply 3"),
            get(REUSED, body=b"reply 3"),
        ],
    ),
    Row(
        "a failure with nothing stored is handed on",
        "4.3.3",
        [says(status=503, body=b"sorry")],
        [get(FETCHED, status=503, body=b"sorry")],
    ),
    Row(
        "a closed connection with nothing stored is a 502",
        "15.6.3 of 9110",
        [hang_up()],
        [get(FETCHED, status=502)],
    ),
    Row(
        "a response that breaks off gives way to what is stored",
        "4.2.4",
        [cc(SIE), cut(("Cache-Control", HOUR))],
        [get(FETCHED), get(ASKED, pause=OVER, status=200, body=b"reply 1")],
    ),
    Row(
        "a 500 with freshness doesn't replace a good response",
        "4.3.3",
        [cc(SHORT), cc(HOUR, status=500)],
        [get(FETCHED), get(ASKED, pause=OVER, body=b"reply 1", status=200)],
    ),
]
