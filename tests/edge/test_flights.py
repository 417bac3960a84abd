"""Who waits for whom, and for how long an answer that can't be shared is remembered."""

from __future__ import annotations

import asyncio

import pytest

from origin_sdk_edge.flights import Flights
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.storage.memory import Memory
from tests.edge import virtual
from tests.edge.fakes import FakeTiming

KEY, OTHERS = "r1/http/a/", " of-one-client"


def flights(timing: FakeTiming | None = None) -> Flights:
    return Flights(timing or FakeTiming(), Memory(1 << 20).table(1 / 32))


@pytest.mark.parametrize(
    ("flies_for", "asks_for", "waits"),
    [
        pytest.param("", "", True, id="anybody's for anybody's"),
        pytest.param("", OTHERS, True, id="one client's for anybody's"),
        pytest.param(OTHERS, OTHERS, True, id="one client's for its own"),
        pytest.param(OTHERS, "", False, id="anybody's not for one that a client's fields may spoil"),
    ],
)
def test_who_waits(flies_for: str, asks_for: str, *, waits: bool) -> None:
    known = flights()
    flight = known.start(KEY, flies_for)
    assert (known.current(KEY, asks_for) is flight) is waits


def test_a_flight_that_nothing_was_heard_of_for_a_minute_is_lost() -> None:
    timing = FakeTiming()
    known = flights(timing)
    known.start(KEY)
    timing.ms += 60_000
    assert known.current(KEY)
    timing.ms += 1
    assert known.current(KEY) is None


def test_a_landing_is_heard_by_all_who_wait_and_ends_no_later_flight() -> None:
    async def run() -> None:
        known = Flights(virtual.VirtualTiming(), Memory(1 << 20).table(1 / 32))
        first = known.start(KEY)
        waiting = [asyncio.create_task(first.hears(10.0, is_firm=True)) for _ in range(3)]
        await asyncio.sleep(0.1)
        second = known.start(KEY)
        known.land(KEY, first, failure=OriginFailure.TIMEOUT)
        assert await asyncio.gather(*waiting) == [True] * 3
        assert (first.has_landed, first.failure) == (True, OriginFailure.TIMEOUT)
        assert known.current(KEY) is second

    virtual.run(run())


@pytest.mark.parametrize(("voice", "also_for_others"), [("", True), (OTHERS, False)])
def test_what_cannot_be_shared_is_remembered_for_ten_seconds(voice: str, *, also_for_others: bool) -> None:
    timing = FakeTiming()
    known = flights(timing)
    known.remember(KEY, voice, unshared=True)
    assert known.is_unshared(KEY, voice)
    assert known.is_unshared(KEY) is also_for_others
    timing.ms += 10_000
    assert not known.is_unshared(KEY, voice)


def test_one_answer_that_can_be_shared_ends_that() -> None:
    known = flights()
    known.remember(KEY, unshared=True)
    known.remember(KEY, OTHERS, unshared=False)
    assert not known.is_unshared(KEY, OTHERS)
