"""A synchronous outbox for an asynchronous drainer."""

import asyncio

from origin_sdk.outbox._stores.entries import Claim, Settlement
from origin_sdk.outbox._stores.ports import Outbox

__all__ = ["InThreads"]


class InThreads:
    """Implements :class:`origin_sdk.outbox.AsyncOutbox` on threads of asyncio's pool."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def claim(self, limit: int, lease_seconds: float) -> Claim:
        """See :class:`origin_sdk.outbox.Outbox`."""
        return await asyncio.to_thread(self._outbox.claim, limit, lease_seconds)

    async def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        await asyncio.to_thread(self._outbox.settle, claim, settlement)

    async def due_in(self) -> float | None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        return await asyncio.to_thread(self._outbox.due_in)

    async def prune(self, keep_seconds: float) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        return await asyncio.to_thread(self._outbox.prune, keep_seconds)
