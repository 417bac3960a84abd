"""Values made of values: whatever is read, changed and forgotten, none is older than what it is made of."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from origin_sdk.layers import DataClass, Family, LayeredCache
from origin_sdk.responses import cache_for, drafting

LEAVES = range(4)
LEAF = Family("leaf", "{id}", int, groups=("leaf-{id}",), data_class=DataClass.PUBLIC)
PAGE = Family("page", "{id}", list[int], data_class=DataClass.PUBLIC)
SITE = Family("site", "{id}", list[list[int]], data_class=DataClass.PUBLIC)
PAGES = ((0, 1), (1, 2), (2, 3), ())
SITES = ((0, 1), (1, 3), (0, 2))

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from(LEAVES)),
        st.tuples(st.just("read page"), st.integers(0, len(PAGES) - 1)),
        st.tuples(st.just("read site"), st.integers(0, len(SITES) - 1)),
        st.tuples(st.just("evict"), st.just(0)),
    ),
    max_size=25,
)


class World:
    """Leaves with versions, pages of leaves and sites of pages, each loaded through the one below."""

    def __init__(self, cache: LayeredCache, number: int) -> None:
        self.cache = cache
        self.number = number
        self.versions = [0 for _ in LEAVES]

    def _leaf(self, leaf: int) -> int:
        return self.cache.get_or_load(LEAF.key(id=self._id(leaf)), lambda _: self.versions[leaf])

    def page(self, page: int) -> list[int]:
        return self.cache.get_or_load(
            PAGE.key(id=self._id(page)), lambda _: [self._leaf(leaf) for leaf in PAGES[page]]
        )

    def site(self, site: int) -> list[list[int]]:
        return self.cache.get_or_load(
            SITE.key(id=self._id(site)), lambda _: [self.page(page) for page in SITES[site]]
        )

    def change(self, leaf: int) -> None:
        self.versions[leaf] += 1
        self.cache.invalidate(groups=[f"leaf-{self._id(leaf)}"])

    def groups(self, leaves: set[int]) -> set[str]:
        return {f"leaf-{self._id(leaf)}" for leaf in leaves}

    def _id(self, of: int) -> int:
        """Return an id of this world's own, so that examples share a cache."""
        return self.number * 10 + of


@pytest.fixture(params=["memory", "redis"])
def shared(request: pytest.FixtureRequest, new_cache: Callable[..., Any]) -> LayeredCache:
    """One cache for all examples."""
    made: LayeredCache = new_cache(request.param, "sync")
    assert request.param == "memory" or made.wait_until_synced(30)
    return made


NUMBERS = count()


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
@given(steps=STEPS)
def test_nothing_is_older_than_its_parts_and_responses_have_all_groups(
    shared: LayeredCache, steps: list[tuple[str, int]]
) -> None:
    world = World(shared, next(NUMBERS))
    for what, which in steps:
        if what == "change":
            world.change(which)
            continue
        if what == "evict":
            shared.memory.clear()
            continue
        pages = [which] if what == "read page" else list(SITES[which])
        with drafting() as draft:
            cache_for(60)
            made = [world.page(which)] if what == "read page" else world.site(which)
        assert made == [[world.versions[leaf] for leaf in PAGES[page]] for page in pages]
        assert set(draft.reads.groups) == world.groups({leaf for page in pages for leaf in PAGES[page]})
