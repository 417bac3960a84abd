"""From a stored response to the answer for one request.

Preconditions, ranges, HEAD, the cache's own coding, Age.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from cachewire.directives import split_list
from cachewire.record import Record
from edgecache.policy.facts import Fields, RequestFacts
from edgecache.policy.freshness import current_age_ms, parse_date
from edgecache.policy.validation import is_not_modified

__all__ = ["BodyKind", "StoredAnswer", "accepts_gzip", "answer_from"]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE)
_QUALITY = re.compile(r";[ \t]*q=([01](?:\.\d{0,3})?)[ \t]*$", re.IGNORECASE)
_NOT_IN_304 = frozenset(
    {"content-length", "content-type", "content-encoding", "content-range", "content-language"}
)


class BodyKind(Enum):
    """Which of the stored bytes an answer carries."""

    NONE = auto()
    AS_STORED = auto()
    """As they lie in the store, with the cache's own coding named in Content-Encoding."""
    DECODED = auto()
    """Without the cache's own coding; perhaps a part of it."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer from a stored response.

    ``part`` is a half-open range of the decoded body, ``None`` for the whole.
    """

    status: int
    fields: list[tuple[str, str]]
    body: BodyKind
    part: tuple[int, int] | None = None


def answer_from(record: Record, fields: Fields, request: RequestFacts, now_ms: int) -> StoredAnswer:
    """Answer ``request`` from a stored response that may be used.

    ``fields`` are the record's, combined by name.
    """
    shown = [(name, value) for name, value in record.fields if name != "content-length"]
    shown.append(("age", str(current_age_ms(record, now_ms) // 1000)))
    if 200 <= record.status < 300 and is_not_modified(request.fields, fields, now_ms):
        return StoredAnswer(304, [field for field in shown if field[0] not in _NOT_IN_304], BodyKind.NONE)
    if record.status == 200 and request.method == "GET" and (part := _part(record, fields, request.fields)):
        return _partial(record, shown, part)
    return _whole(record, shown, request)


def _whole(record: Record, shown: list[tuple[str, str]], request: RequestFacts) -> StoredAnswer:
    is_coded = bool(record.coding) and accepts_gzip(request.fields)
    if record.coding:
        shown = _varying(shown)
    if is_coded:
        shown = [("etag", _weak(value)) if name == "etag" else (name, value) for name, value in shown]
        shown.append(("content-encoding", record.coding))
    if request.method == "HEAD":
        if not is_coded:
            shown.append(("content-length", str(record.body_bytes)))
        return StoredAnswer(record.status, shown, BodyKind.NONE)
    if record.status in {204, 205}:
        return StoredAnswer(record.status, shown, BodyKind.NONE)
    return StoredAnswer(
        record.status, shown, BodyKind.AS_STORED if is_coded or not record.coding else BodyKind.DECODED
    )


def _varying(shown: list[tuple[str, str]]) -> list[tuple[str, str]]:
    # RFC 9110 section 12.5.5: the cache chooses by Accept-Encoding, so what it sends varies by it.
    vary = ", ".join(value for name, value in shown if name == "vary")
    if "accept-encoding" in vary.lower():
        return shown
    return [
        *((name, value) for name, value in shown if name != "vary"),
        ("vary", f"{vary}, Accept-Encoding".lstrip(", ")),
    ]


def _weak(etag: str) -> str:
    # RFC 9110 section 8.8.1: another coding is another representation, which a strong validator would have to tell apart.
    return etag if etag.startswith("W/") else f"W/{etag}"


def _part(record: Record, fields: Fields, request: Fields) -> tuple[int, int] | None:
    """Return the one range that is asked for, with start == end where it can't be satisfied.

    ``None`` for the whole body.
    """
    found = _RANGE.fullmatch(request.get("range", "").strip())
    if not found or not any(found.groups()) or not _if_range_holds(request.get("if-range"), fields):
        return None  # several ranges, other units and broken ones may be ignored (RFC 9110 section 14.2)
    first, last = found.groups()
    length = record.body_bytes
    if not first:
        return (max(0, length - int(last)), length) if int(last) else (0, 0)
    start = int(first)
    if last and int(last) < start:
        return None
    end = min(int(last) + 1, length) if last else length
    return (start, end) if start < length else (0, 0)


def _if_range_holds(condition: str | None, fields: Fields) -> bool:
    # RFC 9110 section 13.1.5: a strong entity tag, or a date that is exactly that of a strong Last-Modified.
    if condition is None:
        return True
    if condition.startswith('"'):
        return condition == fields.get("etag")
    modified, date = parse_date(fields.get("last-modified", ""), 0), parse_date(fields.get("date", ""), 0)
    return (
        modified is not None and date is not None and date > modified and parse_date(condition, 0) == modified
    )


def _partial(record: Record, shown: list[tuple[str, str]], part: tuple[int, int]) -> StoredAnswer:
    start, end = part
    if start == end:
        # RFC 9110 section 15.5.17
        fields = [field for field in shown if field[0] not in _NOT_IN_304]
        return StoredAnswer(416, [*fields, ("content-range", f"bytes */{record.body_bytes}")], BodyKind.NONE)
    fields = [*shown, ("content-range", f"bytes {start}-{end - 1}/{record.body_bytes}")]
    return StoredAnswer(206, fields, BodyKind.DECODED, part)


def accepts_gzip(request: Fields) -> bool:
    """Whether a client accepts the gzip coding (RFC 9110 section 12.5.3)."""
    wildcard = False
    for member in split_list(request.get("accept-encoding", "").lower()):
        coding = member.partition(";")[0].strip()
        quality = _QUALITY.search(member)
        accepted = not quality or float(quality[1]) > 0
        if coding in {"gzip", "x-gzip"}:
            return accepted
        wildcard = wildcard or (coding == "*" and accepted)
    return wildcard
