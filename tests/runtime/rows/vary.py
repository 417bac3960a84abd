"""Which of several stored responses a request selects: RFC 9111 section 4.1."""

from __future__ import annotations

from tests.runtime.http_rows import ASKED, FETCHED, REUSED, VALIDATED, Row, Value, cc, get
from tests.runtime.rows.terms import HOUR, OVER, SHORT, A, B, C, varies


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
