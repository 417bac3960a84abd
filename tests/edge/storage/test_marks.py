"""Marks in KV: how many keys are read and written for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from origin_sdk_edge.policy.decision import VALID, Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.ports import StoreError
from origin_sdk_edge.storage import Storage
from origin_sdk_wire.bounds import CLOCK_TOLERANCE_MS
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import (
    SHARED_AHEAD_MS,
    SHARED_RENEWAL_MS,
    Lane,
    Mark,
    group_mark,
    prefix_mark,
    url_mark,
)
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import DEFAULT_RULE, Settings
from tests.edge.fakes import START_MS, FakeBodies, FakeStore, FakeTiming

TARGET = parse_target("http://a.example/x")
REQUEST = RequestFacts("GET", TARGET, {})
LOOKUP = Lookup(REQUEST, REQUEST, DEFAULT_RULE, "r1/http/a.example/x", ())
RECORD = Record(200, START_MS - 60_000, START_MS - 60_000, 0, (), ("f", "g"))
URL = url_mark(TARGET)
SHARED = "m2/s/shared"
OTHER = parse_target("http://a.example/other/y")
DEFAULT = Settings()


class CountingStore(FakeStore):
    def __init__(self) -> None:
        super().__init__()
        self.reads: list[list[str]] = []
        self.is_down = False
        self.on_read: Callable[[], None] = lambda: None

    async def read_texts(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.reads.append(list(keys))
        self.on_read()
        await asyncio.sleep(0)
        if self.is_down:
            raise StoreError("down")
        return await super().read_texts(keys)


class World:
    def __init__(self, settings: Settings = DEFAULT) -> None:
        self.store, self.timing = CountingStore(), FakeTiming()
        self.faults: list[Exception] = []
        self.marks = Storage(
            self.store, FakeBodies(), self.timing, settings, lambda _, error: self.faults.append(error)
        ).marks


def test_a_response_that_nothing_purged_takes_a_key_for_all_and_one_a_group() -> None:
    world = World()
    assert asyncio.run(world.marks.invalidity(LOOKUP, RECORD)) is VALID
    assert world.store.reads == [[SHARED, "m2/s/group/f", "m2/s/group/g"]]
    assert world.marks.known(LOOKUP, RECORD, world.timing.ms + 4000) is VALID
    assert world.marks.known(LOOKUP, RECORD, world.timing.ms + 5001) is None


def test_requests_at_the_same_time_read_once() -> None:
    async def run() -> None:
        world = World()
        both = await asyncio.gather(*(world.marks.invalidity(LOOKUP, RECORD) for _ in range(2)))
        assert both == [VALID, VALID]
        assert len(world.store.reads) == 1

    # The second waits for the first.
    asyncio.run(run())


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("name", [URL, group_mark("g")])
def test_a_purge_by_another_isolate_is_found(name: str, lane: Lane) -> None:
    async def run() -> None:
        world, other = World(), World()
        await other.marks.mark_everywhere([name], lane, "p")
        world.store.values = other.store.values
        verdict = await world.marks.invalidity(LOOKUP, RECORD)
        moment_ms = START_MS + CLOCK_TOLERANCE_MS
        assert (verdict.soft_ms, verdict.hard_ms) == (moment_ms, moment_ms if lane is Lane.HARD else 0)

    asyncio.run(run())


def test_a_response_that_follows_an_exact_purge_stays_wherever_the_mark_is_read() -> None:
    async def run() -> None:
        world, other = World(), World()
        await other.marks.mark_everywhere([URL], Lane.HARD, "p", START_MS)
        world.store.values = other.store.values
        before, after = replace(RECORD, birth_ms=START_MS), replace(RECORD, birth_ms=START_MS + 1)
        assert (await world.marks.invalidity(LOOKUP, before)).hard_ms == START_MS
        assert await world.marks.invalidity(LOOKUP, after) is VALID

    asyncio.run(run())


def test_the_shared_mark_is_written_once_in_half_an_hour() -> None:
    async def run() -> None:
        world = World()
        ahead_ms = START_MS + CLOCK_TOLERANCE_MS + SHARED_AHEAD_MS
        for waited_ms, written_ms in (
            (0, ahead_ms),
            (SHARED_AHEAD_MS - SHARED_RENEWAL_MS, ahead_ms),
            (CLOCK_TOLERANCE_MS + 1, ahead_ms + SHARED_AHEAD_MS - SHARED_RENEWAL_MS + CLOCK_TOLERANCE_MS + 1),
        ):
            world.timing.ms += waited_ms
            await world.marks.mark_everywhere([URL], Lane.SOFT, "p")
            assert world.store.values[SHARED].body == str(Mark(written_ms, "p"))

    asyncio.run(run())


def test_a_purge_of_groups_alone_leaves_it() -> None:
    world = World()
    asyncio.run(world.marks.mark_everywhere([group_mark("g")], Lane.SOFT, "p"))
    assert set(world.store.values) == {"m2/s/group/g"}


def test_if_kv_is_down_it_is_unknown_and_told() -> None:
    world = World()
    world.store.is_down = True
    assert asyncio.run(world.marks.invalidity(LOOKUP, RECORD)).is_unknown
    assert [str(fault) for fault in world.faults] == ["down"]


@pytest.mark.parametrize("interval", [0.0, 5.0])
def test_it_is_known_though_others_purge_all_the_time(interval: float) -> None:
    class Busy(World):
        def __init__(self) -> None:
            super().__init__(Settings(mark_interval=interval))
            self.store.on_read = self.purge_another

        def purge_another(self) -> None:
            self.timing.ms += 1
            self.marks.mark_here([url_mark(OTHER), prefix_mark(OTHER)], Lane.SOFT, self.timing.ms)
            assert len(self.store.reads) < 5

    world = Busy()
    assert asyncio.run(world.marks.invalidity(LOOKUP, RECORD)) is VALID


def test_the_next_look_up_reads_what_the_last_response_fell_under() -> None:
    world = World()
    asyncio.run(world.marks.invalidity(LOOKUP, RECORD))
    assert [lane for lane, _ in world.marks.expected(LOOKUP, START_MS)] == [
        "s/shared",
        "s/group/f",
        "s/group/g",
    ]
