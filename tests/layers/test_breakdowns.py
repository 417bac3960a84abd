"""Redis refused, frozen, slow, full, emptied, cut off, failing over: the service answers, and heals."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
import redis

from origin_sdk.layers import Family, RedisOptions
from scripts.runtime.proxy import Proxy
from tests.layers.caches import make
from tests.layers.servers import PATIENT_SECONDS, ClusterOfSix, RedisServer, SentinelSet
from tests.layers.test_contract import Source
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.timed

FAMILY = Family("product", "{id}", str, groups=("product-{id}",))
SOFT_SECONDS = 0.15
"""The time that Redis has where it is not to answer: it may be lost on a busy machine as well."""
BUSY_SECONDS = 0.25
"""What two busy cores may add to any time."""
LEAVING_SECONDS = 2.0
"""A second until the sentinels are asked, and as long again for busy cores."""


def eventually(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as own:
        yield own


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(driver: str) -> Iterator[Callable[..., Any]]:
    """Makes caches of the driver that are up and hear of each other."""
    made: list[Any] = []

    def new(url: str, timeout: float = PATIENT_SECONDS, **options: Any) -> Any:
        cache = make(driver, RedisOptions(url=url, prefix="t", timeout=timeout, **options))
        made.append(cache)
        assert cache.wait_until_synced(30)
        return cache

    yield new
    for cache in made:
        cache.close()


@pytest.fixture
def connect_each() -> Iterator[Callable[..., list[Any]]]:
    """Makes a cache of each driver, which a Redis that takes long to break down breaks down for at once."""
    made: list[Any] = []

    def new(url: str, timeout: float = 0.5, **options: Any) -> list[Any]:
        some = [
            make(driver, RedisOptions(url=url, prefix=driver, timeout=timeout, **options))
            for driver in ("sync", "async")
        ]
        made.extend(some)
        assert all(cache.wait_until_synced(30) for cache in some)
        return some

    yield new
    for cache in made:
        cache.close()


def of_each(act: Callable[..., object], *caches: list[Any]) -> None:
    """Act on the caches of each driver side by side: what breaks down is down for a while."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(act, *caches))


def assert_answers_at_once(cache: Any) -> None:
    """The first calls wait for the soft timeout at most, then nobody waits."""
    for number in range(3):
        with Stopwatch() as watch:
            assert cache.get_or_load(FAMILY.key(id=f"first-{number}"), Source("a")) == "a"
        assert watch.seconds < SOFT_SECONDS * 2 + BUSY_SECONDS
    eventually(lambda: not cache.link.is_up)
    taken: list[float] = []
    for number in range(100):
        began = time.monotonic()
        cache.get_or_load(FAMILY.key(id=f"then-{number}"), Source("a"))
        taken.append(time.monotonic() - began)
    assert statistics.median(taken) < SOFT_SECONDS / 5


def assert_is_back(cache: Any, server: RedisServer) -> None:
    eventually(lambda: bool(cache.link.is_up))
    with server.client() as client:

        def is_stored() -> bool:
            cache.refresh(FAMILY.key(id="back"), Source("b"))
            return bool(client.exists("{t:0}e:product.v1:back"))

        eventually(is_stored)


def test_refused(connect: Callable[..., Any], server: RedisServer) -> None:
    cache = connect(server.url)
    server.stop()
    assert_answers_at_once(cache)
    server.start()
    assert_is_back(cache, server)


def test_never_there(driver: str) -> None:
    cache = make(driver, RedisOptions(url="redis://127.0.0.1:1", prefix="t"))
    try:
        assert_answers_at_once(cache)
    finally:
        cache.close()


def test_frozen(connect: Callable[..., Any], server: RedisServer) -> None:
    cache = connect(server.url, SOFT_SECONDS)
    cache.get_or_load(FAMILY.key(id="known"), Source("a"))
    server.freeze()
    assert_answers_at_once(cache)
    assert cache.get(FAMILY.key(id="known")) == "a"
    server.thaw()
    assert_is_back(cache, server)


def at_once(count: int, call: Callable[[int], object]) -> None:
    """Call from so many threads at the same time."""
    together = Barrier(count)

    def run(number: int) -> None:
        together.wait()
        call(number)

    threads = [Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_crowd_is_not_taken_for_a_redis_that_is_slow(
    connect: Callable[..., Any], server: RedisServer
) -> None:
    """They wait for their turn far longer than Redis has to answer one of them."""
    with Proxy(server.port) as proxy:
        cache = connect(f"redis://127.0.0.1:{proxy.port}/0", 0.5, max_connections=8)
        proxy.delays_reply = lambda _: 0.02
        at_once(100, lambda number: cache.get_or_load(FAMILY.key(id=number), Source("a")))
        assert (cache.link.is_up, cache.stats.breaker_openings) == (True, 0)
        assert not cache.stats.counts["redis-busy", ""]
        assert cache.stats.counts["redis-error", ""] < 20, "a busy machine costs some of 300"


def test_reads_of_many_leave_connections_for_writes(driver: str, server: RedisServer) -> None:
    options = RedisOptions(url=server.url, prefix="t", timeout=PATIENT_SECONDS, max_connections=4)
    with make(driver, options) as cache:
        assert cache.wait_until_synced(30)
        at_once(30, lambda number: [cache.get(FAMILY.key(id=f"{number}-{each}")) for each in range(10)])
        for number in range(5):
            cache.get_or_load(FAMILY.key(id=number), Source("a"))
            assert cache.invalidate(groups=[f"product-{number}"]).in_redis
        assert not cache.stats.counts["redis-busy", ""]


def test_slow(connect: Callable[..., Any], server: RedisServer) -> None:
    cache = connect(server.url, SOFT_SECONDS)
    with server.client() as client:
        connection = client.connection_pool.get_connection()
        connection.send_command("DEBUG", "SLEEP", "1.5")
        time.sleep(0.05)  # Redis says nothing of having begun
        assert_answers_at_once(cache)
        connection.read_response()
        client.connection_pool.release(connection)
    assert_is_back(cache, server)


def test_an_invalidation_that_redis_missed_is_made_up_for(
    connect: Callable[..., Any], server: RedisServer
) -> None:
    ours, others = connect(server.url, SOFT_SECONDS), connect(server.url)
    key = FAMILY.key(id=17)
    others.get_or_load(key, Source("old"))
    eventually(lambda: ours.get(key) == "old")
    server.freeze()
    assert not ours.invalidate(groups=["product-17"]).in_redis
    assert ours.get(key) is None
    server.thaw()
    eventually(lambda: bool(ours.link.is_up) and not ours.link.owed)
    assert ours.get(key) is None
    eventually(lambda: others.get(key) is None)
    assert others.get_or_load(key, Source("new")) == "new"
    eventually(lambda: ours.get(key) == "new")


@pytest.mark.parametrize(
    ("count", "is_kept"),
    [
        pytest.param(30_000, True, id="as many as Redis takes in several steps"),
        pytest.param(100_001, False, id="more than are remembered, so that all counts as invalid"),
    ],
)
def test_many_invalidations_that_redis_missed_are_made_up_for(
    connect: Callable[..., Any], server: RedisServer, count: int, *, is_kept: bool
) -> None:
    ours, others = connect(server.url, SOFT_SECONDS), connect(server.url)
    gone, other = FAMILY.key(id=17), FAMILY.key(id="other")
    for key in (gone, other):
        others.get_or_load(key, Source("old"))
    server.freeze()
    ours.invalidate(groups=[*(f"group-{number}" for number in range(count)), "product-17"])
    server.thaw()
    eventually(lambda: bool(ours.link.is_up) and not ours.link.owed)
    later = connect(server.url)
    assert later.get(gone) is None
    assert later.get(other) == ("old" if is_kept else None)
    assert later.get_or_load(gone, Source("new")) == "new"
    eventually(lambda: ours.get(gone) == "new")


def test_a_deletion_that_redis_missed_holds_for_who_comes_later(
    connect: Callable[..., Any], server: RedisServer
) -> None:
    ours, key = connect(server.url, SOFT_SECONDS), FAMILY.key(id=17)
    connect(server.url).get_or_load(key, Source("old"))
    server.freeze()
    ours.delete(key)
    server.thaw()
    eventually(lambda: bool(ours.link.is_up) and not ours.link.owed)
    later = connect(server.url)
    later.link.generations[0] = 0.0  # as before it has heard of anything
    assert later.get(key) is None
    assert later.get_or_load(key, Source("new")) == "new"


def test_a_process_that_was_cut_off_catches_up(connect: Callable[..., Any], server: RedisServer) -> None:
    ours, others = connect(server.url), connect(server.url)
    gone, kept = FAMILY.key(id=17), FAMILY.key(id=18)
    for key in (gone, kept):
        ours.get_or_load(key, Source("old"))
    with server.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    others.invalidate(groups=["product-17"])
    # Both at once: while it is cut off, it has neither.
    eventually(lambda: ours.get(gone) is None and ours.get(kept) == "old")


def test_emptied(connect: Callable[..., Any], server: RedisServer) -> None:
    ours, others = connect(server.url), connect(server.url)
    key = FAMILY.key(id=17)
    ours.get_or_load(key, Source("old"))
    with server.client() as client:
        client.flushall()
    assert ours.get(key) == "old"
    others.invalidate(groups=["product-17"])
    eventually(lambda: ours.get(key) is None)
    assert ours.get_or_load(key, Source("new")) == "new"
    assert others.get(key) == "new"


def test_what_is_set_first_in_an_empty_redis_is_kept(
    connect: Callable[..., Any], server: RedisServer
) -> None:
    ours, others, key = connect(server.url), connect(server.url), FAMILY.key(id=17)
    with server.client() as client:
        client.flushall()
    ours.set(key, "new")
    # Who meets the new beginning for the first time has a miss: it doesn't know yet what came after it.
    eventually(lambda: others.get(key) == "new")


def test_moments_lost_invalidate_too_much_never_too_little(
    connect: Callable[..., Any], server: RedisServer
) -> None:
    ours, others = connect(server.url), connect(server.url)
    key = FAMILY.key(id=17)
    ours.get_or_load(key, Source("old"))
    ours.invalidate(groups=["product-17"])
    with server.client() as client:
        client.delete("{t:0}m", "{t:0}t", "{t:0}g")
    assert others.get(key) is None
    assert ours.get(key) is None


def test_full(connect: Callable[..., Any], server: RedisServer) -> None:
    cache = connect(server.url)
    known = FAMILY.key(id=17)
    cache.get_or_load(known, Source("old"))
    with server.client() as client:
        client.config_set("maxmemory", 1)
        client.config_set("maxmemory-policy", "noeviction")
        for number in range(10):
            assert cache.get_or_load(FAMILY.key(id=number), Source("a")) == "a"
        cache.invalidate(groups=["product-17"])
        cache.memory.clear()
        assert cache.get(known) is None
        client.config_set("maxmemory", 0)
    eventually(lambda: bool(cache.link.is_up) and not cache.link.owed)
    assert cache.get(known) is None
    assert_is_back(cache, server)


def test_failover_by_sentinels(connect_each: Callable[..., list[Any]], tmp_path: Path) -> None:
    key = FAMILY.key(id=17)

    def fail_over(cache: Any) -> None:
        assert_answers_at_once(cache)
        cache.invalidate(groups=["product-17"])
        assert cache.get_or_load(key, Source("new")) == "new"
        eventually(lambda: bool(cache.link.is_up), 40)
        cache.memory.clear()
        assert cache.get(key) in {None, "new"}
        assert cache.get_or_load(key, Source("new")) == "new"

    running = SentinelSet(tmp_path)
    try:
        caches = connect_each(running.url)
        for cache in caches:
            cache.get_or_load(key, Source("old"))
        running.primary.stop()
        of_each(fail_over, caches)
    finally:
        running.stop()


def test_a_failover_that_loses_an_invalidation_does_not_bring_the_old_value_back(
    connect_each: Callable[..., list[Any]], tmp_path: Path
) -> None:
    invalidated, deleted, kept = (FAMILY.key(id=number) for number in (17, 18, 19))

    def fail_over(ours: Any, others: Any) -> None:
        eventually(lambda: ours.stats.breaker_openings > 0)
        eventually(lambda: bool(ours.link.is_up and others.link.is_up), 40)

    def forget(cache: Any) -> None:
        cache.memory.clear()
        eventually(lambda: cache.get(kept) == "old")
        assert [cache.get(key) for key in (invalidated, deleted)] == [None, None]

    running = SentinelSet(tmp_path, is_steady=True)  # the one failover is that of this test
    try:
        ours, others = connect_each(running.url, 1.0), connect_each(running.url, 1.0)
        for cache in ours:
            for key in (invalidated, deleted, kept):
                cache.get_or_load(key, Source("old"))
        eventually(lambda: all(has(replica, kept.name) for replica in running.replicas))
        for replica in running.replicas:
            replica.freeze()
        with running.primary.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        for cache in ours:
            assert cache.invalidate(groups=["product-17"]).in_redis
            cache.delete(deleted)
        running.primary.stop()
        for replica in running.replicas:
            replica.thaw()
        eventually(lambda: _failed_over(running), 40)
        of_each(fail_over, ours, others)
        for cache in (*ours, *others, *connect_each(running.url, 1.0)):
            forget(cache)
    finally:
        running.stop()


def test_who_is_connected_to_a_primary_on_its_way_out_leaves_it_within_seconds(
    connect_each: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """In a planned failover it answers, and takes writes, until a sentinel tells it of the new one."""
    running = SentinelSet(tmp_path)
    try:
        key = FAMILY.key(id=17)
        ours, others = (connect_each(running.url, 1.0, arguments={"client_name": "cache"}) for _ in range(2))
        caches = [*ours, *others]
        for cache in caches:
            cache.get_or_load(key, Source("old"))
        eventually(lambda: _failed_over(running), 30)
        time.sleep(LEAVING_SECONDS)
        for cache in caches:  # connections that nobody needs are let go with the next use
            cache.memory.clear()
            cache.get(key)
        with running.primary.client() as client:
            left = [each for each in client.client_list() if each["name"] == "cache"]
            was_told: Any = client.execute_command("ROLE")
        assert not left or was_told[0] != b"master"
        assert all(cache.invalidate(groups=key.groups).in_redis for cache in ours)
        eventually(lambda: [cache.get(key) for cache in others] == [None, None])
    finally:
        running.stop()


def _failed_over(running: SentinelSet) -> bool:
    """Whether a sentinel that is told to has made another server the primary."""
    with running.sentinels[0].client() as sentinel:

        def is_done() -> bool:
            address: Any = sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", running.service)
            return int(address[1]) != running.primary.port

        if not is_done():
            with contextlib.suppress(redis.RedisError):
                sentinel.execute_command("SENTINEL FAILOVER", running.service)
        until = time.monotonic() + 5
        while not (done := is_done()) and time.monotonic() < until:
            time.sleep(0.02)
        return done


def test_an_invalidation_waits_for_replicas_and_says_how_many_had_it(
    connect_each: Callable[..., list[Any]], tmp_path: Path
) -> None:
    running = SentinelSet(tmp_path)
    try:
        caches = connect_each(running.url, 1.0, wait_replicas=2)
        with running.primary.client() as client:
            eventually(lambda: client.wait(2, 100) == 2)
        for cache in caches:
            assert cache.invalidate(groups=["a"]).in_replicas == 2
        running.replicas[0].freeze()
        for cache in caches:
            receipt = cache.invalidate(groups=["a", "b"])
            assert (receipt.in_redis, receipt.in_replicas) == (True, 1)
        running.primary.freeze()
        for cache in caches:
            assert cache.invalidate(groups=["a"]).in_replicas == 0
    finally:
        running.stop()


def has(server: RedisServer, name: str) -> bool:
    """Whether it holds an entry of the caches of both drivers."""
    with server.client() as client:
        held = client.exists(*(f"{{{driver}:0}}e:{name}" for driver in ("sync", "async")))
        return bool(held == 2)


def test_failover_in_a_cluster(connect_each: Callable[..., list[Any]], tmp_path: Path) -> None:
    keys = [FAMILY.key(id=number) for number in range(30)]

    def fail_over(cache: Any) -> None:
        for key in keys:
            cache.memory.drop(key.name)
            assert cache.get_or_load(key, Source("old")) == "old"
        cache.invalidate(groups=[f"product-{number}" for number in range(30)])
        for key in keys:
            assert cache.get_or_load(key, Source("new")) == "new"
        eventually(lambda: bool(cache.link.is_up) and not cache.link.owed, 40)
        cache.memory.clear()
        assert {cache.get(key) for key in keys} <= {None, "new"}

    running = ClusterOfSix(tmp_path)
    try:
        caches = connect_each(running.url)
        for cache in caches:
            for key in keys:
                cache.get_or_load(key, Source("old"))
        running.nodes[0].stop()
        of_each(fail_over, caches)
    finally:
        running.stop()


@pytest.mark.parametrize("is_known", [True, False], ids=["in use", "never reached before"])
def test_a_cluster_that_is_frozen_costs_one_timeout(
    driver: str, redis_cluster: ClusterOfSix, prefix: str, *, is_known: bool
) -> None:
    running, seconds = redis_cluster, 0.4
    cache = make(driver, RedisOptions(url=running.url, prefix=prefix, timeout=seconds))
    try:
        if is_known:
            assert cache.wait_until_synced(30)
            cache.get_or_load(FAMILY.key(id=0), Source("a"))
        for node in running.nodes:
            node.freeze()
        verbs: list[Callable[[], object]] = [
            lambda: cache.get_or_load(FAMILY.key(id=1), Source("a")),
            lambda: cache.get_many_or_load([FAMILY.key(id=2)], lambda keys: dict.fromkeys(keys, "a")),
            lambda: cache.invalidate(groups=["product-0"]),
        ]
        for verb in verbs:
            with Stopwatch() as watch:
                verb()
            assert watch.seconds < seconds + BUSY_SECONDS
        running.thaw()
        eventually(lambda: bool(cache.link.is_up) and not cache.link.owed)
        cache.get_or_load(FAMILY.key(id=3), Source("a"))
    finally:
        running.thaw()
        cache.close()
