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

    def __getattr__(self, _name: str) -> Any:
        """Count nothing, whatever it is called."""
        return _nothing

    def read(self) -> Counts:
        """Return no counts."""
        return Counts()

    def urls(self) -> tuple[UrlCount, ...]:
        """Return no URLs."""
        return ()

    def purges(self) -> Iterator[SeenPurge]:
        """Return no purges."""
        return iter(())


def _nothing(*_: Any, **__: Any) -> None:
    """Count nothing."""


def shown_url(*_: Any) -> str:
    """Show no URL."""
    return ""
