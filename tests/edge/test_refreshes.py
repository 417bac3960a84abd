"""Background refreshes: a bound in all and for each rule, turns in order, and no place lost for good."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from origin_sdk_edge.refreshes import Refreshes
from tests.edge import virtual

ONE_RULE, OTHER_RULE = 1, 2


def _in_virtual_time(test: Callable[[Refreshes], Awaitable[None]], most: int = 4) -> None:
    async def run() -> None:
        await test(Refreshes(virtual.VirtualTiming(), most))

    virtual.run(run())


def test_one_rule_leaves_places_for_others() -> None:
    async def test(refreshes: Refreshes) -> None:
        assert [refreshes.begin(f"{n}", ONE_RULE) for n in range(4)] == [True, True, False, False]
        assert [refreshes.begin(f"o{n}", OTHER_RULE) for n in range(3)] == [True, True, False]

    _in_virtual_time(test)


def test_turns_come_in_order_but_past_a_rule_that_has_its_share() -> None:
    async def test(refreshes: Refreshes) -> None:
        for key, rule in (("a", ONE_RULE), ("b", ONE_RULE), ("c", OTHER_RULE), ("d", OTHER_RULE)):
            assert refreshes.begin(key, rule)
        came: list[str] = []

        async def wait(key: str, rule: int) -> None:
            if await refreshes.turn(key, rule):
                came.append(key)

        waiting = [("first", ONE_RULE), ("second", ONE_RULE), ("third", OTHER_RULE)]
        tasks = [asyncio.ensure_future(wait(*each)) for each in waiting]
        await asyncio.sleep(0)
        assert refreshes.knows("first")
        for ended in ("d", "a", "b"):
            refreshes.end(ended)
            await asyncio.sleep(1)
        assert came == ["third", "first", "second"]
        await asyncio.gather(*tasks)

    _in_virtual_time(test)


def test_who_waits_too_long_rests_and_may_come_again() -> None:
    async def test(refreshes: Refreshes) -> None:
        assert refreshes.begin("slow", ONE_RULE)
        assert not await refreshes.turn("late", ONE_RULE)
        assert not refreshes.knows("late")
        refreshes.end("slow")
        assert refreshes.begin("late", ONE_RULE)

    _in_virtual_time(test, most=1)


def test_a_refresh_that_was_lost_with_its_request_gives_its_place_back() -> None:
    async def test(refreshes: Refreshes) -> None:
        assert refreshes.begin("lost", ONE_RULE)
        await asyncio.sleep(61)
        assert refreshes.begin("next", ONE_RULE)

    _in_virtual_time(test, most=1)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_few_places_are_places_still(most: int) -> None:
    async def test(refreshes: Refreshes) -> None:
        assert refreshes.begin("a", ONE_RULE)

    _in_virtual_time(test, most)


def test_no_bound() -> None:
    async def test(refreshes: Refreshes) -> None:
        assert all(refreshes.begin(f"{n}", ONE_RULE) for n in range(500))

    _in_virtual_time(test, most=0)
