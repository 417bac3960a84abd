"""Bodies that are made while they are sent: what they read counts, too late to make the response private."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TypeVar

from origin_sdk._process.reads import Reads, reading

__all__ = ["watched", "watched_async"]

_Part = TypeVar("_Part")


def watched(parts: Iterable[_Part], reads: Reads) -> Iterator[_Part]:
    """Yield ``parts``; caches note in ``reads`` what making each of them reads."""
    making = iter(parts)
    try:
        while True:
            with reading(reads):
                try:
                    part = next(making)
                except StopIteration:
                    return
            yield part
    finally:
        if hasattr(making, "close"):
            making.close()


async def watched_async(parts: AsyncIterable[_Part], reads: Reads) -> AsyncIterator[_Part]:
    """Do what :func:`watched` does, in an event loop."""
    making = aiter(parts)
    try:
        while True:
            with reading(reads):
                try:
                    part = await anext(making)
                except StopAsyncIteration:
                    return
            yield part
    finally:
        if hasattr(making, "aclose"):
            await making.aclose()
