"""RFC 9111 sections 3, 4.4 and 5.2, RFC 9875: what is stored, reused at a client's wish, invalidated."""

from __future__ import annotations

import re

import pytest

from tests.runtime.http_rows import (
    ASKED,
    FETCHED,
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
    in_chunks,
    parameters,
    raw,
    raw_head,
    says,
)
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import Close, Pause, head

HOUR = "max-age=3600"
ETAG = ("ETag", '"a"')
HIT = [get(FETCHED), get(REUSED)]
MISS = [get(FETCHED), get(ASKED)]
AUTHORIZED = ("Authorization", "Bearer t")


def directives(value: str, *others: tuple[str, Value]) -> list[Make]:
    return [cc(value, *others)]


DIRECTIVES = [
    Row("no-store isn't stored", "5.2.2.5", directives("no-store"), MISS),
    Row("no-store wins over max-age", "5.2.2.5", directives("max-age=3600, no-store"), MISS),
    Row("no-store wins over public", "5.2.2.5", directives("public, no-store, max-age=3600"), MISS),
    Row("no-store in another case", "5.2.2.5", directives("No-Store, max-age=3600"), MISS),
    Row("no-store with an argument still counts", "5.2.2.5", directives("no-store=1, max-age=3600"), MISS),
    Row("private isn't stored", "5.2.2.7", directives("private, max-age=3600"), MISS),
    Row("private wins over s-maxage", "5.2.2.7", directives("private, s-maxage=3600"), MISS),
    Row("private in another case", "5.2.2.7", directives("PRIVATE, max-age=3600"), MISS),
    Row(
        "private with field names leaves these out",
        "5.2.2.7",
        directives('private="x-a", max-age=3600', ("X-A", "1"), ("X-B", "2")),
        [get(FETCHED), get(REUSED, shows={"X-A": None, "X-B": "2"})],
    ),
    Row(
        "private with and without names is private",
        "5.2.2.7",
        directives('private="x-a", private, max-age=3600'),
        MISS,
    ),
    Row("private with an empty list is private", "5.2.2.7", directives('private="", max-age=3600'), MISS),
    Row(
        "no-cache is validated each time",
        "5.2.2.4",
        directives("no-cache", ETAG),
        [get(FETCHED), get(VALIDATED, origin_sees={"If-None-Match": '"a"'})],
    ),
    Row(
        "no-cache wins over max-age",
        "5.2.2.4",
        directives("max-age=3600, no-cache", ETAG),
        [get(FETCHED), get(VALIDATED)],
    ),
    Row(
        "no-cache wins over s-maxage",
        "5.2.2.4",
        directives("s-maxage=3600, no-cache", ETAG),
        [get(FETCHED), get(VALIDATED)],
    ),
    Row(
        "no-cache wins over Expires",
        "5.2.2.4",
        directives("no-cache", ETAG, ("Expires", at(3600))),
        [get(FETCHED), get(VALIDATED)],
    ),
    Row(
        "no-cache in another case",
        "5.2.2.4",
        directives("No-Cache, max-age=3600", ETAG),
        [get(FETCHED), get(VALIDATED)],
    ),
    Row(
        "no-cache with field names leaves these out",
        "5.2.2.4",
        directives('no-cache="x-a, x-b", max-age=3600', ("X-A", "1"), ("X-B", "2"), ("X-C", "3")),
        [get(FETCHED), get(REUSED, shows={"X-A": None, "X-B": None, "X-C": "3"})],
    ),
    Row(
        "field names in another case",
        "5.2.2.4",
        directives('no-cache="X-A", max-age=3600', ("x-a", "1")),
        [get(FETCHED), get(REUSED, shows={"X-A": None})],
    ),
    Row(
        "a field name as a token",
        "5.2.2.4",
        directives("no-cache=x-a, max-age=3600", ("X-A", "1")),
        [get(FETCHED), get(REUSED, shows={"X-A": None})],
    ),
    Row(
        "no-cache with Set-Cookie leaves the cookie out",
        "5.2.2.4",
        directives('no-cache="set-cookie", max-age=3600', ("Set-Cookie", "a=1")),
        [get(FETCHED, shows={"Set-Cookie": "a=1"}), get(REUSED, shows={"Set-Cookie": None})],
    ),
    Row(
        "no-cache with and without names is no-cache",
        "5.2.2.4",
        directives('no-cache="x-a", no-cache, max-age=3600', ETAG),
        [get(FETCHED), get(VALIDATED)],
    ),
    Row("a no-cache in quotes is no directive", "5.2", directives('foo="no-cache", max-age=3600'), HIT),
    Row(
        "must-revalidate is reused while it is fresh",
        "5.2.2.2",
        directives("max-age=3600, must-revalidate"),
        HIT,
    ),
    Row(
        "proxy-revalidate is reused while it is fresh",
        "5.2.2.8",
        directives("max-age=3600, proxy-revalidate"),
        HIT,
    ),
    Row("public is reused while it is fresh", "5.2.2.9", directives("public, max-age=3600"), HIT),
    Row(
        "no-transform is stored as it came",
        "5.2.2.6",
        [cc("max-age=3600, no-transform", ("Content-Type", "text/plain"), body=b"word " * 4000)],
        [get(FETCHED), get(REUSED, body=b"word " * 4000, shows={"Content-Encoding": None})],
    ),
    Row("immutable is reused while it is fresh", "8246 2", directives("max-age=3600, immutable"), HIT),
    Row(
        "must-understand lifts no-store where the status is known",
        "5.2.2.3",
        directives("no-store, must-understand, max-age=3600"),
        HIT,
    ),
    Row(
        "must-understand keeps an unknown status out",
        "5.2.2.3",
        [cc("must-understand, max-age=3600", status=299)],
        MISS,
    ),
    Row(
        "must-understand and no-store keep an unknown status out",
        "5.2.2.3",
        [cc("no-store, must-understand, max-age=3600", status=299)],
        MISS,
    ),
    Row(
        "must-understand in front of no-store",
        "5.2.2.3",
        directives("must-understand, no-store, max-age=3600"),
        HIT,
    ),
    Row(
        "a response is not stored over a request's no-store",
        "5.2.1.5",
        directives(HOUR),
        [get(FETCHED, ("Cache-Control", "no-store")), get(FETCHED), get(REUSED)],
    ),
    Row(
        "a request's no-store may be answered from the store",
        "5.2.1.5",
        directives(HOUR),
        [get(FETCHED), get(REUSED, ("Cache-Control", "no-store"))],
    ),
]

STALE = [get(FETCHED), get(ASKED, pause=2.3)]
STORED_STATUSES = (
    200,
    201,
    202,
    203,
    204,
    205,
    299,
    300,
    301,
    302,
    303,
    307,
    308,
    400,
    401,
    402,
    403,
    404,
    405,
    406,
    408,
    409,
    410,
    411,
    412,
    413,
    414,
    415,
    416,
    417,
    418,
    421,
    422,
    423,
    424,
    425,
    426,
    451,
    499,
    500,
    501,
    502,
    503,
    504,
    505,
    506,
    507,
    599,
)

STATUSES = [
    *(
        Row(
            f"{status} is reused while it is fresh, and not after",
            "3",
            [cc("max-age=4", ("Location", "/elsewhere"), status=status)],
            [get(FETCHED, status=status), get(REUSED, status=status), get(ASKED, pause=4.4, status=status)],
        )
        for status in STORED_STATUSES
    ),
    *(
        Row(f"{status} without freshness isn't reused", "3", [says(("Date", at(0)), status=status)], MISS)
        for status in (200, 204, 302, 403, 404, 500, 503)
    ),
    Row(
        "206 answers no request for the whole",
        "3.3",
        [cc(HOUR, ("Content-Range", "bytes 0-3/9"), status=206, body=b"part"), cc(HOUR)],
        [get(FETCHED, ("Range", "bytes=0-3"), status=206), get(ASKED, status=200)],
    ),
    Row(
        "304 without a request for it isn't stored",
        "3",
        [cc(HOUR, ETAG, status=304)],
        [get(ASKED, ("If-None-Match", '"a"'), status=304), get(ASKED)],
    ),
    Row(
        "a reason phrase of its own",
        "15 of 9110",
        [says(("Cache-Control", HOUR), reason="Fine With Me")],
        HIT,
    ),
    Row(
        "an informational response comes before the final one",
        "15.2 of 9110",
        [
            raw(
                head(103, [("Link", "</a>")]),
                head(200, [("Cache-Control", HOUR), ("Content-Length", "2")]),
                b"ok",
            )
        ],
        [get(FETCHED, status=200, body=b"ok"), get(REUSED, status=200, body=b"ok", shows={"Link": None})],
    ),
    Row(
        "100 Continue comes before the final one",
        "15.2 of 9110",
        [raw(head(100), head(200, [("Cache-Control", HOUR), ("Content-Length", "2")]), b"ok")],
        [get(FETCHED, body=b"ok"), get(REUSED, body=b"ok")],
    ),
    Row(
        "a redirect isn't followed",
        "15.4 of 9110",
        [cc(HOUR, ("Location", "https://elsewhere.example/x"), status=301)],
        [
            get(FETCHED, status=301),
            get(REUSED, status=301, shows={"Location": "https://elsewhere.example/x"}),
        ],
    ),
]

MESSAGES = [
    Row(
        "a chunked response is stored whole",
        "3",
        [in_chunks(("Cache-Control", HOUR))],
        [get(FETCHED, body=b"onetwo"), get(REUSED, body=b"onetwo")],
    ),
    Row(
        "an empty response is stored",
        "3",
        [cc(HOUR, body=b"")],
        [get(FETCHED, body=b""), get(REUSED, body=b"")],
    ),
    Row(
        "a large response is stored whole",
        "3",
        [cc(HOUR, body=b"0123456789" * 30_000)],
        [get(FETCHED, body=b"0123456789" * 30_000), get(REUSED, body=b"0123456789" * 30_000)],
    ),
    Row(
        "a response of HTTP/1.0 that ends with the connection",
        "3",
        [raw(head(200, [("Cache-Control", HOUR)], version="HTTP/1.0"), b"old", Close())],
        [get(FETCHED, body=b"old"), get(REUSED, body=b"old")],
    ),
    Row(
        "a response that breaks off isn't reused",
        "3.3",
        [cut(("Cache-Control", HOUR)), cc(HOUR)],
        [Do(), get(FETCHED, body=b"reply 2"), get(REUSED, body=b"reply 2")],
    ),
    Row(
        "chunks that break off aren't reused",
        "3.3",
        [
            raw(
                head(200, [("Cache-Control", HOUR), ("Transfer-Encoding", "chunked")]),
                b"3\r\nabc\r\n",
                Pause(0.5),  # what breaks off at once is a 502: nothing was sent yet
                Close(),
            ),
            cc(HOUR),
        ],
        [get(FETCHED, cut_short=True), get(FETCHED, body=b"reply 2")],
    ),
    Row(
        "fields are stored with their values",
        "3.1",
        [cc(HOUR, ("X-A", 'a,  b;c="d"'), ("Content-Language", "de"), ("Content-Type", "text/x-own"))],
        [
            get(FETCHED),
            get(REUSED, shows={"X-A": 'a,  b;c="d"', "Content-Language": "de", "Content-Type": "text/x-own"}),
        ],
    ),
    Row(
        "a repeated field is stored with all its values",
        "3.1",
        [cc(HOUR, ("X-A", "1"), ("X-A", "2"))],
        [get(FETCHED), get(REUSED, shows={"X-A": "1, 2"})],
    ),
    Row(
        "an empty field is stored",
        "3.1",
        [cc(HOUR, ("X-A", ""))],
        [get(FETCHED), get(REUSED, shows={"X-A": ""})],
    ),
    Row(
        "cookies are stored one by one",
        "3.1",
        [cc(HOUR, ("Set-Cookie", "a=1; Expires=Sun, 06 Nov 2094 08:49:37 GMT"), ("Set-Cookie", "b=2"))],
        [
            get(FETCHED),
            get(REUSED, lines={"Set-Cookie": ["a=1; Expires=Sun, 06 Nov 2094 08:49:37 GMT", "b=2"]}),
        ],
    ),
    Row(
        "many fields are stored",
        "3.1",
        [cc(HOUR, *((f"X-{number}", "v" * 40) for number in range(60)))],
        [get(FETCHED), get(REUSED, shows={"X-59": "v" * 40})],
    ),
    Row(
        "fields that can't be kept byte by byte aren't stored",
        "3.1",
        [raw_head(200, [("Cache-Control", HOUR), ("X-A", "caf\xe9")], b"x")],
        MISS,
    ),
    Row(
        "fields in UTF-8 are kept or not stored",
        "3.1",
        [raw_head(200, [("Cache-Control", HOUR), ("X-A", "caf\xc3\xa9")], b"x")],
        [get(FETCHED, shows={"X-A": "caf\xc3\xa9"}), get(shows={"X-A": "caf\xc3\xa9"})],
    ),
    Row(
        "a coded response is kept byte by byte",
        "8.4 of 9110",
        [
            cc(
                HOUR,
                ("Content-Encoding", "x-own"),
                ("Content-Type", "application/octet-stream"),
                body=bytes(range(256)),
            )
        ],
        [
            get(FETCHED, body=bytes(range(256))),
            get(REUSED, body=bytes(range(256)), shows={"Content-Encoding": "x-own"}),
        ],
    ),
    Row(
        "fields of one connection aren't stored",
        "7.6.1 of 9110",
        [
            cc(
                HOUR,
                ("Connection", "X-A, close"),
                ("X-A", "1"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Connection", "close"),
                ("X-B", "2"),
            )
        ],
        [
            get(FETCHED, shows={"X-A": None, "Keep-Alive": None, "Proxy-Connection": None, "X-B": "2"}),
            get(REUSED, shows={"X-A": None, "Keep-Alive": None, "Proxy-Connection": None, "X-B": "2"}),
        ],
    ),
    Row(
        "fields for a proxy aren't stored",
        "3.1",
        [cc(HOUR, ("Proxy-Authenticate", "Basic"), ("Proxy-Authentication-Info", "a=b"))],
        [get(FETCHED), get(REUSED, shows={"Proxy-Authenticate": None, "Proxy-Authentication-Info": None})],
    ),
    Row(
        "a request's fields of one connection aren't forwarded",
        "7.6.1 of 9110",
        [cc(HOUR)],
        [
            get(
                FETCHED,
                ("TE", "trailers"),
                ("Keep-Alive", "timeout=5"),
                ("X-B", "2"),
                origin_sees={"TE": None, "Keep-Alive": None, "X-B": "2"},
            )
        ],
    ),
    Row(
        "Via tells the origin of the cache",
        "7.6.3 of 9110",
        [cc(HOUR)],
        [get(FETCHED, ("Via", "1.0 fred"), origin_sees={"Via": "1.0 fred, 1.1 EdgeCache"})],
    ),
    Row(
        "a missing Date is added",
        "6.6.1 of 9110",
        [says(("Cache-Control", HOUR))],
        [get(FETCHED, shows={"Date": re.compile("GMT$")}), get(REUSED, shows={"Date": re.compile("GMT$")})],
    ),
    Row(
        "a missing Date is added to what isn't stored",
        "6.6.1 of 9110",
        [says()],
        [get(FETCHED, shows={"Date": re.compile("GMT$")})],
    ),
    Row(
        "different queries are different resources",
        "2",
        {"?a=1": [cc(HOUR)], "?a=2": [cc(HOUR)]},
        [get(FETCHED, target="?a=1"), get(ASKED, target="?a=2"), get(REUSED, target="?a=1")],
    ),
    Row(
        "an empty query is a resource of its own",
        "2",
        [cc(HOUR)],
        [get(FETCHED), get(ASKED, target="?"), get(REUSED)],
    ),
    Row(
        "equivalent targets are one resource",
        "4.2.3 of 9110",
        {"/%7Ea": [cc(HOUR)], "/~a": [cc(HOUR)]},
        [get(FETCHED, target="/~a"), get(REUSED, target="/%7Ea")],
    ),
]

AUTHORIZATION = [
    Row(
        "isn't stored without a directive that allows it",
        "3.5",
        directives(HOUR),
        [get(FETCHED, AUTHORIZED), get(ASKED, AUTHORIZED)],
    ),
    Row(
        "isn't stored by its Expires",
        "3.5",
        directives("foo", ("Expires", at(3600))),
        [get(FETCHED, AUTHORIZED), get(ASKED, AUTHORIZED)],
    ),
    Row(
        "isn't stored by its targeted max-age",
        "3.5",
        [says(("CDN-Cache-Control", HOUR))],
        [get(FETCHED, AUTHORIZED), get(ASKED, AUTHORIZED)],
    ),
    Row(
        "proxy-revalidate doesn't allow it",
        "3.5",
        directives("max-age=3600, proxy-revalidate"),
        [get(FETCHED, AUTHORIZED), get(ASKED, AUTHORIZED)],
    ),
    Row(
        "public allows it",
        "3.5",
        directives("max-age=3600, public"),
        [get(FETCHED, AUTHORIZED), get(REUSED, AUTHORIZED)],
    ),
    Row(
        "s-maxage allows it",
        "3.5",
        directives("s-maxage=3600"),
        [get(FETCHED, AUTHORIZED), get(REUSED, AUTHORIZED)],
    ),
    Row(
        "must-revalidate allows it",
        "3.5",
        directives("max-age=3600, must-revalidate"),
        [get(FETCHED, AUTHORIZED), get(REUSED, AUTHORIZED)],
    ),
    Row(
        "a targeted public allows it",
        "3.5",
        [says(("CDN-Cache-Control", "public, max-age=3600"))],
        [get(FETCHED, AUTHORIZED), get(REUSED, AUTHORIZED)],
    ),
    Row(
        "what is public is reused for everyone",
        "3.5",
        directives("max-age=3600, public"),
        [get(FETCHED, AUTHORIZED), get(REUSED)],
    ),
    Row(
        "must-revalidate is validated once it is stale",
        "5.2.2.2",
        directives("max-age=4, must-revalidate", ETAG),
        [
            get(FETCHED, AUTHORIZED),
            get(REUSED, AUTHORIZED),
            get(VALIDATED, AUTHORIZED, pause=4.4, origin_sees={"Authorization": "Bearer t"}),
        ],
    ),
]


def asks(value: str) -> tuple[str, Value]:
    return ("Cache-Control", value)


AGED = [cc(HOUR, ("Age", "1800"))]
OLD = [cc(HOUR, ("Age", "7200"), ETAG)]

REQUESTS = [
    Row(
        "max-age=0 asks the origin",
        "5.2.1.1",
        directives(HOUR),
        [get(FETCHED), get(ASKED, asks("max-age=0"))],
    ),
    Row(
        "max-age=0 validates",
        "5.2.1.1",
        directives(HOUR, ETAG),
        [get(FETCHED), get(VALIDATED, asks("max-age=0"))],
    ),
    Row(
        "max-age below the age asks the origin",
        "5.2.1.1",
        AGED,
        [get(FETCHED), get(ASKED, asks("max-age=600"))],
    ),
    Row(
        "max-age above the age is reused", "5.2.1.1", AGED, [get(FETCHED), get(REUSED, asks("max-age=1900"))]
    ),
    Row(
        "max-age with max-stale still limits the age",
        "5.2.1.1",
        AGED,
        [get(FETCHED), get(ASKED, asks("max-age=600, max-stale=1000"))],
    ),
    Row(
        "max-age without max-stale takes nothing stale",
        "5.2.1.1",
        OLD,
        [get(FETCHED), get(ASKED, asks("max-age=9000"))],
    ),
    Row(
        "max-age with max-stale takes what is stale",
        "5.2.1.1",
        OLD,
        [get(FETCHED), get(REUSED, asks("max-age=9000, max-stale=9000"))],
    ),
    Row(
        "max-stale takes what is stale",
        "5.2.1.2",
        OLD,
        [get(FETCHED), get(REUSED, asks("max-stale=9000"), age=(7200, 7203))],
    ),
    Row(
        "max-stale without a limit takes whatever is stale",
        "5.2.1.2",
        OLD,
        [get(FETCHED), get(REUSED, asks("max-stale"))],
    ),
    Row(
        "max-stale takes nothing staler than it says",
        "5.2.1.2",
        OLD,
        [get(FETCHED), get(VALIDATED, asks("max-stale=600"))],
    ),
    Row(
        "max-stale doesn't lift must-revalidate",
        "5.2.2.2",
        [cc("max-age=3600, must-revalidate", ("Age", "7200"), ETAG)],
        [get(FETCHED), get(VALIDATED, asks("max-stale=9000"))],
    ),
    Row(
        "max-stale doesn't lift proxy-revalidate",
        "5.2.2.8",
        [cc("max-age=3600, proxy-revalidate", ("Age", "7200"), ETAG)],
        [get(FETCHED), get(VALIDATED, asks("max-stale=9000"))],
    ),
    Row(
        "max-stale doesn't lift s-maxage",
        "5.2.2.10",
        [cc("s-maxage=3600", ("Age", "7200"), ETAG)],
        [get(FETCHED), get(VALIDATED, asks("max-stale=9000"))],
    ),
    Row(
        "max-stale doesn't lift no-cache",
        "5.2.2.4",
        [cc("max-age=3600, no-cache", ETAG)],
        [get(FETCHED), get(VALIDATED, asks("max-stale=9000"))],
    ),
    Row(
        "max-stale with what has no validator",
        "5.2.1.2",
        [cc("max-age=1", ("Age", "5"))],
        [get(FETCHED), get(REUSED, asks("max-stale=100"))],
    ),
    Row(
        "max-stale after expiry",
        "5.2.1.2",
        [cc("max-age=1")],
        [get(FETCHED), get(REUSED, asks("max-stale=100"), pause=2.1)],
    ),
    Row("min-fresh that is met", "5.2.1.3", AGED, [get(FETCHED), get(REUSED, asks("min-fresh=600"))]),
    Row("min-fresh that isn't met", "5.2.1.3", AGED, [get(FETCHED), get(ASKED, asks("min-fresh=2400"))]),
    Row(
        "no-cache validates",
        "5.2.1.4",
        directives(HOUR, ETAG),
        [get(FETCHED), get(VALIDATED, asks("no-cache"))],
    ),
    Row(
        "no-cache fetches what has no validator",
        "5.2.1.4",
        directives(HOUR),
        [get(FETCHED), get(FETCHED, asks("no-cache"), body=b"reply 2"), get(REUSED, body=b"reply 2")],
    ),
    Row(
        "no-cache among others in another case",
        "5.2.1.4",
        directives(HOUR),
        [get(FETCHED), get(FETCHED, asks("foo, No-Cache"))],
    ),
    Row(
        "Pragma: no-cache validates",
        "5.4",
        directives(HOUR, ETAG),
        [get(FETCHED), get(VALIDATED, ("Pragma", "no-cache"))],
    ),
    Row(
        "Pragma means nothing beside Cache-Control",
        "5.4",
        directives(HOUR),
        [get(FETCHED), get(REUSED, ("Pragma", "no-cache"), asks("max-age=3600"))],
    ),
    Row(
        "an unknown Pragma means nothing",
        "5.4",
        directives(HOUR),
        [get(FETCHED), get(REUSED, ("Pragma", "foo"))],
    ),
    Row(
        "only-if-cached with nothing stored",
        "5.2.1.7",
        directives(HOUR),
        [get(REUSED, asks("only-if-cached"), status=504)],
    ),
    Row(
        "only-if-cached with what is fresh",
        "5.2.1.7",
        directives(HOUR),
        [get(FETCHED), get(REUSED, asks("only-if-cached"), status=200)],
    ),
    Row(
        "only-if-cached with what is stale",
        "5.2.1.7",
        OLD,
        [get(FETCHED), get(REUSED, asks("only-if-cached"), status=504)],
    ),
    Row(
        "only-if-cached with max-stale",
        "5.2.1.7",
        OLD,
        [get(FETCHED), get(REUSED, asks("only-if-cached, max-stale"), status=200)],
    ),
    Row(
        "directives that can't be read are ignored",
        "5.2.1",
        directives(HOUR),
        [get(FETCHED), get(REUSED, asks('max-age=foo, min-fresh=-1, max-stale=x, =, "'))],
    ),
    Row(
        "unknown directives are ignored",
        "5.2.3",
        directives(HOUR),
        [get(FETCHED), get(REUSED, asks("foo, bar=1"))],
    ),
    Row(
        "request directives reach the origin",
        "5.2",
        directives(HOUR),
        [get(FETCHED, asks("no-cache, foo"), origin_sees={"Cache-Control": "no-cache, foo"})],
    ),
]

UNSAFE = ("POST", "PUT", "DELETE", "PATCH", "PURGE", "COPY", "MOVE", "LOCK", "MKCOL", "PROPPATCH")
GROUPS = ("Cache-Groups", '"g1", "g2"')

INVALIDATION = [
    *(
        Row(
            f"{method} invalidates its URL",
            "4.4",
            [cc(HOUR), says()],
            [get(FETCHED), get(REUSED), do(method, ASKED, status=200), get(FETCHED)],
        )
        for method in UNSAFE
    ),
    *(
        Row(
            f"{method} with {status} invalidates its URL",
            "4.4",
            [cc(HOUR), says(status=status)],
            [get(FETCHED), do(method, ASKED, status=status), get(FETCHED)],
        )
        for method in ("POST", "DELETE")
        for status in (201, 202, 204, 299, 301, 302, 303, 307, 308)
    ),
    *(
        Row(
            f"{method} that fails with {status} doesn't",
            "4.4",
            [cc(HOUR), says(status=status)],
            [get(FETCHED), do(method, ASKED, status=status), get(REUSED)],
        )
        for method in ("POST", "PUT", "DELETE")
        for status in (400, 403, 409, 500, 503)
    ),
    *(
        Row(
            f"{method} is safe and invalidates nothing",
            "4.4",
            [cc(HOUR), says()],
            [get(FETCHED), do(method, ASKED), get(REUSED)],
        )
        for method in ("OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH")
    ),
    *(
        Row(
            f"{method} invalidates its {field}",
            "4.4",
            {"": [says((field, "{path}/b"))], "/b": [cc(HOUR)]},
            [
                get(FETCHED, target="/b"),
                get(REUSED, target="/b"),
                do(method, ASKED),
                get(FETCHED, target="/b"),
            ],
        )
        for method in ("POST", "PUT", "DELETE", "PURGE")
        for field in ("Location", "Content-Location")
    ),
    Row(
        "a relative Location is resolved",
        "4.4",
        {"/a": [says(("Location", "b"), status=201)], "/b": [cc(HOUR)]},
        [get(FETCHED, target="/b"), do("POST", ASKED, target="/a"), get(FETCHED, target="/b")],
    ),
    Row(
        "a Location at another origin is left alone",
        "4.4",
        {"": [says(("Location", "http://elsewhere.example{path}/b"))], "/b": [cc(HOUR)]},
        [get(FETCHED, target="/b"), do("POST", ASKED), get(REUSED, target="/b")],
    ),
    Row(
        "a Content-Location with another port is left alone",
        "4.4",
        {"": [says(("Content-Location", "http://127.0.0.1:1{path}/b"))], "/b": [cc(HOUR)]},
        [get(FETCHED, target="/b"), do("POST", ASKED), get(REUSED, target="/b")],
    ),
    Row(
        "a Location after a failure is left alone",
        "4.4",
        {"": [says(("Location", "{path}/b"), status=500)], "/b": [cc(HOUR)]},
        [get(FETCHED, target="/b"), do("POST", ASKED), get(REUSED, target="/b")],
    ),
    Row(
        "other URLs are left alone",
        "4.4",
        {"": [says()], "/b": [cc(HOUR)], "?q=1": [cc(HOUR)]},
        [get(FETCHED, target="/b"), do("POST", ASKED), get(REUSED, target="/b")],
    ),
    Row(
        "all variants are invalidated",
        "4.4",
        [cc(HOUR, ("Vary", "X-A")), cc(HOUR, ("Vary", "X-A")), says(), cc(HOUR, ("Vary", "X-A"))],
        [
            get(FETCHED, ("X-A", "1")),
            get(FETCHED, ("X-A", "2")),
            do("POST", ASKED),
            get(FETCHED, ("X-A", "1")),
            get(FETCHED, ("X-A", "2")),
        ],
    ),
    Row(
        "what comes after an invalidation is stored",
        "4.4",
        [cc(HOUR), says(), cc(HOUR)],
        [get(FETCHED), do("POST", ASKED), get(FETCHED, pause=0.01), get(REUSED)],
    ),
    Row(
        "a POST goes through whole",
        "2",
        [says(("X-A", "1"), status=201, body=b"made")],
        [
            do(
                "POST",
                ASKED,
                ("Content-Type", "text/plain"),
                content=b"x" * 100_000,
                status=201,
                body=b"made",
                shows={"X-A": "1"},
                origin_sees={"Content-Type": "text/plain", "Content-Length": "100000"},
            )
        ],
    ),
    Row("a POST isn't answered from the store", "4", [cc(HOUR)], [get(FETCHED), do("POST", ASKED)]),
    Row(
        "a POST isn't stored",
        "3",
        [cc(HOUR)],
        [do("POST", ASKED), get(FETCHED), do("POST", ASKED), do("POST", ASKED)],
    ),
    Row(
        "a POST that says so is stored for GET",
        "9.3.3 of 9110",
        [cc(HOUR, ("Content-Location", "{path}"), ("X-A", "1"))],
        [
            do("POST", ASKED, content=b"x", status=200, body=b"reply 1"),
            get(REUSED, body=b"reply 1", shows={"X-A": "1"}),
            do("HEAD", REUSED),
            do("POST", ASKED, body=b"reply 2"),
            get(REUSED, body=b"reply 2"),
        ],
    ),
    Row(
        "a POST about another URL isn't stored",
        "9.3.3 of 9110",
        [cc(HOUR, ("Content-Location", "{path}/other"))],
        [do("POST", ASKED), get(FETCHED)],
    ),
    Row(
        "a POST without freshness isn't stored",
        "9.3.3 of 9110",
        [says(("Content-Location", "{path}"), ETAG)],
        [do("POST", ASKED), get(FETCHED)],
    ),
    Row("a PUT isn't stored", "3", [cc(HOUR)], [do("PUT", ASKED), get(FETCHED)]),
    Row(
        "a group is invalidated by name",
        "9875 3",
        {
            "": [says(("Cache-Group-Invalidation", '"g-by-name"'))],
            "/b": [cc(HOUR, ("Cache-Groups", '"x", "g-by-name"'))],
            "/c": [cc(HOUR, ("Cache-Groups", '"other"'))],
        },
        [
            get(FETCHED, target="/b"),
            get(FETCHED, target="/c"),
            do("POST", ASKED),
            get(FETCHED, target="/b"),
            get(REUSED, target="/c"),
        ],
    ),
    Row(
        "a group is invalidated after a failure too, if the origin says so",
        "9875 3",
        {
            "": [says(("Cache-Group-Invalidation", '"g-failure"'), status=500)],
            "/b": [cc(HOUR, ("Cache-Groups", '"g-failure"'))],
        },
        [get(FETCHED, target="/b"), do("POST", ASKED), get(FETCHED, target="/b")],
    ),
    Row(
        "a group's name is compared with its case",
        "9875 2.1",
        {
            "": [says(("Cache-Group-Invalidation", '"G-CASE"'))],
            "/b": [cc(HOUR, ("Cache-Groups", '"g-case"'))],
        },
        [get(FETCHED, target="/b"), do("POST", ASKED), get(REUSED, target="/b")],
    ),
    Row(
        "a safe method invalidates no group",
        "9875 3",
        {
            "": [says(("Cache-Group-Invalidation", '"g-safe"'))],
            "/b": [cc(HOUR, ("Cache-Groups", '"g-safe"'))],
        },
        [get(FETCHED, target="/b"), get(ASKED), do("OPTIONS", ASKED), get(REUSED, target="/b")],
    ),
    Row(
        "a field that isn't a list of strings is ignored",
        "9875 3",
        {
            "": [says(("Cache-Group-Invalidation", "g-token"))],
            "/b": [cc(HOUR, ("Cache-Groups", '"g-token"'))],
        },
        [get(FETCHED, target="/b"), do("POST", ASKED), get(REUSED, target="/b")],
    ),
    Row(
        "parameters of a group are ignored",
        "9875 3",
        {
            "": [says(("Cache-Group-Invalidation", '"g-parameter";a=1'))],
            "/b": [cc(HOUR, ("Cache-Groups", '"g-parameter";b'))],
        },
        [get(FETCHED, target="/b"), do("POST", ASKED), get(FETCHED, target="/b")],
    ),
    Row(
        "Cache-Tag names groups, and isn't shown",
        "product",
        {"": [says(("Cache-Group-Invalidation", '"g-tag"'))], "/b": [cc(HOUR, ("Cache-Tag", "x,g-tag"))]},
        [
            get(FETCHED, target="/b", shows={"Cache-Tag": None}),
            get(REUSED, target="/b", shows={"Cache-Tag": None}),
            do("POST", ASKED),
            get(FETCHED, target="/b"),
        ],
    ),
    Row(
        "Surrogate-Key names groups, and isn't shown",
        "product",
        {"": [says(("Cache-Group-Invalidation", '"g-key"'))], "/b": [cc(HOUR, ("Surrogate-Key", "x g-key"))]},
        [
            get(FETCHED, target="/b", shows={"Surrogate-Key": None}),
            do("POST", ASKED),
            get(FETCHED, target="/b"),
        ],
    ),
    Row(
        "Cache-Groups is shown",
        "9875 2",
        [cc(HOUR, ("Cache-Groups", '"shown"'))],
        [get(FETCHED), get(REUSED, shows={"Cache-Groups": '"shown"'})],
    ),
]

ROWS = [*DIRECTIVES, *STATUSES, *MESSAGES, *AUTHORIZATION, *REQUESTS, *INVALIDATION]


@pytest.fixture(scope="module")
def results(strict_url: str, running_origin: ScriptedOrigin) -> Results:
    return Results(strict_url, running_origin, ROWS)


@pytest.mark.parametrize("row", parameters(ROWS))
def test_storing(row: Row, results: Results) -> None:
    results.check(row)
