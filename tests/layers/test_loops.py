"""One asynchronous cache in one event loop after another, and in the loops of several threads."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from origin_sdk.layers import AsyncLayeredCache, Family, Key, Policy, RedisOptions
from origin_sdk.testing import ManualClock
from tests.layers.servers import RedisServer
from tests.layers.test_breakdowns import eventually

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


def test_a_loop_follows_what_another_threads_loop_loads() -> None:
    cache, key, started, release = AsyncLayeredCache(), FAMILY.key(id="one"), Event(), Event()

    async def load(_: object) -> int:
        started.set()
        await asyncio.to_thread(release.wait, 30)
        return 1

    async def follow(_: object) -> int:
        return 2

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(lambda: asyncio.run(cache.get_or_load(key, load)))
        assert started.wait(30)
        follower = pool.submit(lambda: asyncio.run(cache.get_or_load(key, follow)))
        eventually(lambda: cache.stats.counts["memory-miss", "number"] == 2)
        release.set()
        assert (leader.result(30), follower.result(30)) == (1, 1)


STALE = Family("stale", "{id}", int, policy=Policy(lifetime=10, stale=60, fail_safe=90, jitter=0))


@pytest.mark.parametrize("is_stale", [False, True], ids=["that is waited for", "behind the caller's back"])
def test_a_load_that_its_loop_never_began_holds_up_no_later_one(*, is_stale: bool) -> None:
    clock = ManualClock()
    cache, key = AsyncLayeredCache(clock=clock), STALE.key(id=1)

    async def load(keys: Sequence[Key[int]]) -> dict[Key[int], int]:
        return dict.fromkeys(keys, 2)

    async def ask() -> dict[Key[int], int]:
        async with asyncio.timeout(20):
            return await cache.get_many_or_load([key], load)

    async def leave() -> None:
        asyncio.get_running_loop().create_task(ask())
        await asyncio.sleep(0)  # its load is a task by now, and hasn't begun

    if is_stale:
        asyncio.run(cache.set(key, 1))
        clock.advance(20)
    asyncio.run(leave())
    clock.advance(100)
    assert asyncio.run(ask()) == {key: 2}


LEFT: list[AsyncLayeredCache] = []
"""Their tasks never end: asyncio complains of one when it is collected, which comes in any later test."""


def test_what_a_closed_loop_left_under_way_is_loaded_again_and_not_waited_for() -> None:
    clock = ManualClock()
    cache, key, loop = AsyncLayeredCache(clock=clock), STALE.key(id=1), asyncio.new_event_loop()

    async def never(_: object) -> int:
        await asyncio.Event().wait()
        return 0

    async def load(_: object) -> int:
        return 2

    async def ask() -> int:
        async with asyncio.timeout(20):
            return await cache.get_or_load(key, load)

    LEFT.append(cache)
    loop.run_until_complete(cache.set(key, 1))
    clock.advance(20)
    assert loop.run_until_complete(cache.get_or_load(key, never)) == 1
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    clock.advance(100)
    assert asyncio.run(ask()) == 2
    asyncio.run(cache.aclose())
