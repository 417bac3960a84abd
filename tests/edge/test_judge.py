"""What is decided on a stored response: by its marks, which are read only where they aren't known."""

from __future__ import annotations

import pytest

from origin_sdk_edge.judge import Judge
from origin_sdk_edge.policy.decision import Ask, Lookup, Use
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.revalidation import refresh_of
from origin_sdk_edge.storage import Found, Storage
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import Lane, url_mark
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import DEFAULT_RULE, Settings
from tests.edge.fakes import START_MS, FakeBodies, FakeStore, FakeTiming

TARGET = parse_target("https://a.example/x")
REQUEST = RequestFacts("GET", TARGET, {})
LOOKUP = Lookup(REQUEST, REQUEST, DEFAULT_RULE, "r1/https/a.example/x", ())
SETTINGS = Settings(lifetime_jitter=0.0)
FIELDS = (("cache-control", "max-age=60, stale-while-revalidate=60"),)


class World:
    def __init__(self) -> None:
        self.timing = FakeTiming()
        self.storage = Storage(FakeStore(), FakeBodies(), self.timing, SETTINGS, lambda *_: None)
        self.judge = Judge(SETTINGS, self.storage, self.timing)

    def stored(self, age_seconds: int) -> Found:
        born_ms = START_MS - age_seconds * 1000
        record = Record(200, born_ms, born_ms, 0, FIELDS, (), body_bytes=1)
        return Found(self.storage.retention.hold(LOOKUP, record, b"x"))


@pytest.mark.parametrize(
    ("age_seconds", "purged", "reason"),
    [
        pytest.param(10, None, Reason.FRESH, id="fresh"),
        pytest.param(70, None, Reason.STALE_WHILE_REVALIDATE, id="stale, in its window"),
        pytest.param(130, None, Reason.STALE, id="stale, and its window over"),
        pytest.param(10, Lane.SOFT, Reason.STALE_WHILE_REVALIDATE, id="purged softly"),
        pytest.param(10, Lane.HARD, Reason.PURGED_HARD, id="purged hard"),
    ],
)
async def test_a_stored_response(age_seconds: int, purged: Lane | None, reason: Reason) -> None:
    world = World()
    found = world.stored(age_seconds)
    if purged:
        world.storage.marks.mark_here([url_mark(TARGET)], purged, START_MS)
    decision = await world.judge.decide(LOOKUP, found)
    assert isinstance(decision, Use | Ask)
    assert decision.reason is reason


async def test_what_came_after_the_request_is_as_good_as_its_own() -> None:
    world = World()
    found = world.stored(0)
    world.storage.marks.mark_here(
        [url_mark(TARGET)], Lane.HARD, START_MS + 2000
    )  # it lies ahead of the clock
    assert isinstance(await world.judge.decide(LOOKUP, found), Ask)
    assert isinstance(await world.judge.decide(LOOKUP, found, is_later=True), Use)


async def test_nothing_stored_is_asked_for() -> None:
    decision = await World().judge.decide(LOOKUP, Found())
    assert isinstance(decision, Ask)
    assert decision.reason is Reason.ABSENT


def test_what_was_purged_hard_stands_in_for_nothing() -> None:
    world = World()
    entry = world.stored(70).entry
    assert entry is not None
    ask = refresh_of(entry.record, entry.fields)
    assert world.judge.may_stand_in(LOOKUP, ask, entry)
    world.storage.marks.mark_here([url_mark(TARGET)], Lane.HARD, START_MS)
    assert world.judge.is_purged(LOOKUP, entry)
    assert not world.judge.may_stand_in(LOOKUP, ask, entry)
