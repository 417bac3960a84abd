"""Writes to a key are a second apart; a refused one is tried again; of several that wait the last is made."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from origin_sdk_edge.ports import StoreError
from origin_sdk_edge.storage.memory import Memory
from origin_sdk_edge.storage.writes import Writes
from tests.edge.fakes import START_MS
from tests.edge.virtual import VirtualSignal, VirtualTiming, run


class Timing:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = START_MS

    def now_ms(self) -> int:
        return self.now

    def signal(self) -> VirtualSignal:
        return VirtualSignal()

    async def sleep(self, seconds: float) -> None:
        until = self.now + round(seconds * 1000)
        await asyncio.sleep(0)
        self.now = max(self.now, until)


class Store:
    """A store that notes its writes, and refuses some of them first."""

    def __init__(self, timing: Timing, refusals: int = 0) -> None:
        self.written: list[tuple[int, str, object]] = []
        self.refusals = refusals
        self._timing = timing

    @property
    def now_ms(self) -> int:
        return self._timing.now

    async def write(self, key: str, value: object, metadata: str | None, ttl_seconds: int) -> None:
        assert (metadata, ttl_seconds) == ("{}", 60)
        if self.refusals:
            self.refusals -= 1
            raise StoreError("429")
        self.written.append((self._timing.now - START_MS, key, value))


def _made(refusals: int = 0) -> tuple[Store, Writes]:
    timing = Timing()
    store = Store(timing, refusals)
    return store, Writes(store, timing, Memory(0))  # type: ignore[arg-type] # as much of both as writing needs


async def test_a_first_write_waits_for_nothing() -> None:
    store, writes = _made()

    await writes.write("a", 1, "{}", 60)
    await writes.write("b", 2, "{}", 60)

    assert store.written == [(0, "a", 1), (0, "b", 2)]


async def test_writes_to_one_key_are_more_than_a_second_apart() -> None:
    store, writes = _made()

    for value in (1, 2, 3):
        await writes.write("a", value, "{}", 60)

    assert store.written == [(0, "a", 1), (1100, "a", 2), (2200, "a", 3)]


async def test_of_several_that_wait_only_the_last_is_made() -> None:
    store, writes = _made()

    await asyncio.gather(*(writes.write("a", value, "{}", 60) for value in range(5)))

    assert store.written == [(0, "a", 0), (1100, "a", 4)]


async def test_a_refused_write_is_tried_again_after_a_longer_pause_each_time() -> None:
    store, writes = _made(refusals=2)

    await writes.write("a", 1, "{}", 60)

    assert store.written == [(3300, "a", 1)]


async def test_a_write_that_goes_on_being_refused_raises() -> None:
    store, writes = _made(refusals=3)

    with pytest.raises(StoreError, match="429"):
        await writes.write("a", 1, "{}", 60)

    assert store.written == []


async def test_a_key_that_is_written_again_and_again_costs_a_few_writes_a_minute() -> None:
    store, writes = _made()

    for value in range(12):
        await writes.write("a", value, "{}", 60)
    await writes.write("b", 0, "{}", 60)

    moments = [ms for ms, key, _ in store.written if key == "a"]
    assert sum(ms < 60_000 for ms in moments) <= 11
    assert [later - earlier for earlier, later in pairwise(moments)][-3:] == [10_000] * 3
    assert store.written[-1] == (moments[-1], "b", 0)


async def test_what_is_written_is_made_when_its_time_has_come_at_each_try() -> None:
    store, writes = _made(refusals=1)

    await writes.write("a", "first", "{}", 60)
    await writes.write_made("a", lambda: (store.now_ms - START_MS, "{}"), 60)

    assert store.written[-1] == (3300, "a", 3300)


class SlowStore:
    """A store that takes its time for the first write, and keeps what it is done with last."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.kept: list[object] = []

    async def write(self, _key: str, value: object, _metadata: str | None, _ttl_seconds: int) -> None:
        seconds, self.seconds = self.seconds, 0.0
        await asyncio.sleep(seconds)
        self.kept.append(value)


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [
        pytest.param(5.0, ["older", "newest"], id="that is slow"),
        pytest.param(60.0, ["newest"], id="that the runtime has ended"),
    ],
)
def test_a_write_is_not_begun_while_an_older_one_is_under_way(seconds: float, kept: list[str]) -> None:
    async def write() -> list[object]:
        store = SlowStore(seconds)
        writes = Writes(store, VirtualTiming(), Memory(0))  # type: ignore[arg-type] # as much of both as writing needs
        older = asyncio.create_task(writes.write("a", "older", "{}", 60))
        await asyncio.sleep(0.1)
        await asyncio.gather(*(writes.write("a", value, "{}", 60) for value in ("newer", "newest")))
        so_far = list(store.kept)
        older.cancel()
        return so_far

    assert run(write()) == kept


def test_a_clock_that_was_set_back_keeps_no_write_waiting() -> None:
    async def main() -> None:
        timing = Timing()
        store = Store(timing)
        writes = Writes(store, timing, Memory(1 << 20))  # type: ignore[arg-type] # as above
        writes.expect("k", timing.now)
        await writes.write("k", "before", "{}", 60, timing.now)
        timing.now -= 3_600_000
        assert not writes.is_overtaken("k", timing.now)
        await writes.write("k", "after", "{}", 60, timing.now)
        assert store.written == [(0, "k", "before"), (-3_600_000, "k", "after")]

    asyncio.run(main())
