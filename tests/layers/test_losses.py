"""What is lost on the way, a reply, a connection, a snapshot, a process, costs itself and no promise."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from origin_sdk._process.clock import SystemClock
from origin_sdk.layers import Family, Policy, RedisOptions
from scripts.runtime.proxy import Proxy
from tests.layers.caches import make
from tests.layers.servers import PATIENT_SECONDS, ClusterOfSix, RedisServer, ShiftedClock
from tests.layers.test_breakdowns import eventually
from tests.layers.test_contract import Source
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.timed

FAMILY = Family("product", "{id}", str, groups=("product-{id}",), policy=Policy(jitter=0))
KEY, OTHER = FAMILY.key(id=17), FAMILY.key(id=18)
SOFT_SECONDS = 0.25
"""The time that Redis has where a reply is late by more than that."""
LOCK_SECONDS = 20.0
LOCKED = Family("locked", "{id}", str, policy=Policy(jitter=0, lock=LOCK_SECONDS))
"""What others would wait for as long as that if nobody gave the lock back."""
MOMENTS = b"*2\r\n$16\r\n"
"""How the reply to an invalidation begins: its moment, and the one before."""
prefixes = count()


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(driver: str) -> Iterator[Callable[..., Any]]:
    """Makes caches of one prefix, each as in a process of its own, that hear of each other."""
    made: list[Any] = []
    prefix = f"loss-{next(prefixes)}"

    def new(port: int, timeout: float = PATIENT_SECONDS, **options: Any) -> Any:
        redis_options = RedisOptions(url=f"redis://127.0.0.1:{port}/0", prefix=prefix, timeout=timeout)
        cache = make(driver, redis_options, **options)
        made.append(cache)
        assert cache.wait_until_synced(20)
        return cache

    yield new
    for cache in made:
        cache.close()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as running:
        yield running


class Gate:
    """Keeps back what comes to it until a test opens it."""

    def __init__(self) -> None:
        self._is_reached, self._is_open = Event(), Event()

    def keep_back(self) -> float:
        """Wait; return for how many seconds a reply is kept back after that."""
        self._is_reached.set()
        self._is_open.wait(20)
        return 0.0

    def wait_until_reached(self) -> None:
        assert self._is_reached.wait(20)

    def open(self) -> None:
        self._is_open.set()


# Clocks


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if not ShiftedClock.is_possible():
        pytest.skip("no C compiler to make a clock with")
    with RedisServer(tmp_path_factory.mktemp("clock"), has_own_clock=True) as server:
        yield server


STEPS = [
    pytest.param(-2.0, id="back by seconds"),
    pytest.param(-7200.0, id="back by hours"),
    pytest.param(2.0, id="on by seconds"),
    pytest.param(7200.0, id="on by hours"),
]


@pytest.mark.parametrize("seconds", STEPS)
def test_invalidations_hold_whichever_way_redis_steps_its_clock(
    connect: Callable[..., Any], clocked: RedisServer, seconds: float
) -> None:
    clocked.step_clock(0.0)
    ours, others = connect(clocked.port), connect(clocked.port)
    ours.get_or_load(KEY, Source("old"))
    assert others.get(KEY) == "old"
    clocked.step_clock(seconds)
    assert ours.invalidate(groups=KEY.groups).in_redis
    for cache in (ours, others, connect(clocked.port)):
        eventually(lambda cache=cache: cache.get(KEY) != "old")  # type: ignore[misc]  # a lambda's default
        cache.memory.clear()
        assert cache.get(KEY) != "old"
    assert ours.get_or_load(KEY, Source("new")) == "new"
    later = connect(clocked.port)
    assert later.get(KEY) == "new"
    ours.delete(KEY)
    eventually(lambda: later.get(KEY) is None)


@pytest.mark.parametrize("seconds", STEPS)
def test_a_load_that_began_before_a_step_and_an_invalidation_is_not_kept(
    connect: Callable[..., Any], clocked: RedisServer, seconds: float
) -> None:
    clocked.step_clock(0.0)
    ours, others = connect(clocked.port), connect(clocked.port)
    has_begun, may_end = Event(), Event()

    def load(_: object) -> str:
        has_begun.set()
        assert may_end.wait(20)
        return "old"

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(ours.get_or_load, KEY, load)
        assert has_begun.wait(20)
        clocked.step_clock(seconds)
        assert others.invalidate(groups=KEY.groups).in_redis
        may_end.set()
        loading.result(20)
    later = connect(clocked.port)
    assert later.get(KEY) is None


def test_moments_go_on_from_where_they_were_in_a_redis_that_restarts_empty_with_its_clock_behind(
    connect: Callable[..., Any], clocked: RedisServer
) -> None:
    clocked.step_clock(0.0)
    ours = connect(clocked.port)
    ours.get_or_load(KEY, Source("old"))
    ours.invalidate(groups=KEY.groups)
    before = ours.link.moments.latest
    clocked.kill()
    clocked.step_clock(-7200.0)
    clocked.start()
    eventually(lambda: bool(ours.link.can_hear))
    assert ours.get_or_load(KEY, Source("new")) == "new"
    assert ours.invalidate(groups=["other"]).in_redis
    assert ours.link.moments.latest > before
    ours.memory.clear()
    assert ours.get(KEY) == "new"


# Replies and connections


def test_what_this_process_owes_it_never_reads_from_redis(
    connect: Callable[..., Any], proxy: Proxy, redis_server: RedisServer
) -> None:
    ours, others = connect(proxy.port, SOFT_SECONDS), connect(redis_server.port)
    others.get_or_load(KEY, Source("old"))
    fresh = connect(proxy.port, SOFT_SECONDS)
    for cache in (ours, fresh):
        proxy.freeze()
        assert not cache.invalidate(groups=KEY.groups).in_redis
        proxy.thaw()
        for _ in range(50):
            assert cache.get(KEY) is None
        eventually(lambda cache=cache: not cache.link.owed)  # type: ignore[misc]  # a lambda's default
        assert cache.get(KEY) is None
        eventually(lambda: others.get(KEY) is None)
        others.get_or_load(KEY, Source("old"))


def test_a_new_process_never_reads_what_it_is_about_to_owe(
    driver: str, proxy: Proxy, redis_server: RedisServer
) -> None:
    """It reads before it has caught up, in other threads, while its first invalidation gets lost."""
    prefix, shards = f"loss-{next(prefixes)}", 16
    url = "redis://127.0.0.1:{}/0"
    others = make(driver, RedisOptions(url=url.format(redis_server.port), prefix=prefix, shards=shards))
    fresh = make(
        driver,
        RedisOptions(url=url.format(proxy.port), prefix=prefix, shards=shards, timeout=SOFT_SECONDS),
    )
    try:
        assert others.wait_until_synced(20)
        others.get_or_load(KEY, Source("old"))
        proxy.swallows = lambda data: b"EVAL" in data and b":changes" in data
        with ThreadPoolExecutor(1) as pool:
            invalidating = pool.submit(fresh.invalidate, groups=KEY.groups)
            while not invalidating.done():
                fresh.get_or_load(KEY, Source("new"))
            assert not invalidating.result().in_redis
        assert fresh.get(KEY) != "old"
        proxy.swallows = lambda _: False
        eventually(lambda: not fresh.link.owed)
        assert fresh.get(KEY) != "old"
        eventually(lambda: others.get(KEY) != "old")
    finally:
        for cache in (others, fresh):
            cache.close()


@pytest.mark.parametrize("is_stalled", [False, True], ids=["the reply alone", "and the next requests"])
def test_a_late_reply_to_an_invalidation_costs_its_own_groups_alone(
    connect: Callable[..., Any], proxy: Proxy, redis_server: RedisServer, *, is_stalled: bool
) -> None:
    ours, others = connect(proxy.port, SOFT_SECONDS), connect(redis_server.port)
    keys = [FAMILY.key(id=number) for number in range(100, 150)]
    for key in keys:
        others.get_or_load(key, Source("a"))
    ours.get(keys[0])
    gate = Gate()
    if is_stalled:
        proxy.freeze(spares_subscriptions=True)
    else:
        proxy.delays_reply = lambda data: gate.keep_back() if data.startswith(MOMENTS) else 0.0
    assert not ours.invalidate(groups=keys[0].groups).in_redis
    gate.open()
    proxy.thaw()
    eventually(lambda: not ours.link.owed)
    eventually(lambda: others.get(keys[0]) is None)
    assert [others.get(key) for key in keys[1:]] == ["a"] * 49
    others.memory.clear()
    assert [others.get(key) for key in keys[1:]] == ["a"] * 49


def test_a_subscription_that_is_silently_dead_is_noticed(
    connect: Callable[..., Any], proxy: Proxy, redis_server: RedisServer
) -> None:
    ours, others = connect(proxy.port), connect(redis_server.port)
    ours.get_or_load(KEY, Source("old"))
    for connection in proxy.connections:
        if connection.subscribes:
            connection.stall()
    others.invalidate(groups=KEY.groups)
    eventually(lambda: ours.get(KEY) is None, 10)
    assert ours.link.is_up


def test_without_messages_memory_is_not_trusted_where_redis_answers(
    connect: Callable[..., Any], proxy: Proxy, redis_server: RedisServer
) -> None:
    ours, others = connect(proxy.port), connect(redis_server.port)
    ours.get_or_load(KEY, Source("old"))
    ours.get_or_load(OTHER, Source("kept"))
    # Redis may be asked, and nobody may subscribe.
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-subscribe")
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        try:
            others.invalidate(groups=KEY.groups)
            eventually(lambda: ours.get(KEY) is None, 10)
            for number in range(20):
                key = FAMILY.key(id=f"deaf-{number}")
                ours.get_or_load(key, Source("old"))
                others.invalidate(groups=key.groups)
            eventually(lambda: all(ours.get(FAMILY.key(id=f"deaf-{n}")) is None for n in range(20)), 10)
            assert ours.get(OTHER) == "kept"
            assert ours.link.is_up
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+subscribe")
    eventually(lambda: bool(ours.link.can_hear and others.link.can_hear))


def lock_of(server: RedisServer, cache: Any, name: str) -> Any:
    with server.client() as client:
        return client.get(cache.link.layout.key(0, "l:", name))


def test_who_loses_the_reply_to_a_claim_still_loads_for_all(
    connect: Callable[..., Any], proxy: Proxy, redis_server: RedisServer
) -> None:
    ours, others = connect(proxy.port, SOFT_SECONDS), connect(redis_server.port)
    ours.get(OTHER)
    may_end, loads, gate = Event(), [], Gate()

    def load(_: object) -> str:
        loads.append("ours")
        assert may_end.wait(20)
        return "a"

    with ThreadPoolExecutor(2) as pool:
        key = LOCKED.key(id="claimed")
        ours.get(key)
        # That of a claim that takes the lock: a single text, which says so.
        proxy.delays_reply = lambda data: gate.keep_back() if data.startswith(b"*1\r\n") else 0.0
        loading = pool.submit(ours.get_or_load, key, load)
        eventually(lambda: bool(loads))
        gate.wait_until_reached()
        gate.open()
        assert lock_of(redis_server, ours, key.name)
        waiting = pool.submit(others.get_or_load, key, Source("b"))
        may_end.set()
        assert loading.result(20) == "a"
        began = time.monotonic()
        assert waiting.result(20) == "a"
        assert time.monotonic() - began < LOCK_SECONDS / 2
    eventually(lambda: lock_of(redis_server, ours, key.name) is None)


def test_a_lock_is_given_back_when_the_link_is(
    connect: Callable[..., Any], proxy: Proxy, redis_server: RedisServer
) -> None:
    ours, others = connect(proxy.port, SOFT_SECONDS), connect(redis_server.port)
    key = LOCKED.key(id="given back")
    ours.get(OTHER)

    def load(_: object) -> str:
        for connection in proxy.connections:
            connection.cut()
        ours.link.trip(ConnectionError("cut"))
        return "a"

    assert ours.get_or_load(key, load) == "a"
    began = time.monotonic()
    assert others.get_or_load(key, Source("b")) in {"a", "b"}
    assert time.monotonic() - began < LOCK_SECONDS / 2
    eventually(lambda: lock_of(redis_server, ours, key.name) is None)


def test_who_waits_is_woken_when_the_link_breaks(
    connect: Callable[..., Any], proxy: Proxy, redis_server: RedisServer
) -> None:
    policy = Policy(lock=30.0, jitter=0)
    family = Family("slow", "{id}", str, policy=policy)
    ours, others = connect(redis_server.port), connect(proxy.port, 2.0)
    key, may_end, has_begun = family.key(id=1), Event(), Event()
    others.get(key)

    def load(_: object) -> str:
        has_begun.set()
        assert may_end.wait(20)
        return "a"

    with ThreadPoolExecutor(2) as pool:
        leading = pool.submit(ours.get_or_load, key, load)
        assert has_begun.wait(20)
        waiting = pool.submit(others.get_or_load, key, Source("b"))
        eventually(lambda: bool(others.link.waiters))
        proxy.stalls_new = True
        for connection in proxy.connections:
            connection.cut()
        began = time.monotonic()
        assert waiting.result(20) == "b"
        assert time.monotonic() - began < policy.lock / 2
        may_end.set()
        assert leading.result(20) == "a"


HOLDER = """
import sys, time
from origin_sdk.layers import Family, LayeredCache, Policy, RedisOptions
from tests.layers.servers import PATIENT_SECONDS
from tests.layers.test_losses import FAMILY
cache = LayeredCache(RedisOptions(url=sys.argv[1], prefix=sys.argv[2], timeout=PATIENT_SECONDS))
cache.wait_until_synced(30)
def load(_):
    print("loading", flush=True)
    time.sleep(60)
cache.get_or_load(FAMILY.key(id="dying"), load)
"""


def test_the_lock_of_a_process_that_dies_is_gone_after_a_heartbeat(
    connect: Callable[..., Any], redis_server: RedisServer
) -> None:
    others = connect(redis_server.port)
    prefix = others.link.options.prefix
    with subprocess.Popen(
        (sys.executable, "-c", HOLDER, redis_server.url, prefix), stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "loading\n"
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    began = time.monotonic()
    assert others.get_or_load(FAMILY.key(id="dying"), Source("b")) == "b"
    assert time.monotonic() - began < Policy().wait / 2


# Records and snapshots


@pytest.mark.parametrize("seconds", [-7200.0, -5.0, 5.0, 7200.0], ids="{:+.0f} s".format)
def test_a_birth_is_of_redis_clock_where_a_record_can_not_be_read(
    connect: Callable[..., Any], redis_server: RedisServer, seconds: float
) -> None:
    """Whose load had a birth by this machine's clock, which is stepped just now."""
    ours, others = connect(redis_server.port), connect(redis_server.port)
    key = FAMILY.key(id="unreadable")
    ours.get_or_load(key, Source("old"))
    with redis_server.client() as client:
        name = ours.link.layout.key(0, "e:", key.name)
        stored: Any = client.get(name)
        client.set(name, stored[:-4] + b"\xc1" + stored[-3:], keepttl=True)  # its head can be read
    ours.memory.clear()
    ours.link.clock.now = lambda: SystemClock().now() + seconds

    def load(_: object) -> str:
        others.invalidate(groups=key.groups)
        return "old"

    ours.get_or_load(key, load)
    assert connect(redis_server.port).get(key) is None


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "kept", "--dir", str(tmp_path), "--dbfilename", "dump.rdb") as server:
        yield server


class Later(SystemClock):
    """Comes to a later time at once, as measured by this process alone."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.seconds


@pytest.mark.parametrize("seconds", [0.0, 150.0], ids=["at once", "minutes later"])
@pytest.mark.parametrize("is_young", [True, False], ids=["a process that came later", "who invalidated"])
def test_a_redis_that_restarts_from_a_snapshot_is_told_what_it_lost(
    connect: Callable[..., Any], kept: RedisServer, seconds: float, *, is_young: bool
) -> None:
    clock = Later()
    ours, gone, stays = connect(kept.port, clock=clock), FAMILY.key(id="gone"), FAMILY.key(id="stays")
    for key in (gone, stays):
        ours.get_or_load(key, Source("old"))
    ours.invalidate(groups=["before"])
    with kept.client() as client:
        client.save()
    assert ours.invalidate(groups=gone.groups).in_redis
    clock.seconds = seconds
    for number in range(3):
        assert ours.invalidate(groups=[f"later-{number}"]).in_redis
    kept.kill()
    kept.start()
    eventually(lambda: bool(ours.link.can_hear))
    cache = connect(kept.port) if is_young else ours
    ours.memory.clear()
    assert cache.get(gone) is None
    assert cache.get(stays) == "old"


def test_what_is_invalidated_while_redis_is_asked_what_happened_is_not_lost(
    connect: Callable[..., Any], redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    ours = connect(redis_server.port)
    for number in range(300):
        ours.link.doubt((0,))  # so that the listener asks again and again
        assert ours.invalidate(groups=[f"busy-{number % 20}"]).in_redis
    eventually(lambda: not ours.link.doubted)
    assert "lost invalidations" not in caplog.text
    assert ("invalidation-repeated", "") not in ours.stats.counts


@pytest.mark.parametrize("others", [0, 150], ids=["little else", "much else"])
@pytest.mark.parametrize("what", ["its group", "its key", "another group"])
def test_redis_keeps_what_was_loaded_unless_that_was_invalidated_meanwhile(
    connect: Callable[..., Any], redis_server: RedisServer, what: str, others: int
) -> None:
    ours, theirs = connect(redis_server.port), connect(redis_server.port)
    key = FAMILY.key(id=f"{what} {others}")

    def load(_: object) -> str:
        theirs.invalidate(groups=["another", *(f"other-{number}" for number in range(others))])
        for number in range(others):
            theirs.delete(FAMILY.key(id=f"other-{number}"))
        if what == "its group":
            theirs.invalidate(groups=key.groups)
        elif what == "its key":
            theirs.delete(key)
        return "old"

    assert ours.get_or_load(key, load) == "old"
    assert connect(redis_server.port).get(key) == ("old" if what == "another group" else None)


def test_a_redis_that_lost_more_than_anyone_remembers_is_not_trusted(
    connect: Callable[..., Any], kept: RedisServer
) -> None:
    ours, key = connect(kept.port), FAMILY.key(id="gone")
    ours.get_or_load(key, Source("old"))
    with kept.client() as client:
        client.save()
    for number in range(300):
        ours.invalidate(groups=[f"other-{number}"])
    ours.invalidate(groups=key.groups)
    kept.kill()
    kept.start()
    eventually(lambda: bool(ours.link.can_hear))
    ours.memory.clear()
    assert ours.get(key) is None
    assert connect(kept.port).get(key) is None


def test_a_history_that_others_went_on_with_is_told_what_it_lost(
    connect: Callable[..., Any], redis_server: RedisServer
) -> None:
    """As a cluster's takeover by a replica that lags: no connection breaks, and others write at once."""
    ours, others = connect(redis_server.port), connect(redis_server.port)
    layout, key = ours.link.layout, FAMILY.key(id="taken over")
    with redis_server.client() as client:
        ours.get_or_load(key, Source("old"))
        names = [layout.key(0, kind) for kind in "mtgfh"]
        names.append(layout.key(0, "e:", key.name))
        lagging = [client.dump(name) for name in names]
        assert ours.invalidate(groups=key.groups).in_redis
        for name, dumped in zip(names, lagging, strict=True):
            client.restore(name, 0, dumped, replace=True)
        others.invalidate(groups=["other"])
        young = connect(redis_server.port)
        eventually(lambda: young.get(key) is None, 5)
        young.memory.clear()
        assert young.get(key) is None


class History:
    """What a shard holds, kept to be put back: another primary of the same past, as clients come to it."""

    def __init__(self, server: RedisServer, cache: Any, *names: str) -> None:
        self._server = server
        layout = cache.link.layout
        self._keys = [layout.key(0, kind) for kind in "mtgfh"]
        self._keys += [layout.key(0, kind, name) for name in names for kind in ("e:", "l:")]
        with server.client() as client:
            self._kept = [client.dump(name) for name in self._keys]

    def put_back(self) -> None:
        """Let this be what the shard holds."""
        with self._server.client() as client:
            for name, kept in zip(self._keys, self._kept, strict=True):
                client.delete(name)
                if kept:
                    client.restore(name, 0, kept)


def test_a_second_takeover_in_a_row_costs_no_more_than_the_first(
    connect: Callable[..., Any], redis_server: RedisServer
) -> None:
    """By another replica of the same past, which has heard of as little."""
    ours, gone, stays = connect(redis_server.port), FAMILY.key(id="gone"), FAMILY.key(id="stays")
    for key in (gone, stays):
        ours.get_or_load(key, Source("old"))
    lagging = History(redis_server, ours, gone.name, stays.name)
    assert ours.invalidate(groups=gone.groups).in_redis
    for number in (1, 2):
        lagging.put_back()
        eventually(lambda told=number: ours.stats.counts["invalidation-repeated", ""] >= told)  # type: ignore[misc]  # a lambda's default
        ours.memory.clear()
        assert [ours.get(key) for key in (gone, stays)] == [None, "old"]


PAGE = Family("page", "{id}", list[str], policy=Policy(jitter=0))


class Switching(SystemClock):
    """Does something when a loader has returned and what came of it is about to be stored."""

    def __init__(self) -> None:
        self.at_landing: list[Callable[[], None]] = []

    def fraction(self) -> float:
        while self.at_landing:
            self.at_landing.pop()()
        return super().fraction()


def test_a_birth_of_one_history_counts_for_nothing_in_another(
    connect: Callable[..., Any], redis_server: RedisServer
) -> None:
    """A load begins at a primary that is on its way out, with a part that is outdated at the next one."""
    clock = Switching()
    ours, others = connect(redis_server.port, clock=clock), connect(redis_server.port)
    key = PAGE.key(id="of two histories")
    ours.get_or_load(KEY, Source("old"))
    ours._listener.stop()  # which would notice after a second
    old = History(redis_server, ours, KEY.name, key.name)
    others.invalidate(groups=KEY.groups)
    new = History(redis_server, ours, KEY.name, key.name)
    old.put_back()

    def switch() -> None:
        new.put_back()
        others.invalidate(groups=["another"])

    def load(_: Any) -> list[str]:
        part = ours.get(KEY)
        clock.at_landing.append(switch)
        return [part]

    assert ours.get_or_load(key, load) == ["old"]
    later = connect(redis_server.port)
    assert [cache.get(key) for cache in (others, later)] == [None, None]


def test_what_is_made_while_an_invalidation_has_no_reply_yet_is_not_older(
    connect: Callable[..., Any], proxy: Proxy, redis_server: RedisServer
) -> None:
    """The message of it comes before the reply, and the part came out of Redis before either."""
    ours, others = connect(proxy.port), connect(redis_server.port)
    key = PAGE.key(id="before the reply")
    ours.invalidate(groups=["scripts are known from now on"])
    others.get_or_load(KEY, Source("old"))
    before = ours.link.generations[0]

    request, reply = Gate(), Gate()

    def keep_back(data: bytes) -> bool:
        if b"EVAL" in data and b":changes" in data:
            request.keep_back()
        return False

    proxy.swallows = keep_back
    proxy.delays_reply = lambda data: reply.keep_back() if data.startswith(MOMENTS) else 0.0
    with ThreadPoolExecutor(1) as pool:
        invalidating = pool.submit(ours.invalidate, groups=KEY.groups)
        request.wait_until_reached()
        assert ours.get(KEY) == "old"
        request.open()
        eventually(lambda: ours.link.generations[0] > before)
        ours.get_or_load(key, lambda _: [ours.get(KEY) or "new"])
        reply.open()
        assert invalidating.result().in_redis
    assert [cache.get(key) in (None, ["new"]) for cache in (ours, others)] == [True, True]


def test_a_history_without_what_a_process_was_told_of_gives_it_nothing(
    connect: Callable[..., Any], redis_server: RedisServer
) -> None:
    """Its connections lead to two primaries, one of which goes on without what the other was told."""
    ours, others = connect(redis_server.port), connect(redis_server.port)
    one_primary = History(redis_server, ours, KEY.name)
    ours.invalidate(groups=KEY.groups)
    eventually(lambda: ours.link.generations == others.link.generations)
    ours._listener.stop()
    one_primary.put_back()
    others.invalidate(groups=["another"])
    assert others.get_or_load(KEY, Source("old")) == "old"
    assert ours.get(KEY) is None
    assert ours.get_or_load(KEY, Source("new")) == "new"


# Ends


def test_a_debt_is_told_of_at_the_end(
    driver: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy(redis_server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        cache = make(driver, RedisOptions(url=url, prefix="ends", timeout=SOFT_SECONDS))
        assert cache.wait_until_synced(30)
        proxy.close()
        assert not cache.invalidate(groups=["product-1", "product-2"]).in_redis
        with caplog.at_level(logging.ERROR):
            cache.close()
    assert "2 invalidations (product-1, product-2)" in caplog.text


def test_a_debt_is_paid_at_the_end_where_redis_is_back(
    driver: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    options = RedisOptions(url=redis_server.url, prefix=f"loss-{next(prefixes)}", timeout=PATIENT_SECONDS)
    with make(driver, options) as others:
        assert others.wait_until_synced(30)
        cache = make(driver, options)
        assert cache.wait_until_synced(30)
        others.get_or_load(KEY, Source("old"))
        cache.link.owe(KEY.groups, (0,))
        with caplog.at_level(logging.ERROR):
            cache.close()
        assert not caplog.text
        eventually(lambda: others.get(KEY) is None)


def test_a_closed_cache_leaves_no_connection_to_a_cluster(
    driver: str, redis_cluster: ClusterOfSix, prefix: str
) -> None:
    def ours() -> int:
        total = 0
        for node in redis_cluster.nodes:
            with node.client() as client:
                listed: Any = client.client_list(_type="normal") + client.client_list(_type="pubsub")
                total += len(listed)
        return total

    before = ours()
    with make(driver, RedisOptions(url=redis_cluster.url, prefix=prefix, timeout=PATIENT_SECONDS)) as cache:
        assert cache.wait_until_synced(20)
        keys = [FAMILY.key(id=number) for number in range(50)]
        cache.get_many_or_load(keys, lambda some: dict.fromkeys(some, "a"))
        for key in keys[:5]:
            cache.set(key, "b")
        cache.invalidate(groups=["product-1"])
        assert ours() > before
    eventually(lambda: ours() <= before)


# What is big or slow


def test_a_big_value_costs_itself_and_is_named(
    connect: Callable[..., Any], proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    cache = connect(proxy.port, SOFT_SECONDS)
    key, small = FAMILY.key(id="big"), FAMILY.key(id="small")
    text = os.urandom(4 << 20).hex()
    proxy.swallows = lambda data: len(data) > 10_000  # of it Redis never has the whole
    with caplog.at_level(logging.WARNING):
        assert cache.get_or_load(key, Source(text)) == text
        assert cache.link.is_up
    cache.get_or_load(small, Source("a"))
    slow = [text for each in caplog.records if "no answer of Redis in time" in (text := each.getMessage())]
    assert slow
    assert all("product.v1:big" in text for text in slow)
    assert all("bytes" in text for text in slow if "STORE" in text)


def test_a_node_that_hangs_costs_its_own_keys_alone(
    driver: str, redis_cluster: ClusterOfSix, prefix: str
) -> None:
    running, keys = redis_cluster, [FAMILY.key(id=number) for number in range(60)]
    with make(driver, RedisOptions(url=running.url, prefix=prefix, timeout=PATIENT_SECONDS)) as patient:
        assert patient.wait_until_synced(20)
        patient.get_many_or_load(keys, lambda some: dict.fromkeys(some, "a"))
    cache = make(driver, RedisOptions(url=running.url, prefix=prefix, timeout=SOFT_SECONDS))
    try:
        assert cache.wait_until_synced(20)
        cache.get_many_or_load(keys, lambda some: dict.fromkeys(some, "a"))  # by connections to each node
        running.nodes[0].freeze()
        cache.memory.clear()
        assert len(cache.get_many_or_load(keys, lambda some: dict.fromkeys(some, "a"))) == 60
        eventually(lambda: not cache.link.is_up)
        eventually(lambda: any(cache.link.up))
        cache.memory.clear()
        reached = [key for key in keys if cache.link.asks(key.name)]
        # An answer that comes late on a busy machine is a miss, too: it is there all the same.
        eventually(lambda: {cache.get(key) for key in reached} == {"a"})
        with Stopwatch() as watch:
            for key in keys:
                cache.get_or_load(key, Source("a"))
        assert watch.seconds < SOFT_SECONDS * 8
        running.thaw()
        eventually(lambda: bool(cache.link.is_up))
    finally:
        running.thaw()
        cache.close()


@pytest.mark.parametrize("number", range(3))
def test_a_process_that_begins_while_a_node_hangs_uses_the_others(
    driver: str, redis_cluster: ClusterOfSix, prefix: str, number: int
) -> None:
    """Whichever that is: the first that it would ask for the way, or the one that messages would come by."""
    running, keys = redis_cluster, [FAMILY.key(id=number) for number in range(60)]
    with make(driver, RedisOptions(url=running.url, prefix=prefix, timeout=PATIENT_SECONDS)) as patient:
        patient.get_many_or_load(keys, lambda some: dict.fromkeys(some, "a"))
    running.nodes[number].freeze()
    cache = make(driver, RedisOptions(url=running.url, prefix=prefix, timeout=SOFT_SECONDS))
    try:
        cache.get(keys[0])
        eventually(lambda: not cache.link.is_up)
        eventually(lambda: any(cache.link.up) and bool(cache.link.hears))
        eventually(lambda: {cache.get(key) for key in keys if cache.link.asks(key.name)} == {"a"})
    finally:
        running.thaw()
        cache.close()
