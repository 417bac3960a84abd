"""What a drainer needs of a store: kept by one contract suite over all of them (tests/outbox/contract)."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from origin_sdk.outbox._stores.entries import Claim, Listed, Settlement, State, Status

__all__ = ["AsyncOutbox", "Outbox"]


class Outbox(Protocol):
    """A store of entries, safe to share by threads.

    Moments are seconds since the epoch, by the caller's clock.
    """

    def claim(self, limit: int, now: float, until: float) -> Claim:
        """Take up to ``limit`` entries that are due; no other drainer gets them before ``until``."""
        ...

    def settle(self, claim: Claim, settlement: Settlement) -> None:
        """Write down what became of claimed entries, but for those that another drainer has taken since."""
        ...

    def next_due(self) -> float | None:
        """Return when the next entry is due, 0 for at once; ``None`` if nothing waits.

        It is asked every second, so it must cost next to nothing.
        """
        ...

    def prune(self, before: float) -> int:
        """Forget some or all of what ended before a moment; return how many, 0 when all is forgotten."""
        ...

    def status(self) -> Status:
        """Count what is there."""
        ...

    def list(self, states: Sequence[State], limit: int) -> Sequence[Listed]:
        """Return entries in any of these states, the latest first."""
        ...

    def replay(self, ids: Iterable[str] | None) -> int:
        """Make entries due at once, dead ones too; all that aren't done for ``None``. Return how many."""
        ...

    def drop(self, ids: Iterable[str], now: float, result: str) -> int:
        """Give entries up that aren't done, and say why; return how many."""
        ...

    def close(self) -> None:
        """Close connections that are its own."""
        ...


class AsyncOutbox(Protocol):
    """What :class:`origin_sdk.outbox.AsyncDrainer` needs, awaited."""

    async def claim(self, limit: int, now: float, until: float) -> Claim:
        """See :class:`Outbox`."""
        ...

    async def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See :class:`Outbox`."""
        ...

    async def next_due(self) -> float | None:
        """See :class:`Outbox`."""
        ...

    async def prune(self, before: float) -> int:
        """See :class:`Outbox`."""
        ...
