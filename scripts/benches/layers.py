"""`scripts/bench layers`: the layered cache against what else there is, and bare clients.

Every round measures all contestants, one after the other, so that a busy machine is busy for all.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import aiocache  # type: ignore[import-untyped]  # has none
import cachetools
import cashews
import dogpile.cache
import msgspec
import redis
import redis.asyncio

from origin_sdk.layers import AsyncLayeredCache, Family, Key, LayeredCache, Policy, RedisOptions
from origin_sdk.responses import drafting
from scripts.benches.expiries import expiries
from scripts.benches.redis_server import running_redis
from scripts.benches.rows import AtMost, Row, row

__all__ = ["add_arguments", "measure"]


@dataclass
class Product:
    """What is cached."""

    id: int
    name: str
    price: float


FAMILY = Family("product", "{id}", Product, groups=("product-{id}",), policy=Policy(lifetime=3600))
KEY = FAMILY.key(id=17)
LAMP = Product(17, "lamp", 12.5)
_MANY = 100
_Calls = dict[str, Callable[[], Any]]
_AsyncCalls = dict[str, Callable[[], Awaitable[Any]]]


@dataclass(frozen=True, slots=True)
class _Extent:
    rounds: int
    calls: int
    entries: int
    expiring_seconds: float

    @property
    def of_many(self) -> _Extent:
        """The same for calls that take longer."""
        return replace(self, calls=self.calls // 4)


_FULL = _Extent(rounds=25, calls=400, entries=1_000_000, expiring_seconds=4.0)
_QUICK = _Extent(rounds=3, calls=60, entries=50_000, expiring_seconds=0.8)


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Nothing is asked beyond what every bench is."""


def measure(options: argparse.Namespace) -> list[Row]:
    """Measure everything, and return a row for each."""
    extent = _QUICK if options.quick else _FULL
    with TemporaryDirectory() as folder, running_redis(Path(folder)) as server:
        # First, since it forks.
        expired = expiries(server.url, extent.expiring_seconds)
        return [
            *_memory_hits(extent),
            *asyncio.run(_async_memory_hits(extent)),
            *_redis_hits(extent, server.url),
            *asyncio.run(_async_redis_hits(extent, server.url)),
            *expired,
            *_parts(extent, server.url),
            *_flatness(extent),
            _bytes(),
            *_frozen(server),
        ]


def _product(id: int) -> Product:  # noqa: A002 - the key's name for it
    return Product(id, "lamp", 12.5)


async def _async_product(id: int) -> Product:  # noqa: A002 - as above
    return _product(id)


def _memory_hits(extent: _Extent) -> list[Row]:
    region = dogpile.cache.make_region().configure("dogpile.cache.memory", expiration_time=3600)
    with LayeredCache() as cache:
        ours = cache.cached(FAMILY)(_product)
        theirs = region.cache_on_arguments()(_product)
        floor = cachetools.cached(cachetools.TTLCache(1000, 3600))(_product)
        times = _rounds(
            extent,
            {"decorated": lambda: ours(17), "dogpile": lambda: theirs(17), "cachetools": lambda: floor(17)},
        )
        with drafting():
            times["decorated, in a response"] = _rounds(extent, {"decorated": lambda: ours(17)})["decorated"]
    return _compared("memory, sync", times, "decorated", AtMost(3.6))


async def _async_memory_hits(extent: _Extent) -> list[Row]:
    memory = cashews.Cache()
    memory.setup("mem://")
    async with AsyncLayeredCache() as cache:
        ours = cache.cached(FAMILY)(_async_product)
        cashews_call = memory(ttl=3600, key="product:{id}")(_async_product)
        aiocache_call = aiocache.cached(ttl=3600)(_async_product)
        times = await _async_rounds(
            extent,
            {
                "decorated": lambda: ours(17),
                "cashews": lambda: cashews_call(17),
                "aiocache": lambda: aiocache_call(17),
            },
        )
    await memory.close()
    return _compared("memory, async", times, "decorated", AtMost(8.0))


def _redis_hits(extent: _Extent, url: str) -> list[Row]:
    client: Any = redis.Redis.from_url(url)
    decode = msgspec.msgpack.Decoder(Product).decode
    packed = msgspec.msgpack.encode(LAMP)
    keys = [FAMILY.key(id=number) for number in range(_MANY)]
    names = [f"bare:{number}" for number in range(_MANY)]
    client.mset(dict.fromkeys(names, packed))
    client.set("bare", packed)
    region: Any = dogpile.cache.make_region()
    region.configure("dogpile.cache.redis", arguments={"url": url})
    region.set("lamp", LAMP)
    with LayeredCache(RedisOptions(url=url, timeout=2.0)) as cache:
        cache.wait_until_synced()
        cache.get_many_or_load(keys, lambda some: dict.fromkeys(some, LAMP))

        def hit() -> Product:
            cache.memory.drop(KEY.name)
            return cache.get_or_load(KEY, _never)

        def many() -> object:
            cache.memory.clear()
            return cache.get_many_or_load(keys, _never)

        one = _rounds(
            extent,
            {
                "hit": hit,
                "bare client": lambda: decode(_stored(client.get("bare"))),
                "dogpile": lambda: region.get("lamp"),
            },
        )
        unseen = count(_MANY)

        def cold() -> object:
            new = [FAMILY.key(id=next(unseen)) for _ in range(_MANY)]
            return cache.get_many_or_load(new, lambda some: dict.fromkeys(some, LAMP))

        cold_batch = _rounds(extent.of_many, {"cold batch of 100": cold})
        region_names = [f"dogpile:{name}" for name in names]
        region.set_multi(dict.fromkeys(region_names, LAMP))
        hundred = _rounds(
            extent.of_many,
            {
                "get_many of 100": many,
                "bare MGET": lambda: [decode(_stored(each)) for each in client.mget(names)],
                "dogpile, get_multi": lambda: region.get_multi(region_names),
            },
        )
    client.close()
    return [
        *_compared("Redis, sync", one, "hit", AtMost(1.1), against="bare client"),
        *_compared("Redis, sync", hundred, "get_many of 100", AtMost(1.3), against="bare MGET"),
        # Memory, a look into Redis, the claim, the loader, the store: 2.5 ms in all.
        *_compared("Redis, sync", cold_batch, "cold batch of 100", AtMost(2_500)),
    ]


def _parts(extent: _Extent, url: str) -> list[Row]:
    """Measure parts of structures against the wholes, out of Redis."""
    stock = Family("stock", "{id}", dict[str, int], policy=Policy(lifetime=3600), kept_as="hash")
    scores = Family("scores", "{id}", dict[str, float], policy=Policy(lifetime=3600), kept_as="sorted-set")
    with LayeredCache(RedisOptions(url=url, timeout=2.0)) as cache:
        cache.wait_until_synced()
        stocked = {str(number): number for number in range(1000)}
        fields = cache.fields(stock.key(id=1), lambda _: stocked)
        ranking = cache.ranking(
            scores.key(id=1), lambda _: {str(number): number / 7 for number in range(1000)}
        )

        def cold(call: Callable[[], object]) -> Callable[[], object]:
            def asked() -> object:
                cache.memory.clear()
                return call()

            return asked

        of_hash = _rounds(
            extent.of_many,
            {"a field of 1,000": cold(lambda: fields.get("17")), "all fields": cold(fields.all)},
        )
        of_ranking = _rounds(
            extent.of_many,
            {"a page of 20 of 1,000": cold(lambda: ranking.page(500, 20)), "the whole": cold(ranking.all)},
        )
        written = _rounds(extent.of_many, {"a field written": lambda: fields.set("17", 18)})
    return [
        *_compared("Redis, hash", of_hash, "a field of 1,000", AtMost(0.5), against="all fields"),
        *_compared("Redis, hash", written, "", AtMost(1.0)),
        *_compared("Redis, ranking", of_ranking, "a page of 20 of 1,000", AtMost(0.5), against="the whole"),
    ]


async def _async_redis_hits(extent: _Extent, url: str) -> list[Row]:
    client = redis.asyncio.Redis.from_url(url)
    decode = msgspec.msgpack.Decoder(Product).decode
    keys = [FAMILY.key(id=number) for number in range(_MANY)]
    names = [f"bare:{number}" for number in range(_MANY)]
    of_cashews, of_aiocache = (
        cashews.Cache(),
        aiocache.RedisCache(port=urlsplit(url).port, serializer=aiocache.serializers.PickleSerializer()),
    )
    of_cashews.setup(url)
    for name in ("lamp", *names):
        await of_cashews.set(f"c:{name}", LAMP)
        await of_aiocache.set(f"a:{name}", LAMP)
    async with AsyncLayeredCache(RedisOptions(url=url, timeout=2.0)) as cache:
        await asyncio.to_thread(cache.wait_until_synced)
        await cache.get_or_load(KEY, lambda _: _async_product(17))
        await cache.get_many_or_load(keys, _all_lamps)

        async def hit() -> Product:
            cache.memory.drop(KEY.name)
            return await cache.get_or_load(KEY, _never)

        async def bare() -> Product:
            return decode(_stored(await client.get("bare")))

        async def many() -> object:
            cache.memory.clear()
            return await cache.get_many_or_load(keys, _never)

        async def bare_many() -> object:
            return [decode(_stored(each)) for each in await client.mget(names)]

        one = await _async_rounds(
            extent,
            {
                "hit": hit,
                "bare client": bare,
                "cashews": lambda: of_cashews.get("c:lamp"),
                "aiocache": lambda: of_aiocache.get("a:lamp"),
            },
        )
        hundred = await _async_rounds(
            extent.of_many,
            {
                "get_many of 100": many,
                "bare MGET": bare_many,
                "cashews, get_many": lambda: of_cashews.get_many(*(f"c:{name}" for name in names)),
                "aiocache, multi_get": lambda: of_aiocache.multi_get([f"a:{name}" for name in names]),
            },
        )
    await of_cashews.close()
    await of_aiocache.close()
    await client.aclose()
    return [
        *_compared("Redis, async", one, "hit", AtMost(1.1), against="bare client"),
        *_compared("Redis, async", hundred, "get_many of 100", AtMost(1.3), against="bare MGET"),
    ]


async def _all_lamps(keys: Sequence[Key[Product]]) -> dict[Key[Product], Product]:
    return dict.fromkeys(keys, LAMP)


def _stored(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("nothing is stored")
    return value


def _never(_: object) -> Any:
    raise AssertionError("it is stored")


def _flatness(extent: _Extent) -> list[Row]:
    """Measure hits of a thousand keys in a small and a large memory."""
    times: dict[str, list[float]] = {}
    sizes = (1000, extent.entries)
    with _filled(sizes[0], sizes[1]) as small, _filled(sizes[1], sizes[1]) as large:
        for _ in range(extent.rounds):
            for size, call in zip(sizes, (small, large), strict=True):
                # The same thousand keys in both: what is measured is the table, not the processor's cache.
                began = time.perf_counter()
                for number in range(1000):
                    call(number)
                times.setdefault(f"{size:,} entries", []).append((time.perf_counter() - began) * 1000)
    names = list(times)
    return _compared("memory, size", times, names[1], AtMost(1.3), against=names[0])


@contextmanager
def _filled(entries: int, bound: int) -> Iterator[Callable[[int], Product]]:
    with LayeredCache(max_entries=bound) as cache:
        call = cache.cached(FAMILY)(_product)
        for number in range(entries):
            call(number)
        yield call


def _bytes() -> Row:
    """Measure what 100,000 entries take beyond 1.5 times their values."""
    entries = 100_000
    gc.collect()
    tracemalloc.start()
    values = [f"{number:0200}" for number in range(entries)]
    of_values = tracemalloc.get_traced_memory()[0]
    family = Family("text", "{id}", str)
    with LayeredCache(max_entries=entries) as cache:
        before = tracemalloc.get_traced_memory()[0]

        def text(id: int) -> str:  # noqa: A002 - the key's name for it
            return values[id]

        call = cache.cached(family)(text)
        for number in range(entries):
            call(number)
        gc.collect()
        each = (tracemalloc.get_traced_memory()[0] - before) / entries
    tracemalloc.stop()
    allowed = 0.5 * of_values / entries + 300
    name = f"bytes an entry beyond its value of {of_values // entries}"
    return row("memory, size", name, "B", [each], aim=AtMost(allowed))


def _frozen(server: Any) -> list[Row]:
    """Measure calls while Redis holds connections and answers nothing."""
    with LayeredCache(RedisOptions(url=server.url)) as cache:
        cache.wait_until_synced()
        server.freeze()
        try:
            took: list[float] = []
            for number in range(200):
                began = time.perf_counter()
                cache.get_or_load(FAMILY.key(id=f"cold-{number}"), lambda _: LAMP)
                took.append((time.perf_counter() - began) * 1000)
        finally:
            server.thaw()
    return [
        row("frozen Redis", "slowest call", "ms", [max(took)], aim=AtMost(100)),
        row("frozen Redis", "median call", "ms", [statistics.median(took)], aim=AtMost(1)),
    ]


def _rounds(extent: _Extent, calls: _Calls) -> dict[str, list[float]]:
    """Return the median microseconds of a call, for each round."""
    times: dict[str, list[float]] = {f"{name}{tail}": [] for name in calls for tail in ("", ", p99")}
    for call in calls.values():
        call()
    for _ in range(extent.rounds):
        for name, call in calls.items():
            took = []
            for _ in range(extent.calls):
                began = time.perf_counter_ns()
                call()
                took.append(time.perf_counter_ns() - began)
            _note(times, name, took)
    return times


async def _async_rounds(extent: _Extent, calls: _AsyncCalls) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {f"{name}{tail}": [] for name in calls for tail in ("", ", p99")}
    for call in calls.values():
        await call()
    for _ in range(extent.rounds):
        for name, call in calls.items():
            took = []
            for _ in range(extent.calls):
                began = time.perf_counter_ns()
                await call()
                took.append(time.perf_counter_ns() - began)
            _note(times, name, took)
    return times


def _note(times: dict[str, list[float]], name: str, took: list[int]) -> None:
    took.sort()
    times[name].append(took[len(took) // 2] / 1000)
    times[f"{name}, p99"].append(took[len(took) * 99 // 100] / 1000)


def _compared(
    part: str, times: dict[str, list[float]], ours: str, aim: AtMost, *, against: str | None = None
) -> list[Row]:
    return [
        row(
            part,
            name,
            "µs",
            values,
            against=against if name == ours else None,
            baseline=times[against] if against and name == ours else (),
            aim=aim if name == ours else None,
        )
        for name, values in times.items()
    ]
