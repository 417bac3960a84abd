"""Keys, envelopes, seals and classes: what is stored under which name, and what isn't."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin_sdk.layers import (
    DataClass,
    Encryption,
    Family,
    InvalidFamily,
    LayeredCache,
    RedisOptions,
    Signature,
    UnreadableRecord,
    Wrapping,
)
from origin_sdk.layers.values.envelope import Record
from tests.layers.servers import PATIENT_SECONDS, RedisServer
from tests.layers.test_contract import Source

OLD, NEW = os.urandom(32), os.urandom(32)
FAMILY = Family("text", "{id}", str)
KEY = FAMILY.key(id=1)
RECORD = Record("secret", 1.0, 60.0, 0.0, 0.0, 0.0, ("g",))
BIRTH = b"\0" * 8


def localised(number: int, locale: str) -> str:
    return f"{number} {locale}"


@dataclass(frozen=True)
class OrderKey:
    user: str
    order: int


@dataclass
class Mutable:
    user: str


def test_a_key_shows_family_schema_and_identity() -> None:
    family = Family("order", OrderKey, str, identity=("user",), schema=3)
    assert str(family.key(OrderKey("ann", 7))) == "order.v3:@ann:7"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Family("a b", "{id}"), "letters, digits"),
        (lambda: Family("a", "{id!r}"), "plain name"),
        (lambda: Family("a", "{id}", groups=("g-{other}",)), "which the key hasn't"),
        (lambda: Family("a", "{id}", identity=("user",)), "isn't in the key"),
        (
            lambda: Family("a", "{u}", identity=("u",), data_class=DataClass.PUBLIC),
            "can't depend on an identity",
        ),
        (lambda: Family("a", Mutable), "frozen=True"),
        (lambda: LayeredCache().cached("{number}")(localised), "locale"),
    ],
)
def test_families_that_contradict_themselves_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidFamily, match=message):
        make()


def test_a_dataclass_without_a_declared_type_is_refused_rather_than_lost() -> None:
    with pytest.raises(InvalidFamily, match="comes back as itself only if"):
        Wrapping().wrap(Family("any", "{id}").key(id=1), Record(OrderKey("ann", 7), 0, 1, 0, 0, 0, ()))


def wrapped(wrapping: Wrapping) -> bytes:
    stored = wrapping.wrap(KEY, RECORD)
    assert stored is not None
    return BIRTH + stored


@pytest.mark.parametrize(
    "wrapping",
    [
        Wrapping(),
        Wrapping(format="json"),
        Wrapping(compression="gzip", compress_from=0),
        Wrapping(compression="br", compress_from=0),
        Wrapping(compression="zstd", compress_from=0),
        Wrapping(seal=Encryption({"new": NEW})),
        Wrapping(seal=Signature({"new": NEW})),
        Wrapping(format="json", compression="br", compress_from=0, seal=Encryption({"new": NEW})),
    ],
    ids=["MessagePack", "JSON", "gzip", "Brotli", "zstd", "encrypted", "signed", "all at once"],
)
def test_what_is_wrapped_is_unwrapped(wrapping: Wrapping) -> None:
    long = Record("secret " * 100, 1.0, 60.0, 5.0, 7.0, 0.25, ("g", "h"))
    stored = wrapping.wrap(KEY, long)
    assert stored is not None
    read = wrapping.unwrap(KEY, BIRTH + stored)
    assert (read.value, read.lifetime, read.stale, read.fail_safe, read.load_seconds, read.groups) == (
        *(long.value, 60.0, 5.0, 7.0, 0.25),
        ("g", "h"),
    )


@pytest.mark.parametrize("kind", [Encryption, Signature])
def test_keys_are_rotated_by_putting_the_new_one_first(kind: Any) -> None:
    stored = wrapped(Wrapping(seal=kind({"old": OLD})))
    assert Wrapping(seal=kind({"new": NEW, "old": OLD})).unwrap(KEY, stored).value == "secret"
    with pytest.raises(UnreadableRecord, match="isn't on the ring"):
        Wrapping(seal=kind({"new": NEW})).unwrap(KEY, stored)


def test_an_encrypted_value_is_not_in_the_record() -> None:
    assert b"secret" not in wrapped(Wrapping(seal=Encryption({"new": NEW})))


@pytest.mark.parametrize("kind", [Encryption, Signature])
@given(position=st.integers(8, 200))
def test_no_byte_can_be_changed(kind: Any, position: int) -> None:
    wrapping = Wrapping(seal=kind({"new": NEW}))
    stored = bytearray(wrapped(wrapping))
    stored[8 + position % (len(stored) - 8)] ^= 1
    with pytest.raises(UnreadableRecord):
        wrapping.unwrap(KEY, bytes(stored))


@pytest.mark.parametrize("kind", [Encryption, Signature])
def test_a_record_can_not_be_passed_off_as_anothers(kind: Any) -> None:
    wrapping = Wrapping(seal=kind({"new": NEW}))
    with pytest.raises(UnreadableRecord, match="belongs to another key"):
        wrapping.unwrap(FAMILY.key(id=2), wrapped(wrapping))


def test_a_seal_can_not_be_left_off() -> None:
    with pytest.raises(UnreadableRecord, match="not sealed"):
        Wrapping(seal=Encryption({"new": NEW})).unwrap(KEY, wrapped(Wrapping()))


@given(st.binary(max_size=80))
def test_garbage_is_unreadable_and_nothing_worse(stored: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        Wrapping().unwrap(KEY, stored)


@pytest.mark.parametrize(
    ("data_class", "seal", "is_in_redis"),
    [
        pytest.param(DataClass.PUBLIC, None, True, id="public"),
        pytest.param(DataClass.CENTRAL, None, True, id="central"),
        pytest.param(DataClass.RESTRICTED, None, False, id="restricted"),
        pytest.param(DataClass.RESTRICTED, Signature({"new": NEW}), False, id="restricted, signed"),
        pytest.param(DataClass.RESTRICTED, Encryption({"new": NEW}), True, id="restricted, encrypted"),
    ],
)
def test_classes_say_how_far_values_go(
    redis_server: RedisServer, prefix: str, data_class: DataClass, seal: Any, is_in_redis: bool
) -> None:
    key = Family("text", "{id}", str, data_class=data_class).key(id=1)
    options = RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)
    with LayeredCache(options, wrapping=Wrapping(seal=seal)) as cache, redis_server.client() as client:
        assert cache.wait_until_synced(30)
        assert cache.get_or_load(key, Source("secret")) == "secret"
        cache.set(key, "secret")
        stored = client.get(f"{{{prefix}:0}}e:{key}")
        assert bool(stored) is is_in_redis
        assert cache.get(key) == "secret"
