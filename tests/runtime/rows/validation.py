"""What is stale is validated, and freshened or replaced: RFC 9111 section 4.3."""

from __future__ import annotations

from tests.runtime.http_rows import ASKED, FETCHED, REUSED, VALIDATED, Row, at, cc, get, says
from tests.runtime.rows.terms import (
    AFTER,
    ETAG,
    HOUR,
    KEPT,
    MODIFIED,
    OVER,
    SHORT,
    THEN,
    WEAK,
    A,
    B,
    if_none,
    stale_then,
    unchanged,
)

NEW = {"status": 200, "body": b"reply 2"}

VALIDATION = [
    Row(
        "an ETag is asked about",
        "4.3.1",
        stale_then(unchanged(HOUR, ETAG)),
        [
            get(FETCHED),
            get(
                VALIDATED, pause=OVER, origin_sees={"If-None-Match": '"a"', "If-Modified-Since": None}, **KEPT
            ),
            get(REUSED, **KEPT),
        ],
    ),
    Row(
        "a weak ETag is asked about",
        "4.3.1",
        stale_then(unchanged(HOUR, WEAK), first=(WEAK,)),
        [
            get(FETCHED),
            get(VALIDATED, pause=OVER, origin_sees={"If-None-Match": 'W/"a"'}, **KEPT),
            get(REUSED, **KEPT),
        ],
    ),
    Row(
        "Last-Modified is asked about",
        "4.3.1",
        stale_then(unchanged(HOUR, MODIFIED), first=(MODIFIED,)),
        [
            get(FETCHED),
            get(
                VALIDATED, pause=OVER, origin_sees={"If-Modified-Since": THEN, "If-None-Match": None}, **KEPT
            ),
            get(REUSED, **KEPT),
        ],
    ),
    Row(
        "both are asked about",
        "4.3.1",
        stale_then(unchanged(HOUR, ETAG), first=(ETAG, MODIFIED)),
        [
            get(FETCHED),
            get(
                VALIDATED, pause=OVER, origin_sees={"If-Modified-Since": THEN, "If-None-Match": '"a"'}, **KEPT
            ),
            get(REUSED, **KEPT),
        ],
    ),
    Row(
        "two tags aren't asked about, as they would be alternatives",
        "4.3.1",
        [cc(SHORT, ETAG, ("ETag", '"b"'))],
        [get(FETCHED), get(FETCHED, pause=OVER)],
    ),
    Row(
        "a tag that would mean any isn't asked about",
        "4.3.1",
        [cc(SHORT, ("ETag", "*"))],
        [get(FETCHED), get(FETCHED, pause=OVER)],
    ),
    Row(
        "beside two tags the date is asked about",
        "4.3.1",
        [cc(SHORT, ETAG, ("ETag", '"b"'), MODIFIED)],
        [
            get(FETCHED),
            get(VALIDATED, pause=OVER, origin_sees={"If-None-Match": None, "If-Modified-Since": THEN}),
        ],
    ),
    Row(
        "a tag that isn't UTF-8 matches no other",
        "4.3.2",
        [cc(HOUR, ("ETag", '"\xe9"'))],
        [get(FETCHED), get(ASKED, ("If-None-Match", '"\xe8"'), status=200)],
    ),
    Row(
        "without a validator it is fetched again",
        "4.3.1",
        stale_then(cc(HOUR), first=()),
        [get(FETCHED), get(FETCHED, pause=OVER, **NEW), get(REUSED, **NEW)],
    ),
    Row(
        "the client's own tag isn't asked about with another stored",
        "4.3.1",
        stale_then(unchanged(HOUR, ETAG)),
        [get(FETCHED), get(VALIDATED, if_none('"z"'), pause=OVER, status=200, body=b"reply 1")],
    ),
    Row(
        "a 304 lengthens freshness",
        "4.3.4",
        stale_then(unchanged("max-age=3", ETAG), cc(HOUR)),
        [
            get(FETCHED),
            get(VALIDATED, pause=OVER, **KEPT),
            get(REUSED, pause=0.5, **KEPT),
            get(VALIDATED, pause=3.0, status=200, body=b"reply 3"),
        ],
    ),
    Row(
        "a 304 without freshness of its own keeps what there was",
        "4.3.4",
        [cc("max-age=2", ETAG), says(ETAG, ("Date", at(0)), status=304)],
        [get(FETCHED), get(VALIDATED, pause=3.1, **KEPT), get(REUSED, **KEPT)],
    ),
    Row(
        "a 304 sets the age back",
        "4.3.4",
        stale_then(unchanged(HOUR, ETAG)),
        [get(FETCHED), get(VALIDATED, pause=OVER, age=(0, 1)), get(REUSED, age=(0, 3))],
    ),
    Row(
        "a 304 with an Age has that age",
        "4.3.4",
        stale_then(unchanged(HOUR, ETAG, ("Age", "500"))),
        [get(FETCHED), get(VALIDATED, pause=OVER, age=(500, 502)), get(REUSED, age=(500, 504))],
    ),
    Row(
        "a 304 without validators speaks of what was asked about",
        "4.3.4",
        stale_then(unchanged(HOUR)),
        [get(FETCHED), get(VALIDATED, pause=OVER, **KEPT), get(REUSED, **KEPT)],
    ),
    Row(
        "a 304 with another strong ETag speaks of another response",
        "4.3.4",
        stale_then(unchanged(HOUR, ("ETag", '"b"')), cc(HOUR, ("ETag", '"b"'))),
        [get(FETCHED), get(ASKED, pause=OVER, status=200, body=b"reply 3"), get(REUSED, body=b"reply 3")],
    ),
    Row(
        "a 304 with another weak ETag speaks of another response",
        "4.3.4",
        stale_then(unchanged(HOUR, ("ETag", 'W/"b"')), cc(HOUR, ("ETag", '"b"'))),
        [get(FETCHED), get(ASKED, pause=OVER, status=200, body=b"reply 3")],
    ),
    Row(
        "a 304 with another Last-Modified speaks of another response",
        "4.3.4",
        stale_then(unchanged(HOUR, ("Last-Modified", AFTER)), cc(HOUR), first=(MODIFIED,)),
        [get(FETCHED), get(ASKED, pause=OVER, status=200, body=b"reply 3")],
    ),
    Row(
        "a 304 with the weak form of the tag",
        "4.3.4",
        stale_then(unchanged(HOUR, WEAK)),
        [get(FETCHED), get(VALIDATED, pause=OVER, **KEPT), get(REUSED, **KEPT)],
    ),
    Row(
        "a 304 updates stored fields",
        "3.2",
        stale_then(
            unchanged(
                HOUR,
                ETAG,
                ("X-A", "new"),
                ("Set-Cookie", "b=2"),
                ("Content-Location", "/new"),
                ("Expires", AFTER),
            ),
            first=(ETAG, ("X-A", "old"), ("X-B", "kept"), ("Expires", THEN)),
        ),
        [
            get(FETCHED),
            get(VALIDATED, pause=OVER, shows={"X-A": "new", "X-B": "kept", "Cache-Control": HOUR}),
            get(
                REUSED,
                shows={
                    "X-A": "new",
                    "X-B": "kept",
                    "Cache-Control": HOUR,
                    "Content-Location": "/new",
                    "Expires": AFTER,
                    "Set-Cookie": "b=2",
                },
            ),
        ],
    ),
    Row(
        "a 304 adds fields",
        "3.2",
        stale_then(unchanged(HOUR, ETAG, ("X-A", "1"), ("X-A", "2"))),
        [get(FETCHED), get(VALIDATED, pause=OVER), get(REUSED, shows={"X-A": "1, 2"})],
    ),
    Row(
        "a 304 doesn't update Content-Length",
        "3.2",
        stale_then(unchanged(HOUR, ETAG, ("Content-Length", "999"))),
        [
            get(FETCHED),
            get(VALIDATED, pause=OVER, shows={"Content-Length": "7"}, **KEPT),
            get(REUSED, shows={"Content-Length": "7"}, **KEPT),
        ],
    ),
    Row(
        "a 304 doesn't update the coding or the range",
        "3.2",
        stale_then(unchanged(HOUR, ETAG, ("Content-Encoding", "x-own"), ("Content-Range", "bytes 0-1/2"))),
        [
            get(FETCHED),
            get(VALIDATED, pause=OVER, **KEPT),
            get(REUSED, shows={"Content-Encoding": None, "Content-Range": None}),
        ],
    ),
    Row(
        "a 304 updates Content-Type",
        "3.2",
        stale_then(
            unchanged(HOUR, ETAG, ("Content-Type", "text/x-new")),
            first=(ETAG, ("Content-Type", "text/x-old")),
        ),
        [get(FETCHED), get(VALIDATED, pause=OVER), get(REUSED, shows={"Content-Type": "text/x-new"})],
    ),
    Row(
        "a 304 doesn't store fields of one connection",
        "3.2",
        stale_then(unchanged(HOUR, ETAG, ("Connection", "X-A"), ("X-A", "1"))),
        [get(FETCHED), get(VALIDATED, pause=OVER), get(REUSED, shows={"X-A": None})],
    ),
    Row(
        "a 304 with no-store isn't stored",
        "3",
        stale_then(unchanged("no-store", ETAG)),
        [get(FETCHED), get(VALIDATED, pause=OVER, **KEPT), get(ASKED)],
    ),
    Row(
        "a 304 that changes Vary changes what it answers",
        "4.3.4",
        [
            cc(SHORT, ETAG),
            cc(HOUR, ETAG, ("Vary", "X-A"), status=304),
            cc(HOUR, ("ETag", '"b"'), ("Vary", "X-A")),
        ],
        [
            get(FETCHED, A),
            get(VALIDATED, A, pause=OVER, **KEPT),
            get(REUSED, A, **KEPT),
            get(ASKED, B, status=200, body=b"reply 3"),
        ],
    ),
    Row(
        "a 200 replaces what was stored",
        "4.3.3",
        stale_then(cc(HOUR, ("ETag", '"b"'))),
        [
            get(FETCHED),
            get(VALIDATED, pause=OVER, shows={"ETag": '"b"'}, **NEW),
            get(REUSED, shows={"ETag": '"b"'}, **NEW),
        ],
    ),
    Row(
        "a 200 that isn't stored doesn't bring back the old one",
        "4.3.3",
        stale_then(cc("no-store")),
        [get(FETCHED), get(VALIDATED, pause=OVER, **NEW), get(ASKED, status=200, body=b"reply 3")],
    ),
    Row(
        "a 404 replaces what was stored",
        "4.3.3",
        stale_then(cc(HOUR, status=404)),
        [get(FETCHED), get(VALIDATED, pause=OVER, status=404), get(REUSED, status=404)],
    ),
    Row(
        "a 404 that isn't stored is handed on",
        "4.3.3",
        stale_then(says(status=404)),
        [get(FETCHED), get(VALIDATED, pause=OVER, status=404), get(ASKED, status=404)],
    ),
    Row(
        "a redirect replaces what was stored",
        "4.3.3",
        stale_then(cc(HOUR, ("Location", "/x"), status=301)),
        [get(FETCHED), get(VALIDATED, pause=OVER, status=301), get(REUSED, status=301)],
    ),
    Row(
        "a redirect with a validator is validated",
        "4.3.1",
        [cc(SHORT, ETAG, ("Location", "/x"), status=301), unchanged(HOUR, ETAG)],
        [get(FETCHED), get(VALIDATED, pause=OVER, status=301), get(REUSED, status=301)],
    ),
    Row(
        "a 404 with a validator is validated",
        "4.3.1",
        [cc(SHORT, ETAG, status=404), unchanged(HOUR, ETAG)],
        [get(FETCHED), get(VALIDATED, pause=OVER, status=404), get(REUSED, status=404)],
    ),
]
