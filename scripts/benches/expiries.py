"""How often a source is asked when a hot value expires: with one process and with four, of ten callers."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from threading import Condition, Thread
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import aiocache  # type: ignore[import-untyped]  # has none
import cachetools
import cashews
import dogpile.cache

from origin_sdk._development.process import ProcessError
from origin_sdk.layers import AsyncLayeredCache, Family, LayeredCache, Policy, RedisOptions
from scripts.benches.rows import AtMost, Row, row

__all__ = ["expiries"]

_LIFETIME_SECONDS = 0.25
_LOAD_SECONDS = 0.02
_PAUSE_SECONDS = 0.002
_START_SECONDS = 10.0
_CALLERS = 10
_SIZES = (1, 4)
_FAMILY = Family("hot", "{id}", int, policy=Policy(lifetime=_LIFETIME_SECONDS, jitter=0))
_Fork: Any = multiprocessing.get_context("fork")


class _Source:
    """What is asked, and when it was."""

    def __init__(self) -> None:
        self.asked: list[float] = []

        def load(id: int) -> int:  # noqa: A002 - the key's name for it
            self.asked.append(time.monotonic())
            time.sleep(_LOAD_SECONDS)
            return id

        async def load_in_loop(id: int) -> int:  # noqa: A002 - as above
            self.asked.append(time.monotonic())
            await asyncio.sleep(_LOAD_SECONDS)
            return id

        self.load = load
        self.load_in_loop = load_in_loop


_Call: TypeAlias = Callable[[int], Any]
_Make: TypeAlias = Callable[[str, str, _Source], _Call]
_MakeInLoop: TypeAlias = Callable[[str, str, _Source], Awaitable[_Call]]


def expiries(url: str, seconds: float) -> list[Row]:
    """Let a value of each contender expire for so many seconds; return the loads for each expiry."""
    rows = []
    for name in (*_THREADED, *_LOOPED):
        aim = AtMost(1.0) if name.startswith("decorated") else None
        for size, counts in _hammered(name, url, seconds).items():
            text = f"{name}, {size} process{'es' if size > 1 else ''}"
            rows.append(row("loads per expiry", text, "loads", [_mean(counts)], aim=aim))
    return rows


def _mean(counts: list[int]) -> float:
    return sum(counts) / len(counts) if counts else float("nan")


def _hammered(name: str, url: str, seconds: float) -> dict[int, list[int]]:
    """Return by number of processes how many loads each expiry caused.

    All numbers at once, on keys of their own: callers pause, and so leave the processors room.
    """
    barrier = _Fork.Barrier(sum(_SIZES))
    queues = {size: _Fork.SimpleQueue() for size in _SIZES}
    processes = [
        _Fork.Process(target=_hammer, args=(name, url, size, seconds, barrier, queues[size]))
        for size in _SIZES
        for _ in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(seconds + _START_SECONDS)
        if process.exitcode != 0:
            barrier.abort()
            raise ProcessError(f"{name}: a process of the crowd ended with {process.exitcode}")
    asked = {size: [moment for _ in range(size) for moment in queue.get()] for size, queue in queues.items()}
    return {size: _bursts(sorted(moments)) for size, moments in asked.items()}


def _bursts(moments: Iterable[float]) -> list[int]:
    """Count the loads of each expiry; what came first was none, but the cold start."""
    counts: list[int] = []
    last = -_LIFETIME_SECONDS
    for moment in moments:
        if moment - last > _LIFETIME_SECONDS / 2:
            counts.append(0)
        counts[-1] += 1
        last = moment
    return counts[1:]


def _hammer(name: str, url: str, size: int, seconds: float, barrier: Any, queue: Any) -> None:
    """Be one of the processes."""
    source, prefix = _Source(), f"{name.replace(', ', '-')}-{size}"

    def hammer(call: _Call) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            call(17)
            time.sleep(_PAUSE_SECONDS)

    async def hammer_in_loop(call: _Call) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await call(17)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def in_loop() -> None:
        call = await _LOOPED[name](url, prefix, source)
        await asyncio.to_thread(barrier.wait, _START_SECONDS)
        await asyncio.gather(*(hammer_in_loop(call) for _ in range(_CALLERS)))

    if name in _LOOPED:
        asyncio.run(in_loop())
    else:
        call = _THREADED[name](url, prefix, source)
        barrier.wait(_START_SECONDS)
        threads = [Thread(target=hammer, args=(call,)) for _ in range(_CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    queue.put(source.asked)


def _ours(url: str, prefix: str, source: _Source) -> _Call:
    cache = LayeredCache(RedisOptions(url=url, prefix=prefix, timeout=2.0))
    cache.wait_until_synced()
    return cache.cached(_FAMILY)(source.load)


async def _ours_in_loop(url: str, prefix: str, source: _Source) -> _Call:
    cache = AsyncLayeredCache(RedisOptions(url=url, prefix=prefix, timeout=2.0))
    await asyncio.to_thread(cache.wait_until_synced)
    return cache.cached(_FAMILY)(source.load_in_loop)


def _dogpile(url: str, prefix: str, source: _Source) -> _Call:
    arguments = {"url": url, "distributed_lock": True, "thread_local_lock": False}
    region: Any = dogpile.cache.make_region(key_mangler=lambda key: f"{prefix}:{key}")
    region.configure("dogpile.cache.redis", expiration_time=_LIFETIME_SECONDS, arguments=arguments)
    call: _Call = region.cache_on_arguments(function_key_generator=lambda *_, **__: str)(source.load)
    return call


def _cachetools(_: str, __: str, source: _Source) -> _Call:
    memory: Any = cachetools.TTLCache(100, _LIFETIME_SECONDS)
    return cachetools.cached(memory, condition=Condition())(source.load)


async def _cashews(url: str, prefix: str, source: _Source) -> _Call:
    cache = cashews.Cache()
    cache.setup(url)
    decorated = cache(ttl=timedelta(seconds=_LIFETIME_SECONDS), key=prefix + ":{id}", lock=True)
    return decorated(source.load_in_loop)


async def _aiocache(url: str, prefix: str, source: _Source) -> _Call:
    call: _Call = aiocache.cached_stampede(
        lease=2,
        ttl=_LIFETIME_SECONDS,
        cache=aiocache.RedisCache,
        port=urlsplit(url).port,
        key_builder=lambda _, id: f"{prefix}:{id}",  # noqa: A006 - the key's name for it
    )(source.load_in_loop)
    return call


_THREADED: Mapping[str, _Make] = {
    "decorated, sync": _ours,
    "dogpile, a lock in Redis": _dogpile,
    "cachetools": _cachetools,
}
_LOOPED: Mapping[str, _MakeInLoop] = {
    "decorated, async": _ours_in_loop,
    "cashews, a lock in Redis": _cashews,
    "aiocache, cached_stampede": _aiocache,
}
