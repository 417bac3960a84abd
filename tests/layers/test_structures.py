"""Parts of hashes, sets and sorted sets are as those of the whole, over every layer and driver."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from threading import Event, Thread
from typing import Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest

from origin_sdk.layers import (
    DataClass,
    DataClassViolation,
    Encryption,
    Family,
    InvalidFamily,
    LayeredCache,
    Policy,
    RedisOptions,
    Signature,
    UnstableKey,
    Wrapping,
)
from origin_sdk.layers.structures import async_handles, handles
from origin_sdk.responses import cache_for, drafting
from origin_sdk.testing import ManualClock
from tests.layers.caches import make
from tests.layers.servers import PATIENT_SECONDS, RedisServer
from tests.layers.test_breakdowns import eventually

SECRETS = {"k": b"k" * 32}


@dataclass
class Product:
    id: int
    name: str
    tags: set[str]
    price: float | None = None


LAMP = Product(17, "lamp", {"new"}, 9.5)
PRODUCTS = Family("product", "{id}", Product, groups=("product-{id}",), kept_as="hash")
STOCK = Family("stock", "{shop}", dict[str, int], groups=("shops",), kept_as="hash")
TAGS = Family("tags", "{post}", set[int], kept_as="set")
SCORES = Family("scores", "{game}", dict[str, float], kept_as="sorted-set")
NEWEST = Family("newest", "{shelf}", list[Product], kept_as="sorted-set")
TABLE = {"ann": 3.0, "bob": 1.0, "eve": 2.0, "dan": 2.0}
ASCENDING = [("bob", 1.0), ("dan", 2.0), ("eve", 2.0), ("ann", 3.0)]


class Source:
    """A loader that counts, and returns what it holds by then."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.calls = 0

    def __call__(self, _: object) -> Any:
        self.calls += 1
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.fixture(params=["whole in memory", "asked of Redis"])
def forgets(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    """Between two calls, memory may be empty."""
    if request.param == "whole in memory":
        return lambda _: None
    return lambda cache: cache.memory.clear() if cache.link else None


def test_fields_come_back_as_themselves_and_are_loaded_once(
    cache: Any, forgets: Callable[[Any], None]
) -> None:
    source = Source(LAMP)
    fields = cache.fields(PRODUCTS.key(id=17), source)
    assert fields.get("name") == "lamp"
    forgets(cache)
    assert fields.get_many(["tags", "price"]) == {"tags": {"new"}, "price": 9.5}
    forgets(cache)
    assert fields.all() == LAMP
    forgets(cache)
    assert cache.get(PRODUCTS.key(id=17)) == LAMP
    assert cache.get_or_load(PRODUCTS.key(id=17), source) == LAMP
    assert source.calls == 1


def test_a_field_is_written_through(cache: Any, forgets: Callable[[Any], None]) -> None:
    source = Source(LAMP)
    fields = cache.fields(PRODUCTS.key(id=17), source)
    fields.get("name")
    fields.set("price", 12.0)
    forgets(cache)
    assert fields.get("price") == 12.0
    fields.set_many({"price": None, "tags": {"old"}})
    forgets(cache)
    assert fields.all() == Product(17, "lamp", {"old"}, None)
    assert Product(17, "lamp", {"new"}, 9.5) == LAMP, "who loaded it keeps what it has"
    assert source.calls == 1


def test_fields_of_a_dict_come_and_go(cache: Any, forgets: Callable[[Any], None]) -> None:
    source = Source({"lamp": 3})
    stock = cache.fields(STOCK.key(shop="berlin"), source)
    assert (stock.get("lamp"), stock.get("desk"), stock.get("desk", 0)) == (3, None, 0)
    stock.set("desk", 2)
    forgets(cache)
    assert stock.get_many(["lamp", "desk", "bed"]) == {"lamp": 3, "desk": 2}
    stock.delete("lamp", "bed")
    forgets(cache)
    assert stock.all() == {"desk": 2}
    assert stock.count() == 1
    stock.delete("desk")
    forgets(cache)
    assert stock.all() == {}
    forgets(cache)
    assert stock.count() == 0
    stock.set("bed", 1)
    forgets(cache)
    assert stock.get("bed") == 1
    assert source.calls == 1, "that nothing is in it is known"


def test_members_of_a_set(cache: Any, forgets: Callable[[Any], None]) -> None:
    source = Source({1, 2, 3})
    tags = cache.members(TAGS.key(post=1), source)
    assert tags.has(2)
    forgets(cache)
    assert not tags.has(9)
    assert tags.has_many([1, 9, 3]) == {1, 3}
    tags.add(9, 10)
    tags.delete(1)
    forgets(cache)
    assert tags.has_many([1, 9]) == {9}
    assert tags.count() == 4
    assert tags.all() == {2, 3, 9, 10}
    assert source.calls == 1


def test_a_ranking_by_rank_and_by_score_in_both_directions(
    cache: Any, forgets: Callable[[Any], None]
) -> None:
    source = Source(TABLE)
    ranking = cache.ranking(SCORES.key(game="go"), source)
    assert ranking.page(0, 3) == ASCENDING[:3]
    forgets(cache)
    assert ranking.page(1, 2, descending=True) == ASCENDING[::-1][1:3]
    assert ranking.page(3, 10) == ASCENDING[3:]
    assert ranking.page(4, 10) == ranking.page(0, 0) == []
    assert ranking.between(2.0) == ASCENDING[1:]
    assert ranking.between(1.5, 2.0, descending=True) == [("eve", 2.0), ("dan", 2.0)]
    assert ranking.between(start=1, count=2) == ASCENDING[1:3]
    assert ranking.between(most=2.0, count=1, descending=True) == [("eve", 2.0)]
    assert [ranking.rank(each) for each in ("bob", "ann", "nobody")] == [0, 3, None]
    assert ranking.rank("bob", descending=True) == 3
    assert (ranking.score("eve"), ranking.score("nobody")) == (2.0, None)
    assert ranking.scores(["ann", "nobody"]) == {"ann": 3.0}
    assert (ranking.count(), ranking.count(2), ranking.count(2.5, 2.9)) == (4, 3, 0)
    forgets(cache)
    assert list(ranking.all().items()) == ASCENDING, "in order, whichever layer answers"
    assert source.calls == 1


def test_scores_are_written_through(cache: Any, forgets: Callable[[Any], None]) -> None:
    source = Source(dict(TABLE))
    ranking = cache.ranking(SCORES.key(game="go"), source)
    ranking.count()
    ranking.set("bob", 2.5)
    ranking.set_many({"zoe": 0.5, "eve": float("inf")})
    forgets(cache)
    assert ranking.page(descending=True) == [
        *[("eve", float("inf")), ("ann", 3.0), ("bob", 2.5)],
        *[("dan", 2.0), ("zoe", 0.5)],
    ]
    ranking.delete("ann", "nobody")
    forgets(cache)
    assert ranking.page(0, 2, descending=True) == [("eve", float("inf")), ("bob", 2.5)]
    assert source.calls == 1


def test_pages_of_a_list_keep_its_order_and_its_repetitions(
    cache: Any, forgets: Callable[[Any], None]
) -> None:
    items = [Product(number % 7, "lamp", set()) for number in range(300)]
    source = Source(items)
    pages = cache.pages(NEWEST.key(shelf="a"), source)
    assert pages.page(290, 20) == items[290:]
    forgets(cache)
    assert pages.page(0, 2) == items[:2]
    assert pages.page(1, 2, descending=True) == items[::-1][1:3]
    assert pages.count() == 300
    forgets(cache)
    assert pages.all() == items
    assert source.calls == 1


def test_without_a_loader_nothing_is_loaded(cache: Any) -> None:
    assert cache.fields(STOCK.key(shop="x")).get("lamp", 5) == 5
    assert cache.fields(STOCK.key(shop="x")).all() is None
    assert not cache.members(TAGS.key(post=5)).has(1)
    assert cache.ranking(SCORES.key(game="x")).page() == []
    assert cache.ranking(SCORES.key(game="x")).rank("ann") is None
    assert cache.pages(NEWEST.key(shelf="x")).count() == 0


def test_a_write_where_nothing_is_stored_waits_for_the_next_load(cache: Any) -> None:
    source = Source({"lamp": 4})
    stock = cache.fields(STOCK.key(shop="berlin"), source)
    stock.set("lamp", 4)
    assert stock.get("lamp") == 4
    assert source.calls == 1


@pytest.mark.parametrize("verb", ["invalidate", "delete", "set", "refresh"])
def test_what_ends_the_whole_ends_its_parts(cache: Any, forgets: Callable[[Any], None], verb: str) -> None:
    source = Source({"lamp": 3})
    key = STOCK.key(shop="berlin")
    stock = cache.fields(key, source)
    stock.get("lamp")
    forgets(cache)
    stock.get("lamp")
    source.value = {"lamp": 4}
    if verb == "invalidate":
        cache.invalidate(groups=["shops"])
    elif verb == "delete":
        cache.delete(key)
    elif verb == "set":
        cache.set(key, {"lamp": 4})
    else:
        cache.refresh(key, source)
    assert stock.get("lamp") == 4
    stock.set("desk", 1)
    forgets(cache)
    assert stock.all() == {"lamp": 4, "desk": 1}


def test_a_write_to_what_was_invalidated_does_not_bring_it_back(cache: Any) -> None:
    source = Source({"lamp": 3, "desk": 1})
    stock = cache.fields(STOCK.key(shop="berlin"), source)
    stock.get("lamp")
    source.value = {"lamp": 5, "desk": 2}
    cache.invalidate(groups=["shops"])
    stock.set("desk", 2)
    assert stock.get("lamp") == 5


def test_none_is_a_value_without_parts(cache: Any, forgets: Callable[[Any], None]) -> None:
    family = Family("maybe", "{id}", Product | None, kept_as="hash")
    source = Source(None)
    fields = cache.fields(family.key(id=1), source)
    assert fields.get("name", "?") == "?"
    forgets(cache)
    assert fields.get("name", "?") == "?"
    assert fields.all() is None
    assert source.calls == 1
    source.value = LAMP
    fields.set("name", "lamp")
    assert fields.get("name") == "lamp", "what is None can't be written to: it is loaded again"


def test_many_whole_structures_at_once(cache: Any, forgets: Callable[[Any], None]) -> None:
    keys = [STOCK.key(shop=number) for number in range(20)]
    plain = Family("plain", "{id}", int).key(id=1)
    loaded: list[Any] = []

    def load(missing: Any) -> Any:
        loaded.extend(missing)
        return {key: 7 if key == plain else {"lamp": 3} for key in missing}

    for _ in range(2):
        found = cache.get_many_or_load([*keys, plain], load)
        assert found.pop(plain) == 7
        assert found == {key: {"lamp": 3} for key in keys}
        forgets(cache)
    assert len(loaded) == 21
    assert cache.fields(keys[3]).get("lamp") == 3


def test_a_decorated_function_has_parts(cache: Any) -> None:
    if not isinstance(cache, LayeredCache):
        pytest.skip("the loader of a blocking cache is another")
    calls = []

    @cache.cached("{id}", kept_as="hash")
    def product(id: int) -> Product:  # noqa: A002 - the key's name for it
        calls.append(id)
        return LAMP

    assert cache.fields(product.key(17), product.loader(17)).get("name") == "lamp"
    assert product(17) == LAMP
    assert calls == [17]


def test_copies_are_each_callers_own(new_cache: Callable[..., Any]) -> None:
    for driver in ("sync", "async"):
        for layer in ("memory", "redis"):
            cache = new_cache(layer, driver, policy=Policy(values="copied"))
            fields = cache.fields(PRODUCTS.key(id=driver), Source(Product(1, "lamp", {"new"})))
            for _ in range(3):
                found = fields.get("tags")
                assert found == {"new"}
                found.add("changed")
                cache.memory.clear()


class Row(TypedDict, total=False):
    name: str
    price: int


class Point(NamedTuple):
    x: int
    y: int


class Place(msgspec.Struct, rename="camel"):
    lat_deg: float
    lon_deg: float = 0.0


class Model(pydantic.BaseModel):
    name: str = pydantic.Field(alias="theName")
    price: float = 1.0


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("kept_as", "kind", "value"),
    [
        pytest.param("hash", Row, {"name": "lamp"}, id="a TypedDict with a field left out"),
        pytest.param("hash", Point, Point(1, 2), id="a named tuple"),
        pytest.param("hash", Place, Place(1.5), id="a Struct with other names outside"),
        pytest.param("hash", Model, Model(theName="lamp"), id="a pydantic model with an alias"),
        pytest.param("hash", dict[int, list[Product]], {1: [LAMP], -2: []}, id="numbers to lists"),
        pytest.param("hash", dict[Colour, str], {Colour.RED: "r"}, id="enums to texts"),
        pytest.param("hash", dict[tuple[int, str], bytes], {(1, "a"): b"\x00\xff"}, id="pairs to bytes"),
        pytest.param("hash", dict[bytes, Any], {b"\n\x00": {"a": {1, 2}}}, id="bytes to anything"),
        pytest.param("hash", dict[str, str], {"": "", "\ud800": "é\n"}, id="empty, broken and odd texts"),
        pytest.param("hash", dict[str, str], {"long": "x" * 20_000}, id="a part that is compressed"),
        pytest.param("hash", dict[str, int], {str(n): n for n in range(9_000)}, id="more than Lua passes on"),
        pytest.param("set", frozenset[str], frozenset({"a", ""}), id="a frozenset"),
        pytest.param("set", set[Colour | int], {Colour.RED, 1}, id="a set of a union"),
        pytest.param("set", set[int], set(range(9_000)), id="a large set"),
        pytest.param("sorted-set", dict[int, int], {5: -1, 1: 2**53}, id="whole scores"),
        pytest.param("sorted-set", dict[str, float], {"a": -1e300, "b": 0.1, "c": 1e-300}, id="odd scores"),
        pytest.param("sorted-set", tuple[str, ...], ("b", "a", "b"), id="a tuple"),
        pytest.param("sorted-set", list[dict[str, Any]], [{"a": 1}, {}], id="a list of dicts"),
    ],
)
@pytest.mark.parametrize("driver", ["sync", "async"])
def test_whole_values_come_back_as_themselves(
    new_cache: Callable[..., Any], driver: str, kept_as: Any, kind: Any, value: object
) -> None:
    cache = new_cache("redis", driver)
    assert cache.wait_until_synced(30)
    key = Family("typed", "{id}", kind, kept_as=kept_as).key(id=1)
    cache.get_or_load(key, Source(value))
    cache.memory.clear()
    found = cache.get(key)
    assert found == value
    assert type(found) is type(value)
    cache.set(key, value)
    cache.memory.clear()
    assert cache.get(key) == value


@pytest.mark.parametrize(
    ("kept_as", "kind", "advice"),
    [
        ("hash", dict, "declare dict"),
        ("hash", Any, "declare dict"),
        ("hash", list[int], "declare dict"),
        ("hash", int, "no fields"),
        ("hash", dict[float, int], "can't be found again"),
        ("hash", dict[int | bool, int], "can't be found again"),
        ("hash", dict[frozenset[int], int], "can't be found again"),
        ("set", list[int], "declare set"),
        ("set", set[float], "can't be found again"),
        ("sorted-set", dict[str, str], "scores are of float or int"),
        ("sorted-set", tuple[int, str], "declare dict"),
        ("sorted-set", set[int], "declare dict"),
        ("heap", dict[str, int], "one of value, hash, set, sorted-set"),
    ],
)
def test_what_could_not_be_kept_so_is_refused_when_declared(kept_as: Any, kind: Any, advice: str) -> None:
    with pytest.raises(InvalidFamily, match=advice):
        Family("wrong", "{id}", kind, kept_as=kept_as)


def test_parts_that_a_family_does_not_have_are_refused(cache: Any) -> None:
    with pytest.raises(InvalidFamily, match="no such parts"):
        cache.fields(TAGS.key(post=1))
    with pytest.raises(InvalidFamily, match="no such parts"):
        cache.ranking(NEWEST.key(shelf=1))
    with pytest.raises(InvalidFamily, match="no such parts"):
        cache.pages(Family("plain", "{id}", list[int]).key(id=1))
    with pytest.raises(UnstableKey, match="isn't a field of Product: id, name"):
        cache.fields(PRODUCTS.key(id=1)).get("prize")
    with pytest.raises(UnstableKey, match="isn't a member"):
        cache.members(TAGS.key(post=1)).has("1")
    with pytest.raises(UnstableKey, match="isn't a member"):
        cache.members(TAGS.key(post=1)).add(True)
    with pytest.raises(InvalidFamily, match="is none without"):
        cache.fields(PRODUCTS.key(id=1)).delete("name")


def test_two_families_of_one_name_that_are_kept_differently_are_refused(cache: Any) -> None:
    cache.get(Family("twice", "{id}", dict[str, int], kept_as="hash").key(id=1))
    with pytest.raises(InvalidFamily, match="differ in kept_as"):
        cache.get(Family("twice", "{id}", dict[str, int]).key(id=1))


@pytest.mark.parametrize(
    ("family", "value"),
    [
        pytest.param(STOCK, {"lamp": "three"}, id="a text where a number is declared"),
        pytest.param(STOCK, ["lamp"], id="a list where a dict is declared"),
        pytest.param(SCORES, {"ann": float("nan")}, id="a score that is no number"),
        pytest.param(TAGS, {"x"}, id="a member of another type"),
    ],
)
def test_what_a_value_is_like_fails_no_request_for_the_whole(
    cache: Any, family: Family[Any], value: Any
) -> None:
    key = family.key_of((1,))
    assert repr(cache.get_or_load(key, Source(value))) == repr(value)
    cache.memory.clear()
    assert cache.get(key) is None


def test_a_part_that_can_not_be_stored_ends_the_whole(cache: Any) -> None:
    source = Source({"lamp": 3})
    stock = cache.fields(STOCK.key(shop="berlin"), source)
    stock.get("lamp")
    stock.set("lamp", "three" if cache.link else 4)
    source.value = {"lamp": 4}
    assert stock.get("lamp") == 4


@pytest.fixture(params=[Encryption, Signature], ids=["encrypted", "signed"])
def sealing(request: pytest.FixtureRequest) -> Wrapping:
    return Wrapping(seal=request.param(SECRETS))


@pytest.fixture(params=["sync", "async"])
def sealed(
    request: pytest.FixtureRequest, redis_server: RedisServer, prefix: str, sealing: Wrapping
) -> Iterator[Any]:
    options = RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)
    cache = make(request.param, options, wrapping=sealing)
    assert cache.wait_until_synced(30)
    yield cache
    cache.close()


@pytest.mark.parametrize("data_class", [DataClass.CENTRAL, DataClass.RESTRICTED])
def test_sealed_structures_answer_the_same(
    sealed: Any, sealing: Wrapping, data_class: DataClass, redis_server: RedisServer
) -> None:
    family = Family("accounts", "{id}", dict[str, str], data_class=data_class, kept_as="hash")
    source = Source({"holder": "very-secret-ann", "limit": "100"})
    fields = sealed.fields(family.key(id=1), source)
    assert fields.get("limit") == "100"
    for limit in ("200", "300"):
        source.value = {**source.value, "limit": limit}
        fields.set("limit", limit)
        sealed.memory.clear()
        assert fields.get_many(["limit", "nothing"]) == {"limit": limit}
    hides = sealing.seal is not None and sealing.seal.hides
    if data_class is not DataClass.RESTRICTED or hides:
        assert source.calls == 1
    with redis_server.client() as client:
        names = client.keys(f"{{{sealed.redis_options.prefix}:*")
        dumped = b"".join(client.dump(name) or b"" for name in names)
    assert not hides or b"very-secret" not in dumped


def test_what_was_changed_in_redis_by_another_is_not_believed_if_sealed(
    sealed: Any, redis_server: RedisServer
) -> None:
    source = Source({"lamp": 3})
    stock = sealed.fields(STOCK.key(shop="berlin"), source)
    stock.get("lamp")
    sealed.memory.clear()
    name = f"{{{sealed.redis_options.prefix}:0}}e:{STOCK.key(shop='berlin')}"
    with redis_server.client() as client:
        record = client.get(name)
        assert isinstance(record, bytes)
        client.set(name, record[:-1] + bytes((record[-1] ^ 1,)))
    assert stock.get("lamp") == 3
    assert source.calls == 2


def test_restricted_data_stays_out_of_redis_unless_encrypted(redis_server: RedisServer, prefix: str) -> None:
    family = Family("medical", "{id}", dict[str, str], data_class=DataClass.RESTRICTED, kept_as="hash")
    with LayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)) as cache:
        fields = cache.fields(family.key(id=1), Source({"a": "b"}))
        assert fields.get("a") == "b"
        fields.set("a", "b")
        assert fields.get("a") == "b"
        with redis_server.client() as client:
            assert not [name for name in client.keys(f"*{prefix}*") if b"}s:" in name or b"}e:" in name]


def test_data_that_is_never_cached_is_refused(cache: Any) -> None:
    family = Family("secret", "{id}", dict[str, str], data_class=DataClass.NEVER, kept_as="hash")
    with pytest.raises(DataClassViolation):
        cache.fields(family.key(id=1), Source({})).get("a")
    with pytest.raises(DataClassViolation):
        cache.fields(family.key(id=1)).set("a", "b")


def test_parts_count_for_what_is_made_of_them(
    redis_server: RedisServer, prefix: str, forgets: Callable[[Any], None]
) -> None:
    public = Family(
        "p", "{id}", dict[str, int], groups=("p-{id}",), data_class=DataClass.PUBLIC, kept_as="hash"
    )
    with LayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)) as cache:
        assert cache.wait_until_synced(30)
        fields = cache.fields(public.key(id=1), Source({"a": 1}))
        for _ in range(3):
            with drafting() as draft:
                cache_for(60)
                fields.get("a")
            assert draft.reads.groups == ("p-1",)
            forgets(cache)
        central = cache.fields(STOCK.key(shop=1), Source({"a": 1}))
        with drafting() as draft:
            central.get("a")
        assert draft.reads.confined


PATIENT = Policy(lifetime=10, stale=20, fail_safe=100, throttle=1, jitter=0)


@pytest.mark.parametrize("layer", ["memory", "redis"])
@pytest.mark.parametrize("driver", ["sync", "async"])
def test_parts_are_stale_and_stand_in_as_the_whole_does(
    new_cache: Callable[..., Any], clock: ManualClock, layer: str, driver: str
) -> None:
    cache = new_cache(layer, driver, clock=clock)
    assert layer == "memory" or cache.wait_until_synced(30)
    source = Source({"lamp": 3})
    family = Family("patient", "{id}", dict[str, int], policy=PATIENT, kept_as="hash")
    fields = cache.fields(family.key(id=1), source)
    assert fields.get("lamp") == 3
    if layer == "memory":
        clock.advance(11)
        source.value = {"lamp": 4}
        assert fields.get("lamp") == 3
        eventually(lambda: fields.get("lamp") == 4)
        clock.advance(31)
    else:
        cache.memory.clear()
        assert fields.get("lamp") == 3
        clock.advance(31)
    source.value = LookupError("the database is away")
    assert fields.get("lamp") in {3, 4}, "fail-safe"


@pytest.mark.parametrize("driver", ["sync", "async"])
def test_a_broken_redis_leaves_the_loader_to_answer(tmp_path: Any, driver: str, prefix: str) -> None:
    with RedisServer(tmp_path / "own") as server:
        cache = make(driver, RedisOptions(url=server.url, prefix=prefix, timeout=0.2))
        other = make(driver, RedisOptions(url=server.url, prefix=prefix, timeout=PATIENT_SECONDS))
        try:
            assert cache.wait_until_synced(30)
            assert other.wait_until_synced(30)
            source = Source({"lamp": 3, "desk": 1})
            stock = cache.fields(STOCK.key(shop="berlin"), source)
            others = other.fields(STOCK.key(shop="berlin"), source)
            assert (stock.get("lamp"), others.get("desk")) == (3, 1)
            server.freeze()
            source.value = {"lamp": 4, "desk": 2}
            stock.set("lamp", 4)
            assert stock.get("lamp") == 4
            assert stock.get("desk") == 2
            server.thaw()
            eventually(lambda: bool(cache.link.is_up and not cache.link.debts.shards()))
            eventually(lambda: others.get("desk") == 2)
            assert others.get("lamp") == 4
        finally:
            cache.close()
            other.close()


def test_another_process_hears_of_a_part_that_was_written(new_cache: Callable[..., Any]) -> None:
    one, two = new_cache("redis", "sync"), new_cache("redis", "async")
    assert one.wait_until_synced(30)
    assert two.wait_until_synced(30)
    source = Source({"lamp": 3, "desk": 1})
    key = STOCK.key(shop="berlin")
    assert two.fields(key, source).get("lamp") == 3
    assert one.fields(key, source).get("desk") == 1
    one.fields(key).set("lamp", 4)
    eventually(lambda: two.fields(key, source).get("lamp") == 4)
    assert two.fields(key, source).all() == {"lamp": 4, "desk": 1}
    assert source.calls == 1


def test_what_redis_evicted_is_not_taken_for_empty(redis_server: RedisServer, prefix: str) -> None:
    with LayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)) as cache:
        assert cache.wait_until_synced(30)
        source = Source({"lamp": 3})
        stock = cache.fields(STOCK.key(shop="berlin"), source)
        stock.get("lamp")
        with redis_server.client() as client:
            assert client.delete(f"{{{prefix}:0}}s:{STOCK.key(shop='berlin')}") == 1
        cache.memory.clear()
        assert stock.get("lamp") == 3
        assert source.calls == 2


def test_both_drivers_have_the_same_verbs() -> None:
    for name in ("Fields", "Members", "Ranking", "Pages"):
        ours, twins = getattr(handles, name), getattr(async_handles, f"Async{name}")
        verbs = {verb for verb in vars(ours) if not verb.startswith("_")}
        assert verbs == {verb for verb in vars(twins) if not verb.startswith("_")}
        for verb in verbs:
            signatures = {str(inspect.signature(getattr(each, verb))) for each in (ours, twins)}
            assert len(signatures) == 1, signatures
            assert getattr(ours, verb).__doc__ == getattr(twins, verb).__doc__


@pytest.mark.parametrize("writer", ["the same process", "another"])
@pytest.mark.parametrize("kept", ["in parts", "sealed"])
def test_a_load_under_way_does_not_bring_back_what_was_written(
    redis_server: RedisServer, prefix: str, kept: str, writer: str
) -> None:
    options = RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)
    wrapping = Wrapping(seal=Encryption(SECRETS)) if kept == "sealed" else Wrapping()
    key = STOCK.key(shop="berlin")
    with LayeredCache(options, wrapping=wrapping) as one, LayeredCache(options, wrapping=wrapping) as two:
        assert one.wait_until_synced(30)
        assert two.wait_until_synced(30)
        has_read, may_end = Event(), Event()
        source = {"lamp": 1}

        def load(_: object) -> dict[str, int]:
            seen = dict(source)
            has_read.set()
            assert may_end.wait(20)
            return seen

        loading = Thread(target=one.fields(key, load).get, args=("lamp",))
        loading.start()
        assert has_read.wait(20)
        source["lamp"] = 2
        (one if writer == "the same process" else two).fields(key).set("lamp", 2)
        may_end.set()
        loading.join()
        for cache in (one, two):
            cache.memory.clear()
            assert cache.fields(key, lambda _: dict(source)).get("lamp") == 2


def test_an_old_part_of_a_store_that_lost_a_write_is_not_believed(
    redis_server: RedisServer, prefix: str
) -> None:
    """Another process writes another part meanwhile, so that Redis's generation is a later one again."""
    options = RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)
    key = STOCK.key(shop="berlin")
    with LayeredCache(options) as one:
        assert one.wait_until_synced(30)
        source = {"lamp": 1, "desk": 1}
        stock = one.fields(key, lambda _: dict(source))
        assert stock.get("lamp") == 1
        with redis_server.client() as client:
            names = [name for name in client.keys(f"{{{prefix}:*") if client.pttl(name) != 0]
            before = {name: (client.dump(name), max(0, client.pttl(name))) for name in names}
            source["lamp"] = 2
            stock.set("lamp", 2)
            for name, (dumped, milliseconds) in before.items():
                client.restore(name, milliseconds, dumped or b"", replace=True)
        with LayeredCache(options) as two:
            assert two.wait_until_synced(30)
            source["desk"] = 2
            two.fields(key).set("desk", 2)
        one.memory.clear()
        assert stock.get_many(["lamp", "desk"]) == {"lamp": 2, "desk": 2}
        assert one.get_or_load(key, lambda _: dict(source)) == {"lamp": 2, "desk": 2}
