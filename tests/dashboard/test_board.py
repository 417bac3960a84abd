"""What is shown follows from what was counted."""

from __future__ import annotations

import json
import time

import pytest

from origin_sdk._values.reasons import REASONS
from origin_sdk.dashboard.board import Window, board, cost, month_start, usage
from origin_sdk.dashboard.ranges import RANGES, Range
from origin_sdk.dashboard.tallies import Tally
from tests.dashboard.worlds import HOST, Made, huge, nothing, shop_step

NOW = 1_764_355_000.0
HOUR = RANGES["1h"]
_BOARD_SECONDS = 1.0


def step(*answers: tuple[str, str, int], rule: str = "r", status: str = "2xx") -> Tally:
    made = Tally()
    for reason, tier, count in answers:
        made.counts.add("requests", (HOST, rule, reason, tier, status), count)
    return made


def window(*steps: Tally, before: Tally | None = None) -> Window:
    """The last steps of an hour, in order."""
    starts = HOUR.starts(NOW)[-len(steps) :]
    earlier = {HOUR.starts_before(NOW)[0]: before} if before else {}
    return Window.of(HOUR, NOW, dict(zip(starts, steps, strict=True)), earlier)


@pytest.mark.parametrize("span", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("now", [NOW, NOW + 0.5, 1_764_374_400.0])
def test_a_range_is_its_points_up_to_now(span: Range, now: float) -> None:
    starts = span.starts(now)
    assert len(starts) == span.points <= 200
    assert starts[-1] <= now < starts[-1] + span.step
    assert span.starts_before(now)[-1] + span.step == starts[0]


def test_hits_are_what_did_not_wait_for_the_origin() -> None:
    tiers = ("memory", "kv", "stale", "validated", "collapsed", "miss", "pass", "own")
    shown = board(window(step(*[("fresh", tier, 10) for tier in tiers])))
    assert (shown["totals"]["requests"], shown["totals"]["hits"]) == (80, 30)
    assert shown["totals"]["hit_ratio"] == pytest.approx(3 / 8)
    assert shown["series"]["hit_ratio"][-1] == pytest.approx(3 / 8)
    assert shown["series"]["hit_ratio"][0] is None
    assert shown["rules"][0]["hits"] == 30


def test_reasons_are_of_those_that_did_not_hit_with_the_remedy_and_the_rules() -> None:
    first = step(("fresh", "memory", 100), ("no-freshness", "miss", 3), ("absent", "miss", 5))
    second = step(("no-freshness", "miss", 4), ("set-cookie", "pass", 1), rule="other")
    shown = board(window(first, second))["reasons"]
    assert [(each["reason"], each["requests"]) for each in shown] == [
        ("no-freshness", 7),
        ("absent", 5),
        ("set-cookie", 1),
    ]
    assert shown[0]["remedy"] == REASONS["no-freshness"].remedy
    assert shown[0]["rules"] == [{"name": "other", "requests": 4}, {"name": "r", "requests": 3}]
    assert not shown[1]["remedy"]
    assert sum(each["share"] for each in shown) == pytest.approx(1)


def test_what_was_before_is_there_to_compare_with() -> None:
    assert board(window(step(("fresh", "memory", 1))))["before"] is None
    shown = board(window(step(("fresh", "memory", 1)), before=step(("absent", "miss", 4))))
    assert shown["before"]["requests"] == 4


def test_latency_is_of_the_histogram() -> None:
    made = step(("absent", "miss", 4))
    for value in (0.02, 0.02, 0.02, 3.0):
        made.counts.observe("origin_seconds", value, ("r",))
    spread = board(window(made))["totals"]["origin"]
    assert 0.01 < spread["p50"] <= 0.025
    assert 2.5 < spread["p99"] <= 5.0
    assert spread["mean"] == pytest.approx(0.765)


def test_dollars_are_the_price_tables() -> None:
    made = step(("fresh", "kv", 1_000_000))
    made.counts.add("kv_keys", ("read", "record"), 2_000_000)
    made.counts.add("kv_keys", ("write", "record"), 100_000)
    used = usage(made.counts)
    shown = cost([used, used], used, 30 * 86_400, 2e9)
    assert shown["so_far"] == pytest.approx(2 * (0.30 + 2 * 0.50 + 0.1 * 5))
    assert shown["month"] == pytest.approx(0.30 + 1.00 + 0.50 + 2 * 0.50)
    assert shown["beyond_included"] == pytest.approx(0.50)  # of 2 GB one is included, and all the rest


def test_a_month_is_of_the_calendar_in_utc() -> None:
    assert month_start(NOW) == 1_761_955_200  # 2025-11-01


@pytest.mark.parametrize("make", [shop_step, nothing])
@pytest.mark.parametrize("name", RANGES)
def test_all_of_it_is_json(make: object, name: str) -> None:
    shown = board(Made(make).window(RANGES[name], NOW))  # type: ignore[arg-type]  # one of the two
    assert json.loads(json.dumps(shown, allow_nan=False)) == json.loads(json.dumps(shown))


def test_much_is_shown_in_part_and_quickly() -> None:
    made = huge(NOW, 20)
    shown = window(*[made] * 3)
    began = time.monotonic()
    drawn = board(shown)
    assert time.monotonic() - began < _BOARD_SECONDS
    assert len(drawn["rules"]) == 50
    assert len(json.dumps(drawn)) < 200_000
