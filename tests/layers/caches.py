"""Both caches with one face, so that one test speaks for both."""

import asyncio
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import Any, Self, Unpack

from origin_sdk.layers import AsyncLayeredCache, Family, LayeredCache, RedisOptions
from origin_sdk.layers.base_cache import CacheOptions


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(30)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Blocking:
    """The asynchronous cache, called from threads. Loaders block a thread, not the loop."""

    def __init__(self, redis: RedisOptions | str | None = None, **options: Any) -> None:
        self._loop = Loop()
        self.inner = self._loop.run(_made(redis, options))

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        if name in {"get", "set", "delete", "invalidate"}:
            return lambda *args, **kwargs: self._loop.run(attribute(*args, **kwargs))
        return attribute

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_or_load(self, key: Any, loader: Callable[[Any], Any], **options: Any) -> Any:
        return self._loop.run(self.inner.get_or_load(key, _off_loop(loader), **options))

    def refresh(self, key: Any, loader: Callable[[Any], Any], **options: Any) -> Any:
        return self._loop.run(self.inner.refresh(key, _off_loop(loader), **options))

    def get_many_or_load(self, keys: Any, loader: Callable[[Any], Any], **options: Any) -> Any:
        return self._loop.run(self.inner.get_many_or_load(keys, _off_loop(loader), **options))

    def fields(self, key: Any, loader: Callable[[Any], Any] | None = None) -> Any:
        return _BlockingParts(self._loop, self.inner.fields(key, _off_loop(loader) if loader else None))

    def members(self, key: Any, loader: Callable[[Any], Any] | None = None) -> Any:
        return _BlockingParts(self._loop, self.inner.members(key, _off_loop(loader) if loader else None))

    def ranking(self, key: Any, loader: Callable[[Any], Any] | None = None) -> Any:
        return _BlockingParts(self._loop, self.inner.ranking(key, _off_loop(loader) if loader else None))

    def pages(self, key: Any, loader: Callable[[Any], Any] | None = None) -> Any:
        return _BlockingParts(self._loop, self.inner.pages(key, _off_loop(loader) if loader else None))

    def cached(self, family: Family[Any] | str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        return lambda function: _BlockingCached(self._loop, self.inner.cached(family, **options)(function))

    def close(self) -> None:
        self._loop.run(self.inner.aclose())
        self._loop.stop()


class _BlockingParts:
    def __init__(self, loop: Loop, parts: Any) -> None:
        self._loop = loop
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._parts, name)
        return lambda *args, **kwargs: self._loop.run(verb(*args, **kwargs))


class _BlockingCached:
    def __init__(self, loop: Loop, cached: Any) -> None:
        self._loop = loop
        self._cached = cached
        self.key = cached.key

    def __call__(self, *args: object, **kwargs: object) -> Any:
        return self._loop.run(self._cached(*args, **kwargs))

    def invalidate(self, *args: object, **kwargs: object) -> None:
        self._loop.run(self._cached.invalidate(*args, **kwargs))

    def refresh(self, *args: object, **kwargs: object) -> Any:
        return self._loop.run(self._cached.refresh(*args, **kwargs))


async def _made(redis: RedisOptions | str | None, options: Any) -> AsyncLayeredCache:
    return AsyncLayeredCache(redis, **options)


def _off_loop(loader: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
    async def load(argument: Any) -> Any:
        return await asyncio.to_thread(loader, argument)

    return load


def make(driver: str, redis: RedisOptions | str | None = None, **options: Unpack[CacheOptions]) -> Any:
    """Return a cache of a driver, `sync` or `async`."""
    return LayeredCache(redis, **options) if driver == "sync" else Blocking(redis, **options)
