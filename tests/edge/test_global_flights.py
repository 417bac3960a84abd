"""One request to the origin in the world: boards and pilots of several isolates, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from origin_sdk_edge.global_flights.board import Board, Bounds, Carried, Landing, Role, Ticket
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.ports import OriginError, StoreError
from origin_sdk_wire.choices import SingleFlight
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import Lane, url_mark
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.fakes import FakeBackground, FakeEdge, FakeResponse, Sent
from tests.edge.virtual import VirtualTiming, run

URL = "http://api.example/dear"
FRESH = {"cache-control": "max-age=60", "content-type": "text/plain"}
BOARD_KEY = "key"


@dataclass
class SlowOrigin:
    """Answers after a time, with a number that tells its answers apart."""

    fields: Mapping[str, str] = field(default_factory=lambda: FRESH)
    seconds: float = 2.0
    status: int = 200
    fails: bool = False
    requests: list[RequestFacts] = field(default_factory=list)
    body: Callable[[int], bytes] = lambda number: str(number).encode()

    async def fetch(self, request: RequestFacts, *_: Any) -> FakeResponse:
        self.requests.append(request)
        number = len(self.requests)
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise OriginError(OriginFailure.TIMEOUT, "it takes too long")
        return FakeResponse(self.status, {**self.fields, "n": str(number)}, self.body(number))


class Place:
    """A board, 20 ms away; ``is_away`` cuts it off."""

    def __init__(self) -> None:
        self.board = Board(VirtualTiming())
        self.is_away = False
        self.is_deaf = False
        """Whether leaders aren't heard of."""

    async def _reach(self) -> None:
        await asyncio.sleep(0.02)
        if self.is_away:
            raise StoreError("cut off")

    async def join(self, key: str, since_ms: int, patience_seconds: float) -> Ticket:
        await self._reach()
        return await self.board.join(key, since_ms, patience_seconds)

    async def beat(self, key: str, number: int) -> None:
        await self._reach()
        if not self.is_deaf:
            self.board.beat(key, number)

    async def land(self, key: str, number: int, landing: Landing) -> None:
        await self._reach()
        if not self.is_deaf:
            self.board.land(key, number, landing)


class World:
    """Isolates at as many locations, whose KV shows none what another has stored."""

    def __init__(self, origin: SlowOrigin, isolates: int = 3, **settings: Any) -> None:
        rule = Rule("dear", single_flight=SingleFlight.GLOBAL)
        configured = Settings(origin="http://origin", rules=(rule,), lifetime_jitter=0.0, **settings)
        self.origin, self.place = origin, Place()
        self.isolates = [
            FakeEdge(configured, _never, timing=VirtualTiming(), origin=origin, flights=self.place)
            for _ in range(isolates)
        ]
        self.background = FakeBackground()

    async def ask(self, isolate: int, after: float = 0.0, fields: Mapping[str, str] | None = None) -> Sent:
        await asyncio.sleep(after)
        sent: Sent = (await self.isolates[isolate].full("GET", URL, fields or {})).response
        return sent

    async def ask_all(self, times: int = 2, **given: Any) -> list[Sent]:
        """Ask so often at each isolate, one shortly after the other."""
        asked = [
            self.ask(isolate, 0.01 * number, **given)
            for number, isolate in enumerate(list(range(len(self.isolates))) * times)
        ]
        return list(await asyncio.gather(*asked))


def _never(request: RequestFacts) -> FakeResponse:
    raise AssertionError(request)


def _told(sent: Sent) -> str:
    return sent.fields["cache-status"]


def test_all_isolates_share_one_answer() -> None:
    async def main() -> None:
        world = World(SlowOrigin())
        answers = await world.ask_all()
        assert [sent.body for sent in answers] == [b"1"] * 6
        assert len(world.origin.requests) == 1
        assert sum("; collapsed" in _told(sent) for sent in answers) == 5
        # And who comes later, where KV doesn't show it yet.
        world.isolates[2].storage.memory.drop(
            next(iter(world.isolates[2].store.values), "r1/http/api.example/dear")
        )
        assert (await world.ask(2)).body == b"1"
        assert len(world.origin.requests) == 1

    run(main())


@pytest.mark.parametrize(
    ("origin", "fields", "requests"),
    [
        pytest.param(SlowOrigin({"cache-control": "private, max-age=60"}), {}, 3 * 2, id="what is private"),
        pytest.param(SlowOrigin({"cache-control": "no-store"}), {}, 3 * 2, id="what may not be stored"),
        pytest.param(SlowOrigin(FRESH), {"cookie": "a=b"}, 3, id="what one client's cookie may have made"),
        pytest.param(SlowOrigin(FRESH), {"x-unknown": "b"}, 3, id="what a field that isn't in the key may"),
        pytest.param(SlowOrigin(FRESH, status=500), {}, 3 * 2, id="an error"),
    ],
)
def test_what_others_may_not_have_releases_them(
    origin: SlowOrigin, fields: Mapping[str, str], requests: int
) -> None:
    async def main() -> None:
        world = World(origin)
        answers = await world.ask_all(fields=fields)
        assert len(world.origin.requests) >= requests
        if requests == 6:
            assert len({sent.body for sent in answers}) == 6
        # Nobody waits behind one after the other.
        assert asyncio.get_running_loop().time() < 2 * origin.seconds + 1

    run(main())


def test_a_failure_is_shared_and_nobody_tries_one_after_the_other() -> None:
    async def main() -> None:
        world = World(SlowOrigin(fails=True))
        answers = await world.ask_all()
        assert {sent.status for sent in answers} == {504}
        assert len(world.origin.requests) == 1
        assert asyncio.get_running_loop().time() < 3

    run(main())


def test_a_lost_leader_is_replaced_by_one_of_those_who_wait() -> None:
    async def main() -> None:
        world = World(SlowOrigin())
        lost = await world.place.board.join("r1/http/api.example/dear", 0, 1.0)
        assert lost.role is Role.LEAD
        answers = await world.ask_all()
        assert len(world.origin.requests) == 1
        assert {sent.body for sent in answers} == {b"1"}

    run(main())


def test_a_leader_that_is_slow_is_not_lost() -> None:
    async def main() -> None:
        world = World(SlowOrigin(seconds=9.0))
        assert {sent.body for sent in await world.ask_all()} == {b"1"}
        assert len(world.origin.requests) == 1

    run(main())


def test_nobody_waits_longer_than_the_time_that_is_given() -> None:
    async def main() -> None:
        world = World(SlowOrigin(seconds=9.0), collapse_timeout=3.0)
        await world.ask_all(times=1)
        assert len(world.origin.requests) == 3
        assert asyncio.get_running_loop().time() < 13

    run(main())


def test_without_the_board_each_isolate_asks_and_says_so() -> None:
    async def main() -> None:
        world = World(SlowOrigin())
        world.place.is_away = True
        answers = await world.ask_all()
        assert len(world.origin.requests) == 3
        assert sum("; single-flight=unavailable" in _told(sent) for sent in answers) == 3
        assert {where for edge in world.isolates for where, _ in edge.faults} == {"flight"}

    run(main())


def test_a_purge_that_lies_ahead_makes_one_more_request_and_not_one_for_each() -> None:
    async def main() -> None:
        world = World(SlowOrigin(seconds=1.0))

        async def purge() -> None:
            await asyncio.sleep(0.5)
            for edge in world.isolates:
                moment_ms = edge.timing.now_ms() + 5000
                edge.storage.marks.mark_here([url_mark(parse_target(URL))], Lane.HARD, moment_ms)

        answers, _ = await asyncio.gather(world.ask_all(times=3), purge())
        # One that was under way, one that was begun while some joined, and one that is later for all.
        assert (requests := len(world.origin.requests)) <= 3
        assert {sent.body for sent in answers} <= {b"1", b"2", b"3"}
        # Whoever comes after the purge gets what the origin was asked for after it.
        again = {sent.body for sent in await world.ask_all(times=1)}
        assert again <= {str(requests + number).encode() for number in (1, 2)}

    run(main())


def test_only_rules_that_say_so_share_in_the_world() -> None:
    async def main() -> None:
        world = World(SlowOrigin())
        for edge in world.isolates:
            rule = edge.handler.settings.rules[0]
            object.__setattr__(rule, "single_flight", SingleFlight.ISOLATE)
        await world.ask_all()
        assert len(world.origin.requests) == 3

    run(main())


# The board alone


def test_the_board_is_bounded() -> None:
    async def main() -> None:
        board = Board(VirtualTiming(), Bounds(bytes=100, flights=2, waiting=3, waiting_for_one=2))
        assert [(await board.join(str(n), 0, 1)).role for n in range(3)] == [Role.LEAD, Role.LEAD, Role.ALONE]
        waiting = [asyncio.ensure_future(board.join(key, 0, 1)) for key in ("0", "0", "1")]
        await asyncio.sleep(0)
        assert (await board.join("0", 0, 1)).role is Role.ALONE
        assert (await board.join("1", 0, 1)).role is Role.ALONE
        assert {ticket.role for ticket in await asyncio.gather(*waiting)} == {Role.ALONE}
        # Those that are lost, and for which nobody waits, have to go.
        await asyncio.sleep(5)
        assert (await board.join("2", 0, 1)).role is Role.LEAD

    run(main())


def test_a_failure_of_a_leader_that_was_replaced_says_nothing() -> None:
    async def main() -> None:
        board = Board(VirtualTiming())
        first = await board.join(BOARD_KEY, 0, 1)
        second = await board.join(BOARD_KEY, 0, 9)
        assert (first.role, second.role) == (Role.LEAD, Role.LEAD)
        third = asyncio.ensure_future(board.join(BOARD_KEY, 0, 2))
        await asyncio.sleep(0)
        board.land(BOARD_KEY, first.number, Landing(failure=OriginFailure.TIMEOUT))
        assert (await third).role is Role.ALONE

    run(main())


@pytest.mark.parametrize("is_new_leader", [False, True])
def test_a_flight_that_another_object_granted_is_no_later(is_new_leader: bool) -> None:
    async def main() -> None:
        timing = VirtualTiming()
        before = Board(timing)
        await before.join("another", 0, 1)
        first = await before.join(BOARD_KEY, 0, 1)
        await asyncio.sleep(1)
        anew = Board(timing)
        carried = Carried(BOARD_KEY, 1, "{}", b"", 0)
        if is_new_leader:
            assert (await anew.join(BOARD_KEY, 0, 1)).role is Role.LEAD
            waiting = asyncio.ensure_future(anew.join(BOARD_KEY, 0, 1))
            await asyncio.sleep(0)
            anew.land(BOARD_KEY, first.number, Landing(carried))
            ticket = await waiting
        else:
            anew.land(BOARD_KEY, first.number, Landing(carried))
            ticket = await anew.join(BOARD_KEY, 0, 1)
        assert (ticket.carried, ticket.number <= ticket.granted) == (carried, True)

    run(main())
