"""One asynchronous cache in one event loop after another, and in the loops of several threads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from origin_sdk.layers import AsyncLayeredCache, Family, RedisOptions
from tests.layers.servers import RedisServer

FAMILY = Family("number", "{id}", int, groups=("group-{id}",))


@pytest.fixture
def cache(redis_server: RedisServer, prefix: str) -> AsyncLayeredCache:
    return AsyncLayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=5))


async def use(cache: AsyncLayeredCache, name: str) -> None:
    async def load(_: object) -> int:
        return 7

    keys = [FAMILY.key(id=f"{name}-{number}") for number in range(5)]
    assert await asyncio.gather(*(cache.get_or_load(key, load) for key in keys)) == [7] * 5
    cache.memory.clear()
    assert await cache.get(keys[0]) == 7
    assert (await cache.invalidate(groups=[f"group-{name}-0"])).in_redis
    assert await cache.get(keys[0]) is None


def test_one_asyncio_run_after_another(cache: AsyncLayeredCache) -> None:
    for name in ("first", "second", "third"):
        asyncio.run(use(cache, name))
        assert not cache._callers, "connections end with their loop"
    asyncio.run(cache.aclose())


def test_a_loop_that_is_closed_without_ceremony(cache: AsyncLayeredCache) -> None:
    async def once(name: str) -> None:
        await use(cache, name)
        await cache._callers[asyncio.get_running_loop()].redis.aclose()

    for name in ("first", "second"):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(once(name))
        loop.close()
    asyncio.run(cache.aclose())


def test_loops_of_several_threads(cache: AsyncLayeredCache) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: asyncio.run(use(cache, name)), ("a", "b", "c")))
    asyncio.run(cache.aclose())
