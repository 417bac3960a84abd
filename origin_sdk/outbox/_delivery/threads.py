"""A synchronous outbox for an asynchronous drainer."""

import asyncio

from origin_sdk.outbox._stores.entries import Claim, Settlement
from origin_sdk.outbox._stores.ports import Outbox

__all__ = ["InThreads"]


class InThreads:
    """Implements :class:`origin_sdk.outbox.AsyncOutbox` by threads of asyncio's pool."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def claim(self, limit: int, now: float, until: float) -> Claim:
        """See :class:`origin_sdk.outbox.Outbox`."""
        return await asyncio.to_thread(self._outbox.claim, limit, now, until)

    async def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        await asyncio.to_thread(self._outbox.settle, claim, settlement)

    async def next_due(self) -> float | None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        return await asyncio.to_thread(self._outbox.next_due)

    async def prune(self, before: float) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        return await asyncio.to_thread(self._outbox.prune, before)
