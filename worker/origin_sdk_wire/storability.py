"""Whether a response may be stored for others, and as what (RFC 9111 section 3), whoever asked for it."""

from collections.abc import Iterator

from origin_sdk_wire.bounds import MAX_GROUPS
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.directives import Directives, response_directives, split_list, withdrawn_by_invalid
from origin_sdk_wire.facts import Fields, Reason, ResponseFacts
from origin_sdk_wire.fields import CACHE_STATUS, GROUP_FIELDS, HOP_BY_HOP
from origin_sdk_wire.freshness import HEURISTICALLY_CACHEABLE, Freshness, freshness_of, initial_age_ms
from origin_sdk_wire.layout import NEVER_STORED_FIELDS, group_names
from origin_sdk_wire.marks import is_group
from origin_sdk_wire.parts import content_part
from origin_sdk_wire.record import Record
from origin_sdk_wire.search_variance import variance_field
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.succession import is_final, is_good
from origin_sdk_wire.unkeyed import selected
from origin_sdk_wire.vary import varies_on_everything

__all__ = [
    "NEVER_STORED",
    "content_length",
    "forbidden_by_fields",
    "forbidden_by_status",
    "groups_of",
    "hop_by_hop",
    "is_endless",
    "is_named",
    "obstacles",
    "record_of",
    "unstored_fields",
    "useless",
    "withdrawal",
    "withdrawn_by_directive",
]

NEVER_STORED = frozenset({428, 429, 431, 511})
"""What RFC 6585 (sections 3 to 6) says MUST NOT be stored."""

_UNDERSTOOD = HEURISTICALLY_CACHEABLE | {302, 303, 307, 400, 401, 403, 409, 451, 500, 502, 503, 504}
"""Status codes whose caching this cache implements (section 5.2.2.3)."""

_OF_THIS_ANSWER = frozenset({Reason.PARTIAL, Reason.EXPIRED})
"""Reasons why an answer isn't stored that withdraw nothing."""

_VALIDATORS = ("etag", "last-modified")
_MAX_FIELD_BYTES = 64 * 1024
_LOST = "\ufffd"
_BY_DICTIONARY = frozenset({"dcb", "dcz"})
"""Codings that none can read but who has the dictionary that the request named (RFC 9842)."""
_ENDLESS = "text/event-stream"
"""Server-sent events: each client's own, and without an end that could be waited for."""


def withdrawal(response: ResponseFacts, rule: Rule, settings: Settings) -> Reason | None:
    """Return why a response can't be stored, whoever asked for it; ``None`` if it can.

    Three reasons say nothing of what is stored: Set-Cookie, which is for one client, an age beyond the
    lifetime, with which another cache on the way fills in for the origin, and that it is a part, or has no
    content of its own (304): only its directives count then.
    """
    if response.status == 304:
        return withdrawn_by_directive(response, response_directives(response.fields), rule, settings)
    reasons = (each for each in obstacles(response, rule, settings) if each not in _OF_THIS_ANSWER)
    return next(reasons, None)


def obstacles(response: ResponseFacts, rule: Rule, settings: Settings) -> Iterator[Reason]:
    """Yield every reason why a response can't be stored, or isn't worth it, whoever asked for it.

    The first is what the Worker tells. Set-Cookie isn't among them: it is for one client.
    """
    directives = response_directives(response.fields)
    if reason := forbidden_by_status(response, directives):
        yield reason
    if reason := withdrawn_by_directive(response, directives, rule, settings):
        yield reason
    if reason := forbidden_by_fields(response, settings):
        yield reason
    if reason := useless(response, directives, rule, settings):
        yield reason


def forbidden_by_status(response: ResponseFacts, directives: Directives) -> Reason | None:
    """Return why a response of this status is never stored."""
    if not is_final(response.status) or response.status == 304 or response.status in NEVER_STORED:
        return Reason.STATUS
    if response.status == 206 and not _is_part(response.fields):
        return Reason.PARTIAL
    if "must-understand" in directives and response.status not in _UNDERSTOOD:
        return Reason.NOT_UNDERSTOOD
    return None


def _is_part(fields: Fields) -> bool:
    part, length = content_part(fields), fields.get("content-length")
    return part is not None and length in {None, str(part.size_bytes)}


def withdrawn_by_directive(
    response: ResponseFacts, directives: Directives, rule: Rule, settings: Settings
) -> Reason | None:
    """Return why the response itself, or the absence of what would select it, forbids storing."""
    if settings.is_safe and withdrawn_by_invalid(response.fields):
        return Reason.NO_STORE
    # Section 5.2.2.3: must-understand lifts no-store where the status code is understood.
    if "no-store" in directives and not directives.permits("must-understand"):
        return Reason.NO_STORE
    if directives.unqualified("private") and rule.data_class is not DataClass.PRIVATE:
        return Reason.PRIVATE
    if varies_on_everything(response.fields):
        return Reason.VARY_ANY
    return None


def is_named(directives: Directives) -> bool:
    """Whether a response says by name that it is for shared caches."""
    return directives.permits("public") or directives.permits("s-maxage") or directives.is_targeted


def forbidden_by_fields(response: ResponseFacts, settings: Settings) -> Reason | None:
    """Return why what a response is keeps it from being stored: its size, form or kind."""
    if (content_length(response.fields) or 0) > settings.max_body_bytes:
        return Reason.TOO_LARGE
    if sum(len(name) + len(value) for name, value in response.fields.items()) > _MAX_FIELD_BYTES:
        return Reason.TOO_LARGE
    if is_endless(response.fields):
        return Reason.STREAM
    if not _BY_DICTIONARY.isdisjoint(split_list(response.fields.get("content-encoding", "").lower())):
        return Reason.DICTIONARY
    # The runtime has no other way to show a field that isn't UTF-8, and what was lost can't be sent again.
    return Reason.BAD_FIELD if any(_LOST in value for value in response.fields.values()) else None


def content_length(fields: Fields) -> int | None:
    """Return the bytes that Content-Length announces; ``None`` if it doesn't say."""
    length = fields.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None


def useless(response: ResponseFacts, directives: Directives, rule: Rule, settings: Settings) -> Reason | None:
    """Return why a stored response would be of no use to anyone."""
    if len(groups_of(response.fields, rule)) > MAX_GROUPS:
        return Reason.TOO_MANY_GROUPS
    age_ms = initial_age_ms(response.fields, response.request_ms, response.response_ms)
    record = Record(response.status, response.birth_ms, response.response_ms, age_ms, ())
    freshness = freshness_of(record, response.fields, rule, settings)
    is_explicit = freshness.is_explicit or directives.permits("public")
    if not (is_explicit or freshness.lifetime_ms or response.status in HEURISTICALLY_CACHEABLE):
        return Reason.STATUS
    if settings.is_safe and (reason := _error_of_one_client(response, directives, rule)):
        return reason
    is_fresh = freshness.lifetime_ms > age_ms and not freshness.must_validate
    if is_fresh or _may_be_of_use_stale(response, age_ms, freshness, settings, is_explicit=is_explicit):
        return None
    if freshness.must_validate:
        return Reason.NO_CACHE
    return Reason.EXPIRED if freshness.lifetime_ms else Reason.NO_FRESHNESS


def _error_of_one_client(response: ResponseFacts, directives: Directives, rule: Rule) -> Reason | None:
    """Return why an error isn't stored: fields that aren't in the key may have caused it, and time heals it.

    But for 404 and 410, and what a rule names.
    """
    if is_good(response.status) or rule.negative_lifetimes.get(response.status):
        return None
    if response.status >= 500:
        return Reason.SERVER_ERROR
    return None if rule.data_class is DataClass.PRIVATE or is_named(directives) else Reason.CLIENT_ERROR


def _may_be_of_use_stale(
    response: ResponseFacts,
    age_ms: int,
    freshness: Freshness,
    settings: Settings,
    *,
    is_explicit: bool,
) -> bool:
    """Whether what is stale from the start is of use.

    To validate, to refresh, or for the time when the origin is down.
    """
    if response.status == 206:
        return False
    if any(name in response.fields for name in _VALIDATORS) and (is_explicit or not settings.is_safe):
        return True
    has_window = (
        freshness.stale_while_revalidate_ms
        or response_directives(response.fields).window("stale-if-error")
        or _was_used_up_on_the_way(response, age_ms, freshness)
    )
    return is_explicit and not freshness.forbids_stale and bool(has_window or not settings.is_safe)


def _was_used_up_on_the_way(response: ResponseFacts, age_ms: int, freshness: Freshness) -> bool:
    """Whether the lifetime that a response was sent with had ended when it came, and it may still stand in.

    It is a slow origin's last word, often the one before it fails.
    """
    sent_age_ms = initial_age_ms(response.fields, response.birth_ms, response.birth_ms)
    was_fresh = freshness.lifetime_ms > sent_age_ms and not freshness.must_validate
    return was_fresh and freshness.longest_use_ms > age_ms


def unstored_fields(response: ResponseFacts, rule: Rule, settings: Settings) -> list[tuple[str, str]]:
    """Return the fields that reach the client of a new response alone, since they may not be stored."""
    names = _kept_back(response, rule, settings)
    fields = [
        (name, value) for name, value in response.fields.items() if name in names or name == CACHE_STATUS
    ]
    return fields + [("set-cookie", value) for value in response.set_cookies if "set-cookie" in names]


def _kept_back(response: ResponseFacts, rule: Rule, settings: Settings) -> frozenset[str]:
    directives = response_directives(response.fields)
    names = directives.field_names("no-cache")  # section 5.2.2.4
    if rule.data_class is not DataClass.PRIVATE:
        names |= directives.field_names("private")  # section 5.2.2.7
    is_of_exchange = selected(settings.unstored_fields, settings.stored_fields)
    return names.union([name for name in response.fields if is_of_exchange[name]])


def record_of(response: ResponseFacts, rule: Rule, settings: Settings) -> Record:
    """Return the response as it is stored, but for its body."""
    left_out = hop_by_hop(response.fields) | NEVER_STORED_FIELDS
    left_out |= _kept_back(response, rule, settings)
    fields = [
        (name, value)
        for name, value in response.fields.items()
        if name not in left_out and name != "set-cookie"
    ]
    if "set-cookie" not in left_out:
        fields += [("set-cookie", value) for value in response.set_cookies]
    if rule.no_vary_search:
        fields.append(variance_field(response.fields))
    return Record(
        status=response.status,
        birth_ms=response.birth_ms,
        response_ms=response.response_ms,
        initial_age_ms=initial_age_ms(response.fields, response.request_ms, response.response_ms),
        fields=tuple(fields),
        groups=groups_of(response.fields, rule),
    )


def is_endless(fields: Fields) -> bool:
    """Whether nobody may wait for the end of a response."""
    return fields.get("content-type", "").lower().startswith(_ENDLESS)


def hop_by_hop(fields: Fields) -> frozenset[str]:
    """Return the names of the fields that are meant for one connection only (RFC 9110 section 7.6.1)."""
    listed = fields.get("connection")
    return HOP_BY_HOP | {name.lower() for name in split_list(listed)} if listed else HOP_BY_HOP


def groups_of(fields: Fields, rule: Rule) -> tuple[str, ...]:
    """Return the groups of a response, each once: of Cache-Groups, Cache-Tag, Surrogate-Key and the rule."""
    if not rule.groups and not any(name in fields for name in GROUP_FIELDS):
        return ()
    return tuple(dict.fromkeys(name for name in group_names(fields, rule.groups) if is_group(name)))
