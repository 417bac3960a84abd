"""What an answer of the origin says of its state: that it is away, errs, or asks to be left alone."""

from dataclasses import dataclass

from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_wire.facts import ResponseFacts
from origin_sdk_wire.lifetimes import parse_date
from origin_sdk_wire.succession import BEARINGS, kind_of

__all__ = ["Trouble", "is_no_answer", "trouble_of"]

_AWAY = frozenset({*range(520, 528), 530})
"""What Cloudflare itself answers for an origin that refuses, breaks off or doesn't finish a connection."""

_NO_ANSWER = _AWAY | {502, 503, 504}
"""Status codes of who stands before an origin, or of one that doesn't work: another may."""

_LONGEST_SECONDS = 3600
"""A longer Retry-After isn't believed: one slip in the origin would leave what is stored stale for days."""
_LONGEST_LIMIT_SECONDS = 300
"""Nor a longer one of a rate limit, which may be that of the one client whose request this was."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong: with the one URL that was asked for, if nothing else is said."""

    is_away: bool = False
    """The origin can't be reached."""
    is_unavailable: bool = False
    """It says so itself, of all that it serves (503)."""
    retry_ms: int | None = None
    """For how long it asks to be left alone (RFC 9110 section 10.2.3)."""


def trouble_of(outcome: ResponseFacts | OriginFailure) -> Trouble | None:
    """Return what is wrong; ``None`` for an answer that the origin gives when all is well."""
    if isinstance(outcome, OriginFailure):
        return Trouble(is_away=outcome is not OriginFailure.TRUNCATED)
    if outcome.status in _AWAY:
        return Trouble(is_away=True, retry_ms=_retry_ms(outcome))
    if BEARINGS[kind_of(outcome.status)].rests:
        return Trouble(is_unavailable=outcome.status == 503, retry_ms=_retry_ms(outcome))
    return None


def is_no_answer(status: int) -> bool:
    """Whether a status code says that another origin is to be asked, if there is one."""
    return status in _NO_ANSWER


def _retry_ms(response: ResponseFacts) -> int | None:
    value = response.fields.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        seconds = int(value[:10])
    elif (date := parse_date(value, response.response_ms)) is not None:
        seconds = date - response.response_ms // 1000
    else:
        return None
    longest = _LONGEST_LIMIT_SECONDS if response.status == 429 else _LONGEST_SECONDS
    return 1000 * min(max(seconds, 0), longest)
