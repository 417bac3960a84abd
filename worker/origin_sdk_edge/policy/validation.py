"""Validating a stored response with the origin, and freshening it (RFC 9111 section 4.3)."""

import re
from dataclasses import replace

from origin_sdk_wire.directives import split_list
from origin_sdk_wire.facts import Fields, ResponseFacts
from origin_sdk_wire.fields import GROUP_FIELDS, combined
from origin_sdk_wire.freshness import initial_age_ms
from origin_sdk_wire.lifetimes import parse_date
from origin_sdk_wire.record import Record
from origin_sdk_wire.search_variance import SEARCH_VARIANCE
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.storability import groups_of, record_of

__all__ = [
    "PRECONDITIONS",
    "can_freshen",
    "conditional_fields",
    "evaluated",
    "freshened",
    "head_agrees",
    "is_not_modified",
    "precondition_fails",
    "weakly_equal",
]

PRECONDITIONS = frozenset({"if-match", "if-unmodified-since"})
"""Those that a response other than the one that the client knows answers with 412."""

_OPAQUE_TAG = re.compile(r'"[^"]*"')
# RFC 9110 section 8.8.3, or one that lacks its quotes. `*` and several would mean others, too;
# of one that isn't UTF-8 the Worker sees less than what tells it from others.
_ONE_TAG = re.compile(r'(?:W/)?"[^"\ufffd]*"|(?!\*$)[^",\s\ufffd]+')
_NOT_UPDATED = frozenset({"content-length", "content-encoding", "content-range", "transfer-encoding"})


def conditional_fields(fields: Fields) -> dict[str, str]:
    """Return the precondition that validates a stored response with ``fields``.

    Empty if it has no validator (section 4.3.1).
    """
    tag, modified = _entity_tag(fields), fields.get("last-modified")
    conditions = {"if-none-match": tag} if tag else {}
    return conditions | {"if-modified-since": modified} if modified else conditions


def _entity_tag(fields: Fields) -> str | None:
    """Return the entity tag by which a response can be told from others."""
    tag = fields.get("etag")
    return tag if tag and _ONE_TAG.fullmatch(tag) else None


def weakly_equal(one: str, other: str) -> bool:
    """Compare entity tags weakly (RFC 9110 section 8.8.3.2)."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def can_freshen(stored: Fields, response: ResponseFacts) -> bool:
    """Whether a 304 speaks of the stored response: its validator must be the stored one (section 4.3.4)."""
    etag, modified = response.fields.get("etag"), response.fields.get("last-modified")
    if etag:
        is_strong = not etag.startswith("W/")
        return stored.get("etag") == etag if is_strong else weakly_equal(stored.get("etag", ""), etag)
    return not modified or "last-modified" not in stored or stored["last-modified"] == modified


def freshened(stored: Record, response: ResponseFacts, rule: Rule, settings: Settings) -> Record:
    """Return the stored response with the header fields of a 304, or of a HEAD that agrees (section 3.2)."""
    update = record_of(replace(response, status=stored.status), rule, settings)
    set_cookies = (settings.is_safe and {"set-cookie"}) or set()
    new = [
        (name, value) for name, value in update.fields if name not in _NOT_UPDATED and name not in set_cookies
    ]
    if "no-vary-search" not in response.fields:
        new = [(name, value) for name, value in new if name != SEARCH_VARIANCE]
    replaced = {name for name, _ in new}
    kept = [(name, value) for name, value in stored.fields if name not in replaced]
    return replace(
        stored,
        birth_ms=response.birth_ms,
        response_ms=response.response_ms,
        initial_age_ms=initial_age_ms(response.fields, response.request_ms, response.response_ms),
        fields=(*kept, *new),
        groups=_groups_of(stored, response, rule),
    )


def _groups_of(stored: Record, response: ResponseFacts, rule: Rule) -> tuple[str, ...]:
    """Return the groups of a stored response after a 304: those that the body names stay with the body.

    So do those of fields that aren't stored, which can't be told from these: a purge too many at worst.
    """
    if not any(name in response.fields for name in GROUP_FIELDS):
        return stored.groups
    by_body: tuple[str, ...] = ()
    if rule.reads_answers:
        by_fields = groups_of(combined(stored.fields), rule)
        by_body = tuple(group for group in stored.groups if group not in by_fields)
    return tuple(dict.fromkeys((*groups_of(response.fields, rule), *by_body)))


def head_agrees(stored: Record, fields: Fields, response: ResponseFacts) -> bool:
    """Whether a 200 to a HEAD request says that the stored response is still current (section 4.3.5)."""
    for name in ("etag", "last-modified"):
        if name in response.fields and response.fields[name] != fields.get(name):
            return False
    length = response.fields.get("content-length")
    return length is None or length == str(stored.body_bytes)


def is_not_modified(request: Fields, stored: Fields, now_ms: int) -> bool:
    """Whether the precondition of a request is answered with 304 from a stored response (section 4.3.2)."""
    if tags := request.get("if-none-match"):
        etag = _entity_tag(stored)
        return tags.strip() == "*" or (etag is not None and _lists(tags, etag))
    since = request.get("if-modified-since")
    asked = parse_date(since, now_ms) if since else None
    if asked is None:
        return False
    # Without Last-Modified, the time at which the response was made stands in (section 4.3.2).
    modified = parse_date(stored.get("last-modified") or stored.get("date", ""), now_ms)
    return modified is not None and modified <= asked


def precondition_fails(request: Fields, stored: Fields, now_ms: int) -> bool:
    """Whether the precondition of a request is answered with 412 (RFC 9110 sections 13.1.1 and 13.1.4)."""
    if tags := request.get("if-match"):
        etag = stored.get("etag", "")
        is_strong = etag.startswith('"')
        return tags.strip() != "*" and not (is_strong and etag in split_list(tags))
    since = request.get("if-unmodified-since")
    asked = parse_date(since, now_ms) if since else None
    modified = parse_date(stored.get("last-modified", ""), now_ms)
    return asked is not None and modified is not None and modified > asked


def evaluated(request: Fields, stored: Fields, now_ms: int) -> int | None:
    """Return the status code by which the preconditions of a request are answered, if any fails."""
    if precondition_fails(request, stored, now_ms):
        return 412
    return 304 if is_not_modified(request, stored, now_ms) else None


def _lists(tags: str, etag: str) -> bool:
    opaque = etag.removeprefix("W/")
    if opaque.startswith('"'):
        return opaque in _OPAQUE_TAG.findall(tags)
    return opaque in {
        member.removeprefix("W/") for member in split_list(tags)
    }  # not a tag, but compared as one
