"""Purges that are in no entry of the purge log: who made them knows of no log.

Isolates that go by the log read no marks of what is young, and so don't hear of such a purge.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from origin_sdk._cloudflare.kv import PAGE_KEYS, ListedKey
from origin_sdk._edge.purge import Operation
from origin_sdk_wire.errors import UnreadableEntry
from origin_sdk_wire.marks import Lane, mark_key
from origin_sdk_wire.purge_log.entries import id_of, listing_prefixes

__all__ = ["unlogged"]

_SETTLED_MS = 120_000
"""Lists of KV may take a minute to show what was written, and not all of it at once."""
_MAX_PAGES = 10
_NOBODY = "somebody without a name"


async def unlogged(operation: Operation, since_ms: int) -> Counter[str]:
    """Count by who made them the purges since a moment that left marks alone, as far as marks tell.

    Of marks that say nothing of who wrote them, such as the Worker's own, nothing is known; of 10,000 others
    no more are looked at.
    """
    now_ms = round(operation.cloudflare_now() * 1000)
    made: dict[str, str] = {}
    for key in await _listed(operation, mark_key("", Lane.SOFT)):
        told = key.metadata if isinstance(key.metadata, Mapping) else {}
        moment_ms, purge_id = told.get("at"), told.get("id")
        if not (isinstance(moment_ms, int) and isinstance(purge_id, str)):
            continue
        if since_ms <= moment_ms <= now_ms - _SETTLED_MS:
            made[purge_id] = str(told.get("by") or _NOBODY)
    if not made:
        return Counter()
    logged: set[str] = set()
    for prefix in listing_prefixes(since_ms, now_ms):
        for key in await _listed(operation, prefix):
            with suppress(UnreadableEntry):
                logged.add(id_of(key.name).partition(".")[0])
    return Counter(by for purge_id, by in made.items() if purge_id not in logged)


async def _listed(operation: Operation, prefix: str) -> list[ListedKey]:
    found: list[ListedKey] = []
    cursor = ""
    for _ in range(_MAX_PAGES):
        keys, cursor = await operation.namespace.page(operation.exchange, prefix, cursor, PAGE_KEYS)
        found += keys
        if not cursor:
            break
    return found
