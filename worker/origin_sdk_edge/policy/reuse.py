"""May the cache reuse a stored response, and must it ask first (RFC 9111 sections 4.2 and 4.3)?"""

from dataclasses import dataclass, replace

from origin_sdk_edge.policy.answer import answers_range
from origin_sdk_edge.policy.decision import Ask, Invalidity, Lookup, Refuse, Use
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.ranges import completing_fields, range_fields
from origin_sdk_edge.policy.status import FwdReason
from origin_sdk_edge.policy.storability import is_for_everyone
from origin_sdk_edge.policy.validation import conditional_fields
from origin_sdk_edge.policy.wishes import (
    knows_better,
    refused_by_client,
    request_stale_if_error_ms,
    takes_stale,
    wishes_of,
)
from origin_sdk_wire.bounds import CLOCK_STEP_MS
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.directives import Directives, response_directives
from origin_sdk_wire.facts import Fields, Reason
from origin_sdk_wire.freshness import Freshness, current_age_ms, freshness_of
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.succession import is_good

__all__ = ["on_stored", "while_fresh"]

_MISSES = {
    Reason.ABSENT: Ask(FwdReason.URI_MISS, Reason.ABSENT),
    Reason.OTHER_VARIANT: Ask(FwdReason.VARY_MISS, Reason.OTHER_VARIANT),
    Reason.BROKEN_SEAL: Ask(FwdReason.URI_MISS, Reason.BROKEN_SEAL),
}
"""What is done where there is nothing that may be used, by why that is so."""


def on_stored(
    lookup: Lookup,
    record: Record | None,
    fields: Fields,
    invalidity: Invalidity,
    now_ms: int,
    settings: Settings,
    *,
    freshness: Freshness | None = None,
    missing: Reason = Reason.ABSENT,
) -> Use | Ask | Refuse:
    """Decide whether the stored response answers the request (RFC 9111 section 4).

    Its ``freshness`` is worked out unless somebody has; ``missing`` says why there is no response.
    """
    decision: Use | Ask
    if record is None:
        decision = _MISSES[missing]
    else:
        freshness = freshness or freshness_of(record, fields, lookup.rule, settings)
        decision = _use_or_ask(lookup, record, fields, invalidity, freshness, now_ms, settings)
        if record.status == 206:
            decision = _by_part(decision, lookup.client, record, fields, now_ms)
    if isinstance(decision, Use):
        return decision
    if "only-if-cached" in wishes_of(lookup.client, record, now_ms, settings):
        return Refuse()
    if decision.stored is None and lookup.client.method == "GET" and "range" in lookup.client.fields:
        return replace(decision, conditional=range_fields(lookup.client.fields))
    return decision


def while_fresh(record: Record, freshness: Freshness, now_ms: int) -> Use | None:
    """Decide as :func:`on_stored` does on what no mark covers, for a request that has no wishes.

    ``None`` where that is for it to say.
    """
    left_ms = freshness.lifetime_ms - current_age_ms(record, now_ms)
    if left_ms <= 0 or freshness.must_validate or record.status == 206 or _is_ahead(record, now_ms):
        return None
    return Use(record, Reason.FRESH, False, left_ms // 1000, now_ms + left_ms, freshness.lifetime_ms)


def _is_ahead(record: Record, now_ms: int) -> bool:
    """Whether a response has yet to come, by this clock.

    It would neither age until then, nor be covered by a purge of today.
    """
    return record.response_ms > now_ms + CLOCK_STEP_MS


def _by_part(
    decision: Use | Ask, client: RequestFacts, record: Record, fields: Fields, now_ms: int
) -> Use | Ask:
    """Turn what would be decided on a whole response into what it means for a part of one."""
    if isinstance(decision, Ask):
        return Ask(decision.forwarded, decision.reason)
    if answers_range(record, fields, client, now_ms):
        return decision
    own = range_fields(client.fields)
    asked = own or completing_fields(fields)
    if client.method != "GET" or not asked or record.body_key:
        return Ask(FwdReason.PARTIAL, Reason.PARTIAL)
    return Ask(FwdReason.PARTIAL, Reason.PARTIAL, record, asked, completes=not own)


def _use_or_ask(
    lookup: Lookup,
    record: Record,
    fields: Fields,
    invalidity: Invalidity,
    freshness: Freshness,
    now_ms: int,
    settings: Settings,
) -> Use | Ask:
    if _is_ahead(record, now_ms):
        return _MISSES[Reason.ABSENT]
    if invalidity.hard_ms:
        return Ask(FwdReason.URI_MISS, Reason.PURGED_HARD)
    if _is_credential_risk(lookup, fields, settings):
        return Ask(FwdReason.BYPASS, Reason.CREDENTIALS)
    standing = _standing(lookup, record, invalidity, freshness, now_ms, settings)
    forbidden = _forbidden(standing)
    if not forbidden and knows_better(lookup.client, record, fields, now_ms, settings):
        forbidden = FwdReason.REQUEST, Reason.PRECONDITION
    usable = None if forbidden else _usable(standing)
    if usable is None:
        stale = FwdReason.STALE, Reason.PURGED_SOFT if invalidity.soft_ms else Reason.STALE
        forwarded, reason = forbidden or stale
        fallback, disconnected = _fallback(standing, record, lookup.client, settings)
        return Ask(forwarded, reason, record, conditional_fields(fields), fallback, disconnected)
    refresh = usable is Reason.STALE_WHILE_REVALIDATE
    edge_ms = standing.freshness.stale_while_revalidate_ms if refresh else 0
    until_ms = now_ms - standing.staleness_ms + edge_ms
    return Use(
        record, usable, refresh, -standing.staleness_ms // 1000, until_ms, standing.freshness.lifetime_ms
    )


@dataclass(frozen=True, slots=True)
class _Standing:
    """How a stored response stands towards a request now."""

    freshness: Freshness
    age_ms: int
    staleness_ms: int
    invalidity: Invalidity
    wishes: Directives


def _standing(
    lookup: Lookup,
    record: Record,
    invalidity: Invalidity,
    freshness: Freshness,
    now_ms: int,
    settings: Settings,
) -> _Standing:
    age_ms = current_age_ms(record, now_ms)
    staleness_ms = age_ms - freshness.lifetime_ms
    if invalidity.soft_ms:
        # A soft purge makes it stale, also while the moment of the mark lies ahead.
        staleness_ms = max(staleness_ms, now_ms - invalidity.soft_ms, 0)
    wishes = wishes_of(lookup.client, record, now_ms, settings)
    return _Standing(freshness, age_ms, staleness_ms, invalidity, wishes)


def _forbidden(standing: _Standing) -> tuple[FwdReason, Reason] | None:
    """Return why the response may not be used without validation, fresh or not."""
    if standing.invalidity.is_unknown:
        return FwdReason.STALE, Reason.MARKS_UNKNOWN
    if standing.invalidity.must_validate:
        return FwdReason.STALE, Reason.PURGED_SOFT
    if standing.freshness.must_validate:
        return FwdReason.STALE, Reason.NO_CACHE
    refusal = refused_by_client(standing.wishes, standing.age_ms, standing.staleness_ms)
    return (FwdReason.REQUEST, refusal) if refusal else None


def _usable(standing: _Standing) -> Reason | None:
    """Return why the response may be used, fresh or stale."""
    freshness, wishes = standing.freshness, standing.wishes
    if standing.staleness_ms < 0:
        return Reason.FRESH
    if freshness.forbids_stale:
        return None
    # RFC 9111 section 5.2.1.1: with max-age alone, the client wants nothing stale.
    if standing.staleness_ms < freshness.stale_while_revalidate_ms and "max-age" not in wishes:
        return Reason.STALE_WHILE_REVALIDATE
    if not standing.invalidity.soft_ms and takes_stale(wishes, standing.staleness_ms):
        return Reason.MAX_STALE
    return None


def _fallback(
    standing: _Standing, record: Record, client: RequestFacts, settings: Settings
) -> tuple[bool, bool]:
    """Return whether the response may stand in for a failing origin, and for one that can't be reached."""
    freshness = standing.freshness
    is_fresh = standing.staleness_ms < 0 and not freshness.must_validate
    may_be_stale = not freshness.forbids_stale and not freshness.must_validate and is_good(record.status)
    window_ms = max(freshness.stale_if_error_ms, request_stale_if_error_ms(client.fields))
    fallback = is_fresh or (may_be_stale and standing.staleness_ms < window_ms)
    # Section 4.2.4: a cache that is disconnected may use what is stale, unless a directive forbids it;
    # so does a window that is over (RFC 5861 section 4).
    return fallback, fallback or (may_be_stale and not window_ms and not settings.is_safe)


def _is_credential_risk(lookup: Lookup, fields: Fields, settings: Settings) -> bool:
    """Whether a request with credentials meets a response that isn't for everyone by name."""
    if not settings.is_safe or lookup.rule.data_class is DataClass.PRIVATE:
        return False
    return "authorization" in lookup.client.fields and not is_for_everyone(
        response_directives(fields), settings
    )
