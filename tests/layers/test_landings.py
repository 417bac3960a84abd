"""What a load turns out to belong to is judged when it lands: whoever joined it, and however it began."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from origin_sdk.layers import Family, LoadContext, Policy
from origin_sdk.testing import ManualClock

STALE = Policy(lifetime=10, stale=1000, jitter=0)
PART = Family("part", "{id}", str, groups=("parts",))
VALUE = Family("value", "{id}", str, policy=STALE)
PAGE = Family("page", "{id}", str, policy=Policy(lifetime=1000, jitter=0))
KEY, OTHER = VALUE.key(id=1), VALUE.key(id=2)


class World:
    """A source of one value, which loaders read at once and return when they are told to."""

    def __init__(self, cache: Any, clock: ManualClock, belongs: str) -> None:
        self.cache = cache
        self.clock = clock
        self.belongs = belongs
        self.value = "old"
        self.may_end = Event()
        self.has_begun = Event()
        self.pool = ThreadPoolExecutor(4)

    def _read(self, context: Any) -> str:
        value = self.value
        if self.belongs == "adds its group":
            context.add_groups(["parts"])
        else:
            value = str(self.cache.get_or_load(PART.key(id=1), lambda _: value))
        self.has_begun.set()
        assert self.may_end.wait(20)
        return value

    def load(self, context: LoadContext[str]) -> str:
        return self._read(context)

    def load_many(self, keys: Any) -> Any:
        """As the only way of many to belong to a group: by reading what does."""
        value = str(self.cache.get_or_load(PART.key(id=1), lambda _: self.value))
        self.has_begun.set()
        assert self.may_end.wait(20)
        return dict.fromkeys(keys, value)

    def get(self, way: str) -> str:
        if way == "one":
            return str(self.cache.get_or_load(KEY, self.load))
        return str(self.cache.get_many_or_load([KEY, OTHER], self.load_many)[KEY])

    def page(self, way: str) -> str:
        """A page of the value, under a name of each way's own."""
        return str(self.cache.get_or_load(PAGE.key(id=way), lambda _: self.get(way)))

    def later(self, call: Callable[..., str], *arguments: str) -> Future[str]:
        return self.pool.submit(call, *arguments)

    def change(self) -> None:
        self.value = "new"
        self.cache.invalidate(groups=["parts"])


@pytest.fixture(params=["adds its group", "reads another family"])
def world(request: pytest.FixtureRequest, timed: Any, clock: ManualClock) -> Iterator[World]:
    made = World(timed, clock, request.param)
    yield made
    made.may_end.set()
    made.pool.shutdown()


WAYS = ["one", "many"]


@pytest.mark.parametrize("reads", WAYS)
@pytest.mark.parametrize("refreshes", WAYS)
@pytest.mark.parametrize("page", [False, True], ids=["read", "read for a page"])
def test_who_joins_a_refresh_after_an_invalidation_gets_the_new_value(
    world: World, reads: str, refreshes: str, *, page: bool
) -> None:
    world.may_end.set()
    assert world.get(refreshes) == "old"
    world.clock.advance(11)
    world.may_end.clear()
    world.has_begun.clear()
    assert world.get(refreshes) == "old"  # stale, and refreshed behind the caller's back
    assert world.has_begun.wait(20)
    world.change()
    joining = world.later(world.page if page else world.get, reads)
    with pytest.raises(TimeoutError):
        joining.result(0.05)
    world.may_end.set()
    assert joining.result(20) == "new"
    assert world.page(reads) == "new"


@pytest.mark.parametrize("reads", WAYS)
@pytest.mark.parametrize("loads", WAYS)
def test_who_joins_a_load_after_an_invalidation_gets_the_new_value(
    world: World, loads: str, reads: str
) -> None:
    leading = world.later(world.get, loads)
    assert world.has_begun.wait(20)
    world.change()
    joining = world.later(world.get, reads)
    with pytest.raises(TimeoutError):
        joining.result(0.05)
    world.may_end.set()
    assert leading.result(20) in {"old", "new"}  # it asked before
    assert joining.result(20) == "new"
    assert world.get(reads) == "new"
