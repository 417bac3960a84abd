"""What stands at the edge of a cache: a client, which purges now, or an outbox, which does for certain."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from origin_sdk._values.errors import InvalidSettings

__all__ = ["AsyncPurger", "Purger", "Records", "async_purger", "purger"]


if TYPE_CHECKING:
    from origin_sdk._values.targets import Purge


class Purger(Protocol):
    """Purges at the edge: a :class:`origin_sdk.PurgeClient`."""

    def purge(self, *, groups: list[str], urls: list[str]) -> object:
        """Purge, and return a receipt."""
        ...


class AsyncPurger(Protocol):
    """The same for an event loop."""

    async def purge(self, *, groups: list[str], urls: list[str]) -> object:
        """Purge, and return a receipt."""
        ...


class Records(Protocol):
    """Remembers a purge for a drainer: an outbox in a SQLite file or a Redis stream."""

    def record(self, *intents: "Purge") -> object:
        """Record; kept for certain when this returns."""
        ...


class _Recorded:
    def __init__(self, record: "Callable[[Purge], object]") -> None:
        self._record = record

    def purge(self, *, groups: list[str], urls: list[str]) -> None:
        self._record(_purge_of(groups=groups, urls=urls))


class _RecordedInThreads:
    def __init__(self, record: "Callable[[Purge], object]") -> None:
        self._record = record

    async def purge(self, *, groups: list[str], urls: list[str]) -> None:
        await asyncio.to_thread(self._record, _purge_of(groups=groups, urls=urls))


def purger(edge: Purger | Records | None) -> Purger | None:
    """Return what purges, or records that it is to be done. Raises InvalidSettings for anything else."""
    if edge is None or hasattr(edge, "purge"):
        return edge  # type: ignore[return-value]  # hasattr doesn't narrow
    return _Recorded(_record_of(edge))


def async_purger(edge: AsyncPurger | Records | None) -> AsyncPurger | None:
    """Return the same for an event loop; what records does so in a thread."""
    if edge is None or hasattr(edge, "purge"):
        return edge  # type: ignore[return-value]  # see above
    return _RecordedInThreads(_record_of(edge))


def _record_of(edge: object) -> "Callable[[Purge], object]":
    record: Callable[[Purge], object] | None = getattr(edge, "record", None)
    if record is None:
        raise InvalidSettings(
            f"edge={edge!r} neither purges nor records by itself: give a PurgeClient, a SqliteOutbox or a "
            "RedisOutbox; an outbox in your database records in the transaction of the change: call "
            "invalidate_with(…) of origin_sdk.layers.sqlalchemy or origin_sdk.layers.django.commits"
        )
    return record


def _purge_of(groups: list[str], urls: list[str]) -> "Purge":
    from origin_sdk._values.targets import Purge  # noqa: PLC0415 - nothing of purging is loaded until something is purged

    return Purge.of(groups=groups, urls=urls)
