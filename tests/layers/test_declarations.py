"""What is declared is checked when it is declared; a cached method is bound as the method is."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from origin_sdk.layers import AsyncLayeredCache, Family, InvalidFamily, LayeredCache, LoadContext

if TYPE_CHECKING:
    from decimal import Decimal

MAKES = pytest.mark.parametrize("make", [LayeredCache, AsyncLayeredCache], ids=["sync", "async"])


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def unannotated(count: object) -> Any:
    yield count


async def later(count: int) -> AsyncIterator[int]:
    yield count


async def waits(count: int) -> int:
    return count


def gives_iterator(count: int) -> Iterator[int]:
    return iter(range(count))


def only_for_checkers(count: int) -> "Decimal":  # its name is known to type checkers alone
    raise NotImplementedError(count)


def takes_any_number(*counts: int) -> int:
    return sum(counts)


def plain(count: int, unit: str = "m") -> str:
    return f"{count} {unit}"


class Generates:
    def __call__(self, count: int) -> Any:
        yield count


class Waits:
    async def __call__(self, count: int) -> int:
        return count


@MAKES
@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (numbers, {}, "return a list"),
        (unannotated, {}, "return a list"),
        (later, {}, "return a list"),
        (functools.partial(numbers), {}, "return a list"),
        (Generates(), {}, "return a list"),
        (gives_iterator, {}, "can't be stored"),
        (only_for_checkers, {}, "import what they name"),
        (takes_any_number, {"template": "{counts}"}, "name the parameters"),
        (dict, {}, "its parameters can't be read"),
        (plain, {}, "'unit'"),
        (plain, {"ignore": ["units"]}, "'units'.* aren't parameters"),
        (plain, {"ignore": ["unit", "count"]}, "drop one of the two"),
        (plain, {"template": "{count}{unit}"}, r"write \{count\}:\{unit\}"),
        (plain, {"template": "{count}:{units}"}, "aren't parameters"),
        (plain, {"template": "{count"}, "template"),
        (
            plain,
            {"template": Family("length", "{count}:{unit}", str), "groups": ["g"]},
            "where it is declared",
        ),
    ],
)
def test_what_would_fail_later_is_refused_when_it_is_declared(
    make: Callable[[], Any], function: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    arguments = {"template": "{count}"} | options
    with pytest.raises(InvalidFamily, match=message):
        make().cached(arguments.pop("template"), **arguments)(function)


@pytest.mark.parametrize(
    "function", [waits, functools.partial(waits), Waits()], ids=["function", "partial", "object"]
)
def test_the_cache_of_threads_refuses_what_has_to_be_awaited(function: Callable[..., Any]) -> None:
    with pytest.raises(InvalidFamily, match="AsyncLayeredCache"):
        LayeredCache().cached("{count}")(function)


def test_an_awaitable_in_the_annotation_stands_for_its_value() -> None:
    def returns(count: int) -> Awaitable[int]:
        return waits(count)

    cache = AsyncLayeredCache()
    assert cache.cached("{count}")(returns).family.type is int


class Shop:
    """Has a cached method of each kind."""

    cache = LayeredCache()
    loads: list[object]

    def __init__(self, name: str) -> None:
        self.name = name
        self.loads = []

    @cache.cached("{number}:{unit}", ignore=["self"])
    def price(self, number: int = 1, unit: str = "piece") -> str:
        """Return a price."""
        self.loads.append((number, unit))
        return f"{self.name} {number} {unit}"

    @cache.cached("{number}", ignore=["cls"])
    @classmethod
    def of_class(cls, number: int = 1) -> str:
        return f"{cls.__name__} {number}"

    @cache.cached("{number}", name="static-outer")
    @staticmethod
    def static_outer(number: int = 1) -> str:
        return f"static {number}"

    @staticmethod
    @cache.cached("{number}", name="static-inner")
    def static_inner(number: int = 1) -> str:
        return f"static {number}"

    @cache.cached("{number}", ignore=["self"])
    def with_context(self, context: LoadContext[str], number: int = 1) -> str:
        context.add_groups([f"number-{number}"])
        return f"{self.name} {number}"


class AsyncShop:
    """Has cached methods of an event loop."""

    cache = AsyncLayeredCache()

    def __init__(self) -> None:
        self.loads: list[int] = []

    @cache.cached("{number}", ignore=["self"])
    async def price(self, number: int = 1) -> str:
        self.loads.append(number)
        return f"price {number}"


def test_the_verbs_of_a_method_are_bound_as_the_method_is() -> None:
    shop = Shop("ann's")
    assert shop.price(3) == shop.price(3, unit="piece") == "ann's 3 piece"
    assert shop.loads == [(3, "piece")]
    assert str(shop.price.key(3)) == "price.v1:3:piece"
    shop.price.invalidate(3)
    assert shop.price(3) == "ann's 3 piece"
    assert shop.loads == [(3, "piece")] * 2
    assert shop.price.refresh(number=3) == "ann's 3 piece"
    assert shop.loads == [(3, "piece")] * 3
    shop.price.invalidate()
    assert shop.loads == [(3, "piece")] * 3
    Shop.price.invalidate(shop, 3)
    assert Shop.price(shop, 3) == "ann's 3 piece"
    assert shop.loads == [(3, "piece")] * 4
    assert shop.price.family is Shop.price.family
    assert getattr(shop.price, "__name__") == "price"  # noqa: B009 - it isn't in the type
    assert str(inspect.signature(shop.price)) == "(number: int = 1, unit: str = 'piece') -> str"
    with pytest.raises(TypeError):
        shop.price.invalidate(1, "piece", "more")  # type: ignore[call-arg]  # that is what is wrong


@pytest.mark.parametrize("name", ["of_class", "static_outer", "static_inner"])
@pytest.mark.parametrize("owner", [Shop, Shop("x")], ids=["class", "object"])
def test_the_verbs_of_other_kinds_of_methods_are_bound_too(owner: Any, name: str) -> None:
    method = getattr(owner, name)
    word = "Shop" if name == "of_class" else "static"
    assert method(3) == f"{word} 3"
    assert str(method.key(number=3)).endswith(":3")
    method.invalidate(3)
    assert owner.cache.get(method.key(3)) is None
    assert method.refresh(3) == f"{word} 3"


def test_a_method_may_have_a_context() -> None:
    shop: Any = Shop("ann's")
    assert shop.with_context(number=7) == "ann's 7"
    Shop.cache.invalidate(groups=["number-7"])
    assert Shop.cache.get(shop.with_context.key(number=7)) is None


def test_asynchronous_methods_are_bound_too() -> None:
    async def use() -> list[int]:
        shop = AsyncShop()
        assert await shop.price(3) == await shop.price(number=3) == "price 3"
        await shop.price.invalidate(3)
        assert await shop.price(3) == "price 3"
        assert await shop.price.refresh(3) == "price 3"
        return shop.loads

    assert asyncio.run(use()) == [3, 3, 3]
    assert inspect.iscoroutinefunction(AsyncShop().price)


def test_a_class_method_below_the_decorator_of_classes_is_refused() -> None:
    with pytest.raises(InvalidFamily, match="above @classmethod"):

        class Wrong:
            @classmethod
            @LayeredCache().cached("{number}", ignore=["cls"])
            def price(cls, number: int) -> str:
                return f"{number}"


LISTS = {
    "generator": lambda: (each for each in range(3)),
    "iterator": lambda: iter([1]),
    "map": lambda: map(str, [1]),
}


@pytest.mark.parametrize("make", LISTS.values(), ids=LISTS)
def test_a_value_that_can_be_used_once_is_refused_at_its_first_use(make: Callable[[], Any]) -> None:
    cache = LayeredCache()
    key = Family("any", "{id}").key(id=1)
    with pytest.raises(InvalidFamily, match=r"used once.*return a list"):
        cache.get_or_load(key, lambda _: make())
    with pytest.raises(InvalidFamily, match="used once"):
        cache.get_many_or_load([key], lambda keys: dict.fromkeys(keys, make()))
    with pytest.raises(InvalidFamily, match="used once"):
        cache.set(key, make())
    with pytest.raises(InvalidFamily, match="used once"):
        cache.refresh(key, lambda _: make())
    assert cache.get(key) is None


def test_a_coroutine_is_no_value_of_the_cache_of_threads() -> None:
    loads: Any = waits
    with pytest.raises(InvalidFamily, match="AsyncLayeredCache"):
        LayeredCache().get_or_load(Family("any", "{id}").key(id=1), lambda _: loads(1))


@pytest.mark.parametrize("given", ["group", ["group"], ("group", "group")], ids=["a text", "a list", "twice"])
def test_one_group_may_be_given_as_a_text_wherever_groups_are(given: Any) -> None:
    cache = LayeredCache()
    key = Family("text", "{id}", str, groups=given).key(id=1)
    assert key.groups == ("group",)
    plain = Family("plain", "{id}", str).key(id=1)

    def add(context: LoadContext[str]) -> str:
        context.add_groups(given)
        return "a"

    for write in (
        lambda: cache.set(plain, "a", groups=given),
        lambda: cache.refresh(plain, add),
    ):
        write()
        assert cache.get(plain) == "a"
        assert cache.invalidate(groups=given).groups == ("group",)
        assert cache.get(plain) is None
