"""Many keys by one call: no key is loaded twice, nobody waits in a circle, nobody is harmed by another."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from threading import Barrier, Event, Lock, Thread
from typing import Any

import pytest

from origin_sdk.layers import (
    AsyncLayeredCache,
    DataClass,
    Family,
    Key,
    LayeredCache,
    LoadTimeout,
    Policy,
    RedisOptions,
)
from origin_sdk.testing import ManualClock
from scripts.runtime import paths
from tests.layers.caches import make
from tests.layers.servers import ClusterOfSix, RedisServer
from tests.layers.test_breakdowns import BUSY_SECONDS, SOFT_SECONDS, eventually
from tests.layers.test_contract import Source
from tests.layers.test_policies import settle
from tests.stopwatch import Stopwatch

FAMILY = Family("hot", "{id}", int, groups=("hot",))
CROWD = "tests.layers.crowd_of_many"


def keys_of(ids: Iterable[int], family: Family[int] = FAMILY) -> list[Key[int]]:
    return [family.key(id=each) for each in ids]


def id_of(key: Key[int]) -> int:
    return int(key.name.rpartition(":")[2])


OVERLAPPING = [
    keys_of((start + step * each) % 12 for each in range(8)) for start in (0, 4, 9) for step in (1, 5, 7, 11)
]
"""Eight of twelve keys each, in orders that cross."""


class Shelf:
    """A loader of many that counts how often each key was asked for, and can be held up."""

    def __init__(self, missing: Iterable[int] = (), *, is_open: bool = True) -> None:
        self.asked: list[int] = []
        self.calls = 0
        self.started, self.release = Event(), Event()
        self._missing = set(missing)
        self._lock = Lock()
        if is_open:
            self.release.set()

    def __call__(self, keys: Iterable[Key[int]]) -> Mapping[Key[int], int]:
        ids = {key: id_of(key) for key in keys}
        with self._lock:
            self.calls += 1
            self.asked += ids.values()
        self.started.set()
        assert self.release.wait(20)
        return {key: 10 * each for key, each in ids.items() if each not in self._missing}


def in_threads(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run all at once; return what they return or raise."""
    results: list[Any] = []

    def run(call: Callable[[], Any]) -> None:
        arrived.wait(20)
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - it is compared with what was to be returned
            results.append(error)

    threads = [Thread(target=run, args=(call,)) for call in calls]
    arrived = Barrier(len(threads))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "somebody waits for ever"
    return results


def test_callers_of_the_same_cold_keys_share_one_load(cache: Any) -> None:
    shelf, keys = Shelf(missing=[3]), keys_of(range(20))
    results = in_threads([lambda: cache.get_many_or_load(keys, shelf)] * 12)
    assert results == [{key: 10 * id_of(key) for key in keys if id_of(key) != 3}] * 12
    assert sorted(each for each in shelf.asked if each != 3) == [each for each in range(20) if each != 3]


def test_overlapping_sets_in_any_order_are_loaded_once_and_nobody_waits_in_a_circle(cache: Any) -> None:
    shelf = Shelf()
    results = in_threads([partial(cache.get_many_or_load, keys, shelf) for keys in OVERLAPPING])
    assert len(results) == 12
    assert all(result == {key: 10 * id_of(key) for key in result} and len(result) == 8 for result in results)
    assert sorted(shelf.asked) == list(range(12))


def test_two_processes_with_overlapping_sets_load_each_key_once(
    new_cache: Callable[..., Any], driver: str, redis_kind: str
) -> None:
    caches = [new_cache(redis_kind, driver) for _ in range(2)]
    assert all(each.wait_until_synced(30) for each in caches)
    shelf = Shelf()
    calls = [
        partial(caches[number % 2].get_many_or_load, keys, shelf) for number, keys in enumerate(OVERLAPPING)
    ]
    assert [len(result) for result in in_threads(calls)] == [8] * 12
    assert sorted(shelf.asked) == list(range(12))


def waiting_for(cache: Any, key: Key[int]) -> int:
    """Return how many wait for a load, besides who waits for its own in the background."""
    flight = cache.flights._flights.get(key.name)
    return len(flight.waiters or ()) - (not cache.loads_inline) if flight else 0


def test_who_wants_one_key_waits_for_who_loads_many(cache: Any) -> None:
    shelf, source, one = Shelf(is_open=False), Source(7), FAMILY.key(id=1)
    many = Thread(target=cache.get_many_or_load, args=(keys_of([1, 2]), shelf))
    many.start()
    assert shelf.started.wait(20)
    results: list[int] = []
    single = Thread(target=lambda: results.append(cache.get_or_load(one, source)))
    single.start()
    eventually(lambda: waiting_for(cache, one) == 1)
    shelf.release.set()
    many.join(20)
    single.join(20)
    assert results == [10]
    assert source.calls == 0


def test_who_wants_many_waits_for_who_loads_one_of_them(cache: Any) -> None:
    one, shelf, release, started = FAMILY.key(id=1), Shelf(), Event(), Event()

    def slow(_: object) -> int:
        started.set()
        assert release.wait(20)
        return 7

    single = Thread(target=cache.get_or_load, args=(one, slow))
    single.start()
    assert started.wait(20)
    results: list[Any] = []
    many = Thread(target=lambda: results.append(cache.get_many_or_load(keys_of([1, 2]), shelf)))
    many.start()
    eventually(lambda: shelf.asked == [2])
    release.set()
    single.join(20)
    many.join(20)
    assert results == [{one: 7, FAMILY.key(id=2): 20}]
    assert shelf.asked == [2]


def test_a_loader_of_many_that_raises_stores_nothing_and_holds_no_lock(cache: Any) -> None:
    def down(_: object) -> Any:
        raise RuntimeError("down")

    keys = keys_of(range(3))
    with pytest.raises(RuntimeError, match="down"):
        cache.get_many_or_load(keys, down)
    assert cache.get_many_or_load(keys, Shelf()) == {key: 10 * id_of(key) for key in keys}


def test_what_a_loader_leaves_out_is_not_kept_and_its_lock_is_free(cache: Any) -> None:
    keys = keys_of(range(3))
    assert list(cache.get_many_or_load(keys, Shelf(missing=[1]))) == [keys[0], keys[2]]
    forget = cache.memory.clear
    forget()
    with cache.detect() as detected:
        assert cache.get_or_load(keys[1], Source(7)) == 7
    assert "waited-for-process" not in detected.of(keys[1].name)


def test_an_invalidation_during_a_load_of_many_outlives_it(cache: Any) -> None:
    shelf, keys = Shelf(is_open=False), keys_of(range(3))
    thread = Thread(target=cache.get_many_or_load, args=(keys, shelf))
    thread.start()
    assert shelf.started.wait(20)
    cache.invalidate(groups=["hot"])
    shelf.release.set()
    thread.join(20)
    assert [cache.get(key) for key in keys] == [None] * 3
    cache.memory.clear()
    assert cache.get_many_or_load(keys, lambda some: dict.fromkeys(some, 5)) == dict.fromkeys(keys, 5)


def test_restricted_keys_among_others_stay_out_of_redis(cache: Any) -> None:
    secret = Family("secret", "{id}", int, data_class=DataClass.RESTRICTED)
    keys = [*keys_of([1, 2]), secret.key(id=3)]
    assert cache.get_many_or_load(keys, Shelf()) == {key: 10 * id_of(key) for key in keys}
    cache.memory.clear()
    shelf = Shelf()
    cache.get_many_or_load(keys, shelf)
    assert shelf.asked == ([3] if cache.link else [1, 2, 3])


@pytest.mark.parametrize(("value", "loads"), [(None, 2), (5, 1)])
def test_none_of_many_lives_for_its_own_lifetime(
    timed: Any, clock: ManualClock, value: int | None, loads: int
) -> None:
    family = Family("timed", "{id}", policy=Policy(jitter=0, lifetime=10, none_lifetime=2))
    keys, calls = keys_of([1, 2], family), Source(value)
    for _ in range(2):
        timed.get_many_or_load(keys, lambda some: dict.fromkeys(some, calls(None)))
        clock.advance(2)
    assert calls.calls == loads


def test_stale_values_of_many_are_served_and_refreshed_by_one_load(timed: Any, clock: ManualClock) -> None:
    family = Family("timed", "{id}", int, policy=Policy(jitter=0, lifetime=10, stale=5))
    keys, shelf = keys_of(range(4), family), Shelf()
    timed.get_many_or_load(keys, lambda some: dict.fromkeys(some, 1))
    clock.advance(12)
    assert timed.get_many_or_load(keys, shelf) == dict.fromkeys(keys, 1)
    settle(timed)
    assert timed.get_many_or_load(keys, shelf) == {key: 10 * id_of(key) for key in keys}
    assert shelf.calls == 1
    assert timed.stats.counts["stale-refresh", "timed"] == 4


def test_a_refresh_of_many_serves_who_wants_one_of_them(timed: Any, clock: ManualClock) -> None:
    """The value may be gone before the refresh is over: then it is waited for."""
    family = Family("timed", "{id}", int, policy=Policy(jitter=0, lifetime=10, stale=5))
    keys, shelf = keys_of(range(2), family), Shelf(missing=[1], is_open=False)
    timed.get_many_or_load(keys, lambda some: dict.fromkeys(some, 1))
    clock.advance(12)
    timed.get_many_or_load(keys, shelf)
    assert shelf.started.wait(20)
    clock.advance(10)
    source = Source(7)
    results: list[Any] = []
    threads = [
        Thread(target=lambda key=key: results.append(timed.get_or_load(key, source))) for key in keys
    ] + [Thread(target=lambda: results.append(timed.get_many_or_load(keys[:1], shelf)))]
    for thread in threads:
        thread.start()
    shelf.release.set()
    for thread in threads:
        thread.join(20)
    assert sorted(map(str, results)) == sorted(["0", "7", str({keys[0]: 0})])
    assert source.calls == 1  # for the one that the refresh left out


def test_what_stood_in_for_a_failed_load_of_many_is_tried_again_after_the_throttle(
    timed: Any, clock: ManualClock
) -> None:
    family = Family("timed", "{id}", int, policy=Policy(jitter=0, lifetime=10, fail_safe=60, throttle=5))
    keys, calls = keys_of(range(3), family), Source(RuntimeError("down"))
    timed.get_many_or_load(keys[:2], lambda some: dict.fromkeys(some, 1))
    clock.advance(20)
    for _ in range(3):
        assert timed.get_many_or_load(keys[:2], calls) == dict.fromkeys(keys[:2], 1)
    assert calls.calls == 1
    with pytest.raises(RuntimeError, match="down"):
        timed.get_many_or_load(keys, calls)
    clock.advance(5)
    assert timed.get_many_or_load(keys[:2], calls) == dict.fromkeys(keys[:2], 1)
    assert calls.calls == 3


def test_timeouts_answer_with_the_old_or_raise_and_keep_the_late(timed: Any, clock: ManualClock) -> None:
    policy = Policy(jitter=0, lifetime=10, fail_safe=60, soft_timeout=0.01, hard_timeout=0.02, throttle=1)
    keys, shelf = keys_of(range(2), Family("timed", "{id}", int, policy=policy)), Shelf(is_open=False)
    timed.get_many_or_load(keys[:1], lambda some: dict.fromkeys(some, 1))
    clock.advance(20)
    assert timed.get_many_or_load(keys[:1], shelf) == {keys[0]: 1}
    clock.advance(2)
    with pytest.raises(LoadTimeout, match=r"timed.v1:1: .*longer than 0\.02 s"):
        timed.get_many_or_load(keys, shelf)
    shelf.release.set()
    eventually(lambda: timed.get(keys[1]) == 10 and timed.get(keys[0]) == 0)


def test_what_memory_lacks_is_counted_for_each_of_many() -> None:
    with LayeredCache() as cache:
        keys = keys_of(range(3))
        cache.get_many_or_load(keys[:2], lambda some: dict.fromkeys(some, 1))
        cache.get_many_or_load(keys, lambda some: dict.fromkeys(some, 1))
        counts = cache.stats.totals()
        assert counts["memory-miss", keys[0].family.name] == 3
        assert counts["memory-hit", keys[0].family.name] == 2


def timed_key(name: str, **policy: Any) -> Key[int]:
    made = Policy(jitter=0, lifetime=10, fail_safe=60, throttle=0, **policy)
    return Family(name, "{id}", int, policy=made).key(id=1)


def test_each_key_is_waited_for_as_its_own_policy_says(timed: Any, clock: ManualClock) -> None:
    hasty, patient = timed_key("hasty", soft_timeout=0.01), timed_key("patient")

    def slow(keys: Iterable[Key[int]]) -> Mapping[Key[int], int]:
        eventually(lambda: timed.stats.counts["soft-timeout", "hasty"] > 0)
        return dict.fromkeys(keys, 2)

    timed.get_many_or_load([patient, hasty], lambda some: dict.fromkeys(some, 1))
    clock.advance(20)
    assert timed.get_many_or_load([patient, hasty], slow) == {patient: 2, hasty: 1}


def test_the_timeout_is_told_of_the_key_whose_policy_has_it(timed: Any) -> None:
    hasty, patient = timed_key("hasty", hard_timeout=0.01), timed_key("patient")
    shelf = Shelf(is_open=False)
    with pytest.raises(LoadTimeout, match=r"^hasty.v1:1: .*longer than 0\.01 s"):
        timed.get_many_or_load([patient, hasty], shelf)
    shelf.release.set()
    eventually(lambda: timed.get(patient) == 10)


def test_who_follows_a_load_of_many_is_as_patient_as_who_leads_it(timed: Any, clock: ManualClock) -> None:
    key, shelf = timed_key("hasty", soft_timeout=0.01), Shelf(is_open=False)
    timed.get_many_or_load([key], lambda some: dict.fromkeys(some, 1))
    clock.advance(20)
    assert timed.get_many_or_load([key], shelf) == {key: 1}
    assert timed.get_or_load(key, lambda _: 2) == 1, "that load is still under way"
    shelf.release.set()
    eventually(lambda: timed.get_or_load(key, lambda _: 3) == 10)


class SlowShelf:
    """Loads many when it is let."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.started, self.release = asyncio.Event(), asyncio.Event()

    async def __call__(self, keys: Iterable[Key[int]]) -> Mapping[Key[int], int]:
        ids = {key: id_of(key) for key in keys}
        self.asked += ids.values()
        self.started.set()
        await self.release.wait()
        return {key: 10 * each for key, each in ids.items()}


@pytest.mark.parametrize("cancelled", [0, 1, 4], ids=["the first", "a waiter", "the last"])
async def test_a_cancelled_caller_of_many_harms_no_one(cancelled: int) -> None:
    shelf = SlowShelf()
    async with AsyncLayeredCache() as cache:
        tasks = [
            asyncio.create_task(cache.get_many_or_load(keys_of(range(each, each + 5)), shelf))
            for each in range(5)
        ]
        await shelf.started.wait()
        tasks[cancelled].cancel()
        await asyncio.sleep(0)
        shelf.release.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results].count(asyncio.CancelledError) == 1
    assert [len(result) for result in results if isinstance(result, dict)] == [5] * 4
    assert sorted(shelf.asked) == sorted(set(shelf.asked))


def test_a_leader_of_many_that_is_interrupted_hands_over() -> None:
    class Interrupted(BaseException):
        pass

    def interrupted(_: object) -> Any:
        raise Interrupted

    with LayeredCache() as cache:
        with pytest.raises(Interrupted):
            cache.get_many_or_load(keys_of([1, 2]), interrupted)
        assert cache.get_many_or_load(keys_of([1, 2]), Shelf()) == {
            FAMILY.key(id=1): 10,
            FAMILY.key(id=2): 20,
        }


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["redis", "cluster"])
def redis_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def lock_of(prefix: str, number: int) -> str:
    return f"{{{prefix}:0}}l:hot.v1:{number}"


def test_others_locks_are_waited_for_by_message_while_the_rest_is_loaded(
    redis_server: RedisServer, new_cache: Callable[..., Any], prefix: str, driver: str
) -> None:
    """The lock lives for a minute: only a message can end the wait in time."""
    cache, shelf = new_cache("redis", driver), Shelf()
    assert cache.wait_until_synced(30)
    with redis_server.client() as client:
        client.set(lock_of(prefix, 1), "1 another", px=60_000)
        thread = Thread(target=lambda: results.append(cache.get_many_or_load(keys_of([1, 2]), shelf)))
        results: list[Any] = []
        thread.start()
        eventually(lambda: shelf.asked == [2] and bool(client.exists(f"{{{prefix}:0}}e:hot.v1:2")))
        assert not client.exists(lock_of(prefix, 2))
        client.delete(lock_of(prefix, 1))
        eventually(lambda: bool(client.publish(f"{prefix}:loads", "hot.v1:1")) and not thread.is_alive())
    assert results == [{FAMILY.key(id=1): 10, FAMILY.key(id=2): 20}]
    assert shelf.asked == [2, 1]


def test_a_lock_of_many_whose_holder_died_is_over_when_it_expires(
    redis_server: RedisServer, new_cache: Callable[..., Any], prefix: str, driver: str
) -> None:
    cache = new_cache("redis", driver)
    assert cache.wait_until_synced(30)
    with redis_server.client() as client:
        client.set(lock_of(prefix, 1), "1 dead", px=300)
    assert cache.get_many_or_load(keys_of([1]), Shelf()) == {FAMILY.key(id=1): 10}
    assert cache.stats.counts["waited-for-process", "hot"]


def test_a_call_for_many_may_choose_not_to_wait_for_other_processes(
    redis_server: RedisServer, new_cache: Callable[..., Any], prefix: str, driver: str
) -> None:
    cache = new_cache("redis", driver)
    assert cache.wait_until_synced(30)
    with redis_server.client() as client:
        client.set(lock_of(prefix, 1), "1 another", px=60_000)
        assert cache.get_many_or_load(keys_of([1]), Shelf(), single_flight="process") == {
            FAMILY.key(id=1): 10
        }
        assert client.exists(lock_of(prefix, 1))


def test_locks_of_many_are_renewed_while_their_holder_loads(
    redis_server: RedisServer, new_cache: Callable[..., Any], prefix: str, driver: str
) -> None:
    cache = new_cache("redis", driver)
    assert cache.wait_until_synced(30)
    family = Family("hot", "{id}", int, policy=Policy(lock=4.0))
    names = [lock_of(prefix, number) for number in range(5)]
    with redis_server.client() as client:

        def slow(some: Iterable[Key[int]]) -> Mapping[Key[int], int]:
            holders = client.mget(names)
            assert all(holders)
            for name in names:
                client.pexpire(name, 3000)
            eventually(lambda: all(client.pttl(name) > 3000 for name in names))
            assert client.mget(names) == holders
            return dict.fromkeys(some, 1)

        assert len(cache.get_many_or_load(keys_of(range(5), family), slow)) == 5
        assert not client.exists(*names)


def test_a_load_of_many_that_outlived_its_locks_does_not_overwrite_the_next(
    redis_server: RedisServer, new_cache: Callable[..., Any], prefix: str, driver: str
) -> None:
    slow, fast = new_cache("redis", driver), new_cache("redis", driver)
    assert slow.wait_until_synced(30)
    assert fast.wait_until_synced(30)
    keys = keys_of(range(3))

    def load(some: Iterable[Key[int]]) -> Mapping[Key[int], int]:
        with redis_server.client() as client:
            client.delete(*(lock_of(prefix, number) for number in range(3)))  # as if they had expired
        assert fast.get_many_or_load(keys, Shelf()) == {key: 10 * id_of(key) for key in keys}
        return dict.fromkeys(some, 1)

    slow.get_many_or_load(keys, load)
    fast.memory.clear()
    assert [fast.get(key) for key in keys] == [0, 10, 20]


def test_many_are_loaded_although_redis_forgot_the_scripts(
    redis_server: RedisServer, new_cache: Callable[..., Any], prefix: str, driver: str
) -> None:
    cache, keys = new_cache("redis", driver), keys_of(range(20))
    assert cache.wait_until_synced(30)
    with redis_server.client() as client:
        client.script_flush()
        cache.get_many_or_load(keys, Shelf())
        assert client.exists(*(f"{{{prefix}:0}}e:{key}" for key in keys)) == 20


@pytest.mark.timed
@pytest.mark.parametrize("nodes", [1, 3], ids=["one of the nodes", "half of the nodes"])
def test_many_wait_at_most_the_timeout_while_nodes_are_frozen(
    redis_cluster: ClusterOfSix, prefix: str, driver: str, nodes: int
) -> None:
    cache = make(driver, RedisOptions(url=redis_cluster.url, prefix=prefix, timeout=SOFT_SECONDS))
    try:
        assert cache.wait_until_synced(30)
        cache.get_many_or_load(keys_of(range(50)), Shelf())
        for node in redis_cluster.nodes[:nodes]:
            node.freeze()
        with Stopwatch() as watch:
            assert len(cache.get_many_or_load(keys_of(range(50, 150)), Shelf())) == 100
        assert watch.seconds < SOFT_SECONDS * 2 + BUSY_SECONDS
    finally:
        for node in redis_cluster.nodes[:nodes]:
            node.thaw()
        cache.close()


def test_four_processes_with_fifty_tasks_load_each_key_once(redis_server: RedisServer, prefix: str) -> None:
    command = (sys.executable, "-m", CROWD, redis_server.url, prefix)
    crowd = [
        subprocess.Popen(command, cwd=paths.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    loaded: list[str] = []
    try:
        for process in crowd:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in crowd:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in crowd:
            loaded += process.communicate(timeout=100)[0].split()
    finally:
        for process in crowd:
            process.kill()
            process.wait()
    assert sorted(map(int, loaded)) == list(range(20))
