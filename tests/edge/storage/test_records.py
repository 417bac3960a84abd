"""Stored responses: what is held, written and found again, and what of KV counts as absent."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest

from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.ports import StoredValue, StoreError
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import DEFAULT_RULE, Settings
from tests.edge.fakes import START_MS, FakeBodies, FakeStore, FakeTiming

TARGET = parse_target("https://a.example/x")
KEY = "r1/https/a.example/x"
RECORD = Record(200, START_MS, START_MS, 0, (("cache-control", "max-age=60"),), (), body_bytes=4)
VARYING = replace(RECORD, fields=(*RECORD.fields, ("vary", "accept-language")))


def lookup(language: str = "") -> Lookup:
    request = RequestFacts("GET", TARGET, {"accept-language": language} if language else {})
    return Lookup(request, request, DEFAULT_RULE, KEY, ())


class World:
    """Isolates over one KV."""

    def __init__(self) -> None:
        self.store, self.timing = FakeStore(), FakeTiming()
        self.faults: list[Exception] = []

    def isolate(self, **settings: int) -> Storage:
        return Storage(
            self.store,
            FakeBodies(),
            self.timing,
            Settings(**settings),  # type: ignore[arg-type]  # any setting of a number
            lambda _, error: self.faults.append(error),
        )


async def kept(storage: Storage, record: Record = RECORD, language: str = "", body: bytes = b"body") -> Entry:
    entry = storage.retention.hold(lookup(language), record, body)
    await storage.retention.keep(lookup(language), entry)
    return entry


@pytest.mark.parametrize(
    "item_bytes", [pytest.param(1 << 20, id="in its record"), pytest.param(1, id="apart")]
)
async def test_what_is_kept_is_found_by_another_isolate(item_bytes: int) -> None:
    world = World()
    await kept(world.isolate(memory_item_bytes=item_bytes))
    storage = world.isolate(memory_item_bytes=item_bytes)
    assert storage.records.find_in_memory(lookup()).entry is None
    found = (await storage.records.find_in_store(lookup())).entry
    assert found is not None
    body = found.body if found.body is not None else await storage.bodies.decoded(found)
    assert (found.record.status, body) == (200, b"body")
    assert storage.records.find_in_memory(lookup()).entry is (found if item_bytes > 1 else None)


async def test_a_variant_is_found_by_the_fields_that_selected_it() -> None:
    world = World()
    first = world.isolate()
    await kept(first, VARYING, "de", b"Brot")
    await kept(first, VARYING, "en", b"bred")
    second = world.isolate()
    for language, body in (("de", b"Brot"), ("en", b"bred")):
        found = (await second.records.find_in_store(lookup(language))).entry
        assert found is not None
        assert found.body == body
    missing = await second.records.find_in_store(lookup("fr"))
    assert (missing.entry, missing.missing) == (None, Reason.OTHER_VARIANT)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(StoredValue(None, b"body"), id="no metadata"),
        pytest.param(StoredValue({"head": 10**9}, b"body"), id="a head larger than the value"),
        pytest.param(StoredValue({"x": "y"}, b""), id="of another writer"),
    ],
)
async def test_what_nobody_wrote_counts_as_absent(value: StoredValue) -> None:
    world = World()
    world.store.values[KEY] = value
    assert (await world.isolate().records.find_in_store(lookup())).missing is Reason.ABSENT
    assert len(world.faults) == 1


@pytest.mark.parametrize(
    ("size_bytes", "is_decoded"),
    [pytest.param(100, True, id="as large as is stored"), pytest.param(101, False, id="larger")],
)
async def test_no_record_says_how_much_memory_its_body_takes(size_bytes: int, is_decoded: bool) -> None:
    storage = World().isolate(max_body_bytes=100)
    record = replace(RECORD, coding="gzip", body_bytes=size_bytes)
    entry = storage.retention.hold(lookup(), record, gzip.compress(bytes(size_bytes)))
    assert (await storage.bodies.decoded(entry) is not None) == is_decoded


async def test_what_was_ended_is_not_found_though_kv_shows_it_still() -> None:
    world = World()
    storage = world.isolate()
    entry = await kept(storage)
    storage.retention.end_here(entry, entry.record.response_ms)
    assert (await storage.records.find_in_store(lookup())).entry is None
    await storage.retention.end(KEY, entry.record.response_ms)
    assert (await world.isolate().records.find_in_store(lookup())).entry is None


async def test_a_store_that_fails_counts_as_empty() -> None:
    class Failing(FakeStore):
        async def read(self, _key: str) -> StoredValue | None:
            raise StoreError("away")

    world = World()
    world.store = Failing()
    storage = world.isolate()
    assert (await storage.records.find_in_store(lookup())).missing is Reason.ABSENT
    assert await storage.records.may_hold("a.example/x"), "a mark costs less than an old response"


async def test_whether_anything_may_be_stored_for_a_url() -> None:
    world = World()
    storage = world.isolate()
    assert not await storage.records.may_hold("a.example/x")
    await kept(storage)
    assert await world.isolate().records.may_hold("a.example/x")
    assert json.loads(json.dumps(world.faults)) == []
