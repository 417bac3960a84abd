"""Bodies that are made while they are sent: what they read counts, too late to make the response private."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TypeVar

from origin_sdk._process.reads import Reads, reading
from origin_sdk._responses.observed import Observed

__all__ = ["watched", "watched_async"]

_Part = TypeVar("_Part")


def watched(parts: Iterable[_Part], reads: Reads, observed: Observed) -> Iterator[_Part]:
    """Yield ``parts`` as far as what making them reads allows; caches note that in ``reads``."""
    observed.depart()
    making = iter(parts)
    try:
        while True:
            with reading(reads):
                try:
                    part = next(making)
                except StopIteration:
                    return
            observed.check()
            yield part
    finally:
        if hasattr(making, "close"):
            making.close()


async def watched_async(
    parts: AsyncIterable[_Part], reads: Reads, observed: Observed
) -> AsyncIterator[_Part]:
    """Do what :func:`watched` does, in an event loop."""
    observed.depart()
    making = aiter(parts)
    try:
        while True:
            with reading(reads):
                try:
                    part = await anext(making)
                except StopAsyncIteration:
                    return
            observed.check()
            yield part
    finally:
        if hasattr(making, "aclose"):
            await making.aclose()
