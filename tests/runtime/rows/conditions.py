"""A client's preconditions, answered from what is stored: RFC 9110 section 13."""

from __future__ import annotations

import re

from tests.runtime.http_rows import (
    ASKED,
    FETCHED,
    REUSED,
    VALIDATED,
    Row,
    Value,
    at,
    cc,
    get,
    in_chunks,
    says,
)
from tests.runtime.rows.terms import (
    AFTER,
    BEFORE,
    ETAG,
    HOUR,
    MODIFIED,
    OVER,
    SHORT,
    TAGGED,
    THEN,
    WEAK,
    if_none,
)


def since(value: Value) -> tuple[str, Value]:
    return ("If-Modified-Since", value)


WEAKLY_TAGGED = [cc(HOUR, WEAK)]
DATED = [cc(HOUR, MODIFIED)]
NOT_IN_304 = {"Content-Length": None, "Content-Type": None}

CONDITIONS = [
    Row(
        "If-None-Match of the same tag",
        "4.3.2",
        TAGGED,
        [
            get(FETCHED),
            get(
                REUSED,
                if_none('"a"'),
                status=304,
                body=b"",
                shows={"ETag": '"a"', "Cache-Control": HOUR, "Date": re.compile("GMT")},
            ),
        ],
    ),
    Row(
        "If-None-Match of another tag",
        "4.3.2",
        TAGGED,
        [get(FETCHED), get(REUSED, if_none('"b"'), status=200, body=b"reply 1")],
    ),
    Row(
        "If-None-Match compares weakly, the request's tag weak",
        "4.3.2",
        TAGGED,
        [get(FETCHED), get(REUSED, if_none('W/"a"'), status=304)],
    ),
    Row(
        "If-None-Match compares weakly, the stored tag weak",
        "4.3.2",
        WEAKLY_TAGGED,
        [get(FETCHED), get(REUSED, if_none('"a"'), status=304)],
    ),
    Row(
        "If-None-Match of a list",
        "4.3.2",
        TAGGED,
        [get(FETCHED), get(REUSED, if_none('"x", W/"y" ,"a"'), status=304)],
    ),
    Row(
        "If-None-Match on several lines",
        "4.3.2",
        TAGGED,
        [get(FETCHED), get(REUSED, if_none('"x"'), if_none('"a"'), status=304)],
    ),
    Row(
        "If-None-Match of a list without it",
        "4.3.2",
        TAGGED,
        [get(FETCHED), get(REUSED, if_none('"x", "y"'), status=200)],
    ),
    Row("If-None-Match: *", "4.3.2", TAGGED, [get(FETCHED), get(REUSED, if_none("*"), status=304)]),
    Row(
        "If-None-Match: * without a tag",
        "4.3.2",
        [cc(HOUR)],
        [get(FETCHED), get(REUSED, if_none("*"), status=304)],
    ),
    Row(
        "a tag with a comma in it",
        "4.3.2",
        [cc(HOUR, ("ETag", '"a,b"'))],
        [
            get(FETCHED),
            get(REUSED, if_none('"x", "a,b"'), status=304),
            get(REUSED, if_none('"a", "b"'), status=200),
        ],
    ),
    Row(
        "a tag that ends another",
        "4.3.2",
        [cc(HOUR, ("ETag", '"a"'))],
        [get(FETCHED), get(REUSED, if_none('"b"a"'), status=200)],
    ),
    Row(
        "an empty tag",
        "4.3.2",
        [cc(HOUR, ("ETag", '""'))],
        [get(FETCHED), get(REUSED, if_none('""'), status=304), get(REUSED, if_none('"a"'), status=200)],
    ),
    Row(
        "a tag without quotes",
        "8.8.3 of 9110",
        [cc(HOUR, ("ETag", "abc"))],
        [get(FETCHED), get(REUSED, if_none('"x"'), status=200)],
    ),
    Row(
        "tags are compared with their case",
        "8.8.3 of 9110",
        TAGGED,
        [get(FETCHED), get(REUSED, if_none('"A"'), status=200)],
    ),
    Row(
        "If-Modified-Since of the same date",
        "4.3.2",
        DATED,
        [get(FETCHED), get(REUSED, since(THEN), status=304, body=b"", shows={"Last-Modified": THEN})],
    ),
    Row(
        "If-Modified-Since of a later date",
        "4.3.2",
        DATED,
        [get(FETCHED), get(REUSED, since(AFTER), status=304)],
    ),
    Row(
        "If-Modified-Since of an earlier date",
        "4.3.2",
        DATED,
        [get(FETCHED), get(REUSED, since(BEFORE), status=200)],
    ),
    Row(
        "If-Modified-Since in the form of RFC 850",
        "4.3.2",
        DATED,
        [get(FETCHED), get(REUSED, since("Sunday, 06-Nov-94 08:49:37 GMT"), status=304)],
    ),
    Row(
        "If-Modified-Since in the form of asctime",
        "4.3.2",
        DATED,
        [get(FETCHED), get(REUSED, since("Sun Nov  6 08:49:37 1994"), status=304)],
    ),
    Row(
        "If-Modified-Since that is no date",
        "13.1.3 of 9110",
        DATED,
        [get(FETCHED), get(REUSED, since("whenever"), status=200)],
    ),
    Row(
        "If-Modified-Since against Date, later",
        "4.3.2",
        [cc(HOUR)],
        [get(FETCHED), get(REUSED, since(at(60)), status=304)],
    ),
    Row(
        "If-Modified-Since against Date, earlier",
        "4.3.2",
        [cc(HOUR)],
        [get(FETCHED), get(REUSED, since(at(-600)), status=200)],
    ),
    Row(
        "If-None-Match wins over a matching date",
        "13.1.3 of 9110",
        [cc(HOUR, ETAG, MODIFIED)],
        [get(FETCHED), get(REUSED, if_none('"b"'), since(AFTER), status=200)],
    ),
    Row(
        "If-None-Match wins over a date that doesn't match",
        "13.1.3 of 9110",
        [cc(HOUR, ETAG, MODIFIED)],
        [get(FETCHED), get(REUSED, if_none('"a"'), since(BEFORE), status=304)],
    ),
    Row(
        "304 repeats what 200 would have said of caching",
        "15.4.5 of 9110",
        [
            cc(
                HOUR,
                ETAG,
                ("Vary", "X-A"),
                ("Expires", at(60)),
                ("Content-Location", "/x"),
                ("Content-Type", "text/plain"),
            )
        ],
        [
            get(FETCHED),
            get(
                REUSED,
                if_none('"a"'),
                status=304,
                shows={"Vary": "X-A", "Expires": re.compile("GMT"), "Content-Location": "/x", **NOT_IN_304},
            ),
        ],
    ),
    Row(
        "a 304 has its age",
        "5.1",
        [cc(HOUR, ETAG, ("Age", "100"))],
        [get(FETCHED), get(REUSED, if_none('"a"'), status=304, age=(100, 104))],
    ),
    Row(
        "a 404 has no preconditions",
        "13.2.1 of 9110",
        [cc(HOUR, ETAG, status=404)],
        [get(FETCHED), get(REUSED, if_none('"a"'), status=404)],
    ),
    Row(
        "a 301 has no preconditions",
        "13.2.1 of 9110",
        [cc(HOUR, ETAG, ("Location", "/x"), status=301)],
        [get(FETCHED), get(REUSED, if_none('"a"'), status=301)],
    ),
    Row(
        "with nothing stored the answer fits the precondition",
        "4.3.2",
        TAGGED,
        [get(ASKED, if_none('"a"'), status=304), get(status=200)],
    ),
    Row(
        "with nothing stored another tag gets it all",
        "4.3.2",
        TAGGED,
        [get(ASKED, if_none('"b"'), status=200, body=b"reply 1"), get(REUSED, status=200)],
    ),
    Row(
        "with nothing stored a 304 is handed on",
        "4.3.2",
        [cc(HOUR, ETAG, status=304), cc(HOUR, ETAG)],
        [get(ASKED, if_none('"a"'), status=304), get(ASKED, status=200, body=b"reply 2")],
    ),
    Row(
        "a chunked answer fits the precondition",
        "4.3.2",
        [in_chunks(("Cache-Control", HOUR), ETAG)],
        [get(ASKED, if_none('"a"'), status=304), get(status=200, body=b"onetwo")],
    ),
    Row(
        "If-Match is for the origin",
        "13.1.1 of 9110",
        [cc(HOUR, ETAG), says(status=412)],
        [
            get(FETCHED),
            get(ASKED, ("If-Match", '"b"'), status=412, origin_sees={"If-Match": '"b"'}),
            get(REUSED, status=200),
        ],
    ),
    Row(
        "If-Unmodified-Since is for the origin",
        "13.1.4 of 9110",
        [cc(HOUR, MODIFIED), says(status=412)],
        [get(FETCHED), get(ASKED, ("If-Unmodified-Since", BEFORE), status=412), get(REUSED, status=200)],
    ),
    Row(
        "a stale answer fits the precondition after a 304",
        "4.3.2",
        [cc(SHORT, ETAG), cc(HOUR, ETAG, status=304)],
        [
            get(FETCHED),
            get(VALIDATED, if_none('"a"'), pause=OVER, status=304),
            get(REUSED, status=200, body=b"reply 1"),
        ],
    ),
    Row(
        "a stale answer goes out whole to whom the tag is new",
        "4.3.2",
        [cc(SHORT, ETAG), cc(HOUR, ETAG, status=304)],
        [get(FETCHED), get(VALIDATED, if_none('"old"'), pause=OVER, status=200, body=b"reply 1")],
    ),
    Row(
        "a new answer fits the precondition",
        "4.3.2",
        [cc(SHORT, ETAG), cc(HOUR, ("ETag", '"b"'))],
        [
            get(FETCHED),
            get(VALIDATED, if_none('"b"'), pause=OVER, status=304),
            get(REUSED, status=200, body=b"reply 2"),
        ],
    ),
]
