"""The words of the tables: validators, dates, lifetimes, and replies made of them."""

from __future__ import annotations

from tests.runtime.http_rows import Make, Value, cc

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


def if_none(value: str) -> tuple[str, Value]:
    return ("If-None-Match", value)


TAGGED = [cc(HOUR, ETAG)]


def stale_then(*later: Make, first: tuple[tuple[str, Value], ...] = (ETAG,)) -> list[Make]:
    """What goes stale, and what the origin says when it is asked again."""
    return [cc(SHORT, *first), *later]


def unchanged(value: str, *others: tuple[str, Value]) -> Make:
    return cc(value, *others, status=304)


KEPT = {"status": 200, "body": b"reply 1"}
DIGITS = b"0123456789"


def asked(value: str) -> tuple[str, Value]:
    return ("Range", value)


def piece(
    first: int, last: int, *others: tuple[str, Value], tag: tuple[str, Value] = ETAG, value: str = HOUR
) -> Make:
    """A 206 of the origin's."""
    content = ("Content-Range", f"bytes {first}-{last}/10")
    return cc(value, content, tag, *others, status=206, body=DIGITS[first : last + 1])


FIRST_HALF, SECOND_HALF = asked("bytes=0-4"), asked("bytes=5-9")
SWR = "max-age=1, stale-while-revalidate=600"
