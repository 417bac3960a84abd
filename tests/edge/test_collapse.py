"""Who asks the origin, who waits for whom and how long, and what those who waited are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.ports import OriginError
from origin_sdk_wire.marks import Lane, url_mark
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import START_MS, FakePieces, FakeResponse, Sent
from tests.edge.rooms import Rooms, page
from tests.edge.virtual import run


def said(sent: Sent) -> str:
    """Return what Cache-Status says, without the cache's name."""
    return sent.fields["cache-status"].partition("; ")[2]


async def both(rooms: Rooms, first: Mapping[str, str], second: Mapping[str, str]) -> tuple[Sent, Sent]:
    """Send a second request while the first one waits for the origin."""
    rooms.origin.seconds = 2
    leading = asyncio.create_task(rooms.get(**first))
    await asyncio.sleep(1)
    return await rooms.get(**second), await leading


@pytest.mark.parametrize(
    ("answer", "language", "requests", "second"),
    [
        pytest.param(
            page(), "de", 1, "fwd=uri-miss; ttl=58; collapsed; detail=absent", id="what may be stored"
        ),
        pytest.param(
            page(cache_control="private"),
            "de",
            2,
            "fwd=uri-miss; fwd-status=200; detail=private",
            id="not what is for one client: each asks for itself",
        ),
        pytest.param(
            page(vary="Accept-Language"),
            "fr",
            2,
            "fwd=uri-miss; fwd-status=200; ttl=58; stored; detail=absent",
            id="not what another request selects",
        ),
    ],
)
def test_who_waits_is_sent(answer: FakeResponse, language: str, requests: int, second: str) -> None:
    async def main() -> None:
        rooms = Rooms(lambda _: FakeResponse(answer.status, answer.fields, answer.body))
        waited, led = await both(rooms, {"accept-language": "de"}, {"accept-language": language})
        assert (waited.body, led.body) == (b"body", b"body")
        assert len(rooms.origin.asked) == requests
        assert said(waited) == second

    run(main())


def test_a_response_for_one_client_alone_is_waited_for_no_more_for_ten_seconds() -> None:
    async def main() -> None:
        rooms = Rooms(lambda _: page(cache_control="private"))
        await rooms.get()
        second, first = await both(rooms, {}, {})
        assert len(rooms.origin.asked) == 3
        assert ["apart=hit-for-miss" in said(each) for each in (first, second)] == [True, True]
        await asyncio.sleep(11)
        asked = len(rooms.origin.asked)
        rooms.origin.answer = lambda _: page()
        await both(rooms, {}, {})
        assert len(rooms.origin.asked) == asked + 1

    run(main())


def test_a_failure_is_shared_by_all_that_waited_for_it() -> None:
    def fails(_: RequestFacts) -> FakeResponse:
        raise OriginError(OriginFailure.TIMEOUT, "late")

    async def main() -> None:
        rooms = Rooms(fails)
        second, first = await both(rooms, {}, {})
        assert (first.status, second.status) == (504, 504)
        assert len(rooms.origin.asked) == 1
        assert ("collapsed" in said(first), "collapsed" in said(second)) == (False, True)

    run(main())


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        pytest.param("HEAD", {}, id="HEAD, which brings no body"),
        pytest.param("GET", {"range": "bytes=0-1"}, id="a range that leads: its part is no answer to others"),
    ],
)
def test_nobody_waits_for(method: str, fields: Mapping[str, str]) -> None:
    async def main() -> None:
        rooms = Rooms()
        rooms.origin.seconds = 2
        alone = asyncio.create_task(rooms.answered(rooms.lookup(method, **fields)))
        await asyncio.sleep(1)
        await asyncio.gather(alone, rooms.get())
        assert len(rooms.origin.asked) == 2
        assert rooms.timing.now_ms() - START_MS == 3000, "they were asked for side by side"

    run(main())


def test_who_loses_patience_with_a_silent_origin_leads_another_flight() -> None:
    async def main() -> None:
        rooms = Rooms(settings=Settings(origin="https://o.example", collapse_timeout=10, lifetime_jitter=0.0))
        rooms.origin.seconds = 3600
        lost = asyncio.create_task(rooms.get())
        await asyncio.sleep(1)
        impatient = asyncio.create_task(rooms.get())
        rooms.origin.seconds = 5
        await asyncio.sleep(11)
        later = asyncio.create_task(rooms.get())
        assert [each.body for each in await asyncio.gather(impatient, later)] == [b"body"] * 2
        assert len(rooms.origin.asked) == 2, "who comes later waits for that one"
        lost.cancel()

    run(main())


SLOW = Settings(origin="https://o.example", soft_timeout=3.0, lifetime_jitter=0.0)


def test_a_stale_response_is_sent_where_the_origin_is_slow_and_the_late_one_is_kept() -> None:
    async def main() -> None:
        rooms = Rooms(settings=SLOW)
        await rooms.get()
        await asyncio.sleep(61)
        rooms.origin.answer, rooms.origin.seconds = (lambda _: page(b"late")), 20
        began_ms = rooms.timing.now_ms()
        leading = asyncio.create_task(rooms.get())
        await asyncio.sleep(1)
        waited, led = await rooms.get(), await leading
        assert [(each.body, "detail=slow-origin" in said(each)) for each in (waited, led)] == [
            (b"body", True)
        ] * 2
        assert rooms.timing.now_ms() - began_ms == 4000, "three seconds each"
        await rooms.background.done()
        assert (await rooms.get()).body == b"late"
        assert len(rooms.origin.asked) == 2

    run(main())


def test_what_was_purged_while_it_came_is_asked_for_once_more_for_all_that_came_later() -> None:
    async def main() -> None:
        rooms = Rooms(lambda _: page(b"old"))
        rooms.origin.seconds = 2
        leading = asyncio.create_task(rooms.get())
        await asyncio.sleep(1)
        waiting = [asyncio.create_task(rooms.get()) for _ in range(3)]
        await asyncio.sleep(0.5)
        rooms.storage.marks.mark_here(
            [url_mark(rooms.lookup().request.target)], Lane.HARD, rooms.timing.now_ms()
        )
        rooms.origin.answer = lambda _: page(b"new")
        assert [each.body for each in await asyncio.gather(*waiting)] == [b"new"] * 3
        assert (await leading).body == b"old"
        assert len(rooms.origin.asked) == 2

    run(main())


def test_an_origin_that_rests_is_not_asked_for_what_can_be_answered_otherwise() -> None:
    def away(_: RequestFacts) -> FakeResponse:
        raise OriginError(OriginFailure.UNREACHABLE, "gone")

    async def main() -> None:
        rooms = Rooms()
        await rooms.get()
        await asyncio.sleep(61)
        rooms.origin.answer = away
        sent = [await rooms.get() for _ in range(3)]
        assert [each.body for each in sent] == [b"body"] * 3
        assert ["throttled" in said(each) for each in sent] == [False, True, True]
        assert len(rooms.origin.asked) == 2
        await asyncio.sleep(11)
        await rooms.get()
        assert len(rooms.origin.asked) == 3

    run(main())


def test_what_clients_wish_for_and_is_not_stored_is_asked_for_every_ten_seconds_at_most() -> None:
    async def main() -> None:
        rooms = Rooms()
        await rooms.get()
        await asyncio.sleep(11)
        rooms.origin.answer = lambda _: page(b"busy", 400)
        sent = [await rooms.get(cache_control="no-cache") for _ in range(2)]
        assert [each.body for each in sent] == [b"busy", b"body"]
        assert "throttled" in said(sent[1])
        await asyncio.sleep(11)
        await rooms.get(cache_control="no-cache")
        assert len(rooms.origin.asked) == 3

    run(main())


class Halves(FakeResponse):
    """A response whose body comes in two pieces, a second apart."""

    def pieces(self) -> FakePieces:
        half = len(self.body) // 2
        return LatePieces([self.body[:half], self.body[half:]])


class LatePieces(FakePieces):
    async def is_near(self, seconds: float) -> bool:
        return seconds >= 1

    async def next(self) -> bytes | None:
        await asyncio.sleep(1)
        return await super().next()


def test_a_body_is_fed_to_all_that_wait_while_it_comes() -> None:
    async def main() -> None:
        large = b"x" * 4000
        fields = {"cache-control": "max-age=60", "content-length": "4000"}
        rooms = Rooms(
            lambda _: Halves(200, fields, large), Settings(origin="https://o.example", memory_item_bytes=1000)
        )
        second, first = await both(rooms, {}, {})
        assert rooms.timing.now_ms() - START_MS < 4000, "the second half is still on its way"
        await rooms.background.done()
        assert (bytes(first.body), bytes(second.body)) == (large, large)
        assert len(rooms.origin.asked) == 1
        assert "collapsed" in said(second)

    run(main())


def test_a_fault_in_the_background_reaches_the_request_that_led() -> None:
    def breaks(_: RequestFacts) -> FakeResponse:
        raise RuntimeError("a fault of ours")

    async def main() -> None:
        rooms = Rooms(breaks)
        with pytest.raises(RuntimeError, match="a fault of ours"):
            await rooms.get()
        with pytest.raises(RuntimeError):
            await rooms.background.done()
        assert rooms.collapse.flights.current(rooms.lookup().key) is None

    run(main())
