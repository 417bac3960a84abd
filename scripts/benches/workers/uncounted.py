"""In place of `origin_sdk_edge/counters.py`: a Worker that counts nothing, to compare with."""

from collections.abc import Iterator
from typing import Any

from origin_sdk_wire.exposition import SeenPurge, UrlCount
from origin_sdk_wire.metrics import Counts

__all__ = ["Counters", "shown_url"]


class Counters:
    """Takes all that is to be counted, and forgets it."""

    def __init__(self, _settings: Any) -> None:
        """Count nothing."""

    def _nothing(self, *_: Any, **__: Any) -> None:
        """Count nothing."""

    answered = sent_more = repeated = expired = refreshed = origin_answered = origin_failed = _nothing
    origin_tried = _nothing
    breaker_opened = kv_used = kv_failed = kv_wrote = evicted = purged = saw_purge = fault = _nothing

    def read(self) -> Counts:
        """Return no counts."""
        return Counts()

    def urls(self) -> tuple[UrlCount, ...]:
        """Return no URLs."""
        return ()

    def purges(self) -> Iterator[SeenPurge]:
        """Return no purges."""
        return iter(())


def shown_url(*_: Any) -> str:
    """Show no URL."""
    return ""
