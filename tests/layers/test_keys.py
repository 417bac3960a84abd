"""Keys: no two lists of values share one, whatever stands in them or between them."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin_sdk.layers import DataClass, Family, InvalidFamily, LayeredCache, LoadContext, UnstableKey
from origin_sdk.layers.values.keys import render

KEY = Family("text", "{id}", str).key(id=1)


class Size(Enum):
    SMALL = 1


@dataclass(frozen=True)
class OrderKey:
    user: str
    order: int


class Point(NamedTuple):
    x: object
    y: object


class Elsewhere:
    """Has classes of the same names."""

    class Size(Enum):
        SMALL = 1

    @dataclass(frozen=True)
    class OrderKey:
        user: str
        order: int


@dataclass
class Mutable:
    user: str


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (17, "17"),
        ("lamp", "lamp"),
        ("17", "'17"),
        ("", "'"),
        ("a:b c", "a%3Ab%20c"),
        (None, "!none"),
        (True, "!true"),
        (1.5, "!f1.5"),
        (Decimal("1.50"), "!d1.50"),
        (UUID(int=1), "!u00000000-0000-0000-0000-000000000001"),
        (b"\x01", "!x01"),
        (date(2026, 1, 2), "!t2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "!t2026-01-02T00-00-00+00-00"),
        (Size.SMALL, f"!e{__name__}.Size.SMALL"),
        (timedelta(days=1), "!p1.0.0"),
        (time(9, 30), "!h09-30-00"),
        ([1, "a"], "(1,a)"),
        ((1,), "(1,)"),
        ({2, 1}, "!s(1,2)"),
        (frozenset({1}), "!z(1)"),
        ({"b": 1, "a": 2}, "!m(a=2,b=1)"),
        (OrderKey("ann", 7), f"{__name__}.OrderKey(user=ann,order=7)"),
        (Point(1, 2), f"{__name__}.Point(x=1,y=2)"),
        ("a\ud800", "a%ED%A0%80"),
    ],
)
def test_each_type_has_one_rendering(value: object, text: str) -> None:
    assert render(value) == text


def test_a_number_of_thousands_of_digits_is_rendered() -> None:
    assert render(16**4000) == f"!i1{'0' * 4000}"


TEXTS = st.text(st.sampled_from("-_.:~%'@!(),=+x2d1aA\ud800é"), max_size=6) | st.text(max_size=6)
SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | TEXTS
    | st.binary(max_size=3)
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes(timezones=st.just(UTC))
    | st.sampled_from([Size.SMALL, Elsewhere.Size.SMALL])
)
HASHABLE = st.recursive(
    SIMPLE,
    lambda inner: (
        st.tuples(inner)
        | st.tuples(inner, inner)
        | st.frozensets(inner, max_size=3)
        | st.builds(OrderKey, inner, inner)
        | st.builds(Elsewhere.OrderKey, inner, inner)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=5,
)
VALUES = HASHABLE | st.lists(HASHABLE, max_size=3) | st.dictionaries(HASHABLE, HASHABLE, max_size=2)
SEPARATORS = st.text("-_.:~%'@!(),=+|/x2dA é", min_size=1, max_size=3)


def is_one(left: object, right: object) -> bool:
    """Whether two values are equal and of one type, in all their parts."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return is_one(frozenset(left.items()), frozenset(right.items()))
    if isinstance(left, set | frozenset) and isinstance(right, set | frozenset):
        return len(left) == len(right) and all(any(is_one(each, other) for other in right) for each in left)
    if isinstance(left, tuple | list) and isinstance(right, tuple | list):
        return len(left) == len(right) and all(map(is_one, left, right))
    if is_dataclass(left) and is_dataclass(right):
        return all(is_one(getattr(left, each.name), getattr(right, each.name)) for each in fields(left))
    # Two that are equal, such as 0.0 and -0.0, may have keys of their own.
    return left == right


@given(VALUES, VALUES)
def test_two_values_render_alike_only_if_they_are_one(left: object, right: object) -> None:
    assert render(left) != render(right) or is_one(left, right)


@given(SIMPLE)
def test_a_value_always_renders_alike(value: object) -> None:
    assert render(value) == render(copy.deepcopy(value))


def shuffled(separator: str, texts: list[str], cuts: list[int]) -> list[str]:
    """Return other texts that read the same where nothing tells them apart."""
    joined = separator.join(texts)
    ends = sorted(cut % (len(joined) + 1) for cut in cuts)
    return [joined[start:end] for start, end in pairwise([0, *ends, len(joined)])]


@given(
    SEPARATORS, SEPARATORS, st.tuples(VALUES, VALUES, VALUES), st.tuples(VALUES, VALUES, VALUES), st.data()
)
def test_two_lists_of_values_have_one_key_only_if_they_are_one(
    first: str, second: str, left: tuple[object, ...], right: tuple[object, ...], data: st.DataObject
) -> None:
    escaped = [text.replace("{", "{{").replace("}", "}}") for text in (first, second)]
    try:
        family = Family("any", f"{{a}}{escaped[0]}{{b}}{escaped[1]}{{c}}", identity=("b",))
    except InvalidFamily:
        return  # what test_fields_that_nothing_separates_are_refused has rows of
    assert (family.key_of(left) != family.key_of(right)) or is_one(left, right)
    texts = data.draw(st.lists(TEXTS, min_size=3, max_size=3))
    cuts = data.draw(st.lists(st.integers(0, 99), min_size=2, max_size=2))
    others = shuffled(first, texts, cuts)
    assert family.key_of(tuple(texts)) != family.key_of(tuple(others)) or texts == others


@pytest.mark.parametrize(
    "separator", ["-", "_", ".", "~", "@", ",", "=", "!", "'", "(", "+", ":", "/", " - ", "é"]
)
def test_a_separator_in_a_value_moves_no_border(separator: str) -> None:
    family = Family("doc", f"{{user}}{separator}{{doc}}", identity=("user",))
    ann_smith = family.key(user=f"ann{separator}smith", doc="tax")
    assert ann_smith != family.key(user="ann", doc=f"smith{separator}tax")
    assert family.key(user="ann", doc=7).name == f"doc.v1:@ann{separator}7"


@pytest.mark.parametrize("template", ["{a}{b}", "{a}x{b}", "{a}7{b}", "{a}%{b}", "{c}:{a}{b}"])
def test_fields_that_nothing_separates_are_refused(template: str) -> None:
    with pytest.raises(InvalidFamily, match=r"write \{a\}:\{b\}"):
        Family("doc", template)


class Many(OrderedDict[str, str]):
    """Has more than its items say, as Django's QueryDict has."""


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (Family("order", "{user}/{number}", str), "template"),
        (Family("order", "{user}:{number}", int), "type"),
        (Family("order", "{user}:{number}", str, identity=("user",)), "identity"),
        (Family("order", "{user}:{number}", str, data_class=DataClass.RESTRICTED), "data_class"),
    ],
    ids=["template", "type", "identity", "data class"],
)
def test_families_of_one_name_that_differ_are_refused(other: Family[Any], what: str) -> None:
    cache = LayeredCache()
    cache.get(Family("order", "{user}:{number}", str).key(user="ann", number=1))
    for use in (
        cache.get,
        lambda key: cache.set(key, "x"),
        lambda key: cache.get_or_load(key, lambda _: "x"),
    ):
        with pytest.raises(InvalidFamily, match=what):
            use(other.key(user="ann", number=1))


def test_functions_of_one_name_do_not_share_values() -> None:
    cache = LayeredCache()

    def first() -> Callable[..., str]:
        def find(number: int) -> str:
            return f"user {number}"

        return find

    def second() -> Callable[..., str]:
        def find(number: int) -> str:
            return f"order {number}"

        return find

    cache.cached("{number}")(first())
    with pytest.raises(InvalidFamily, match="name="):
        cache.cached("{number}")(second())
    assert cache.cached("{number}", name="order")(second())(1) == "order 1"


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("g-1", "g-1"),
        ("lamp\n2", "g-lamp%0A2"),
        ("\u200b", "g-%E2%80%8B"),
        ("\ud800", "g-%ED%A0%80"),
        ("é", "g-é"),
    ],
)
def test_groups_made_of_data_are_never_refused(group: str, name: str) -> None:
    cache = LayeredCache()
    family = Family("lamp", "{text}", str, groups="g-{text}")
    text = group.removeprefix("g-")
    key = family.key(text=text)
    assert key.groups == (name,)
    assert cache.get_or_load(key, lambda _: "lamp") == "lamp"
    assert cache.invalidate(groups=f"g-{text}").groups == (name,)
    assert cache.get(key) is None


def test_a_single_text_is_one_group_everywhere() -> None:
    cache = LayeredCache()

    def load(context: LoadContext[str]) -> str:
        context.add_groups("shelf")
        return "lamp"

    assert cache.get_or_load(KEY, load) == "lamp"
    cache.invalidate(groups="shelf")
    assert cache.get(KEY) is None
    cache.set(KEY, "lamp", groups="shelf")
    cache.invalidate(groups=["shelf"])
    assert cache.get(KEY) is None


@pytest.mark.parametrize(
    ("family", "given"),
    [
        (Family("order", OrderKey, str), (("ann", 7),)),
        (Family("order", OrderKey, str), ("ann", 7)),
        (Family("order", "{user}:{number}", str), ("ann",)),
    ],
)
def test_a_key_of_something_else_says_what_is_needed(family: Family[str], given: tuple[object, ...]) -> None:
    with pytest.raises(UnstableKey, match="is needed, not"):
        family.key(*given)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Mutable("ann"),
        float("nan"),
        Decimal("nan"),
        datetime(2026, 1, 2),  # noqa: DTZ001 - a naive one is refused
        lambda: 1,
        Many(a="b"),
        [object()],
    ],
    ids=[
        "an object",
        "a mutable dataclass",
        "NaN",
        "a decimal NaN",
        "a naive datetime",
        "a function",
        "a mapping that may mean more",
        "an object in a list",
    ],
)
def test_what_has_no_stable_rendering_is_an_error(value: object) -> None:
    with pytest.raises(UnstableKey, match="no stable rendering"):
        render(value, "id")


@pytest.mark.parametrize("group", ["", None, 5])
def test_a_group_that_cannot_be_fails_no_request(group: Any, caplog: pytest.LogCaptureFixture) -> None:
    family = Family("rows", "{id}", str)

    def load(context: LoadContext[str]) -> str:
        context.add_groups(["rows", group])
        return "x"

    with LayeredCache() as cache:
        assert cache.get_or_load(family.key(id=1), load) == "x"
        cache.set(family.key(id=2), "y", groups=["rows", group])
        assert "left out" in caplog.text
        assert repr(group) in caplog.text
        cache.invalidate(groups=["rows"])
        assert (cache.get(family.key(id=1)), cache.get(family.key(id=2))) == (None, None)
