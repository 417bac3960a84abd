"""What a drainer needs of a store: one contract suite (tests/outbox/test_contract.py) holds them to it."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from origin_sdk.outbox._stores.entries import Claim, Listed, Settlement, State, Status

__all__ = ["HORIZON_SECONDS", "AsyncOutbox", "Outbox"]

HORIZON_SECONDS = 3600.0
"""The longest lease, and the longest delay before a try."""


class Outbox(Protocol):
    """A store of entries, safe to share between threads.

    Services and drainers are many machines, whose clocks differ; the store is one. So callers say how long,
    never when: moments are the store's, in seconds since the epoch by its own clock.
    """

    def claim(self, limit: int, lease_seconds: float) -> Claim:
        """Take up to ``limit`` entries that are due; no other drainer gets them before the lease is over.

        What is to wait for longer than any lease or delay may last, :data:`HORIZON_SECONDS`, is due: the
        clock was set back since.
        """
        ...

    def settle(self, claim: Claim, settlement: Settlement) -> None:
        """Write down what became of claimed entries, but for those that another drainer has taken since."""
        ...

    def due_in(self) -> float | None:
        """Return in how many seconds the next entry is due, 0 for now; ``None`` if nothing waits.

        It is asked every second, so it must cost next to nothing.
        """
        ...

    def prune(self, keep_seconds: float) -> int:
        """Forget some or all of what ended so long ago; return how many, 0 when all is forgotten."""
        ...

    def status(self) -> Status:
        """Count what is there."""
        ...

    def list(self, states: Sequence[State], limit: int) -> Sequence[Listed]:
        """Return entries in any of these states, the latest first."""
        ...

    def replay(self, ids: Iterable[str] | None) -> int:
        """Make entries due now, dead ones included; all that aren't done for ``None``. Return how many."""
        ...

    def drop(self, ids: Iterable[str], result: str) -> int:
        """Give entries up that aren't done, and say why; return how many."""
        ...

    def close(self) -> None:
        """Close connections that are its own."""
        ...


class AsyncOutbox(Protocol):
    """What :class:`origin_sdk.outbox.AsyncDrainer` needs, awaited."""

    async def claim(self, limit: int, lease_seconds: float) -> Claim:
        """See :class:`Outbox`."""
        ...

    async def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See :class:`Outbox`."""
        ...

    async def due_in(self) -> float | None:
        """See :class:`Outbox`."""
        ...

    async def prune(self, keep_seconds: float) -> int:
        """See :class:`Outbox`."""
        ...
