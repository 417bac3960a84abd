"""What a commit makes true for memory and Redis at once; an outbox makes it certain, and true at the edge."""

import asyncio
import logging
from collections.abc import Iterable

from origin_sdk._values.texts import texts
from origin_sdk.layers.async_cache import AsyncLayeredCache
from origin_sdk.layers.cache import LayeredCache
from origin_sdk.layers.rules.entries import checked_groups

__all__ = ["invalidate_committed"]

_log = logging.getLogger("origin_sdk.layers")
tasks: set[asyncio.Task[None]] = set()
"""What loops are to do yet. Held here, as a loop holds its tasks weakly."""


def invalidate_committed(cache: LayeredCache | AsyncLayeredCache, groups: Iterable[str]) -> None:
    """Invalidate groups in memory and Redis, now that the change behind it is committed.

    An event loop's cache forgets in its memory at once, and in Redis as soon as the loop comes to it. Nothing
    is raised: the change is committed, and the drainer invalidates again.
    """
    try:
        if isinstance(cache, LayeredCache):
            cache.invalidate(groups=groups, at_edge=False)
        else:
            cache.moments.add(checked_groups(texts(groups)), 0.0)
            task = asyncio.get_running_loop().create_task(_forgotten(cache, groups))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    except Exception:  # noqa: BLE001 - see above
        _log.exception("memory and Redis aren't told yet of a commit")


async def _forgotten(cache: AsyncLayeredCache, groups: Iterable[str]) -> None:
    try:
        await cache.invalidate(groups=groups, at_edge=False)
    except Exception:  # noqa: BLE001 - see above
        _log.exception("Redis isn't told yet of a commit")
