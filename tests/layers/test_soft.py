"""What is invalidated softly counts as stale: in memory, in Redis, in other processes, and at the edge."""

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest

from origin_sdk._process.reads import made_to_publish
from origin_sdk.errors import NotCacheable
from origin_sdk.layers import DataClass, Family, LayeredCache, LoadContext, Policy, RedisOptions
from origin_sdk.responses import Exchanged, cache_for, drafting, finish
from origin_sdk.testing import ManualClock
from tests.layers.servers import RedisServer
from tests.layers.test_breakdowns import eventually

PATIENT = Policy(lifetime=600, stale=300, fail_safe=3000, throttle=5, jitter=0)
HASTY = Policy(lifetime=600, jitter=0)
FAMILY = Family("soft", "{id}", int, groups=("softs",), policy=PATIENT, data_class=DataClass.PUBLIC)
STRICT = Family("strict", "{id}", int, groups=("softs",), policy=HASTY)
PAGE = Family("page", "{id}", int, policy=HASTY, data_class=DataClass.PUBLIC)
FIELDS = Family("fields", "{id}", dict[str, int], groups=("softs",), policy=PATIENT, kept_as="hash")
KEY = FAMILY.key(id=1)


def forget(cache: Any) -> None:
    """Let Redis be asked, by a process that has heard of what it did itself."""
    if cache.link:
        link = cache.link
        told = [each[0] if each else 0.0 for each in link.history._told]
        eventually(lambda: all(known >= last for known, last in zip(link.generations, told, strict=True)))
        cache.memory.clear()


class Source:
    def __init__(self) -> None:
        self.value = 1
        self.calls = 0
        self.error: Exception | None = None

    def __call__(self, _: object) -> int:
        self.calls += 1
        if self.error:
            raise self.error
        return self.value


def test_the_old_value_is_answered_with_while_the_new_one_is_loaded(cache: Any) -> None:
    source = Source()
    assert cache.get_or_load(KEY, source) == 1
    source.value = 2
    assert cache.invalidate(groups=["softs"], soft=True).in_redis
    assert cache.get_or_load(KEY, source) == 1
    eventually(lambda: cache.get_or_load(KEY, source) == 2)
    assert source.calls == 2
    cache.memory.clear()
    if cache.link:
        assert cache.get_or_load(KEY, source) == 2, "the new one is fresh in Redis, too"
        assert source.calls == 2


def test_what_left_memory_is_stale_out_of_redis(cache: Any) -> None:
    source = Source()
    cache.get_or_load(KEY, source)
    cache.invalidate(groups=["softs"], soft=True)
    source.value = 2
    forget(cache)
    assert cache.get_or_load(KEY, source) == 1
    eventually(lambda: cache.get_or_load(KEY, source) == 2)


@pytest.mark.parametrize("clears", [False, True], ids=["out of memory", "out of Redis"])
def test_many_at_once_are_stale_as_one_is(cache: Any, *, clears: bool) -> None:
    keys = [FAMILY.key(id=number) for number in range(5)]
    source = Source()

    def read() -> set[int]:
        return set(cache.get_many_or_load(keys, lambda some: dict.fromkeys(some, source.value)).values())

    assert read() == {1}
    cache.invalidate(groups=["softs"], soft=True)
    source.value = 2
    if clears:
        forget(cache)
    assert read() == {1}
    eventually(lambda: read() == {2})


def test_without_a_window_it_is_loaded_at_once(cache: Any) -> None:
    source = Source()
    key = STRICT.key(id=1)
    cache.get_or_load(key, source)
    cache.invalidate(groups=["softs"], soft=True)
    source.value = 2
    assert cache.get(key) is None
    assert cache.get_or_load(key, source) == 2


def test_a_write_after_it_is_fresh(cache: Any) -> None:
    cache.set(KEY, 1)
    cache.invalidate(groups=["softs"], soft=True)
    cache.set(KEY, 2)
    source = Source()
    for _ in range(2):
        assert cache.get_or_load(KEY, source) == 2
        if cache.link:
            cache.memory.clear()
    assert source.calls == 0


def test_the_old_value_stands_in_for_a_loader_that_fails(timed: Any, clock: ManualClock) -> None:
    source = Source()
    timed.get_or_load(KEY, source)
    timed.invalidate(groups=["softs"], soft=True)
    clock.advance(301)
    source.error = LookupError("the database is away")
    assert timed.get_or_load(KEY, source) == 1
    clock.advance(3000)
    with pytest.raises(LookupError):
        timed.get_or_load(KEY, source)


def test_the_window_begins_with_the_invalidation(timed: Any, clock: ManualClock) -> None:
    source = Source()
    timed.get_or_load(KEY, source)
    timed.invalidate(groups=["softs"], soft=True)
    source.value = 2
    clock.advance(301)
    assert timed.get(KEY) is None
    assert timed.get_or_load(KEY, source) == 2


def test_a_hard_one_ends_what_is_softly_stale(cache: Any) -> None:
    source = Source()
    cache.get_or_load(KEY, source)
    cache.invalidate(groups=["softs"], soft=True)
    cache.invalidate(groups=["softs"])
    source.value = 2
    assert cache.get_or_load(KEY, source) == 2


def test_a_load_under_way_is_not_taken_for_fresh(cache: Any) -> None:
    key = STRICT.key(id=2)
    begun, may_end = Event(), Event()

    def load(_: object) -> int:
        begun.set()
        assert may_end.wait(20)
        return 1

    loading = Thread(target=cache.get_or_load, args=(key, load))
    loading.start()
    assert begun.wait(20)
    cache.invalidate(groups=["softs"], soft=True)
    joined: list[int] = []
    joining = Thread(target=lambda: joined.append(cache.get_or_load(key, lambda _: 2)))
    joining.start()
    may_end.set()
    loading.join()
    joining.join()
    assert joined == [2]
    assert cache.get_or_load(key, lambda _: 3) == 2


def test_other_processes_hear_of_it(new_cache: Callable[..., Any]) -> None:
    one, two = new_cache("redis", "sync"), new_cache("redis", "async")
    assert one.wait_until_synced(30)
    assert two.wait_until_synced(30)
    source = Source()
    assert one.get_or_load(KEY, source) == two.get_or_load(KEY, source) == 1
    source.value = 2
    one.invalidate(groups=["softs"], soft=True)
    eventually(lambda: two.get_or_load(KEY, source) == 2)
    eventually(lambda: one.get_or_load(KEY, source) == 2)
    assert source.calls == 2, "one of all processes loads"
    source.value = 3
    one.invalidate(groups=["softs"], soft=True)
    three = new_cache("redis", "sync")  # which comes after it
    assert three.wait_until_synced(30)
    eventually(lambda: three.get_or_load(KEY, source) == 3)


@pytest.mark.parametrize("driver", ["sync", "async"])
def test_who_has_not_heard_takes_nothing_stale_for_fresh(new_cache: Callable[..., Any], driver: str) -> None:
    """A process whose messages are late asks Redis, which says only what that process can judge."""
    one, two = new_cache("redis", "sync"), new_cache("redis", driver)
    assert one.wait_until_synced(30)
    assert two.wait_until_synced(30)
    source = Source()
    keys = [FAMILY.key(id="a"), FIELDS.key(id="a")]
    one.get_or_load(keys[0], source)
    fields = {"x": 1}
    one.get_or_load(keys[1], lambda _: dict(fields))
    two.link.history.hear = lambda _: None
    source.value, fields["x"] = 2, 2
    one.invalidate(groups=["softs"], soft=True)
    assert two.get_or_load(keys[0], source) == 2
    assert two.fields(keys[1], lambda _: dict(fields)).get("x") == 2


def test_what_is_made_of_it_is_not_kept(cache: Any) -> None:
    source, page = Source(), PAGE.key(id=1)
    may_refresh = Event()

    def part(_: object) -> int:
        return int(cache.get_or_load(KEY, refreshing))

    def refreshing(context: LoadContext[int]) -> int:
        if context.has_previous:
            assert may_refresh.wait(20)
        return source(context)

    assert cache.get_or_load(page, part) == 1
    source.value = 2
    cache.invalidate(groups=["softs"], soft=True)
    assert cache.get_or_load(page, part) == 1, "made of what is stale"
    may_refresh.set()
    eventually(lambda: cache.get_or_load(page, part) == 2)
    cache.memory.clear()
    assert cache.get_or_load(page, part) == 2


@pytest.mark.parametrize("layer", ["memory", "redis"])
def test_a_response_made_of_it_is_never_fresh_at_the_edge(new_cache: Callable[..., Any], layer: str) -> None:
    cache = new_cache(layer, "sync")
    assert layer == "memory" or cache.wait_until_synced(30)
    source, hold = Source(), Event()

    def load(context: LoadContext[int]) -> int:
        if context.has_previous:
            assert hold.wait(20)
        return source(context)

    def response() -> dict[str, str]:
        with drafting() as draft:
            cache_for(300, browser=30, stale_while_revalidate=60, negative=20)
            value = cache.get_or_load(KEY, load)
        exchanged = Exchanged("GET", {}, 200, {}, b"%d" % value, route="/x")
        return dict(finish(draft, exchanged, strict=True).fields)

    assert response()["cdn-cache-control"] == "max-age=300, stale-while-revalidate=60"
    cache.invalidate(groups=["softs"], soft=True)
    for _ in range(2):
        fields = response()
        assert fields["cdn-cache-control"] == "max-age=0, stale-while-revalidate=60"
        assert fields["cache-control"] == "public, max-age=0"
        assert fields["cache-groups"] == '"softs"'
    with pytest.raises(NotCacheable, match="invalidated softly"), made_to_publish("/x"):
        cache.get_or_load(KEY, load)
    hold.set()
    eventually(lambda: response()["cdn-cache-control"] == "max-age=300, stale-while-revalidate=60")


def test_fields_are_stale_as_the_whole_is(cache: Any) -> None:
    source = {"x": 1}
    fields = cache.fields(FIELDS.key(id=1), lambda _: dict(source))
    for clears in (False, True):
        assert fields.get("x") == source["x"]
        if clears and cache.link:
            cache.memory.clear()
            assert fields.get("x") == source["x"]
        cache.invalidate(groups=["softs"], soft=True)
        source["x"] += 1
        assert fields.get("x") == source["x"] - 1
        eventually(lambda: fields.get("x") == source["x"])
        fields.set("x", source["x"])


def test_what_redis_could_not_be_told_is_stale_here(tmp_path: Any, prefix: str) -> None:
    with (
        RedisServer(tmp_path / "own") as server,
        LayeredCache(RedisOptions(url=server.url, prefix=prefix, timeout=0.2)) as cache,
    ):
        assert cache.wait_until_synced(30)
        source = Source()
        cache.get_or_load(KEY, source)
        server.freeze()
        source.value = 2
        assert not cache.invalidate(groups=["softs"], soft=True).in_redis
        assert cache.get_or_load(KEY, source) == 1
        server.thaw()
        eventually(lambda: cache.get_or_load(KEY, source) == 2)
        link = cache.link
        assert link is not None
        eventually(lambda: not link.debts.shards())
        cache.memory.clear()
        assert cache.get_or_load(KEY, source) == 2
