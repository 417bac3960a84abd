"""What `origin-sdk doctor --live` says of each way in which a deployed Worker may fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat

import pytest

from origin_sdk._edge.diagnosis import Grade
from origin_sdk._edge.live import Answer, Counted, Trial, try_live
from origin_sdk._values.errors import ConnectionFailed, RequestRejected
from origin_sdk_wire.exposition import AwayOrigin

MISS, HIT, NONE = "EdgeCache; fwd=uri-miss; stored", "EdgeCache; hit; ttl=3", ""


class World:
    """A Worker: what it says at each request before the first purge, and at each one after it; a clock."""

    def __init__(
        self,
        before: Sequence[str],
        after: Sequence[str] = (),
        count: Callable[[], Counted] = lambda: Counted(30, 2),
    ) -> None:
        self._before, self._after = self._all(before), self._all(after or [HIT])
        self.purges, self.now, self.count = 0, 0.0, count

    @staticmethod
    def _all(said: Sequence[str]) -> list[str]:
        return [*said, *repeat(said[-1], 2000)]

    def ask(self) -> Answer:
        said = (self._after if self.purges else self._before).pop(0)
        self.now += 0.05
        return Answer(200, {"cache-status": said, "cf-ray": "8f-FRA"} if said else {}, 0.05)

    def purge(self) -> None:
        self.purges += 1

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def found(self) -> list[tuple[str, Grade, str]]:
        trial = Trial("https://a/1", self.ask, self.purge, self.count, self.pause, lambda: self.now, 65.0)
        return [(each.check, each.verdict, each.message) for each in try_live(trial)]


def test_all_is_well() -> None:
    found = World([MISS, MISS, HIT], [HIT, HIT, MISS, HIT]).found()
    assert {verdict for _, verdict, _ in found} == {Grade.GOOD}
    assert [check for check, _, _ in found] == [
        "address",
        "store",
        "latency",
        "purge",
        "store",
        "counts",
        "origins",
        "left behind",
    ]
    messages = " ".join(message for _, _, message in found)
    assert "at FRA" in messages
    assert "20 hits: median 50 ms, slowest 50 ms" in messages
    assert "seen here after 0.7 s; every location sees it within 65 s" in messages


def _refused() -> Counted:
    raise RequestRejected("the Worker shows its counts to clients that send its DEBUG_SECRET", status=404)


@pytest.mark.parametrize(
    ("world", "check", "verdict", "told"),
    [
        pytest.param(World([NONE]), "address", Grade.BAD, "doesn't reach", id="no cache answers"),
        pytest.param(World([MISS]), "store", Grade.BAD, "origin-sdk why https://a/1", id="never a hit"),
        pytest.param(
            World([HIT], [HIT]), "purge", Grade.BAD, "EDGE_CACHE_NAMESPACE_ID", id="a purge that isn't seen"
        ),
        pytest.param(
            World([HIT], [MISS]), "store", Grade.WARNING, "not stored again yet", id="not stored again"
        ),
        pytest.param(
            World([HIT], [MISS, HIT], _refused), "counts", Grade.WARNING, "DEBUG_SECRET", id="no counts"
        ),
    ],
)
def test_what_fails_is_named_with_what_to_do(world: World, check: str, verdict: Grade, told: str) -> None:
    assert [
        message
        for each, graded, message in world.found()
        if (each, graded) == (check, verdict) and told in message
    ]
    assert world.purges <= 1


def test_what_makes_no_sense_any_more_is_not_tried() -> None:
    world = World([MISS])
    assert [check for check, _, _ in world.found()] == ["address", "store"]
    assert world.purges == 0


def test_no_answer_is_a_problem() -> None:
    world = World([HIT])

    def fail() -> Answer:
        raise ConnectionFailed("https://a/1 gave no answer: refused")

    world.ask = fail  # type: ignore[method-assign]  # the network is away
    assert world.found() == [("live", Grade.BAD, "https://a/1 gave no answer: refused")]


def test_origins_that_are_away_are_named() -> None:
    away = AwayOrigin("a.example", 1_795_744_800_000, 1_795_744_830_000, 3, "origin-timeout")
    found = World([MISS, HIT], [MISS, HIT], lambda: Counted(30, 2, [away])).found()
    [(verdict, message)] = [(grade, told) for check, grade, told in found if check == "origins"]
    assert verdict is Grade.WARNING
    assert message == (
        "a.example has given no answer since 2026-11-27 02:00:00 UTC (3 tries, the last at "
        "2026-11-27 02:00:30): origin-timeout"
    )
