"""What is seen of a response, and why the cache does with it what it does."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

__all__ = ["Fields", "Reason", "ResponseFacts"]

Fields: TypeAlias = Mapping[str, str]
"""Header fields by name in lower case, repeated ones combined as RFC 9110 section 5.3 says."""


@dataclass(frozen=True, slots=True)
class ResponseFacts:
    """A response of the origin, and when it was asked for and came."""

    status: int
    fields: Fields
    birth_ms: int
    response_ms: int
    set_cookies: tuple[str, ...] = ()
    """Set-Cookie, which can't be combined (RFC 9110 section 5.3)."""
    asked_ms: int | None = None
    """When a shield was asked for it, which had asked for it at ``birth_ms``."""

    @property
    def request_ms(self) -> int:
        """RFC 9111's request_time: when whoever answered was asked, who may have had it for a while."""
        return self.birth_ms if self.asked_ms is None else self.asked_ms


class Reason(StrEnum):
    """Why the cache did what it did: the detail of Cache-Status.

    ``docs/cache-status.md`` has a row with the remedy for each.
    """

    # a look-up isn't made
    METHOD = "method"
    BYPASS_RULE = "bypass-rule"
    BYPASS_COOKIE = "bypass-cookie"
    BYPASS_SWITCH = "bypass-switch"
    CLASS_NEVER = "class-never"
    PRECONDITION = "precondition"
    UPGRADE = "upgrade"
    HOOK_FAILED = "hook-failed"
    HOOK_TIMEOUT = "hook-timeout"
    IDENTITY_MISSING = "identity-missing"
    REVOKED = "revoked"
    KEY_UNREAD = "key-unread"
    UNDECLARED_CREDENTIAL = "undeclared-credential"
    MALFORMED_COOKIE = "malformed-cookie"
    BODY = "request-body"
    NOT_A_QUERY = "not-a-query"
    CACHE_FAULT = "cache-fault"
    BAD_URL = "bad-url"
    # a stored response is used
    FRESH = "fresh"
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"
    STALE_IF_ERROR = "stale-if-error"
    MAX_STALE = "max-stale"
    VALIDATED = "validated"
    SLOW_ORIGIN = "slow-origin"
    THROTTLED = "throttled"
    BREAKER_OPEN = "breaker-open"
    # a stored response isn't used
    ABSENT = "absent"
    BROKEN_SEAL = "broken-seal"
    OTHER_VARIANT = "other-variant"
    STALE = "stale"
    NO_CACHE = "no-cache"
    REQUEST_NO_CACHE = "request-no-cache"
    REQUEST_MAX_AGE = "request-max-age"
    REQUEST_MIN_FRESH = "request-min-fresh"
    PURGED_SOFT = "purged-soft"
    PURGED_HARD = "purged-hard"
    MARKS_UNKNOWN = "marks-unknown"
    CREDENTIALS = "credentials"
    PARTIAL = "partial"
    ONLY_IF_CACHED = "only-if-cached"
    SHIELD_REFUSED = "shield-refused"
    # a response is stored, or not
    STORED = "stored"
    REQUEST_NO_STORE = "request-no-store"
    NO_STORE = "no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    COOKIE = "cookie"
    SET_COOKIE = "set-cookie"
    VARY_ANY = "vary-any"
    UNKEYED_FIELD = "unkeyed-field"
    SHOWN_PARAMETER = "shown-parameter"
    STATUS = "status"
    NO_FRESHNESS = "no-freshness"
    EXPIRED = "expired"
    BODY_AWAITED = "body-awaited"
    TOO_LARGE = "too-large"
    STREAM = "stream"
    TOO_MANY_GROUPS = "too-many-groups"
    GRAPHQL_ERRORS = "graphql-errors"
    ANSWER_UNREAD = "answer-unread"
    NOT_UNDERSTOOD = "not-understood"
    CLIENT_ERROR = "client-error"
    SERVER_ERROR = "server-error"
    BAD_FIELD = "bad-field"
    DICTIONARY = "dictionary"
