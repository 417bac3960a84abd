"""The Worker's own purges: written to KV's, told at once, and found by whoever reads the log."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from origin_sdk_edge.ports import StoredValue, StoreError
from origin_sdk_edge.purge_log.writer import Writer
from origin_sdk_edge.storage.memory import Memory
from origin_sdk_edge.storage.writes import Writes
from origin_sdk_wire.bounds import CLOCK_TOLERANCE_MS
from origin_sdk_wire.errors import BrokenSeal
from origin_sdk_wire.marks import BY_EDGE, Lane, group_mark
from origin_sdk_wire.purge_log.entries import ENTRY_SECONDS, LogEntry, Purged, id_of
from origin_sdk_wire.purge_log.metadata import parse_entry
from origin_sdk_wire.record import MAX_METADATA_BYTES
from origin_sdk_wire.seals import StoreKey, parse_store_keys, verified
from tests.edge.fakes import START_MS, FakeTiming

KEYS = parse_store_keys("a:YW4gZXhhbXBsZSwgYW5kIG5vdCB0byBiZSB1c2VkLi4=")
NAMES = [group_mark("products"), group_mark("prices")]


class World:
    """KV and the log's place, each of which may be away."""

    def __init__(
        self, *, is_log_away: bool = False, is_store_away: bool = False, keys: Sequence[StoreKey] = ()
    ) -> None:
        self.values: dict[str, StoredValue] = {}
        self.seconds: set[int] = set()
        self.told: list[LogEntry] = []
        self.faults: list[tuple[str, str]] = []
        self.is_log_away, self.is_store_away = is_log_away, is_store_away
        timing = FakeTiming()
        ids = (f"purge-{number}" for number in range(9))
        writes = Writes(self, timing, Memory(1 << 20))  # type: ignore[arg-type]  # what is written, no more
        self.writer = Writer(self, writes, timing, ids, self._note, keys)

    async def tell(self, entries: Sequence[LogEntry]) -> None:
        if self.is_log_away:
            raise StoreError("the log is away")
        self.told += entries

    async def write(self, key: str, value: object, metadata: str | None, ttl_seconds: int) -> None:
        if self.is_store_away:
            raise StoreError("KV is away")
        self.values[key] = StoredValue(json.loads(metadata or "null"), value)
        self.seconds.add(ttl_seconds)

    def _note(self, where: str, error: Exception) -> None:
        self.faults.append((where, str(error)))

    @property
    def stored(self) -> list[LogEntry]:
        """What a reader of KV finds."""
        return [parse_entry(id_of(key), value.metadata) for key, value in self.values.items()]


@pytest.mark.parametrize(
    ("lane", "moment_ms", "expected_ms"),
    [
        pytest.param(Lane.SOFT, None, START_MS + CLOCK_TOLERANCE_MS, id="ahead, for others' clocks"),
        pytest.param(Lane.HARD, START_MS - 5, START_MS - 5, id="at the moment that is given"),
    ],
)
async def test_a_purge_is_an_entry_in_kv_and_is_told(
    lane: Lane, moment_ms: int | None, expected_ms: int
) -> None:
    world = World()
    await world.writer.write(NAMES, lane, "unsafe-request", moment_ms)
    hard = lane is Lane.HARD
    entry = Purged("purge-0", expected_ms, tuple(NAMES), hard, BY_EDGE, "unsafe-request")
    assert world.stored == world.told == [entry]
    assert {value.body for value in world.values.values()} == {""}
    assert world.seconds == {ENTRY_SECONDS}


async def test_each_purge_has_an_id_of_its_own() -> None:
    world = World()
    for _ in range(2):
        await world.writer.write(NAMES, Lane.SOFT, "w")
    assert [entry.id for entry in world.stored] == ["purge-0", "purge-1"]


@pytest.mark.parametrize("keys", [pytest.param((), id="unsealed"), pytest.param(KEYS, id="sealed")])
async def test_names_that_do_not_fit_into_one_entry_go_into_further_ones(keys: Sequence[StoreKey]) -> None:
    world, names = World(keys=keys), [group_mark(f"{number:03d}-{'x' * 9}") for number in range(200)]
    await world.writer.write(names, Lane.SOFT, "w")
    assert len(world.stored) > 1
    assert [name for entry in world.told if isinstance(entry, Purged) for name in entry.names] == names
    sizes = [len(json.dumps(value.metadata)) for value in world.values.values()]
    assert max(sizes) <= MAX_METADATA_BYTES


async def test_entries_are_sealed_where_there_are_keys() -> None:
    world = World(keys=KEYS)
    await world.writer.write(NAMES, Lane.SOFT, "w")
    ((key, value),) = world.values.items()
    assert isinstance(value.metadata, dict)
    verified(KEYS, key, value.metadata)
    with pytest.raises(BrokenSeal):
        verified(KEYS, key, {**value.metadata, "at": START_MS})


async def test_a_log_that_is_away_is_reported_and_finds_the_entries_in_kv() -> None:
    world = World(is_log_away=True)
    await world.writer.write(NAMES, Lane.SOFT, "w")
    assert world.faults == [("log", "the log is away")]
    assert len(world.stored) == 1


async def test_a_store_that_does_not_take_an_entry_is_the_callers_to_hear_of() -> None:
    world = World(is_store_away=True)
    with pytest.raises(StoreError):
        await world.writer.write(NAMES, Lane.SOFT, "w")
