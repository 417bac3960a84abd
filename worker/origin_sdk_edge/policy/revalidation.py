"""What the cache asks the origin by itself, and what of a client's request goes along."""

from dataclasses import replace

from origin_sdk_edge.policy.decision import Ask, Lookup, Use
from origin_sdk_edge.policy.status import FwdReason
from origin_sdk_edge.policy.validation import PRECONDITIONS, conditional_fields
from origin_sdk_wire.facts import Fields, Reason
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Settings

__all__ = ["ABSENT", "is_due_ahead", "own_lookup", "refresh_of", "with_conditions"]

_CLIENT_CONDITIONS = (*sorted(PRECONDITIONS), "if-none-match", "if-modified-since", "if-range", "range")
_CLIENT_WISHES = frozenset({"cache-control", "pragma"})

ABSENT = Ask(FwdReason.URI_MISS, Reason.ABSENT)
"""What is asked where nothing is stored, or nothing that can be sent."""


def refresh_of(record: Record, fields: Fields) -> Ask:
    """Return how the origin is asked, behind a response that was sent, whether it still holds."""
    return Ask(
        FwdReason.STALE,
        Reason.STALE,
        record,
        conditional_fields(fields),
        fallback=True,
        when_disconnected=True,
    )


def is_due_ahead(use: Use, hits: int, settings: Settings) -> bool:
    """Whether a hot response is so near its expiry that it is refreshed ahead."""
    share = settings.refresh_ahead
    if not share or hits < 2 or use.reason is not Reason.FRESH:
        return False
    return use.ttl_seconds * 1000 < use.lifetime_ms * share


def own_lookup(lookup: Lookup) -> Lookup:
    """Return the look-up for a request of the cache's own: without what the client wants of caches."""
    if lookup.request.method != "HEAD" and _CLIENT_WISHES.isdisjoint(lookup.request.fields):
        return lookup
    fields = {name: value for name, value in lookup.request.fields.items() if name not in _CLIENT_WISHES}
    method = "GET" if lookup.request.method == "HEAD" else lookup.request.method
    return replace(lookup, request=replace(lookup.request, method=method, fields=fields))


def with_conditions(lookup: Lookup, ask: Ask) -> Lookup:
    """Return the look-up with the client's own preconditions and range, where nothing stored is validated."""
    own = {name: value for name in _CLIENT_CONDITIONS if (value := lookup.client.fields.get(name))}
    if ask.stored or not own:
        return lookup
    return replace(lookup, request=replace(lookup.request, fields={**lookup.request.fields, **own}))
