"""What a cache promises, over every layer and driver."""

from dataclasses import dataclass
from threading import Barrier, Event, Thread
from typing import Any

import msgspec
import pytest
from redis import Connection

from origin_sdk.layers import DataClass, DataClassViolation, Family, Invalidation, Key, LoadContext, Policy
from origin_sdk.layers.process.memory import Memory, MemoryEntry
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.wire import packed, packed_read
from origin_sdk.layers.values.policy import Windows


@dataclass
class Product:
    id: int
    name: str


class Price(msgspec.Struct, frozen=True):
    cents: int


PRODUCTS = Family("product", "{id}", Product, groups=("product-{id}",))
KEY = PRODUCTS.key(id=17)
LAMP = Product(17, "lamp")


class Source:
    """A loader that counts, and returns what it is told to."""

    def __init__(self, *values: object) -> None:
        self.values = list(values)
        self.calls = 0

    def __call__(self, _: object) -> Any:
        self.calls += 1
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        if isinstance(value, Exception):
            raise value
        return value


def forget_memory(cache: Any) -> None:
    cache.memory.clear()


def test_a_value_is_loaded_once_and_comes_back_as_itself(cache: Any) -> None:
    source = Source(LAMP)
    assert [cache.get_or_load(KEY, source) for _ in range(3)] == [LAMP] * 3
    assert source.calls == 1


def test_a_value_that_left_memory_comes_back_from_redis_as_itself(cache: Any) -> None:
    source = Source(LAMP)
    cache.get_or_load(KEY, source)
    forget_memory(cache)
    assert cache.get_or_load(KEY, source) == LAMP
    assert source.calls == (1 if cache.link else 2)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param(Any, None, id="None"),
        pytest.param(Any, {"a": [1, 2.5, "x", True, None]}, id="plain types"),
        pytest.param(bytes, b"\x00\xff", id="bytes"),
        pytest.param(Price, Price(995), id="a Struct"),
        pytest.param(list[Product], [LAMP, LAMP], id="a list of dataclasses"),
        pytest.param(dict[str, Price], {"eur": Price(1)}, id="a mapping of Structs"),
        pytest.param(str, "long " * 5000, id="a text that is compressed"),
    ],
)
def test_types_survive_redis(cache: Any, kind: Any, value: object) -> None:
    key = Family("typed", "{id}", kind).key(id=1)
    cache.get_or_load(key, Source(value))
    forget_memory(cache)
    assert cache.get_or_load(key, Source(value)) == value


def test_get_returns_the_default_until_there_is_a_value(cache: Any) -> None:
    assert cache.get(KEY) is None
    assert cache.get(KEY, LAMP) is LAMP
    cache.set(KEY, Product(17, "desk"))
    assert cache.get(KEY) == Product(17, "desk")
    forget_memory(cache)
    assert cache.get(KEY) == (Product(17, "desk") if cache.link else None)


def test_set_replaces_and_delete_forgets(cache: Any) -> None:
    source = Source(LAMP)
    cache.set(KEY, Product(17, "desk"))
    assert cache.get_or_load(KEY, source).name == "desk"
    cache.delete(KEY)
    assert cache.get(KEY) is None
    assert cache.get_or_load(KEY, source).name == "lamp"


@pytest.mark.parametrize(
    "groups", [["product-17"], ["other", "product-17"]], ids=["its group", "one of several"]
)
def test_an_invalidated_group_is_loaded_anew(cache: Any, groups: list[str]) -> None:
    source = Source(LAMP, Product(17, "desk"))
    cache.get_or_load(KEY, source)
    receipt = cache.invalidate(groups=groups)
    assert receipt == Invalidation(tuple(groups), in_redis=True)
    assert cache.get_or_load(KEY, source).name == "desk"
    forget_memory(cache)
    assert cache.get_or_load(KEY, source).name == "desk"


def test_other_groups_are_left_alone(cache: Any) -> None:
    source = Source(LAMP)
    cache.get_or_load(KEY, source)
    cache.invalidate(groups=["product-18"])
    assert cache.get_or_load(KEY, source) == LAMP
    forget_memory(cache)
    cache.get_or_load(KEY, source)
    assert source.calls == (1 if cache.link else 2)


def test_a_loader_adds_groups_and_chooses_not_to_store(cache: Any) -> None:
    def grouped(context: LoadContext[Product]) -> Product:
        context.add_groups(["lamps"])
        return LAMP

    def unstored(context: LoadContext[Product]) -> Product:
        context.do_not_store()
        return LAMP

    cache.get_or_load(KEY, grouped)
    cache.invalidate(groups=["lamps"])
    assert cache.get(KEY) is None
    assert cache.get_or_load(KEY, unstored) == LAMP
    assert cache.get(KEY) is None


def test_refresh_loads_although_there_is_a_value(cache: Any) -> None:
    source = Source(LAMP, Product(17, "desk"))
    cache.get_or_load(KEY, source)
    assert cache.refresh(KEY, source).name == "desk"
    assert cache.get(KEY).name == "desk"
    forget_memory(cache)
    assert cache.get_or_load(KEY, source).name == "desk"


def test_not_modified_keeps_the_previous_value(cache: Any) -> None:
    def conditional(context: LoadContext[Product]) -> Product:
        assert context.previous == LAMP
        return context.not_modified()

    cache.get_or_load(KEY, Source(LAMP))
    assert cache.refresh(KEY, conditional) == LAMP


def test_many_are_loaded_by_one_call_for_those_that_are_missing(cache: Any) -> None:
    asked: list[list[int]] = []

    def load(keys: list[Key[Product]]) -> dict[Key[Product], Product]:
        ids = [int(key.name.rpartition(":")[2]) for key in keys]
        asked.append(ids)
        return {key: Product(each, "new") for key, each in zip(keys, ids, strict=True) if each != 3}

    cache.set(PRODUCTS.key(id=1), Product(1, "old"))
    keys = [PRODUCTS.key(id=each) for each in (1, 2, 3, 4)]
    found = cache.get_many_or_load(keys, load)
    assert [(key.name[-1], value.name) for key, value in found.items()] == [
        ("1", "old"),
        ("2", "new"),
        ("4", "new"),
    ]
    forget_memory(cache)
    cache.get_many_or_load(keys[1:], load)
    assert asked == ([[2, 3, 4], [3]] if cache.link else [[2, 3, 4], [2, 3, 4]])


@pytest.mark.parametrize("invalidated", [["product-2"], [f"other-{number}" for number in range(50)]])
def test_many_out_of_redis_leave_out_what_was_invalidated(cache: Any, invalidated: list[str]) -> None:
    keys = [PRODUCTS.key(id=each) for each in range(5)]
    cache.get_many_or_load(keys, lambda some: dict.fromkeys(some, LAMP))
    cache.invalidate(groups=invalidated)
    forget_memory(cache)
    asked: list[str] = []

    def load(some: list[Key[Product]]) -> dict[Key[Product], Product]:
        asked.extend(key.name[-1] for key in some)
        return dict.fromkeys(some, LAMP)

    assert cache.get_many_or_load(keys, load) == dict.fromkeys(keys, LAMP)
    assert asked == ([*"01234"] if not cache.link else ["2"] if "product-2" in invalidated else [])


@pytest.mark.parametrize("keys", [("a",), ("a:1", "b"), ("ü", "a")], ids=["one", "several", "not ASCII"])
def test_commands_are_packed_as_redis_py_packs_them(keys: tuple[str, ...]) -> None:
    connection: Any = Connection
    assert packed_read(Command(None, keys, ("MGET",))) == b"".join(connection().pack_command("MGET", *keys))
    parts = ("EVALSHA", 12, "ü", b"\x00\xff\r\n", -1, "", b"", *keys)
    assert packed(parts) == b"".join(connection().pack_command(*parts))


def test_memory_takes_many_and_keeps_its_bound() -> None:
    memory = Memory(10)
    entries = {str(number): MemoryEntry(number, 1, 1.0, Windows(), (), 1.0) for number in range(25)}
    for start in (0, 8, 16):
        memory.put_many({name: entries[name] for name in map(str, range(start, start + 8))})
    assert len(memory) == 10
    assert memory.evictions == 14
    assert memory.get("23") is entries["23"]


def test_a_loader_that_raises_stores_nothing(cache: Any) -> None:
    source = Source(RuntimeError("down"), LAMP)
    with pytest.raises(RuntimeError, match="down"):
        cache.get_or_load(KEY, source)
    assert cache.get_or_load(KEY, source) == LAMP


def test_a_decorated_function_carries_key_invalidate_and_refresh(cache: Any) -> None:
    calls: list[int] = []

    @cache.cached("{id}")  # type: ignore[untyped-decorator]  # of one of two classes
    def product(id: int) -> Product:  # noqa: A002 - the key's name for it
        calls.append(id)
        return Product(id, str(len(calls)))

    assert [product(17).name, product(id=17).name, product(17).name] == ["1", "1", "1"]
    assert str(product.key(17)) == "product.v1:17"
    product.invalidate(17)
    assert product(17).name == "2"
    assert product.refresh(17).name == "3"
    assert product(17).name == "3"


def test_a_family_that_is_never_cached_refuses(cache: Any) -> None:
    family = Family("secret", "{id}", str, data_class=DataClass.NEVER)
    with pytest.raises(DataClassViolation):
        cache.get_or_load(family.key(id=1), Source("x"))
    with pytest.raises(DataClassViolation):
        cache.set(family.key(id=1), "x")


@pytest.mark.parametrize("mode", ["processes", "process"])
def test_twenty_callers_of_a_cold_key_share_one_load(cache: Any, mode: Any) -> None:
    family = Family("hot", "{id}", int, policy=Policy(single_flight=mode))
    release, arrived = Event(), Barrier(21)
    calls: list[int] = []

    def load(_: object) -> int:
        calls.append(1)
        release.wait(10)
        return 5

    def call() -> None:
        arrived.wait(10)
        results.append(cache.get_or_load(family.key(id=1), load))

    results: list[int] = []
    threads = [Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    arrived.wait(10)
    release.set()
    for thread in threads:
        thread.join(20)
    assert results == [5] * 20
    assert len(calls) == 1


def test_an_invalidation_during_a_load_outlives_it(cache: Any) -> None:
    """The waiter may have the old value: it asked before. Whoever asks after the invalidation may not."""
    started, release = Event(), Event()

    def slow(_: object) -> Product:
        started.set()
        release.wait(10)
        return LAMP

    thread = Thread(target=cache.get_or_load, args=(KEY, slow))
    thread.start()
    assert started.wait(10)
    cache.invalidate(groups=["product-17"])
    release.set()
    thread.join(20)
    assert cache.get(KEY) is None
    forget_memory(cache)
    assert cache.get_or_load(KEY, Source(Product(17, "new"))).name == "new"


@pytest.mark.parametrize("write", ["set", "delete"])
def test_a_write_during_a_load_outlives_it(cache: Any, write: str) -> None:
    started, release = Event(), Event()

    def slow(_: object) -> Product:
        started.set()
        release.wait(10)
        return LAMP

    thread = Thread(target=cache.get_or_load, args=(KEY, slow))
    thread.start()
    assert started.wait(10)
    if write == "set":
        cache.set(KEY, Product(17, "written"))
    else:
        cache.delete(KEY)
    release.set()
    thread.join(20)
    expected = Product(17, "written") if write == "set" else None
    assert cache.get(KEY) == expected
    forget_memory(cache)
    assert cache.get(KEY) == (expected if cache.link else None)
