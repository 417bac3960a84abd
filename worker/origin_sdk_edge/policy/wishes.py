"""What a client wishes of the cache (RFC 9111 section 5.2.1), and how far it is followed."""

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.validation import precondition_fails
from origin_sdk_wire.directives import Directives, parse_cache_control, request_directives
from origin_sdk_wire.facts import Fields, Reason
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Settings

__all__ = ["knows_better", "refused_by_client", "request_stale_if_error_ms", "takes_stale", "wishes_of"]

_DEMANDS = frozenset({"no-cache", "max-age", "min-fresh"})
"""Those that cost the origin a request."""
_NONE = Directives({})


def wishes_of(client: RequestFacts, record: Record | None, now_ms: int, settings: Settings) -> Directives:
    """Return the directives of a request that count.

    They are advisory. Clients can't make the cache ask the origin again and again: what came from there
    within ``CLIENT_REFRESH_INTERVAL`` is new enough for every one.
    """
    if not settings.honour_request_directives:
        return _NONE
    wishes = request_directives(client.fields)
    if wishes and record and _is_recent(record, now_ms, settings):
        return Directives({name: value for name, value in wishes.arguments.items() if name not in _DEMANDS})
    return wishes


def _is_recent(record: Record, now_ms: int, settings: Settings) -> bool:
    """Whether a response came from the origin so recently that no client can force another fetch."""
    return settings.is_safe and now_ms - record.response_ms < settings.client_refresh_interval * 1000


def refused_by_client(wishes: Directives, age_ms: int, staleness_ms: int) -> Reason | None:
    """Return why a client doesn't want a response of that age, fresh or not."""
    if not wishes:
        return None
    if "no-cache" in wishes:
        return Reason.REQUEST_NO_CACHE
    max_age, min_fresh = wishes.window("max-age"), wishes.window("min-fresh")
    if max_age is not None and age_ms > max_age * 1000 - (max_age == 0):
        return Reason.REQUEST_MAX_AGE
    if min_fresh is not None and -staleness_ms < min_fresh * 1000:
        return Reason.REQUEST_MIN_FRESH
    return None


def knows_better(
    client: RequestFacts, record: Record, fields: Fields, now_ms: int, settings: Settings
) -> bool:
    """Whether a client's precondition names another response than the stored one, and so perhaps a newer one.

    The safe profile evaluates what the strict one leaves to the origin (RFC 9110 section 13.2.1).
    """
    is_success = 200 <= record.status < 300
    fails = is_success and precondition_fails(client.fields, fields, now_ms)
    return fails and not _is_recent(record, now_ms, settings)


def takes_stale(wishes: Directives, staleness_ms: int) -> bool:
    """Whether a client takes a response that is stale for so long."""
    if "max-stale" not in wishes:
        return False
    limit = wishes.window("max-stale")
    is_unlimited = wishes.arguments["max-stale"] is None
    return is_unlimited or (limit is not None and staleness_ms <= limit * 1000)


def request_stale_if_error_ms(fields: Fields) -> int:
    """Return the window that a request grants itself (RFC 5861 section 4)."""
    value = fields.get("cache-control")
    return 1000 * (parse_cache_control(value).window("stale-if-error") or 0) if value else 0
