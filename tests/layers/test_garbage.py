"""Whatever stands in Redis where the layers keep what they know: no call fails, and it is read by nobody."""

import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from origin_sdk.layers import Family, LayeredCache, Policy, RedisOptions
from tests.layers.servers import RedisServer
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
    with LayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=2)) as made:
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
    client.delete(key)
    eventually(lambda: bool(cache.link.is_up) and cache.link.can_hear and not cache.link.owed)


@pytest.mark.parametrize("message", [b"\xff", b"x\n0\n1\nnan\ntexts", b"x\n99\n1\n2\ntexts"])
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
