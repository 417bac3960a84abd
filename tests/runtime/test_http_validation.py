"""RFC 9111 sections 3.3 to 4.3, RFC 9110 sections 13 to 15, RFC 5861, RFC 9211: selecting and validating."""

from __future__ import annotations

import re

import pytest

from tests.runtime.http_rows import (
    ASKED,
    FETCHED,
    REFRESHED,
    REUSED,
    VALIDATED,
    Do,
    Make,
    Results,
    Row,
    Value,
    at,
    cc,
    cut,
    do,
    get,
    hang_up,
    in_chunks,
    parameters,
    raw,
    reset,
    says,
)
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import Pause, head

HOUR = "max-age=3600"
SHORT = "max-age=1"
OVER = 2.2
ETAG = ("ETag", '"a"')
WEAK = ("ETag", 'W/"a"')
THEN = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
MODIFIED = ("Last-Modified", THEN)
A, B, C = ("X-A", "1"), ("X-A", "2"), ("X-A", "3")


def varies(*vary: str, more: tuple[tuple[str, Value], ...] = ()) -> list[Make]:
    return [cc(HOUR, *(("Vary", value) for value in vary), *more)]


def language(value: str) -> tuple[str, Value]:
    return ("Accept-Language", value)


VARY = [
    Row(
        "a response is reused for the same field value",
        "4.1",
        varies("X-A"),
        [get(FETCHED, A), get(REUSED, A)],
    ),
    Row(
        "a response isn't reused for another field value",
        "4.1",
        varies("X-A"),
        [get(FETCHED, A), get(ASKED, B)],
    ),
    Row(
        "a response isn't reused where the field is absent",
        "4.1",
        varies("X-A"),
        [get(FETCHED, A), get(ASKED)],
    ),
    Row(
        "a response isn't reused where the field was absent",
        "4.1",
        varies("X-A"),
        [get(FETCHED), get(ASKED, A)],
    ),
    Row("absent matches absent", "4.1", varies("X-A"), [get(FETCHED), get(REUSED)]),
    Row("an empty field isn't an absent one", "4.1", varies("X-A"), [get(FETCHED), get(ASKED, ("X-A", ""))]),
    Row(
        "variants live side by side",
        "4.1",
        varies("X-A"),
        [get(FETCHED, A), get(FETCHED, B), get(FETCHED, C), get(REUSED, A), get(REUSED, B), get(REUSED, C)],
    ),
    Row(
        "a variant that is fetched again leaves the others alone",
        "4.1",
        varies("X-A"),
        [
            get(FETCHED, A),
            get(FETCHED, B),
            get(FETCHED, A, ("Cache-Control", "no-cache")),
            get(REUSED, B, body=b"reply 2"),
            get(REUSED, A, body=b"reply 3"),
        ],
    ),
    Row("names of Vary in any case", "4.1", varies("x-a"), [get(FETCHED, A), get(REUSED, A), get(ASKED, B)]),
    Row(
        "fields of a request in any case",
        "4.1",
        varies("X-A"),
        [get(FETCHED, ("x-a", "1")), get(REUSED, ("X-A", "1"))],
    ),
    Row(
        "fields that aren't in Vary don't matter",
        "4.1",
        varies("X-A"),
        [get(FETCHED, A, ("X-B", "1")), get(REUSED, A, ("X-B", "2"))],
    ),
    Row("without Vary no field matters", "4.1", [cc(HOUR)], [get(FETCHED, A), get(REUSED, B)]),
    Row(
        "several names must all match",
        "4.1",
        varies("X-A, X-B"),
        [
            get(FETCHED, A, ("X-B", "1")),
            get(REUSED, A, ("X-B", "1")),
            get(ASKED, A, ("X-B", "2")),
            get(ASKED, A),
        ],
    ),
    Row(
        "several names in any order",
        "4.1",
        [cc(HOUR, ("Vary", "X-A, X-B")), cc(HOUR, ("Vary", "X-B, X-A"))],
        [
            get(FETCHED, A, ("X-B", "1")),
            get(FETCHED, B, ("X-B", "1")),
            get(REUSED, A, ("X-B", "1")),
            get(REUSED, B, ("X-B", "1")),
        ],
    ),
    Row(
        "several names on several lines",
        "4.1",
        varies("X-A", "X-B"),
        [
            get(FETCHED, A, ("X-B", "1")),
            get(REUSED, A, ("X-B", "1")),
            get(ASKED, A, ("X-B", "2")),
            get(ASKED, B, ("X-B", "1")),
        ],
    ),
    Row(
        "names with odd spaces and empty members",
        "4.1",
        varies(" ,X-A ,\t, X-B,"),
        [get(FETCHED, A), get(REUSED, A), get(ASKED, B)],
    ),
    Row("* matches nothing", "4.1", varies("*"), [get(FETCHED), get(ASKED)]),
    Row("* among names matches nothing", "4.1", varies("X-A, *"), [get(FETCHED, A), get(ASKED, A)]),
    Row("* on a second line matches nothing", "4.1", varies("X-A", "*"), [get(FETCHED, A), get(ASKED, A)]),
    Row("an empty Vary matches all", "4.1", varies(""), [get(FETCHED, A), get(REUSED, B)]),
    Row(
        "lines of one field are combined",
        "4.1",
        varies("X-A"),
        [get(FETCHED, ("X-A", "1"), ("X-A", "2")), get(REUSED, ("X-A", "1, 2"))],
    ),
    Row(
        "spaces between members don't matter",
        "4.1",
        varies("X-A"),
        [get(FETCHED, ("X-A", "1,2")), get(REUSED, ("X-A", "1 ,  2"))],
    ),
    Row(
        "the order of unknown members matters",
        "4.1",
        varies("X-A"),
        [get(FETCHED, ("X-A", "1,2")), get(ASKED, ("X-A", "2,1"))],
    ),
    Row(
        "the case of unknown members matters",
        "4.1",
        varies("X-A"),
        [get(FETCHED, ("X-A", "a")), get(ASKED, ("X-A", "A"))],
    ),
    Row(
        "the case of languages doesn't matter",
        "4.1",
        varies("Accept-Language"),
        [get(FETCHED, language("en-GB, DE;q=0.5")), get(REUSED, language("en-gb, de;q=0.5"))],
    ),
    Row(
        "spaces around a weight don't matter",
        "4.1",
        varies("Accept-Language"),
        [get(FETCHED, language("en,de ; q=0.5")), get(REUSED, language("en, de;q=0.5"))],
    ),
    Row(
        "a weight of one is no weight",
        "4.1",
        varies("Accept-Language"),
        [get(FETCHED, language("en;q=1.0, de;q=0.5")), get(REUSED, language("en, de;q=0.500"))],
    ),
    Row(
        "languages are ordered by weight",
        "4.1",
        varies("Accept-Language"),
        [get(FETCHED, language("de;q=0.5, en")), get(REUSED, language("en, de;q=0.5"))],
    ),
    Row(
        "the order of languages of one weight matters",
        "4.1",
        varies("Accept-Language"),
        [get(FETCHED, language("en, de")), get(ASKED, language("de, en"))],
    ),
    Row(
        "another weight is another request",
        "4.1",
        varies("Accept-Language"),
        [get(FETCHED, language("en, de;q=0.5")), get(ASKED, language("en, de;q=0.4"))],
    ),
    Row(
        "another language is another request",
        "4.1",
        varies("Accept-Language"),
        [get(FETCHED, language("en")), get(ASKED, language("de"))],
    ),
    Row(
        "the order of media types doesn't matter",
        "4.1",
        varies("Accept"),
        [
            get(FETCHED, ("Accept", "text/html, text/plain;q=0.5")),
            get(REUSED, ("Accept", "text/plain; q=0.5,TEXT/HTML")),
        ],
    ),
    Row(
        "parameters of media types matter",
        "4.1",
        varies("Accept"),
        [get(FETCHED, ("Accept", "text/html;level=1")), get(ASKED, ("Accept", "text/html;level=2"))],
    ),
    Row(
        "the newest of several that match",
        "4.1",
        [cc(HOUR, ("Vary", "X-A")), cc(HOUR, ("Vary", "X-B"))],
        [get(FETCHED, A), get(FETCHED, B, ("X-B", "1")), get(REUSED, A, ("X-B", "1"), body=b"reply 2")],
    ),
    Row(
        "a response that forgot Vary serves whom no variant fits",
        "4.1",
        [cc(HOUR, ("Vary", "X-A")), cc(HOUR)],
        [get(FETCHED, A), get(FETCHED, B), get(REUSED, C, body=b"reply 2")],
    ),
    Row(
        "Vary after none",
        "4.1",
        [cc(HOUR), cc(HOUR, ("Vary", "X-A"))],
        [get(FETCHED, A), get(FETCHED, A, ("Cache-Control", "no-cache")), get(REUSED, A, body=b"reply 2")],
    ),
    Row(
        "a stale variant is validated with its own ETag",
        "4.3.1",
        [
            cc(SHORT, ("Vary", "X-A"), ("ETag", '"1"')),
            cc(HOUR, ("Vary", "X-A"), ("ETag", '"2"')),
            cc(HOUR, ("ETag", '"1"'), ("Vary", "X-A"), status=304),
        ],
        [
            get(FETCHED, A),
            get(FETCHED, B),
            get(VALIDATED, A, pause=OVER, status=200, body=b"reply 1", origin_sees={"If-None-Match": '"1"'}),
            get(REUSED, A, body=b"reply 1"),
            get(REUSED, B, body=b"reply 2"),
        ],
    ),
    Row("Vary on Accept-Encoding", "4.1", varies("Accept-Encoding"), [get(FETCHED), get(REUSED)]),
    Row(
        "Vary: Cookie keeps clients apart",
        "4.1",
        varies("Cookie"),
        [
            get(FETCHED, ("Cookie", "a=1")),
            get(REUSED, ("Cookie", "a=1")),
            get(ASKED, ("Cookie", "a=2")),
            get(ASKED),
        ],
    ),
    Row(
        "Vary: Origin keeps sites apart",
        "4.1",
        varies("Origin"),
        [get(FETCHED, ("Origin", "https://a.example")), get(ASKED, ("Origin", "https://b.example"))],
    ),
    Row(
        "Vary is shown",
        "4.1",
        varies("X-A"),
        [get(FETCHED, A, shows={"Vary": "X-A"}), get(REUSED, A, shows={"Vary": "X-A"})],
    ),
]


def if_none(value: str) -> tuple[str, Value]:
    return ("If-None-Match", value)


def since(value: Value) -> tuple[str, Value]:
    return ("If-Modified-Since", value)


TAGGED = [cc(HOUR, ETAG)]
WEAKLY_TAGGED = [cc(HOUR, WEAK)]
DATED = [cc(HOUR, MODIFIED)]
SAME = Do(outcome=REUSED, status=304)
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


def stale_then(*later: Make, first: tuple[tuple[str, Value], ...] = (ETAG,)) -> list[Make]:
    """What goes stale, and what the origin says when it is asked again."""
    return [cc(SHORT, *first), *later]


def unchanged(value: str, *others: tuple[str, Value]) -> Make:
    return cc(value, *others, status=304)


KEPT = {"status": 200, "body": b"reply 1"}
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


def heads(value: str, etag: str, length: str, *others: tuple[str, str]) -> Make:
    """A reply to HEAD: the length of a body that isn't there."""
    lines = [("Cache-Control", value), ("Content-Length", length), *others]
    return raw(head(200, [*lines, ("ETag", etag)] if etag else lines))


HEADS = [
    Row(
        "HEAD is answered from a stored GET",
        "4",
        [cc(HOUR, ETAG, ("X-A", "1"))],
        [
            get(FETCHED),
            do(
                "HEAD", REUSED, status=200, body=b"", shows={"Content-Length": "7", "ETag": '"a"', "X-A": "1"}
            ),
        ],
    ),
    Row(
        "HEAD of a stored 404",
        "4",
        [cc(HOUR, status=404)],
        [get(FETCHED), do("HEAD", REUSED, status=404, body=b"")],
    ),
    Row(
        "HEAD has preconditions too",
        "4.3.2",
        TAGGED,
        [get(FETCHED), do("HEAD", REUSED, if_none('"a"'), status=304)],
    ),
    Row(
        "HEAD doesn't make a response for GET",
        "4.3.5",
        [cc(HOUR, body=b"")],
        [do("HEAD", ASKED), get(FETCHED)],
    ),
    Row(
        "HEAD passes through",
        "9.3.2 of 9110",
        [cc(HOUR, ETAG)],
        [do("HEAD", ASKED, status=200, body=b"", shows={"ETag": '"a"'})],
    ),
    Row(
        "HEAD of what is stale asks the origin",
        "4",
        stale_then(unchanged(HOUR, ETAG)),
        [get(FETCHED), do("HEAD", ASKED, pause=OVER, status=200), get(REUSED, **KEPT)],
    ),
    Row(
        "HEAD that agrees freshens what is stored",
        "4.3.5",
        stale_then(heads(HOUR, '"a"', "7", ("X-A", "new"))),
        [get(FETCHED), do("HEAD", ASKED, pause=OVER, status=200), get(REUSED, shows={"X-A": "new"}, **KEPT)],
    ),
    Row(
        "HEAD that agrees freshens what is fresh too",
        "4.3.5",
        [cc(HOUR, ETAG, ("X-A", "old")), heads(HOUR, '"a"', "7", ("X-A", "new"))],
        [
            get(FETCHED),
            do("HEAD", ASKED, ("Cache-Control", "no-cache")),
            get(REUSED, shows={"X-A": "new"}, **KEPT),
        ],
    ),
    Row(
        "HEAD without validators that has the same length agrees",
        "4.3.5",
        [cc(HOUR, ("X-A", "old")), heads(HOUR, "", "7", ("X-A", "new"))],
        [
            get(FETCHED),
            do("HEAD", ASKED, ("Cache-Control", "no-cache")),
            get(REUSED, shows={"X-A": "new"}, **KEPT),
        ],
    ),
    Row(
        "HEAD with another tag makes the stored response stale",
        "4.3.5",
        [cc(HOUR, ETAG), cc(HOUR, ("ETag", '"b"'))],
        [get(FETCHED), do("HEAD", ASKED, ("Cache-Control", "no-cache")), get(ASKED)],
    ),
    Row(
        "HEAD with another date makes the stored response stale",
        "4.3.5",
        [cc(HOUR, MODIFIED), cc(HOUR, ("Last-Modified", AFTER))],
        [get(FETCHED), do("HEAD", ASKED, ("Cache-Control", "no-cache")), get(ASKED)],
    ),
    Row(
        "HEAD with another length makes the stored response stale",
        "4.3.5",
        [cc(HOUR, ETAG), cc(HOUR, ETAG, body=b"longer than before")],
        [get(FETCHED), do("HEAD", ASKED, ("Cache-Control", "no-cache")), get(ASKED)],
    ),
    Row(
        "HEAD that fails leaves what is stored alone",
        "4.3.5",
        [cc(HOUR, ETAG), says(status=503)],
        [get(FETCHED), do("HEAD", ASKED, ("Cache-Control", "no-cache")), get(REUSED, **KEPT)],
    ),
]

DIGITS = b"0123456789"
WHOLE = [cc(HOUR, ETAG, MODIFIED, body=DIGITS)]


def asked(value: str) -> tuple[str, Value]:
    return ("Range", value)


def part(value: str, body: bytes, *more: tuple[str, Value]) -> Do:
    """A range of a stored response."""
    return get(REUSED, asked(f"bytes={value}"), *more, status=206, body=body)


ALL = {"status": 200, "body": DIGITS}


def piece(
    first: int, last: int, *others: tuple[str, Value], tag: tuple[str, Value] = ETAG, value: str = HOUR
) -> Make:
    """A 206 of the origin's."""
    content = ("Content-Range", f"bytes {first}-{last}/10")
    return cc(value, content, tag, *others, status=206, body=DIGITS[first : last + 1])


FIRST_HALF, SECOND_HALF = asked("bytes=0-4"), asked("bytes=5-9")

RANGES = [
    Row(
        "the first bytes",
        "14.2 of 9110",
        WHOLE,
        [
            get(FETCHED),
            get(
                REUSED,
                asked("bytes=0-3"),
                status=206,
                body=b"0123",
                shows={"Content-Range": "bytes 0-3/10", "Content-Length": "4", "ETag": '"a"'},
            ),
        ],
    ),
    Row("bytes in the middle", "14.2 of 9110", WHOLE, [get(FETCHED), part("4-6", b"456")]),
    Row("one byte", "14.2 of 9110", WHOLE, [get(FETCHED), part("9-9", b"9")]),
    Row(
        "from a byte to the end",
        "14.2 of 9110",
        WHOLE,
        [
            get(FETCHED),
            get(REUSED, asked("bytes=7-"), status=206, body=b"789", shows={"Content-Range": "bytes 7-9/10"}),
        ],
    ),
    Row(
        "the last bytes",
        "14.2 of 9110",
        WHOLE,
        [
            get(FETCHED),
            get(REUSED, asked("bytes=-3"), status=206, body=b"789", shows={"Content-Range": "bytes 7-9/10"}),
        ],
    ),
    Row("more last bytes than there are", "14.2 of 9110", WHOLE, [get(FETCHED), part("-99", DIGITS)]),
    Row("beyond the end", "14.2 of 9110", WHOLE, [get(FETCHED), part("8-99", b"89")]),
    Row(
        "a range that can't be satisfied",
        "15.5.17 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=10-12"), status=416, shows={"Content-Range": "bytes */10"})],
    ),
    Row(
        "the last zero bytes",
        "15.5.17 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=-0"), status=416)],
    ),
    Row(
        "a range that ends before it begins is ignored",
        "14.1.1 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=5-3"), **ALL)],
    ),
    Row(
        "a range of another unit is ignored",
        "14.2 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("lines=1-2"), **ALL)],
    ),
    Row(
        "a range that can't be read is ignored",
        "14.2 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=a-b"), **ALL)],
    ),
    Row(
        "a range without numbers is ignored",
        "14.2 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=-"), **ALL)],
    ),
    Row(
        "several ranges may be ignored",
        "14.2 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=0-1,8-9"), **ALL)],
    ),
    Row(
        "a range with 5000 digits",
        "14.2 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=0-" + "9" * 5000), status=206, body=DIGITS)],
    ),
    Row(
        "a unit in another case",
        "14.1 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("Bytes=0-1"), status=206)],
    ),
    Row(
        "HEAD has no ranges",
        "14.2 of 9110",
        WHOLE,
        [get(FETCHED), do("HEAD", REUSED, asked("bytes=0-1"), status=200)],
    ),
    Row(
        "a 404 has no ranges",
        "14.2 of 9110",
        [cc(HOUR, status=404, body=DIGITS)],
        [get(FETCHED), get(REUSED, asked("bytes=0-1"), status=404, body=DIGITS)],
    ),
    Row(
        "If-Range of the strong tag",
        "13.1.5 of 9110",
        WHOLE,
        [get(FETCHED), part("0-3", b"0123", ("If-Range", '"a"'))],
    ),
    Row(
        "If-Range of another tag",
        "13.1.5 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=0-3"), ("If-Range", '"b"'), **ALL)],
    ),
    Row(
        "If-Range of a weak tag",
        "13.1.5 of 9110",
        [cc(HOUR, WEAK, body=DIGITS)],
        [get(FETCHED), get(REUSED, asked("bytes=0-3"), ("If-Range", 'W/"a"'), **ALL)],
    ),
    Row(
        "If-Range of the same date",
        "13.1.5 of 9110",
        WHOLE,
        [get(FETCHED), part("0-3", b"0123", ("If-Range", THEN))],
    ),
    Row(
        "If-Range of a later date",
        "13.1.5 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=0-3"), ("If-Range", AFTER), **ALL)],
    ),
    Row(
        "If-Range of an earlier date",
        "13.1.5 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=0-3"), ("If-Range", BEFORE), **ALL)],
    ),
    Row(
        "If-Range without Range is ignored",
        "13.1.5 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, ("If-Range", '"b"'), **ALL)],
    ),
    Row(
        "If-None-Match comes before Range",
        "13.2.2 of 9110",
        WHOLE,
        [get(FETCHED), get(REUSED, asked("bytes=0-3"), if_none('"a"'), status=304)],
    ),
    Row(
        "a stale response is validated, and then a range of it sent",
        "4.3",
        [cc(SHORT, ETAG, body=DIGITS), unchanged(HOUR, ETAG)],
        [get(FETCHED), get(VALIDATED, asked("bytes=0-3"), pause=OVER, status=206, body=b"0123")],
    ),
    Row(
        "with nothing stored, a 200 to a range request is stored whole",
        "3.3",
        WHOLE,
        [get(ASKED, asked("bytes=0-3")), get(REUSED, **ALL)],
    ),
    Row(
        "with nothing stored, the range reaches the origin",
        "14.2 of 9110",
        [piece(0, 4)],
        [
            get(
                ASKED,
                FIRST_HALF,
                status=206,
                body=b"01234",
                shows={"Content-Range": "bytes 0-4/10"},
                origin_sees={"Range": "bytes=0-4"},
            )
        ],
    ),
    Row(
        "a stored part is reused for the same range",
        "3.3",
        [piece(0, 4)],
        [
            get(ASKED, FIRST_HALF),
            get(REUSED, FIRST_HALF, status=206, body=b"01234", shows={"Content-Range": "bytes 0-4/10"}),
        ],
    ),
    Row(
        "a stored part is reused for a range within it",
        "3.3",
        [piece(2, 7)],
        [
            get(ASKED, asked("bytes=2-7")),
            get(REUSED, asked("bytes=3-5"), status=206, body=b"345", shows={"Content-Range": "bytes 3-5/10"}),
        ],
    ),
    Row(
        "a stored part is reused for the last bytes within it",
        "3.3",
        [piece(5, 9)],
        [get(ASKED, SECOND_HALF), get(REUSED, asked("bytes=-3"), status=206, body=b"789")],
    ),
    Row(
        "a stored part is reused from a byte to the end",
        "3.3",
        [piece(5, 9)],
        [get(ASKED, asked("bytes=-5")), get(REUSED, asked("bytes=6-"), status=206, body=b"6789")],
    ),
    Row(
        "a stored part isn't reused for a range beyond it",
        "3.3",
        [piece(0, 4), piece(3, 7)],
        [get(ASKED, FIRST_HALF), get(ASKED, asked("bytes=3-7"), status=206, body=b"34567")],
    ),
    Row(
        "a stored part isn't reused for the whole",
        "3.3",
        [piece(0, 4), cc(HOUR, ("ETag", '"b"'), body=b"new")],
        [get(ASKED, FIRST_HALF), get(ASKED, status=200, body=b"new"), get(REUSED, status=200, body=b"new")],
    ),
    Row(
        "a stored part that lacks its end is completed",
        "3.4",
        [piece(0, 4), piece(5, 9)],
        [
            get(ASKED, FIRST_HALF),
            get(ASKED, origin_sees={"Range": "bytes=5-9", "If-Range": '"a"'}, **ALL),
            get(REUSED, **ALL),
        ],
    ),
    Row(
        "a stored part that lacks its beginning is completed",
        "3.4",
        [piece(5, 9), piece(0, 4)],
        [
            get(ASKED, asked("bytes=-5")),
            get(ASKED, origin_sees={"Range": "bytes=0-4", "If-Range": '"a"'}, **ALL),
            get(REUSED, **ALL),
        ],
    ),
    Row(
        "parts that meet are combined",
        "3.4",
        [piece(0, 4), piece(5, 9)],
        [get(ASKED, FIRST_HALF), get(ASKED, SECOND_HALF, status=206, body=b"56789"), get(REUSED, **ALL)],
    ),
    Row(
        "parts that overlap are combined",
        "3.4",
        [piece(0, 5), piece(4, 7)],
        [
            get(ASKED, asked("bytes=0-5")),
            get(ASKED, asked("bytes=4-7"), status=206, body=b"4567"),
            get(REUSED, asked("bytes=1-7"), status=206, body=b"1234567"),
        ],
    ),
    Row(
        "parts with other tags aren't combined",
        "3.4",
        [piece(0, 4), piece(5, 9, tag=("ETag", '"b"')), cc(HOUR, ("ETag", '"b"'), body=b"newer digits")],
        [
            get(ASKED, FIRST_HALF),
            get(ASKED, SECOND_HALF, status=206),
            get(ASKED, status=200, body=b"newer digits"),
        ],
    ),
    Row(
        "parts with weak tags aren't combined",
        "3.4",
        [piece(0, 4, tag=WEAK), cc(HOUR, WEAK, body=DIGITS)],
        [get(ASKED, FIRST_HALF), get(ASKED, origin_sees={"Range": None}, **ALL)],
    ),
    Row(
        "a part with no-store isn't stored",
        "3",
        [piece(0, 4, value="no-store")],
        [get(ASKED, FIRST_HALF), get(ASKED, FIRST_HALF)],
    ),
    Row(
        "a part without freshness isn't reused",
        "4.2",
        [piece(0, 4, value="foo")],
        [get(ASKED, FIRST_HALF), get(ASKED, FIRST_HALF)],
    ),
    Row(
        "a stale part isn't reused",
        "4.2",
        [piece(0, 4, value=SHORT)],
        [get(ASKED, FIRST_HALF), get(ASKED, FIRST_HALF, pause=OVER, status=206)],
    ),
    Row(
        "a part without Content-Range isn't stored",
        "15.3.7 of 9110",
        [cc(HOUR, ETAG, status=206, body=b"01234")],
        [get(ASKED, FIRST_HALF), get(ASKED, FIRST_HALF)],
    ),
    Row(
        "a part with a broken Content-Range isn't stored",
        "14.4 of 9110",
        [cc(HOUR, ("Content-Range", "bytes 4-0/10"), status=206, body=b"01234")],
        [get(ASKED, FIRST_HALF), get(ASKED, FIRST_HALF)],
    ),
    Row(
        "a part shorter than its Content-Range isn't stored",
        "14.4 of 9110",
        [cc(HOUR, ("Content-Range", "bytes 0-4/10"), status=206, body=b"0")],
        [get(ASKED, FIRST_HALF), get(ASKED, FIRST_HALF)],
    ),
    Row(
        "a part of unknown length is reused for a range within it",
        "3.3",
        [cc(HOUR, ("Content-Range", "bytes 0-4/*"), status=206, body=b"01234")],
        [
            get(ASKED, FIRST_HALF),
            get(REUSED, asked("bytes=1-2"), status=206, body=b"12", shows={"Content-Range": "bytes 1-2/*"}),
            get(ASKED, asked("bytes=-2")),
        ],
    ),
    Row(
        "a part that is everything isn't sent as it is for the whole",
        "3.3",
        [piece(0, 9)],
        [get(ASKED, asked("bytes=0-")), get(status=200, body=DIGITS)],
    ),
    Row(
        "several ranges are for the origin",
        "14.2 of 9110",
        [cc(HOUR, ("Content-Type", "multipart/byteranges; boundary=x"), status=206, body=b"--x--")],
        [
            get(
                ASKED,
                asked("bytes=0-1,4-5"),
                status=206,
                body=b"--x--",
                origin_sees={"Range": "bytes=0-1,4-5"},
            ),
            get(ASKED, asked("bytes=0-1,4-5")),
        ],
    ),
    Row(
        "a 416 of the origin's isn't reused",
        "15.5.17 of 9110",
        [cc(HOUR, ("Content-Range", "bytes */10"), status=416), cc(HOUR, body=DIGITS)],
        [get(ASKED, asked("bytes=20-30"), status=416), get(ASKED, **ALL)],
    ),
    Row(
        "a 416 leaves the stored part alone",
        "15.5.17 of 9110",
        [piece(0, 4), cc(HOUR, ("Content-Range", "bytes */10"), status=416)],
        [
            get(ASKED, FIRST_HALF),
            get(ASKED, asked("bytes=4-30"), status=416),
            get(REUSED, FIRST_HALF, status=206, body=b"01234"),
        ],
    ),
    Row(
        "a part varies as the whole does",
        "4.1",
        [piece(0, 4, ("Vary", "X-A"))],
        [get(ASKED, FIRST_HALF, A), get(REUSED, FIRST_HALF, A), get(ASKED, FIRST_HALF, B)],
    ),
    Row("HEAD isn't answered from a part", "3.3", [piece(0, 4)], [get(ASKED, FIRST_HALF), do("HEAD", ASKED)]),
    Row(
        "an unsafe method invalidates a part",
        "4.4",
        [piece(0, 4), says(), piece(0, 4)],
        [get(ASKED, FIRST_HALF), do("POST", ASKED), get(ASKED, FIRST_HALF)],
    ),
    Row(
        "If-Range of another tag isn't answered from a part",
        "13.1.5 of 9110",
        [piece(0, 4), cc(HOUR, body=DIGITS)],
        [get(ASKED, FIRST_HALF), get(ASKED, FIRST_HALF, ("If-Range", '"z"'), **ALL)],
    ),
]

SWR = "max-age=1, stale-while-revalidate=600"
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

ROWS = [*VARY, *CONDITIONS, *VALIDATION, *HEADS, *RANGES, *STALE, *CACHE_STATUS]


@pytest.fixture(scope="module")
def results(strict_url: str, running_origin: ScriptedOrigin) -> Results:
    return Results(strict_url, running_origin, ROWS)


@pytest.mark.parametrize("row", parameters(ROWS))
def test_validation(row: Row, results: Results) -> None:
    results.check(row)
