"""From a stored response to the answer for one request.

Preconditions, ranges, HEAD, the cache's own coding, Age.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from origin_sdk_edge.policy.codings import accepted_codings
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.policy.ranges import requested
from origin_sdk_edge.policy.validation import PRECONDITIONS, evaluated
from origin_sdk_wire.facts import Fields, ResponseFacts
from origin_sdk_wire.freshness import current_age_ms
from origin_sdk_wire.parts import Part, content_part
from origin_sdk_wire.record import Record
from origin_sdk_wire.vary import selecting_names

__all__ = [
    "BodyKind",
    "StoredAnswer",
    "answer_from",
    "answers_range",
    "code_by_fields",
    "code_of_failure",
    "without_content",
]

_NOT_IN_304 = frozenset(
    {"content-length", "content-type", "content-encoding", "content-range", "content-language"}
)
_CONDITIONS = frozenset({*PRECONDITIONS, "if-none-match", "if-modified-since", "range"})
"""The request fields by which an answer may be other than the whole."""


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
    if _CONDITIONS.isdisjoint(request.fields):
        return _whole(record, shown, request)
    # RFC 9110 section 13.2.2
    if 200 <= record.status < 300 and (code := evaluated(request.fields, fields, now_ms)):
        if record.coding:
            shown = _selected(record, shown, is_coded=_accepts(record.coding, request.fields))
        return StoredAnswer(code, without_content(shown), BodyKind.NONE)
    if record.status in {200, 206} and (partial := _partial(record, fields, shown, request, now_ms)):
        return partial
    return _whole(record, shown, request)


def _whole(record: Record, shown: list[tuple[str, str]], request: RequestFacts) -> StoredAnswer:
    is_coded = bool(record.coding) and _accepts(record.coding, request.fields)
    if record.coding:
        shown = _selected(record, shown, is_coded=is_coded)
    if request.method == "HEAD":
        if not is_coded:
            shown.append(("content-length", str(record.body_bytes)))
        return StoredAnswer(record.status, shown, BodyKind.NONE)
    if record.status in {204, 205}:
        return StoredAnswer(record.status, shown, BodyKind.NONE)
    return StoredAnswer(
        record.status, shown, BodyKind.AS_STORED if is_coded or not record.coding else BodyKind.DECODED
    )


def _selected(record: Record, shown: list[tuple[str, str]], *, is_coded: bool) -> list[tuple[str, str]]:
    """Return the fields of the representation that a request selects: of a 304 as of the 200 in its place."""
    shown = _varying(shown)
    if is_coded:
        shown = [("etag", _weak(value)) if name == "etag" else (name, value) for name, value in shown]
        shown.append(("content-encoding", record.coding))
    return shown


def _varying(shown: list[tuple[str, str]]) -> list[tuple[str, str]]:
    # RFC 9110 section 12.5.5: the cache chooses by Accept-Encoding, so what it sends varies by it.
    vary = ", ".join(value for name, value in shown if name == "vary")
    if "accept-encoding" in selecting_names({"vary": vary}):
        return shown
    return [
        *((name, value) for name, value in shown if name != "vary"),
        ("vary", f"{vary}, Accept-Encoding".lstrip(", ")),
    ]


def _weak(etag: str) -> str:
    # RFC 9110 section 8.8.1: another coding is another representation, which a strong validator tells apart.
    return etag if etag.startswith("W/") else f"W/{etag}"


def _partial(
    record: Record, fields: Fields, shown: list[tuple[str, str]], request: RequestFacts, now_ms: int
) -> StoredAnswer | None:
    """Answer with a part; ``None`` if the whole is to be sent."""
    held = content_part(fields) if record.status == 206 else Part(0, record.body_bytes, record.body_bytes)
    if held is None or request.method != "GET":
        return None
    asked = requested(request.fields, fields, held.length, now_ms)
    if asked is None:
        return None
    shown = [field for field in shown if field[0] != "content-range"]
    if asked[0] == asked[1]:
        # RFC 9110 section 15.5.17
        return StoredAnswer(
            416, [*without_content(shown), ("content-range", f"bytes */{held.length}")], BodyKind.NONE
        )
    part = Part(*asked, held.length)
    if part.start < held.start or part.end > held.end:
        return None
    place = (part.start - held.start, part.end - held.start)
    return StoredAnswer(206, [*shown, ("content-range", str(part))], BodyKind.DECODED, place)


def answers_range(record: Record, fields: Fields, request: RequestFacts, now_ms: int) -> bool:
    """Whether a stored part holds all that a request asks for, or shows that there is nothing of it.

    RFC 9111 section 3.3.
    """
    return _partial(record, fields, [], request, now_ms) is not None


def code_by_fields(response: ResponseFacts, request: RequestFacts) -> int | None:
    """Return the status code where the fields of the origin's response answer the client's precondition."""
    if request.method == "HEAD" or response.status != 200:
        return None
    return evaluated(request.fields, response.fields, response.response_ms)


def without_content(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return fields without those that describe content; Content-Location stays (RFC 9110 section 15.4.5)."""
    return [field for field in fields if field[0] not in _NOT_IN_304]


def code_of_failure(failure: OriginFailure) -> int:
    """Return the status code for an origin that failed, where nothing stands in (RFC 9110 section 15.6)."""
    return 504 if failure is OriginFailure.TIMEOUT else 502


def _accepts(coding: str, request: Fields) -> bool:
    # Without the field any coding may be sent; programs that don't name one seldom understand it.
    return accepted_codings(request.get("accept-encoding", "")).takes(coding)
