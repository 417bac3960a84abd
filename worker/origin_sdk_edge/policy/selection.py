"""Which stored response a request selects (RFC 9111 section 4.1)."""

from origin_sdk_wire.record import Record
from origin_sdk_wire.search_variance import is_of_query, query_name
from origin_sdk_wire.vary import selecting_names

__all__ = ["nominated", "preference"]


def nominated(record: Record) -> tuple[str, ...]:
    """Return the selecting header fields that a response nominates."""
    fields = dict(record.fields)
    names = selecting_names(fields)
    if query := query_name(fields):
        names = tuple(sorted({*names, query}))
    # A coded response is only for clients that accept the coding, even where the origin forgot to say so.
    return tuple(sorted({*names, "accept-encoding"})) if "content-encoding" in fields else names


def preference(record: Record) -> tuple[bool, int]:
    """Return by what the response to use is chosen of those that match: the greatest.

    "the cache SHOULD choose the most recent stored response with a valid Vary field value"
    """
    return not all(map(is_of_query, nominated(record))), record.response_ms
