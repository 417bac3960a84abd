"""What comes of asking the origin: what is stored, ended, asked again, and held against the origin."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from origin_sdk_edge.hooks import HookRequest, HookResponse, Hooks
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.policy.outcome import Fail, Relay, Reuse
from origin_sdk_edge.ports import OriginError
from origin_sdk_edge.storage import Storage
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.marks import Lane, url_mark
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.fakes import FakeBodies, FakeResponse
from tests.edge.rooms import FIELDS, SETTINGS, Rooms, page
from tests.edge.virtual import run


def gone(_: RequestFacts) -> FakeResponse:
    raise OriginError(OriginFailure.UNREACHABLE, "gone")


def test_what_may_be_stored_is_held_at_once_and_written_when_it_is_kept() -> None:
    async def main() -> None:
        rooms = Rooms()
        question = await rooms.question(rooms.lookup())
        outcome = await rooms.asker.ask(question)
        assert rooms.held(question.lookup) is outcome.entry
        assert not rooms.store.values
        await rooms.asker.intake.keep(question.lookup, outcome, outcome.entry)
        assert list(rooms.store.values) == [question.key]

    run(main())


@pytest.mark.parametrize(
    ("fields", "may_share"),
    [
        pytest.param({"cache-control": "private"}, False, id="private"),
        pytest.param({"cache-control": "no-store"}, False, id="no-store"),
        pytest.param({"vary": "*"}, False, id="Vary: *"),
    ],
)
def test_what_may_not_be_stored_is_relayed_and_shared_with_nobody(
    fields: Mapping[str, str], *, may_share: bool
) -> None:
    async def main() -> None:
        rooms = Rooms(lambda _: FakeResponse(200, {**FIELDS, **fields}, b"mine"))
        outcome = await rooms.ask(rooms.lookup())
        assert isinstance(outcome.plan.answer, Relay)
        assert (outcome.entry, outcome.plan.may_share) == (None, may_share)
        assert not rooms.store.values

    run(main())


def test_a_validated_response_keeps_its_body_and_takes_the_new_fields() -> None:
    async def main() -> None:
        rooms = Rooms()
        await rooms.ask(lookup := rooms.lookup())
        await asyncio.sleep(61)
        rooms.origin.answer = lambda _: page(b"", 304, content_length=None, x_new="1")
        outcome = await rooms.ask(lookup)
        assert rooms.origin.asked[-1].fields["if-none-match"] == '"1"'
        assert outcome.entry is not None
        assert rooms.held(lookup) is outcome.entry
        assert (outcome.entry.body, outcome.entry.fields["x-new"]) == (b"body", "1")

    run(main())


def test_a_304_that_validates_nothing_stored_is_asked_for_in_full() -> None:
    async def main() -> None:
        rooms = Rooms()
        await rooms.ask(lookup := rooms.lookup())
        await asyncio.sleep(61)
        discarded = page(b"", 304, etag='"other"')
        rooms.origin.answer = lambda asked: discarded if "if-none-match" in asked.fields else page(b"new!")
        outcome = await rooms.ask(lookup)
        assert ["if-none-match" in asked.fields for asked in rooms.origin.asked] == [False, True, False]
        assert outcome.entry is not None
        assert outcome.entry.body == b"new!"

    run(main())


@pytest.mark.parametrize(
    ("stored_for_seconds", "answer"),
    [
        pytest.param(None, Fail, id="nothing is stored"),
        pytest.param(61, Reuse, id="what is stored may stand in"),
        pytest.param(10_000, Fail, id="the time for that is over"),
    ],
)
def test_where_the_origin_fails(stored_for_seconds: int | None, answer: type) -> None:
    async def main() -> None:
        rooms = Rooms(
            settings=Settings(origin="https://o.example", profile=SETTINGS.profile, stale_if_error=60)
        )
        lookup = rooms.lookup()
        if stored_for_seconds is not None:
            await rooms.ask(lookup)
            await asyncio.sleep(stored_for_seconds)
        rooms.origin.answer = gone
        outcome = await rooms.ask(lookup)
        assert isinstance(outcome.plan.answer, answer)
        assert rooms.faults == ["origin: gone"]
        assert not outcome.is_sound

    run(main())


def test_what_was_ended_while_the_origin_was_asked_stands_in_for_nothing() -> None:
    async def main() -> None:
        rooms = Rooms()
        await rooms.ask(lookup := rooms.lookup())
        await asyncio.sleep(61)
        question = await rooms.question(lookup)
        assert question.ask.fallback
        rooms.origin.answer, rooms.origin.seconds = gone, 5
        asking = asyncio.create_task(rooms.asker.ask(question))
        await asyncio.sleep(1)
        rooms.storage.marks.mark_here([url_mark(lookup.request.target)], Lane.HARD, rooms.timing.now_ms())
        assert isinstance((await asking).plan.answer, Fail)

    run(main())


def test_failures_in_a_row_open_the_breaker_and_an_answer_closes_it() -> None:
    async def main() -> None:
        rooms = Rooms(settings=Settings(origin="https://o.example", breaker_failures=3, refresh_throttle=0.0))
        await rooms.ask(lookup := rooms.lookup())
        await asyncio.sleep(61)
        question = await rooms.question(lookup)
        subject, health = rooms.asker.subject(question), rooms.asker.health
        rooms.origin.answer = gone
        for failures in range(1, 4):
            await rooms.asker.ask(question)
            expected = Reason.BREAKER_OPEN if failures == 3 else None
            assert health.rests(subject, rooms.timing.now_ms()) is expected
        assert rooms.counters.counts.series["breaker_openings"]
        rooms.origin.answer = lambda _: page()
        await rooms.asker.ask(question)
        assert health.rests(subject, rooms.timing.now_ms()) is None

    run(main())


def test_a_field_that_a_response_nominates_is_shown_and_asked_for_again_once() -> None:
    async def main() -> None:
        rooms = Rooms(
            lambda asked: page(asked.fields.get("user-agent", "nobody").encode(), vary="User-Agent")
        )
        first = await rooms.ask(rooms.lookup(user_agent="one"))
        assert [asked.fields.get("user-agent") for asked in rooms.origin.asked] == [None, "one"]
        assert first.entry is not None
        assert first.entry.body == b"one"
        await rooms.ask(rooms.lookup(user_agent="two"))
        assert [asked.fields.get("user-agent") for asked in rooms.origin.asked[2:]] == ["two"]

    run(main())


def test_a_body_that_was_too_large_and_does_not_say_so_is_not_collected_for_ten_minutes() -> None:
    async def main() -> None:
        rooms = Rooms(
            lambda _: page(b"x" * 3000, content_length=None),
            Settings(
                origin="https://o.example", max_body_bytes=2000, memory_item_bytes=1000, lifetime_jitter=0
            ),
        )
        stored = []
        for _ in range(3):
            outcome = await rooms.ask(rooms.lookup())
            stored.append((outcome.fill is not None, outcome.plan.store is not None))
            assert rooms.held(rooms.lookup()) is None
            await asyncio.sleep(400)
        assert stored == [(True, False), (False, False), (True, False)]
        assert [fault.partition(":")[0] for fault in rooms.faults] == ["store", "store"]

    run(main())


PRIVATE = Rule(name="mine", paths=("/a",), data_class=DataClass.PRIVATE, cookies=("user",))


@pytest.mark.parametrize(
    ("rule", "cookie", "marks"),
    [
        pytest.param(Rule(paths=("/a",)), "", True, id="by a mark, for all that is stored for the URL"),
        pytest.param(PRIVATE, "user=1", False, id="by itself, where others have their own"),
    ],
)
def test_an_answer_that_says_it_is_gone_ends_what_is_stored(rule: Rule, cookie: str, *, marks: bool) -> None:
    async def main() -> None:
        rooms = Rooms(settings=replace(SETTINGS, rules=(rule,)))
        lookup = rooms.lookup(cookie=cookie) if cookie else rooms.lookup()
        entry = (await rooms.ask(lookup)).entry
        assert entry is not None
        await asyncio.sleep(61)
        rooms.origin.answer = lambda _: page(b"gone", 410, cache_control="no-store")
        question = await rooms.question(lookup)
        outcome = await rooms.asker.ask(question)
        assert rooms.storage.marks.is_gone(lookup, entry.key, entry.record), "for this isolate at once"
        await rooms.asker.intake.keep(lookup, outcome, None)
        assert (f"m2/h/{url_mark(lookup.request.target)}" in rooms.store.values) is marks
        elsewhere = Storage(rooms.store, FakeBodies(), rooms.timing, rooms.settings, lambda *_: None)
        found = (await elsewhere.records.find_in_store(lookup)).entry
        assert (found is not None) is marks, "a mark leaves it there"

    run(main())


async def _fails(*_: object) -> Reason:
    return Reason.HOOK_FAILED


async def _renames(_: HookRequest, response: HookResponse) -> HookResponse:
    return HookResponse(response.status, {**response.fields, "cache-control": "max-age=5"}, response.body)


@pytest.mark.parametrize(
    ("hook", "lifetime_ms"),
    [
        pytest.param(_renames, 5000, id="the fields that the hook makes are stored"),
        pytest.param(_fails, None, id="what a hook fails on is not stored"),
    ],
)
def test_the_hook_after_the_origin(hook: object, lifetime_ms: int | None) -> None:
    async def main() -> None:
        rooms = Rooms(hooks=Hooks(after_origin=hook))  # type: ignore[arg-type]  # one of the two
        outcome = await rooms.ask(lookup := rooms.lookup())
        entry = rooms.held(lookup)
        found = entry.freshness(lookup.rule, rooms.settings).lifetime_ms if entry else None
        assert found == lifetime_ms
        assert outcome.plan.may_share is (lifetime_ms is not None)

    run(main())


def test_an_answer_that_turns_out_to_be_too_large_ends_what_is_stored() -> None:
    async def main() -> None:
        rooms = Rooms(
            settings=Settings(
                origin="https://o.example", max_body_bytes=2000, memory_item_bytes=1000, lifetime_jitter=0
            )
        )
        entry = (await rooms.ask(lookup := rooms.lookup())).entry
        assert entry is not None
        await asyncio.sleep(61)
        rooms.origin.answer = lambda _: page(b"x" * 3000, content_length=None, etag='"2"')
        await rooms.ask(lookup)
        assert rooms.storage.marks.is_gone(lookup, entry.key, entry.record)

    run(main())
