"""Parts of a representation (RFC 9110 section 14): which is asked for, which came, how two are joined."""

import re
from dataclasses import dataclass, replace

from origin_sdk_wire.facts import Fields
from origin_sdk_wire.lifetimes import parse_date
from origin_sdk_wire.parts import Part, content_part, number
from origin_sdk_wire.record import Record

__all__ = [
    "Join",
    "completed",
    "completing_fields",
    "join_of",
    "range_fields",
    "requested",
    "with_part",
]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Join:
    """How a stored part and one that came make a larger ``part``.

    Its bytes are the first ``head`` of the stored part, those that came, and the stored part's from ``tail``.
    """

    part: Part
    received: Part
    head: int
    tail: int


def with_part(record: Record, part: Part) -> Record:
    """Return the record of a part as that of another one, or as that of a whole response if it is one."""
    fields = tuple(field for field in record.fields if field[0] != "content-range")
    if part.is_whole:
        return replace(record, status=200, fields=fields)
    return replace(record, fields=(*fields, ("content-range", str(part))))


def completed(record: Record) -> Record | None:
    """Return the record of a part whose body has come; ``None`` if it isn't as long as it said."""
    if record.status != 206:
        return record
    part = content_part(dict(record.fields))
    return with_part(record, part) if part and part.size_bytes == record.body_bytes else None


def requested(request: Fields, stored: Fields, length: int | None, now_ms: int) -> tuple[int, int] | None:
    """Return the one range that a request asks for, half-open, with start == end where it can't be satisfied.

    ``None`` stands for the whole body: several ranges, other units and broken ones may be ignored
    (RFC 9110 section 14.2). So does a range that can't be told where ``length`` is unknown.
    """
    found = _RANGE.fullmatch(request.get("range", "").strip())
    if not found or not any(found.groups()):
        return None
    if not _if_range_holds(request.get("if-range"), stored, now_ms):
        return None
    first, last = found.groups()
    if length is None:
        return (number(first), number(last) + 1) if first and last and number(first) <= number(last) else None
    if not first:
        return (max(0, length - number(last)), length) if number(last) else (0, 0)
    start = number(first)
    if last and number(last) < start:
        return None
    end = min(number(last) + 1, length) if last else length
    return (start, end) if start < length else (0, 0)


def _if_range_holds(condition: str | None, fields: Fields, now_ms: int) -> bool:
    # RFC 9110 section 13.1.5: a strong entity tag, or a date that is exactly that of a strong Last-Modified.
    if condition is None:
        return True
    if condition.startswith('"'):
        return condition == fields.get("etag")
    modified, date = (parse_date(fields.get(name, ""), now_ms) for name in ("last-modified", "date"))
    if modified is None or date is None or date <= modified:
        return False
    return parse_date(condition, now_ms) == modified


def range_fields(request: Fields) -> dict[str, str]:
    """Return what a request for a range asks the origin for, where nothing stored answers it."""
    names = ("range", "if-range") if "range" in request else ()
    return {name: request[name] for name in names if name in request}


def completing_fields(stored: Fields) -> dict[str, str]:
    """Return what asks for the rest of a stored part; empty if one range isn't enough or can't be safe."""
    part, etag = content_part(stored), stored.get("etag", "")
    # RFC 9111 section 3.4: only under the same strong validator.
    if part is None or part.length is None or part.is_whole or not etag.startswith('"'):
        return {}
    if part.start == 0:
        return {"range": f"bytes={part.end}-{part.length - 1}", "if-range": etag}
    if part.end == part.length:
        return {"range": f"bytes=0-{part.start - 1}", "if-range": etag}
    return {}


def join_of(stored: Fields, received: Fields) -> Join | None:
    """Return how two parts are joined (RFC 9111 section 3.4); ``None`` if they may not be, or don't touch."""
    old, new = content_part(stored), content_part(received)
    etag = received.get("etag", "")
    if old is None or new is None or not etag.startswith('"') or etag != stored.get("etag"):
        return None
    if old.length is None or old.length != new.length or new.start > old.end or old.start > new.end:
        return None
    union = Part(min(old.start, new.start), max(old.end, new.end), new.length)
    head, tail = max(0, new.start - old.start), min(old.size_bytes, new.end - old.start)
    return Join(union, new, head, tail)
