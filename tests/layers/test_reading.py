"""What is made of cached values: its class and its groups are theirs, however they were read."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from origin_sdk._process.audit import AuditEvent
from origin_sdk._process.reads import MOST_GROUPS, Reads, reading
from origin_sdk.errors import NotCacheable
from origin_sdk.layers import (
    AsyncLayeredCache,
    DataClass,
    DataClassViolation,
    Family,
    LayeredCache,
    LoadContext,
    Policy,
)
from origin_sdk.layers.django.shared_cache import SharedCache
from origin_sdk.layers.key_value import KeyValue
from origin_sdk.responses import Draft, Exchanged, Finished, add_groups, aside, cache_for, drafting, finish
from origin_sdk.testing import ManualClock
from origin_sdk_wire.bounds import MAX_GROUPS
from origin_sdk_wire.structured import parse_strings
from tests.layers.caches import make
from tests.layers.test_breakdowns import eventually
from tests.layers.test_contract import Source

PRICES = Family(
    "price", "{id}", str, groups=("product-{id}",), data_class=DataClass.PUBLIC, policy=Policy(lifetime=60)
)
ORDERS = Family("order", "{id}", str, groups=("order-{id}",), identity=("id",))
PRIVATE = "private, no-store"


def answered(draft: Draft, *, strict: bool = False, present: str = "") -> Finished:
    response = {"cache-groups": present} if present else {}
    exchanged = Exchanged("GET", {}, 200, response, b"body", route="GET /orders/{id}")
    return finish(draft, exchanged, strict=strict)


def groups_of(finished: Finished) -> tuple[str, ...]:
    return parse_strings(finished.fields.get("cache-groups", ""))


def decorated(cache: Any, family: Family[Any]) -> Any:
    def load(id: int) -> str:  # noqa: A002 - the key's name
        return f"value {id}"

    return cache.cached(family)(load)


def stored(cache: Any, family: Family[Any]) -> Any:
    key = family.key(id=17)
    cache.set(key, "x")
    return key


WAYS: dict[str, tuple[Callable[[Any, Family[Any]], Any], Callable[[Any, Any], object]]] = {
    "loaded": (lambda _, family: family.key(id=17), lambda cache, key: cache.get_or_load(key, Source("x"))),
    "out of memory": (stored, lambda cache, key: cache.get_or_load(key, Source("y"))),
    "got": (stored, lambda cache, key: cache.get(key)),
    "not there": (lambda _, family: family.key(id=17), lambda cache, key: cache.get(key)),
    "out of Redis": (
        stored,
        lambda cache, key: (cache.memory.clear(), cache.get_or_load(key, Source("y"))),
    ),
    "one of many": (stored, lambda cache, key: cache.get_many_or_load([key], lambda _: {})),
    "loaded as one of many": (
        lambda _, family: family.key(id=17),
        lambda cache, key: cache.get_many_or_load([key], lambda _: {key: "x"}),
    ),
    "refreshed": (stored, lambda cache, key: cache.refresh(key, Source("y"))),
    "by a decorated function": (decorated, lambda _, load: load(17)),
    "by a decorated function again": (lambda c, f: first(decorated(c, f)), lambda _, load: load(17)),
}


def first(load: Any) -> Any:
    load(17)
    return load


@pytest.fixture(params=["sync", "async"])
def over_redis(request: pytest.FixtureRequest, new_cache: Callable[..., Any]) -> Any:
    made = new_cache("redis", request.param)
    assert made.wait_until_synced(30)
    return made


@pytest.mark.parametrize("way", WAYS)
def test_a_value_read_tags_the_response(over_redis: Any, way: str) -> None:
    prepare, read = WAYS[way]
    prepared = prepare(over_redis, PRICES)
    with drafting() as draft:
        cache_for(300)
        read(over_redis, prepared)
    finished = answered(draft, strict=True)
    assert finished.fields["cdn-cache-control"] == "max-age=300"
    assert groups_of(finished) == ("product-17",)


@pytest.mark.parametrize("way", WAYS)
def test_a_value_that_must_not_reach_the_edge_makes_the_response_private(
    over_redis: Any, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    prepare, read = WAYS[way]
    prepared = prepare(over_redis, ORDERS)
    with drafting() as draft:
        cache_for(300)
        read(over_redis, prepared)
    with caplog.at_level(logging.ERROR, "origin_sdk"):
        finished = answered(draft)
    assert finished.fields == {"cache-control": PRIVATE, "cdn-cache-control": PRIVATE}
    [record] = caplog.records
    assert all(
        word in record.message for word in ("'order'", "CENTRAL", "GET /orders/{id}", "DataClass.PUBLIC")
    )
    with pytest.raises(DataClassViolation, match=r"GET /orders/\{id\}.*'order'"):
        answered(draft, strict=True)


def test_a_response_that_says_nothing_of_caching_is_untouched() -> None:
    with LayeredCache() as cache, drafting() as draft:
        cache.get_or_load(ORDERS.key(id=1), Source("x"))
    assert answered(draft, strict=True).fields == {}


def test_outside_of_a_response_anything_may_be_read() -> None:
    with LayeredCache() as cache:
        assert cache.get_or_load(ORDERS.key(id=1), Source("x")) == "x"


def test_what_is_read_aside_does_not_count() -> None:
    with LayeredCache() as cache, drafting() as draft:
        cache_for(300, for_everyone=True)
        with aside():
            cache.get_or_load(ORDERS.key(id=1), Source("may read prices"))
        cache.get_or_load(PRICES.key(id=17), Source("x"))
    assert groups_of(answered(draft, strict=True)) == ("product-17",)


def test_writing_is_not_reading() -> None:
    with LayeredCache() as cache, drafting() as draft:
        cache_for(300)
        cache.set(ORDERS.key(id=1), "x")
        cache.delete(ORDERS.key(id=1))
        cache.invalidate(groups=["order-1"])
    assert answered(draft, strict=True).fields["cdn-cache-control"] == "max-age=300"


def test_what_is_refused_is_audited_without_values() -> None:
    events: list[AuditEvent] = []
    with LayeredCache(audit=events.append, actor="shop") as cache, drafting() as draft:
        cache_for(300)
        cache.get_or_load(ORDERS.key(id=1), Source("secret"))
    answered(draft)
    [event] = [event for event in events if event.action == "expose"]
    assert (event.actor, event.outcome) == ("shop", "refused")
    assert event.details == {"family": "order", "what": "GET /orders/{id}"}


def test_a_response_counts_what_its_threads_and_tasks_read() -> None:
    async def body() -> None:
        async with AsyncLayeredCache() as cache:

            async def load(_: object) -> str:
                return "x"

            async def read(number: int) -> None:
                await cache.get_or_load(PRICES.key(id=number), load)

            await asyncio.gather(asyncio.create_task(read(1)), read(2))
            with LayeredCache() as blocking:
                await asyncio.to_thread(blocking.get_or_load, PRICES.key(id=3), Source("x"))

    with drafting() as draft:
        cache_for(60)
        asyncio.run(body())
    assert sorted(groups_of(answered(draft, strict=True))) == ["product-1", "product-2", "product-3"]


def test_responses_of_one_process_do_not_mix() -> None:
    with LayeredCache() as cache:
        with drafting() as outer:
            cache_for(60)
            cache.get_or_load(PRICES.key(id=1), Source("x"))
            with drafting() as inner:
                cache_for(60)
                cache.get_or_load(PRICES.key(id=2), Source("x"))
        assert groups_of(answered(outer)) == ("product-1",)
        assert groups_of(answered(inner)) == ("product-2",)


@pytest.mark.parametrize("read_groups", [True, False])
def test_groups_that_are_named_come_first_and_may_stand_alone(*, read_groups: bool) -> None:
    with LayeredCache() as cache, drafting() as draft:
        cache_for(60, read_groups=read_groups)
        cache.get_or_load(PRICES.key(id=1), Source("x"))
        add_groups("prices")
    assert groups_of(answered(draft, present='"shop"')) == (
        ("shop", "prices", "product-1") if read_groups else ("shop", "prices")
    )


def test_groups_of_what_was_read_take_the_room_that_is_left(caplog: pytest.LogCaptureFixture) -> None:
    present = ", ".join(f'"present-{number}"' for number in range(MAX_GROUPS - 4))
    with LayeredCache() as cache, drafting() as draft:
        cache_for(60)
        add_groups("named-1", "named-2")
        for number in range(10):
            cache.get_or_load(PRICES.key(id=number), Source("x"))
    groups = groups_of(answered(draft, present=present))
    assert len(groups) == MAX_GROUPS
    assert groups[-4:] == ("named-1", "named-2", "product-0", "product-1")
    assert f"more groups than the {MAX_GROUPS}" in caplog.text


@pytest.mark.parametrize("number", [200, MAX_GROUPS, MAX_GROUPS + 1])
def test_a_list_has_the_groups_of_all_its_rows_or_is_told_of(number: int) -> None:
    with LayeredCache() as cache, drafting() as draft:
        cache_for(60)
        cache.get_many_or_load(
            [PRICES.key(id=each) for each in range(number)], lambda keys: dict.fromkeys(keys, "x")
        )
    if number > MAX_GROUPS:
        with pytest.raises(NotCacheable, match="coarser group"):
            answered(draft, strict=True)
    else:
        assert len(groups_of(answered(draft, strict=True))) == number


def test_a_cache_may_keep_its_groups_to_itself() -> None:
    with LayeredCache(passes_groups=False) as cache, drafting() as draft:
        cache_for(60)
        cache.get_or_load(PRICES.key(id=1), Source("x"))
    assert groups_of(answered(draft, strict=True)) == ()


class TestGroupsThatDoNotFit:
    """No purge would reach the response by them, so that it is kept no longer than a purge may take."""

    LONG = "max-age=60, must-revalidate"

    @pytest.fixture(params=["too many", "not of ASCII"])
    def draft(self, request: pytest.FixtureRequest) -> Draft:
        with LayeredCache() as cache, drafting() as draft:
            cache_for(600, stale_while_revalidate=60, stale_if_error=86_400)
            add_groups("prices")
            if request.param == "not of ASCII":
                cache.set(PRICES.key(id=1), "x", groups=["größe"])
                cache.get(PRICES.key(id=1))
            else:
                cache.get_many_or_load(
                    [PRICES.key(id=number) for number in range(1000)], lambda keys: dict.fromkeys(keys, "x")
                )
        return draft

    def test_production_keeps_it_for_as_long_as_a_purge_may_take(
        self, draft: Draft, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.ERROR, "origin_sdk"):
            finished = answered(draft)
        assert finished.fields["cdn-cache-control"] == self.LONG
        groups = groups_of(finished)
        assert groups[0] == "prices"
        assert len(groups) <= MAX_GROUPS
        [record] = caplog.records
        assert "read_groups=False" in record.message

    def test_development_raises(self, draft: Draft) -> None:
        with pytest.raises(NotCacheable, match="read_groups=False"):
            answered(draft, strict=True)

    def test_what_is_noted_is_bounded(self, draft: Draft) -> None:
        assert len(draft.reads.groups) <= MOST_GROUPS


OUTER = {each: Family(f"outer_{each.value}", "{id}", str, data_class=each) for each in list(DataClass)[:3]}
INNER = {each: Family(f"inner_{each.value}", "{id}", str, data_class=each) for each in list(DataClass)[:3]}
LAUNDERED = [
    (DataClass.PUBLIC, DataClass.CENTRAL),
    (DataClass.PUBLIC, DataClass.RESTRICTED),
    (DataClass.CENTRAL, DataClass.RESTRICTED),
]


@pytest.fixture(params=["sync", "async"])
def pair(request: pytest.FixtureRequest) -> Any:
    with make(request.param) as outer, LayeredCache() as inner:
        yield outer, inner


@pytest.mark.parametrize("outer", list(OUTER))
@pytest.mark.parametrize("inner", list(INNER))
@pytest.mark.parametrize("is_batch", [False, True], ids=["one", "many"])
def test_a_value_may_not_go_further_than_what_its_loader_reads(
    pair: Any, outer: DataClass, inner: DataClass, *, is_batch: bool
) -> None:
    cache, below = pair
    key = OUTER[outer].key(id=1)

    def load(_: object) -> Any:
        value = below.get_or_load(INNER[inner].key(id=1), Source("x"))
        return {key: value} if is_batch else value

    def read() -> Any:
        return cache.get_many_or_load([key], load)[key] if is_batch else cache.get_or_load(key, load)

    if (outer, inner) in LAUNDERED:
        with pytest.raises(DataClassViolation, match=f"{OUTER[outer].name}.*{INNER[inner].name}"):
            read()
        assert cache.get(key) is None
    else:
        assert read() == "x"
        assert cache.get(key) == "x"


def test_a_value_belongs_to_the_groups_of_what_its_loader_read(over_redis: Any) -> None:
    key = Family("page", "{id}", str, data_class=DataClass.PUBLIC).key(id=1)
    with LayeredCache() as below:

        def load(_: object) -> str:
            return below.get_or_load(PRICES.key(id=17), Source("x"))

        for _ in range(2):
            with drafting() as draft:
                cache_for(60)
                over_redis.get_or_load(key, load)
            assert groups_of(answered(draft)) == ("product-17",)
            over_redis.memory.clear()
        over_redis.invalidate(groups=["product-17"])
        assert over_redis.get(key) is None


def test_an_unmodified_value_keeps_its_groups(timed: Any, clock: ManualClock) -> None:
    key = Family("page", "{id}", str, policy=Policy(lifetime=10, stale=100, jitter=0)).key(id=1)

    def load(context: LoadContext[str]) -> str:
        if context.has_previous:
            answer: str = context.not_modified()
            return answer
        with LayeredCache() as below:
            return below.get_or_load(PRICES.key(id=17), Source("x"))

    timed.get_or_load(key, load)
    clock.advance(11)
    timed.refresh(key, load)
    timed.invalidate(groups=["product-17"])
    assert timed.get(key) is None


def test_what_a_refresh_reads_behind_a_response_is_none_of_its_business(
    timed: Any, clock: ManualClock
) -> None:
    page = Family(
        "page", "{id}", str, data_class=DataClass.PUBLIC, policy=Policy(lifetime=10, stale=100, jitter=0)
    )
    key = page.key(id=1)
    timed.get_or_load(key, Source("old"))
    clock.advance(11)
    with LayeredCache() as below:

        def load(_: object) -> str:
            return below.get_or_load(PRICES.key(id=17), Source("new"))

        with drafting() as draft:
            cache_for(60)
            assert timed.get_or_load(key, load) == "old"
    assert groups_of(answered(draft)) == ()


def test_whoever_makes_something_may_look_at_what_it_is_made_of() -> None:
    with LayeredCache() as cache, reading(Reads()) as reads:
        cache.get_or_load(ORDERS.key(id=1), Source("x"))
        cache.get_or_load(PRICES.key(id=1), Source("x"))
    assert list(reads.confined) == ["order"]
    assert list(reads.groups) == ["order-1", "product-1"]


def test_values_without_a_family_such_as_those_of_django_do_not_count() -> None:
    cache = SharedCache()
    with drafting() as draft:
        cache_for(60)
        values = KeyValue(cache)
        assert cache.run(values.get_or_load(values.key("session"), lambda _: b"x", 60)) == b"x"
    cache.close()
    assert groups_of(answered(draft, strict=True)) == ()


@pytest.mark.parametrize("is_batch", [False, True], ids=["one", "many"])
def test_a_value_made_of_what_others_have_invalidated_is_not_stored(
    new_cache: Callable[..., Any], *, is_batch: bool
) -> None:
    """Its load began after the invalidation, which had not come to this process yet."""
    caches = [new_cache("redis", "sync") for _ in range(3)]
    assert [cache.wait_until_synced(30) for cache in caches] == [True] * 3
    late, other, third = caches
    key = Family("page", "{id}", str).key(id=1)

    def load(_: object) -> Any:
        value = late.get_or_load(PRICES.key(id=17), Source("new"))
        return {key: value} if is_batch else value

    def read() -> object:
        return late.get_many_or_load([key], load)[key] if is_batch else late.get_or_load(key, load)

    late.get_or_load(PRICES.key(id=17), Source("old"))
    with late.moments._lock:  # what it hears has to wait
        other.invalidate(groups=["product-17"])
        assert read() == "old"
    assert third.get(key) is None
    eventually(lambda: read() == "new")
    eventually(lambda: read() == "new" and third.get(key) == "new")
