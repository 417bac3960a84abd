"""What is kept in a process: bounded in entries and bytes, proof against scans; shared, copied or frozen."""

from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from hashlib import blake2s
from itertools import accumulate
from typing import Annotated, Any, Literal, NamedTuple, NewType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from origin_sdk.layers import Family, InvalidFamily, LayeredCache, LoadContext, Policy
from origin_sdk.layers.process.memory import Memory, MemoryEntry
from origin_sdk.layers.values.policy import Windows
from origin_sdk.layers.values.sizes import weight


def entry(size: int = 1) -> MemoryEntry:
    return MemoryEntry("value", 1, 1.0, Windows(), (), 1.0, 0, size)


def use(memory: Memory, name: str) -> bool:
    """Ask for a name, as the caches do, and put it if it isn't there."""
    found = memory.get(name)
    if found is None:
        memory.put(name, entry())
        return False
    found.used = min(7, found.used + 1)
    return True


def test_a_scan_leaves_what_is_in_use() -> None:
    memory = Memory(100)
    popular = [f"popular-{number}" for number in range(60)]
    for _ in range(3):
        for name in popular:
            use(memory, name)
    for number in range(5_000):
        use(memory, f"scan-{number}")
    assert sum(name in memory.entries for name in popular) == 60


def popular(calls: int, names: int) -> Iterator[str]:
    """Draw names by Zipf's law of 0.9, always the same ones."""
    ends = list(accumulate(1 / rank**0.9 for rank in range(1, names + 1)))
    for call in range(calls):
        drawn = int.from_bytes(blake2s(b"%d" % call, digest_size=4).digest(), "big") / 2**32
        yield str(bisect(ends, drawn * ends[-1]))


@pytest.mark.parametrize(("share", "least"), [(0.01, 0.33), (0.05, 0.51), (0.2, 0.69)])
def test_it_keeps_what_is_popular(share: float, least: float) -> None:
    memory = Memory(int(3_000 * share))
    hits = [use(memory, name) for name in popular(40_000, 3_000)]
    assert sum(hits) / len(hits) >= least


@given(
    st.lists(
        st.tuples(st.sampled_from("pppdmc"), st.integers(0, 30), st.integers(1, 60), st.booleans()),
        max_size=80,
    )
)
def test_neither_bound_is_ever_passed(steps: list[tuple[str, int, int, bool]]) -> None:
    memory = Memory(10, 200)
    for verb, number, size, is_used in steps:
        name = str(number)
        if verb == "p":
            memory.put(name, entry(size))
        elif verb == "m":
            memory.put_many({str(number + more): entry(size) for more in range(4)})
        elif verb == "d":
            memory.drop(name)
        elif is_used:
            memory.clear()
        if is_used and (found := memory.get(name)):
            found.used = 7
        assert len(memory) <= 10
        assert memory.bytes == sum(each.size for each in memory.entries.values()) <= 200


def test_an_eviction_is_short_where_all_is_in_use() -> None:
    memory = Memory(10_000)
    memory.put_many({str(number): entry() for number in range(10_000)})
    for _ in range(2):
        for each in memory.entries.values():
            each.used = 7
        for number in range(2_000):
            memory.put(f"new-{number}", entry())
    assert len(memory) == 10_000
    assert sum(each.used for each in memory.entries.values()) > 30_000


def test_what_is_dropped_and_put_again_leaves_nothing_behind() -> None:
    memory = Memory(100)
    for number in range(50_000):
        memory.put(str(number % 7), entry())
        memory.drop(str(number % 7))
    assert len(memory._small) + len(memory._main) < 2_000


def test_a_value_that_would_cost_all_others_their_places_is_not_kept() -> None:
    cache = LayeredCache(max_bytes=1_000_000)
    family: Any = Family("text", "{id}", str)
    for number in range(100):
        cache.set(family.key(id=number), "x" * 5_000)
    large: Any = family.key(id="large")
    assert cache.get_or_load(large, lambda _: "x" * 400_000) == "x" * 400_000
    assert cache.get(large) is None
    assert all(cache.get(family.key(id=number)) for number in range(100))
    for number in range(1_000):
        cache.set(family.key(id=number), "x" * 5_000)
    assert 100 < len(cache.memory) < 200
    assert cache.memory.bytes <= 1_000_000


@dataclass
class Node:
    text: str
    parts: list["Node"] = field(default_factory=list)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("x" * 10_000, 10_000, 10_100),
        (["x" * 100] * 10_000, 1_400_000, 1_700_000),
        ({str(number): number for number in range(1_000)}, 90_000, 150_000),
        (set(range(1_000)), 50_000, 80_000),
        (Node("x" * 1_000, [Node("y" * 1_000)] * 10), 11_000, 18_000),
        (None, 1, 50),
    ],
    ids=["a text", "a list", "a dict", "a set", "objects", "None"],
)
def test_a_weight_is_about_right(value: object, least: int, most: int) -> None:
    assert least <= weight(value) <= most


def test_the_weight_of_what_holds_itself_is_found() -> None:
    holds: list[object] = [1]
    holds.append(holds)
    assert weight(holds) > 0


class Shade(Enum):
    RED = "red"


class Place(NamedTuple):
    x: int
    y: Decimal | None


@dataclass(frozen=True)
class Price:
    amount: Decimal
    tags: frozenset[str]
    place: Place
    shade: Shade | None = None


class Frozen(msgspec.Struct, frozen=True):
    prices: tuple[Price, ...]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True)
    price: Decimal


@dataclass(frozen=True)
class HoldsList:
    tags: list[str]


class Loose(BaseModel):
    price: Decimal


@pytest.mark.parametrize(
    "kind",
    [
        *(int, str, Decimal, Shade, Place, Price, Frozen, Model, tuple[Price, ...], Frozen | None),
        *(Literal["a"], NewType("Id", int), Annotated[str, "text"], frozenset[str]),
    ],
    ids=str,
)
def test_what_can_not_be_changed_may_be_frozen(kind: Any) -> None:
    LayeredCache().register(Family("any", "{id}", kind, policy=Policy(values="frozen")))


@pytest.mark.parametrize(
    "kind",
    [Any, list[int], dict[str, int], HoldsList, Node, Loose, tuple[list[int], ...], bytearray, tuple],
    ids=str,
)
def test_what_can_be_changed_is_refused_as_frozen(kind: Any) -> None:
    with pytest.raises(InvalidFamily, match="values='copied'"):
        LayeredCache().register(Family("any", "{id}", kind, policy=Policy(values="frozen")))
    with pytest.raises(InvalidFamily, match="values='copied'"):
        LayeredCache(policy=Policy(values="frozen")).get(Family("any", "{id}", kind).key(id=1))


class Unwritable:
    """Can't be written, but copied."""

    def __init__(self) -> None:
        self.tags = ["a"]


@pytest.mark.parametrize("layer", ["memory", "redis"])
@pytest.mark.parametrize("driver", ["sync", "async"])
@pytest.mark.parametrize(
    "make",
    [lambda: Node("a", [Node("b")]), lambda: {"tags": ["a"]}, Unwritable],
    ids=["a dataclass", "a dict", "what can't be written"],
)
def test_what_a_caller_does_to_a_copy_no_other_sees(
    new_cache: Callable[..., Any], layer: str, driver: str, make: Callable[[], Any]
) -> None:
    cache = new_cache(layer, driver)
    assert layer == "memory" or cache.wait_until_synced(30)
    value = make()
    family: Any = Family(
        "any", "{id}", Node if isinstance(value, Node) else Any, policy=Policy(values="copied")
    )

    def spoil(found: Any) -> None:
        if isinstance(found, Node):
            assert found == Node("a", [Node("b")])
            found.parts.clear()
        else:
            tags = found["tags"] if isinstance(found, dict) else found.tags
            assert tags == ["a"]
            tags.clear()

    @cache.cached(family)  # type: ignore[untyped-decorator]  # of one of two classes
    def cached(id: int) -> Any:  # noqa: A002, ARG001 - the key's name for it
        return make()

    key = family.key(id=1)
    for _ in range(3):
        spoil(cached(1))
    spoil(cache.get(key))
    spoil(cache.get_many_or_load([key], lambda _: {})[key])
    cache.set(family.key(id=2), value)
    spoil(value)
    spoil(cache.get(family.key(id=2)))

    def loaded(context: LoadContext[Any]) -> Any:
        spoil(context.previous)
        return make()

    spoil(cache.refresh(key, loaded))
    spoil(cache.get(key))


def test_a_policy_of_values_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidFamily, match="shared, copied, frozen"):
        Policy(values="copy")  # type: ignore[arg-type]  # that is what is wrong
