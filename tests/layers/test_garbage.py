"""Whatever stands in Redis where the layers keep what they know: no call fails, and it is read by nobody."""

import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from origin_sdk.layers import Family, LayeredCache, Policy, RedisOptions
from tests.layers.servers import PATIENT_SECONDS, RedisServer
from tests.layers.test_breakdowns import eventually
from tests.layers.test_contract import Source

FAMILY = Family("text", "{id}", str, groups=("texts",), policy=Policy(jitter=0, lock=0.2, wait=0.5))
KEY = FAMILY.key(id=1)
GARBAGE: dict[str, Callable[[Any, str], object]] = {
    "bytes": lambda client, key: client.set(key, b"\xff\x00garbage"),
    "a byte": lambda client, key: client.set(key, b"x"),
    "a number": lambda client, key: client.set(key, b"nan"),
    "a hash": lambda client, key: client.hset(key, "garbage", "garbage"),
    "a sorted set": lambda client, key: client.zadd(key, {b"\xff\xfe": 9e18, b"texts": 8e18}),
}


@pytest.fixture
def cache(redis_server: RedisServer, prefix: str) -> Iterator[Any]:
    with LayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)) as made:
        assert made.wait_until_synced(30)
        yield made


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(redis_server.url) as made:
        yield made


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("kind", ["e:text.v1:1", "f", "m", "t", "g", "h", "l:text.v1:1"])
def test_no_call_fails_and_what_is_invalid_is_never_read(
    cache: Any, client: Any, prefix: str, kind: str, garbage: Callable[[Any, str], object]
) -> None:
    cache.get_or_load(KEY, Source("old"))
    key = f"{{{prefix}:0}}{kind}"
    client.delete(key)
    garbage(client, key)
    cache.memory.clear()
    assert cache.get_or_load(KEY, Source("new")) in {"old", "new"}
    cache.invalidate(groups=["texts"])
    assert cache.get_or_load(KEY, Source("newer")) == "newer"
    cache.set(KEY, "newest")
    cache.memory.clear()
    assert cache.get_or_load(KEY, Source("newest")) == "newest"
    cache.delete(KEY)
    assert cache.get(KEY) is None
    eventually(lambda: bool(cache.link.is_up) and cache.link.can_hear and not cache.link.owed)


TYPES: dict[str, Callable[[Any, str], object]] = {
    "a list": lambda client, key: client.rpush(key, "garbage"),
    "a set": lambda client, key: client.sadd(key, "garbage"),
    "a stream": lambda client, key: client.xadd(key, {"garbage": "garbage"}),
    "nothing": lambda client, key: client.set(key, b""),
    "a clock past all moments": lambda client, key: client.set(key, b"99999999999999999999 0"),
    "a clock far ahead": lambda client, key: client.set(key, b"0 99999999999999999999"),
    "the last moment": lambda client, key: client.set(key, b"9007199254740991 0"),
    "a generation past all moments": lambda client, key: client.set(key, b"99999999999999999999"),
    "a lock without an end": lambda client, key: client.set(key, b"17 token"),
    "infinity": lambda client, key: client.set(key, b"inf"),
    "less than nothing": lambda client, key: client.set(key, b"-1"),
    "a floor past all moments": lambda client, key: client.zadd(key, {b"": 9e18}),
    "infinite moments": lambda client, key: client.zadd(key, {b"": math.inf, b"texts": math.inf}),
    "moments before all": lambda client, key: client.zadd(key, {b"": -math.inf, b"texts": -math.inf}),
    "a history of the future": lambda client, key: client.zadd(
        key, {f"9{n:018}": 9e18 + n for n in range(10_001)}
    ),
}
ALL_GARBAGE = {**GARBAGE, **TYPES}


@pytest.mark.parametrize("kind", ["e", "f", "m", "t", "g", "h", "l"])
def test_it_costs_a_miss_and_then_redis_answers_again(
    redis_server: RedisServer, client: Any, prefix: str, kind: str
) -> None:
    """Each garbage lies in a shard of its own, so that all are got over at the same time."""
    shards = len(ALL_GARBAGE)
    with LayeredCache(
        RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS, shards=shards)
    ) as cache:
        assert cache.wait_until_synced(30)
        link: Any = cache.link
        keys: dict[int, Any] = {}
        for number in range(100 * shards):
            key = FAMILY.key(id=number)
            keys.setdefault(link.layout.shard(key.name), key)
        assert len(keys) == shards
        for shard, write in enumerate(ALL_GARBAGE.values()):
            cache.get_or_load(keys[shard], lambda _: "old")
            name = f"{{{prefix}:{shard}}}{kind}" + (f":{keys[shard]}" if kind in "el" else "")
            assert kind == "l" or client.delete(name), f"nothing was at {name}"
            write(client, name)

        cache.invalidate(groups=["texts"])  # what is there by now can be read without a script

        def stay_away() -> list[str]:
            """Return the garbage by which what was loaded isn't found in Redis."""
            cache.memory.clear()
            for key in keys.values():
                cache.get_or_load(key, lambda _: "new")
            cache.memory.clear()
            return [name for shard, name in enumerate(ALL_GARBAGE) if cache.get(keys[shard]) is None]

        eventually(lambda: not (stay_away() or link.owed) and all(link.up))
        cache.invalidate(groups=["texts"])
        cache.memory.clear()
        assert {cache.get_or_load(key, lambda _: "newer") for key in keys.values()} == {"newer"}


PARTS = Family("parts", "{id}", dict[str, int], kept_as="hash")


@pytest.mark.parametrize("garbage", ALL_GARBAGE.values(), ids=ALL_GARBAGE.keys())
def test_a_structure_in_whose_place_garbage_lies_is_loaded_again(
    cache: Any, client: Any, prefix: str, garbage: Callable[[Any, str], object]
) -> None:
    key = PARTS.key(id=1)
    assert cache.get_or_load(key, lambda _: {"a": 1}) == {"a": 1}
    name = f"{{{prefix}:0}}s:{key}"
    assert client.delete(name)
    garbage(client, name)
    for _ in range(2):
        cache.memory.clear()
        assert cache.get_or_load(key, lambda _: {"a": 2}) == {"a": 2}
    assert client.hgetall(name).keys() == {b"a"}


@pytest.mark.parametrize(
    "message",
    [
        b"\xff",
        b"x\n0\n1\nnan\ntexts",
        b"x\n99\n1\n2\ntexts",
        b"x\n0\n1\n9e18\ntexts",
        b"x\n0\n1\n2 inf\ntexts",
    ],
)
def test_a_message_that_nobody_understands_stops_nobody(
    cache: Any, client: Any, prefix: str, message: bytes
) -> None:
    for channel in ("changes", "loads"):
        client.publish(f"{prefix}:{channel}", message)
    cache.get_or_load(KEY, Source("old"))
    cache.invalidate(groups=["texts"])
    assert cache.get_or_load(KEY, Source("new")) == "new"
    eventually(lambda: bool(cache.link.is_up and cache.link.can_hear))


@pytest.mark.parametrize("birth", [math.nan, math.inf, 2.0**53, -math.inf, 0.0], ids=str)
def test_a_record_without_a_birth_stands_in_for_nothing(
    cache: Any, client: Any, prefix: str, birth: float
) -> None:
    family = Family("text", "{id}", str, groups=("texts",), policy=Policy(jitter=0, stale=60, fail_safe=60))
    key = f"{{{prefix}:0}}e:{KEY.name}"
    cache.get_or_load(KEY, Source("old"))
    record = client.get(key)
    cache.invalidate(groups=["texts"])
    client.set(key, struct.pack(">d", birth) + record[8:])
    cache.memory.clear()
    assert cache.get_or_load(family.key(id=1), Source("new")) == "new"
    cache.memory.clear()
    assert cache.get(KEY) == "new", "it is there no more"
