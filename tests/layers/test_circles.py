"""Loaders that wait for each other, in whatever way, are an error at once that names them; others aren't."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from origin_sdk.layers import AsyncLayeredCache, Family, Key, LayeredCache, LoadCycle, Policy, RedisOptions
from scripts.runtime import paths
from tests.layers.servers import PATIENT_SECONDS, RedisServer

FAMILY = Family("node", "{id}", str, policy=Policy(jitter=0))
TIMED = Family("timed", "{id}", str, policy=Policy(jitter=0, hard_timeout=15.0))
AT_ONCE = 12.0
"""Far less than the thirty seconds that one waits for others, or than for ever."""

Read = Callable[[LayeredCache, Any, Callable[[], str]], str]


def one(cache: LayeredCache, key: Any, load: Callable[[], str]) -> str:
    return str(cache.get_or_load(key, lambda _: load()))


def many(cache: LayeredCache, key: Any, load: Callable[[], str]) -> str:
    return str(cache.get_many_or_load([key], lambda keys: dict.fromkeys(keys, load()))[key])


def refresh(cache: LayeredCache, key: Any, load: Callable[[], str]) -> str:
    return str(cache.refresh(key, lambda _: load()))


READS = {"one": one, "many": many, "refresh": refresh}


@pytest.fixture(params=["memory", "redis"])
def caches(request: pytest.FixtureRequest, new_cache: Callable[..., Any]) -> list[LayeredCache]:
    made = [new_cache(request.param, "sync") for _ in range(2)]
    for each in made:
        assert request.param == "memory" or each.wait_until_synced(30)
    return made if request.param == "redis" else made[:1] * 2


@pytest.fixture
def began(redis_server: RedisServer) -> Iterator[None]:  # noqa: ARG001 - which may take long to start
    before = time.monotonic()
    yield
    assert time.monotonic() - before < AT_ONCE


@pytest.mark.usefixtures("began")
@pytest.mark.parametrize("family", [FAMILY, TIMED], ids=["in the caller", "in the background"])
@pytest.mark.parametrize("inner", READS.values(), ids=READS)
@pytest.mark.parametrize("outer", READS.values(), ids=READS)
def test_a_loader_that_asks_for_its_own_key(
    caches: list[LayeredCache], outer: Read, inner: Read, family: Family[str]
) -> None:
    cache, key = caches[0], family.key(id=1)
    with pytest.raises(LoadCycle, match=rf"{family.name}\.v1:1 → {family.name}\.v1:1"):
        outer(cache, key, lambda: inner(cache, key, lambda: inner(cache, key, lambda: "never")))
    assert one(cache, key, lambda: "value") == "value"


@pytest.mark.usefixtures("began")
@pytest.mark.parametrize("family", [FAMILY, TIMED], ids=["in the caller", "in the background"])
@pytest.mark.parametrize("reads", [one, many], ids=["one", "many"])
@pytest.mark.parametrize("size", [2, 3])
def test_loaders_that_need_each_other(
    caches: list[LayeredCache], reads: Read, size: int, family: Family[str]
) -> None:
    """Each in a thread, and where there is Redis by turns in one process or another."""
    together, have_loaded = Barrier(size), set()

    def ask(number: int) -> str:
        def load() -> str:
            if number in have_loaded:
                return "loaded again"
            have_loaded.add(number)
            together.wait(AT_ONCE)
            return reads(
                caches[(number + 1) % 2], family.key(id=(number + 1) % size), lambda: "not asked for"
            )

        return reads(caches[number % 2], family.key(id=number), load)

    with ThreadPoolExecutor(size) as pool:
        asked = [pool.submit(ask, number) for number in range(size)]
        errors = [each.exception(20) for each in asked]
    cycles = [error for error in errors if isinstance(error, LoadCycle)]
    assert cycles
    assert all("node.v1:0" in str(each) or "timed.v1:0" in str(each) for each in cycles)


@pytest.mark.usefixtures("began")
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("has_redis", [False, True], ids=["memory", "redis"])
async def test_tasks_whose_loaders_need_each_other(
    redis_server: RedisServer, prefix: str, size: int, *, has_redis: bool
) -> None:
    options = (
        RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS) if has_redis else None
    )
    async with AsyncLayeredCache(options) as first, AsyncLayeredCache(options) as second:
        caches = [first, second if has_redis else first]
        arrived = [asyncio.Event() for _ in range(size)]

        async def ask(number: int) -> str:
            async def load(_: object) -> str:
                arrived[number].set()
                await asyncio.gather(*(each.wait() for each in arrived))
                later = (number + 1) % size
                return await caches[later % 2].get_or_load(FAMILY.key(id=later), load)

            return await caches[number % 2].get_or_load(FAMILY.key(id=number), load)

        errors = await asyncio.gather(*(ask(number) for number in range(size)), return_exceptions=True)
    assert any(isinstance(error, LoadCycle) for error in errors)


def test_what_only_looks_like_a_circle(caches: list[LayeredCache]) -> None:
    cache = caches[0]
    key, other = FAMILY.key(id="a"), FAMILY.key(id="b")

    def reads_other() -> str:
        return one(cache, other, lambda: "b")

    assert one(cache, key, reads_other) == "b"
    assert one(cache, other, lambda: one(cache, key, lambda: "never")) == "b"
    # The same key in a cache of another kind is another key.
    with LayeredCache() as above:
        assert one(above, key, lambda: one(cache, key, lambda: "never")) == "b"


def test_a_stale_part_that_is_refreshed_meanwhile_may_need_the_whole(new_cache: Callable[..., Any]) -> None:
    cache = new_cache("memory", "sync")
    part = Family("part", "{id}", str, policy=Policy(lifetime=0.01, stale=60, jitter=0)).key(id=1)
    page = FAMILY.key(id="page")
    assert one(cache, part, lambda: "part") == "part"
    time.sleep(0.02)
    assert one(cache, page, lambda: one(cache, part, lambda: one(cache, page, lambda: "never"))) == "part"


@pytest.mark.parametrize("ways", [("many", "one"), ("loop", "many", "one")], ids="-".join)
def test_processes_whose_loaders_need_each_other(
    redis_server: RedisServer, prefix: str, ways: tuple[str, ...]
) -> None:
    size = len(ways)
    processes = [
        subprocess.Popen(
            (
                *(sys.executable, "-m", "tests.layers.circle", redis_server.url, prefix),
                *(f"n{number}", f"n{(number + 1) % size}", way),
            ),
            cwd=paths.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, way in enumerate(ways)
    ]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "loading\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n" * 3)
            process.stdin.close()
        began = time.monotonic()
        said = [process.stdout.read() for process in processes if process.stdout]
        assert time.monotonic() - began < AT_ONCE * 2
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
    everything = "".join(said)
    assert "LoadCycle" in everything
    assert all(f"node.v1:n{number} → node.v1:n{(number + 1) % size}" in everything for number in range(size))


@pytest.mark.parametrize("asks_for_many", [False, True], ids=["one", "many"])
async def test_a_loader_that_waits_no_more_closes_no_circle(*, asks_for_many: bool) -> None:
    """It follows a load, gives that up, and goes on: that load may wait for it now."""
    cache, gave_up, began = AsyncLayeredCache(), asyncio.Event(), asyncio.Event()
    first, second = FAMILY.key(id="first"), FAMILY.key(id="second")

    async def load_first(_: object) -> str:
        try:
            async with asyncio.timeout(0.01):
                if asks_for_many:
                    return str(await cache.get_many_or_load([second], load_none))
                return await cache.get_or_load(second, load_second)
        except TimeoutError:
            gave_up.set()
        while cache.stats.counts["memory-miss", FAMILY.name] < 4:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        return "first"

    async def load_none(_: object) -> dict[Key[str], str]:
        return {}

    async def load_second(_: object) -> str:
        began.set()
        await gave_up.wait()
        return await cache.get_or_load(first, load_first) + ", then second"

    async with asyncio.timeout(20):
        of_second = asyncio.create_task(cache.get_or_load(second, load_second))
        await began.wait()
        assert await cache.get_or_load(first, load_first) == "first"
        assert await of_second == "first, then second"
    await cache.aclose()
