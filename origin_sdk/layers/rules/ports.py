"""What rules know of the cache that they decide for."""

from contextlib import AbstractContextManager
from typing import Protocol

from origin_sdk._process.reads import HasClass
from origin_sdk.layers.process.background import BackgroundLoads
from origin_sdk.layers.process.flights import Flights
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.rules.judge import Judge

__all__ = ["Cache"]


class Cache(Protocol):
    """A cache for threads or for an event loop: rules don't know which."""

    judge: Judge
    flights: Flights
    background: BackgroundLoads

    @property
    def memory_lock(self) -> AbstractContextManager[object]:
        """Where memory is all there is, it makes looking and writing one."""
        ...

    @property
    def loads_inline(self) -> bool:
        """Whether the caller itself may run a loader; else a task of its own does, which no caller ends."""
        ...

    @property
    def counts_reads(self) -> bool:
        """Whether what it answers counts for what is made of it; not where values have no class."""
        ...

    @property
    def passes_groups(self) -> bool:
        """Whether the groups of its values belong to what is made of them."""
        ...

    def groups_in(self, written: bytes) -> tuple[str, ...]:
        """Return groups that are given as they stand in a record."""
        ...

    def refused(self, family: HasClass, what: str) -> None:
        """Audit that ``what`` was made of a family and isn't let out."""
        ...

    def listening(self) -> Link | None:
        """Return the link to Redis, with its listener running in this process."""
        ...
