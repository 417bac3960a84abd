"""Layered caches as part of a delivery: memory and Redis are emptied first, then the edge.

The edge asks the service as soon as it is purged, which must not answer with what is invalid by then.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from origin_sdk._values.errors import ConnectionFailed
from origin_sdk._values.targets import Purge

__all__ = ["AsyncLayer", "Layer", "insisting", "tell", "tell_async"]

_log = logging.getLogger("origin_sdk.outbox")


class LayerOutcome(Protocol):
    """What came of it."""

    @property
    def in_redis(self) -> bool:
        """Whether Redis knows, and thereby all processes."""
        ...


class Layer(Protocol):
    """A :class:`origin_sdk.layers.LayeredCache`."""

    def invalidate(self, *, groups: Iterable[str], at_edge: bool) -> LayerOutcome:
        """Invalidate groups in memory and Redis."""
        ...


class AsyncLayer(Protocol):
    """An :class:`origin_sdk.layers.AsyncLayeredCache`."""

    async def invalidate(self, *, groups: Iterable[str], at_edge: bool) -> LayerOutcome:
        """Invalidate groups in memory and Redis."""
        ...


def tell(layers: Sequence[Layer], purge: Purge) -> bool:
    """Invalidate a purge's groups in layers; return whether all of them did. Nothing is raised."""
    if not purge.groups:
        return True
    try:
        told = [layer.invalidate(groups=purge.groups, at_edge=False) for layer in layers]
    except Exception:  # noqa: BLE001 - one layer must not keep the edge from being purged
        _log.exception("a layered cache couldn't be told of %s", purge)
        return False
    return all(each.in_redis for each in told)


async def tell_async(layers: Sequence[AsyncLayer], purge: Purge) -> bool:
    """Do what :func:`tell` does."""
    if not purge.groups:
        return True
    try:
        told = [await layer.invalidate(groups=purge.groups, at_edge=False) for layer in layers]
    except Exception:  # noqa: BLE001 - see above
        _log.exception("a layered cache couldn't be told of %s", purge)
        return False
    return all(each.in_redis for each in told)


@contextmanager
def insisting(*, is_told: bool) -> Iterator[None]:
    """Purge in the ``with`` block.

    Whatever comes of that, raises ConnectionFailed if Redis has not been told, so that both are tried again.
    """
    try:
        yield
    finally:
        if not is_told:
            raise ConnectionFailed(
                "the layers' Redis can't be told what is invalid, so that the edge may have got it back"
            )
