"""What Cache-Status says of all that: RFC 9211."""

from __future__ import annotations

from tests.runtime.http_rows import (
    ASKED,
    FETCHED,
    REFRESHED,
    REUSED,
    VALIDATED,
    Row,
    cc,
    do,
    get,
    hang_up,
    says,
)
from tests.runtime.rows.terms import (
    ETAG,
    FIRST_HALF,
    HOUR,
    OVER,
    SWR,
    TAGGED,
    A,
    B,
    if_none,
    piece,
    stale_then,
    unchanged,
    varies,
)

OWN = "^EdgeCache; "

CACHE_STATUS = [
    Row(
        "a miss says so",
        "9211 2.2",
        [cc(HOUR)],
        [get(FETCHED, cache_status=OWN + r"fwd=uri-miss; fwd-status=200; .*stored")],
    ),
    Row(
        "a hit says so, and how long it lasts",
        "9211 2.1",
        [cc(HOUR)],
        [get(FETCHED), get(REUSED, cache_status=OWN + r"hit; ttl=3[56]\d\d; key=\"[^\"]+\"; detail=fresh$")],
    ),
    Row(
        "a stale hit has a ttl below zero",
        "9211 2.4",
        [cc(SWR), cc(HOUR)],
        [
            get(FETCHED),
            get(REFRESHED, pause=OVER, cache_status=OWN + r"hit; ttl=-\d+; .*detail=stale-while-revalidate$"),
        ],
    ),
    Row(
        "another variant is a vary-miss",
        "9211 2.2",
        varies("X-A"),
        [get(FETCHED, A), get(ASKED, B, cache_status=OWN + "fwd=vary-miss; ")],
    ),
    Row(
        "a stale response says so",
        "9211 2.2",
        stale_then(unchanged(HOUR, ETAG)),
        [get(FETCHED), get(VALIDATED, pause=OVER, cache_status=OWN + "fwd=stale; fwd-status=304; .*stored")],
    ),
    Row(
        "a request's directive says so",
        "9211 2.2",
        [cc(HOUR)],
        [
            get(FETCHED),
            get(
                ASKED,
                ("Cache-Control", "no-cache"),
                cache_status=OWN + "fwd=request; .*detail=request-no-cache",
            ),
        ],
    ),
    Row(
        "a method says so",
        "9211 2.2",
        [says()],
        [do("POST", ASKED, cache_status=OWN + "fwd=method; fwd-status=200; ")],
    ),
    Row(
        "a bypass says so",
        "9211 2.2",
        [says()],
        [get(ASKED, ("If-Match", '"a"'), cache_status=OWN + "fwd=bypass; fwd-status=200; ")],
    ),
    Row(
        "a part that is missing says so",
        "9211 2.2",
        [piece(0, 4), piece(5, 9)],
        [get(ASKED, FIRST_HALF), get(ASKED, cache_status=OWN + "fwd=partial; fwd-status=206; ")],
    ),
    Row("why it isn't stored", "9211 2.8", [cc("private")], [get(FETCHED, cache_status="detail=private$")]),
    Row(
        "an error of its own says so",
        "9211 2",
        [hang_up()],
        [get(FETCHED, status=502, cache_status=OWN + "fwd=uri-miss; .*detail=origin-unreachable$")],
    ),
    Row(
        "only-if-cached says so",
        "9211 2",
        [cc(HOUR)],
        [get(REUSED, ("Cache-Control", "only-if-cached"), status=504, cache_status="detail=only-if-cached$")],
    ),
    Row(
        "the caches before it stay in front",
        "9211 2",
        [cc(HOUR, ("Cache-Status", "Shield; hit"))],
        [
            get(FETCHED, cache_status="^Shield; hit, EdgeCache; fwd=uri-miss"),
            get(REUSED, cache_status=OWN + "hit"),
        ],
    ),
    Row(
        "the caches before it stay in front where nothing is stored",
        "9211 2",
        [cc("no-store", ("Cache-Status", "Shield; hit"))],
        [get(FETCHED, cache_status="^Shield; hit, EdgeCache; fwd=uri-miss")],
    ),
    Row(
        "a 304 to the client says so",
        "9211 2",
        TAGGED,
        [get(FETCHED), get(REUSED, if_none('"a"'), status=304, cache_status=OWN + "hit; ")],
    ),
]
