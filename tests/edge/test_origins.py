"""Which of several origins is asked, and how one that was away comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from origin_sdk_edge.counters import Counters
from origin_sdk_edge.origins import Origins
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.ports import OriginError
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.fakes import FakeResponse, FakeTiming

FIRST, SECOND = "https://first.example", "https://second.example"
RULE = Rule(origins=(FIRST, SECOND))
GET, POST = (RequestFacts(method, parse_target("https://a.example/x"), {}) for method in ("GET", "POST"))


class World:
    """Two origins: what each does is set, and whom each request asked is noted."""

    def __init__(self) -> None:
        self.timing = FakeTiming()
        self.away: dict[str, OriginFailure | int] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.asked: list[str] = []
        settings = Settings()
        self.counters = Counters(settings)
        self.origins = Origins(settings, self, self.timing, lambda *_: None, self.counters)

    async def fetch(
        self, _request: RequestFacts, _fields: Mapping[str, str], _body: Any, _seconds: float, base: str
    ) -> FakeResponse:
        self.asked.append(base)
        if base in self.held:
            await self.held[base].wait()
        match self.away.get(base):
            case OriginFailure() as failure:
                raise OriginError(failure, "away")
            case status:
                return FakeResponse(status or 200, {}, base.encode())

    async def ask(self, request: RequestFacts = GET, rule: Rule = RULE) -> FakeResponse | None:
        """Ask, and return the response; ``None`` for none."""
        self.asked.clear()
        try:
            response: Any = await self.origins.fetch(rule, request, {}, b"x" if request is POST else None)
        except OriginError:
            return None
        return response  # type: ignore[no-any-return]  # the fake's own

    def later(self, seconds: float) -> None:
        self.timing.ms += int(seconds * 1000)


@pytest.mark.parametrize("failure", [OriginFailure.TIMEOUT, OriginFailure.UNREACHABLE, 502, 503, 504, 522])
async def test_one_that_is_away_rests_and_is_tried_by_one_request(failure: OriginFailure | int) -> None:
    world = World()
    world.away[FIRST] = failure
    assert await world.ask()
    assert world.asked == [FIRST, SECOND]
    assert await world.ask()
    assert world.asked == [SECOND]

    world.later(11)
    world.held[FIRST] = asyncio.Event()
    trial = asyncio.create_task(world.ask())
    await asyncio.sleep(0)
    for _ in range(3):
        assert await world.ask()
        assert world.asked == [SECOND], "only one request waits for what may still be away"
    world.held[FIRST].set()
    assert await trial
    assert await world.ask()
    assert world.asked == [SECOND], "it rests once more"

    world.later(11)
    del world.away[FIRST]
    assert await world.ask()
    assert world.asked == [FIRST]
    assert await world.ask()
    assert world.asked == [FIRST], "it is back"


async def test_a_trial_that_is_lost_is_made_again() -> None:
    world = World()
    world.away[FIRST] = OriginFailure.TIMEOUT
    await world.ask()
    world.later(11)
    world.held[FIRST] = asyncio.Event()
    lost = asyncio.create_task(world.ask())
    await asyncio.sleep(0)
    lost.cancel()
    world.held.clear()
    world.away.clear()
    world.later(26)
    assert await world.ask()
    assert world.asked == [FIRST]


async def test_a_write_tries_nobody_out() -> None:
    world = World()
    world.away[FIRST] = 503
    assert await world.ask(POST)
    assert world.asked == [FIRST], "it may have arrived: it isn't sent again"
    assert await world.ask(POST)
    assert world.asked == [SECOND], "the next one goes where there is an answer"
    world.later(11)
    assert await world.ask(POST)
    assert world.asked == [SECOND]
    assert await world.ask()
    assert world.asked == [FIRST, SECOND], "what may be sent again tries it"


async def test_where_there_are_only_writes_one_of_them_tries_it_in_the_end() -> None:
    world = World()
    world.away[FIRST] = 503
    await world.ask(POST)
    world.later(71)
    await world.ask(POST)
    assert world.asked == [FIRST]
    assert await world.ask(POST)
    assert world.asked == [SECOND], "it rests once more"
    world.later(71)
    world.away.clear()
    for _ in range(2):
        assert await world.ask(POST)
        assert world.asked == [FIRST], "it is back"


@pytest.mark.parametrize("failure", [OriginFailure.TIMEOUT, OriginFailure.UNREACHABLE])
async def test_a_client_that_breaks_off_its_content_or_is_slow_says_nothing_of_an_origin(
    failure: OriginFailure,
) -> None:
    world = World()
    world.away[FIRST] = failure
    assert await world.ask(POST) is None
    world.away.clear()
    assert await world.ask()
    assert world.asked == [FIRST]
    assert world.counters.away() == ()


async def test_where_all_are_away_all_are_asked_and_any_may_come_back() -> None:
    world = World()
    world.away = {FIRST: OriginFailure.UNREACHABLE, SECOND: 503}
    answer = await world.ask()
    assert answer
    assert answer.status == 503
    for _ in range(3):
        await world.ask()
        assert sorted(world.asked) == [FIRST, SECOND]
    del world.away[SECOND]
    assert await world.ask()
    assert await world.ask()
    assert world.asked == [SECOND]


async def test_a_weighted_one_that_is_away_is_passed_over_in_the_same_way() -> None:
    world = World()
    rule = Rule(origins=(FIRST, SECOND), weights=(1000, 0.001))
    world.away[FIRST] = OriginFailure.TIMEOUT
    for asked in ([FIRST, SECOND], [SECOND]):
        assert await world.ask(rule=rule)
        assert world.asked == asked
