"""Parts of what is stored, and parts that are stored: RFC 9110 section 14, RFC 9111 section 3.3."""

from __future__ import annotations

from tests.runtime.http_rows import ASKED, FETCHED, REUSED, VALIDATED, Do, Row, Value, cc, do, get, says
from tests.runtime.rows.terms import (
    AFTER,
    BEFORE,
    DIGITS,
    ETAG,
    FIRST_HALF,
    HOUR,
    MODIFIED,
    OVER,
    SECOND_HALF,
    SHORT,
    THEN,
    WEAK,
    A,
    B,
    asked,
    if_none,
    piece,
    unchanged,
)

WHOLE = [cc(HOUR, ETAG, MODIFIED, body=DIGITS)]


def part(value: str, body: bytes, *more: tuple[str, Value]) -> Do:
    """A range of a stored response."""
    return get(REUSED, asked(f"bytes={value}"), *more, status=206, body=body)


ALL = {"status": 200, "body": DIGITS}

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
