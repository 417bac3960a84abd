"""HEAD, answered from what is stored, and what its answer says of that: RFC 9111 section 4.3.5."""

from __future__ import annotations

from tests.runtime.http_rows import ASKED, FETCHED, REUSED, Make, Row, cc, do, get, raw, says
from tests.runtime.replies import head
from tests.runtime.rows.terms import (
    AFTER,
    ETAG,
    HOUR,
    KEPT,
    MODIFIED,
    OVER,
    TAGGED,
    if_none,
    stale_then,
    unchanged,
)


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
