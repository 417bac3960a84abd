"""One load a key: among tasks that are cancelled, among processes, after crashes."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from origin_sdk.layers import AsyncLayeredCache, Family, LayeredCache, Policy, RedisOptions
from scripts.runtime import paths
from tests.layers.servers import PATIENT_SECONDS, RedisServer
from tests.layers.test_breakdowns import eventually
from tests.layers.test_contract import Source

FAMILY = Family("hot", "{id}", int)
KEY = FAMILY.key(id=1)
CROWD = Path(__file__).with_name("crowd.py")


@pytest.fixture
async def cache() -> AsyncIterator[AsyncLayeredCache]:
    async with AsyncLayeredCache() as made:
        yield made


class SlowSource:
    """Loads when it is let."""

    def __init__(self) -> None:
        self.calls = 0
        self.started = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, _: object) -> int:
        self.calls += 1
        self.started.set()
        await self.release.wait()
        return 5


@pytest.mark.parametrize("cancelled", [0, 1, 4], ids=["the first", "a waiter", "the last"])
async def test_a_cancelled_caller_harms_no_one(cache: AsyncLayeredCache, cancelled: int) -> None:
    source = SlowSource()
    tasks = [asyncio.create_task(cache.get_or_load(KEY, source)) for _ in range(5)]
    await source.started.wait()
    tasks[cancelled].cancel()
    await asyncio.sleep(0)
    source.release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results].count(asyncio.CancelledError) == 1
    assert [result for result in results if result == 5] == [5] * 4
    assert source.calls == 1


async def test_if_all_are_cancelled_the_value_is_kept(cache: AsyncLayeredCache) -> None:
    source = SlowSource()
    task = asyncio.create_task(cache.get_or_load(KEY, source))
    await source.started.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    source.release.set()
    assert await cache.get_or_load(KEY, source) == 5
    assert source.calls == 1


def test_a_leader_that_is_interrupted_hands_over() -> None:
    class Interrupted(BaseException):
        pass

    def interrupted(_: object) -> int:
        raise Interrupted

    with LayeredCache() as cache:
        with pytest.raises(Interrupted):
            cache.get_or_load(KEY, interrupted)
        assert cache.get_or_load(KEY, Source(5)) == 5


def test_four_processes_with_fifty_tasks_load_once(redis_server: RedisServer, prefix: str) -> None:
    command = (sys.executable, "-m", "tests.layers.crowd", redis_server.url, prefix)
    crowd = [
        subprocess.Popen(command, cwd=paths.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    try:
        for process in crowd:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        loads = [int(process.communicate(timeout=100)[0]) for process in _started(crowd)]
    finally:
        for process in crowd:
            process.kill()
            process.wait()
    assert sum(loads) == 1


def _started(crowd: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return crowd


def test_a_lock_whose_holder_died_is_over_when_it_expires(redis_server: RedisServer, prefix: str) -> None:
    family = Family("hot", "{id}", int, policy=Policy(lock=1.5))
    with LayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)) as cache:
        assert cache.wait_until_synced(30)
        with redis_server.client() as client, cache.detect() as detected:
            client.set(f"{{{prefix}:0}}l:hot.v1:1", "1 dead", px=1500)
            assert cache.get_or_load(family.key(id=1), Source(5)) == 5
        assert "waited-for-process" in detected.of("hot.v1:1")


@pytest.mark.parametrize("driver", ["sync", "async"])
@pytest.mark.parametrize("verb", ["get_or_load", "refresh"])
def test_a_call_may_choose_not_to_wait_for_other_processes(
    redis_server: RedisServer, new_cache: Callable[..., Any], prefix: str, driver: str, verb: str
) -> None:
    cache = new_cache("redis", driver)
    assert cache.wait_until_synced(30)
    with redis_server.client() as client:
        client.set(f"{{{prefix}:0}}l:hot.v1:1", "1 another", px=60_000)
        assert getattr(cache, verb)(KEY, Source(5), single_flight="process") == 5
        assert client.exists(f"{{{prefix}:0}}l:hot.v1:1")


def test_a_lock_is_renewed_while_its_holder_loads(redis_server: RedisServer, prefix: str) -> None:
    family = Family("hot", "{id}", int, policy=Policy(lock=4.0))
    name = f"{{{prefix}:0}}l:hot.v1:1"
    with (
        redis_server.client() as client,
        LayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)) as cache,
    ):
        assert cache.wait_until_synced(30)

        def slow(_: object) -> int:
            holder = client.get(name)
            client.pexpire(name, 3000)
            eventually(lambda: client.pttl(name) > 3000)
            assert client.get(name) == holder
            return 5

        assert cache.get_or_load(family.key(id=1), slow) == 5
        assert not client.exists(name)


def test_a_load_that_outlived_its_lock_does_not_overwrite_the_next(
    redis_server: RedisServer, prefix: str
) -> None:
    """The fencing token: the second holder's number is higher, and Redis refuses the first one's result."""
    options = RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)
    with LayeredCache(options) as slow, LayeredCache(options) as fast, redis_server.client() as client:
        assert slow.wait_until_synced(30)
        assert fast.wait_until_synced(30)

        def load(_: object) -> int:
            client.delete(f"{{{prefix}:0}}l:hot.v1:1")  # as if it had expired
            assert fast.get_or_load(KEY, Source(2)) == 2
            return 1

        slow.get_or_load(KEY, load)
        fast.memory.clear()
        assert fast.get(KEY) == 2
