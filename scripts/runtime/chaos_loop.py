"""The asynchronous cache, called from threads, so that one client speaks for both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import Any

from origin_sdk.layers import AsyncLayeredCache, RedisOptions

__all__ = ["Blocking"]


class Blocking:
    """Runs an event loop in a thread, and the cache in that. Loaders block a thread, not the loop."""

    def __init__(self, redis: RedisOptions, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()
        self._cache: Any = self._run(_made(redis, options))

    def _run(self, awaitable: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._cache, name)
        if name in {"set", "invalidate"}:
            return lambda *args, **kwargs: self._run(attribute(*args, **kwargs))
        return attribute

    def get_or_load(self, key: Any, loader: Callable[[Any], Any]) -> Any:
        """Do as the cache does, with a loader for threads."""
        return self._run(self._cache.get_or_load(key, _off_loop(loader)))

    def get_many_or_load(self, keys: Any, loader: Callable[[Any], Any]) -> Any:
        """Do as the cache does, with a loader for threads."""
        return self._run(self._cache.get_many_or_load(keys, _off_loop(loader)))

    def fields(self, key: Any, loader: Callable[[Any], Any] | None = None) -> Any:
        """Return the fields of a hash, with verbs for threads."""
        return _BlockingParts(self._run, self._cache.fields(key, _off_loop(loader) if loader else None))

    def ranking(self, key: Any, loader: Callable[[Any], Any] | None = None) -> Any:
        """Return a ranking, with verbs for threads."""
        return _BlockingParts(self._run, self._cache.ranking(key, _off_loop(loader) if loader else None))

    def close(self) -> None:
        """Close the cache, and end the loop."""
        close = getattr(self._cache, "aclose", None) or self._cache.close  # in code of before
        self._run(close())
        self._loop.call_soon_threadsafe(self._loop.stop)


class _BlockingParts:
    def __init__(self, run: Callable[[Awaitable[Any]], Any], parts: Any) -> None:
        self._run = run
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._parts, name)
        return lambda *args, **kwargs: self._run(verb(*args, **kwargs))


async def _made(redis: RedisOptions, options: dict[str, Any]) -> AsyncLayeredCache:
    return AsyncLayeredCache(redis, **options)


def _off_loop(loader: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
    async def load(argument: Any) -> Any:
        return await asyncio.to_thread(loader, argument)

    return load
