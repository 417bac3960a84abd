"""All that a reader trusts of a sealed record is bound in: it is no other's, and never younger."""

import struct
from collections.abc import Callable, Iterator
from threading import Thread
from time import sleep
from typing import Any

import pytest

from origin_sdk.layers import Encryption, Family, LayeredCache, RedisOptions, Signature, Wrapping
from origin_sdk.layers.key_value import KeyValue
from tests.layers.servers import PATIENT_SECONDS, RedisServer

SECRETS = {"new": b"k" * 32}
FAMILY = Family("roles", "{user}", list[str], groups=("staff",))
ANN, BOB = FAMILY.key(user="ann"), FAMILY.key(user="bob")
ADMIN = ["admin"]
LATER = 4e15
"""A moment of the next century."""


@pytest.fixture(params=[Encryption, Signature], ids=["encrypted", "signed"])
def wrapping(request: pytest.FixtureRequest) -> Wrapping:
    return Wrapping(seal=request.param(SECRETS))


@pytest.fixture
def new(redis_server: RedisServer, prefix: str, wrapping: Wrapping) -> Iterator[Callable[..., LayeredCache]]:
    made: list[LayeredCache] = []

    def cache(of: str = prefix) -> LayeredCache:
        options = RedisOptions(url=redis_server.url, prefix=of, timeout=PATIENT_SECONDS)
        made.append(LayeredCache(options, wrapping=wrapping))
        assert made[-1].wait_until_synced(30)
        return made[-1]

    yield cache
    for each in made:
        each.close()


def written_twice(cache: LayeredCache) -> None:
    cache.set(ANN, [])
    cache.set(ANN, ADMIN)


WRITES: dict[str, Callable[[LayeredCache], object]] = {
    "a load": lambda cache: cache.get_or_load(ANN, lambda _: ADMIN),
    "a load of many": lambda cache: cache.get_many_or_load([ANN], lambda keys: dict.fromkeys(keys, ADMIN)),
    "a refresh": lambda cache: cache.refresh(ANN, lambda _: ADMIN),
    "a write": lambda cache: cache.set(ANN, ADMIN),
    "a write over another": written_twice,
}


def name_of(prefix: str, key: str) -> str:
    return f"{{{prefix}:0}}e:{key}"


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_sealed_is_read_by_others(new: Callable[..., LayeredCache], write: Any) -> None:
    first, second = new(), new()
    write(first)
    assert second.get(ANN) == ADMIN
    assert first.get(ANN) == ADMIN
    first.memory.clear()
    assert first.get(ANN) == ADMIN


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("revoke", ["group", "key", "write"])
def test_an_old_record_with_a_new_birth_is_refused(
    new: Callable[..., LayeredCache], redis_server: RedisServer, prefix: str, write: Any, revoke: str
) -> None:
    cache = new()
    write(cache)
    with redis_server.client() as client:
        old: Any = client.get(name_of(prefix, ANN.name))
        match revoke:
            case "group":
                cache.invalidate(groups=["staff"])
            case "key":
                cache.delete(ANN)
            case _:
                cache.set(ANN, [])
        for birth in (struct.unpack(">d", old[:8])[0] + 1e3, struct.unpack(">d", old[:8])[0] + 1e6, LATER):
            client.set(name_of(prefix, ANN.name), struct.pack(">d", birth) + old[8:])
            for reader in (cache, new()):
                reader.memory.clear()
                assert reader.get(ANN) != ADMIN


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_record_under_another_prefix_or_key_is_refused(
    new: Callable[..., LayeredCache], redis_server: RedisServer, prefix: str, write: Any
) -> None:
    write(new())
    other = new(f"{prefix}-other")
    other.set(ANN, [])
    other.set(BOB, [])
    other.memory.clear()
    with redis_server.client() as client:
        stored: Any = client.get(name_of(prefix, ANN.name))
        for birth in (stored[:8], struct.pack(">d", LATER)):
            client.set(name_of(f"{prefix}-other", ANN.name), birth + stored[8:])
            client.set(name_of(f"{prefix}-other", BOB.name), birth + stored[8:])
            client.set(name_of(prefix, BOB.name), birth + stored[8:])
            assert other.get(ANN) is None
            assert other.get(BOB) is None
            assert new().get(BOB) is None


@pytest.mark.parametrize("position", [0, 7, 8, 10, 11, 13, 15, 19, 23, 27, 31, 32, 35, -1])
def test_no_byte_of_a_record_can_be_changed(
    new: Callable[..., LayeredCache], redis_server: RedisServer, prefix: str, position: int
) -> None:
    cache = new()
    cache.get_or_load(ANN, lambda _: ADMIN)
    with redis_server.client() as client:
        stored: Any = client.get(name_of(prefix, ANN.name))
        changed = bytearray(stored)
        changed[position] ^= 1
        client.set(name_of(prefix, ANN.name), bytes(changed))
        assert new().get(ANN) is None


def test_writers_of_one_key_leave_a_record_that_all_can_read(new: Callable[..., LayeredCache]) -> None:
    caches = [new() for _ in range(3)]

    def write(cache: LayeredCache, number: int) -> None:
        for step in range(20):
            cache.set(ANN, [f"{number}-{step}"])

    threads = [Thread(target=write, args=(cache, number)) for number, cache in enumerate(caches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each hears of the others' writes a moment later.
    found: list[Any] = []
    for _ in range(200):
        found = [cache.get(ANN) for cache in caches]
        if found == [found[0]] * 3:
            break
        sleep(0.05)
    assert found[0] is not None
    assert found == [found[0]] * 3
    caches[0].set(ANN, ADMIN)
    assert new().get(ANN) == ADMIN


def test_counting_and_touching_what_is_sealed_leaves_no_gap(new: Callable[..., LayeredCache]) -> None:
    counter, adder = KeyValue(new()), KeyValue(new())
    key = counter.key("visits")
    run_counter, run_adder = counter._cache._run, adder._cache._run  # type: ignore[attr-defined]  # of threads
    assert run_counter(counter.set_many({key: b"0"}, 60.0)) == []
    added: list[object] = []

    def add() -> None:
        added.extend(run_adder(adder.add(key, b"no", 60.0)) for _ in range(60))

    thread = Thread(target=add)
    thread.start()
    for step in range(30):
        assert run_counter(counter.change(key, lambda value: b"%d" % (int(value) + 1))) == b"%d" % (step + 1)
        assert run_counter(counter.touch(key, 60.0)) is True
    thread.join()
    assert set(added) == {False}
    assert run_adder(adder.get_many([key])) == {key: b"30"}


def test_a_counter_with_another_birth_is_gone(
    new: Callable[..., LayeredCache], redis_server: RedisServer, prefix: str
) -> None:
    cache = new()
    values = KeyValue(cache)
    key = values.key("token")
    assert cache._run(values.add(key, b"valid", 60.0)) is True
    with redis_server.client() as client:
        (name,) = client.keys(f"{{{prefix}:0}}e:*")
        old: Any = client.get(name)
        cache._run(values.delete_many([key]))
        client.set(name, struct.pack(">d", LATER) + old[8:], px=60_000)
    assert cache._run(values.get_many([key])) == {}
    assert cache._run(values.change(key, lambda value: value)) is None
