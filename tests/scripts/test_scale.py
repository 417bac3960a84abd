"""`scripts/bench scale`: what grows and what falls with the traffic of a simulated world."""

from __future__ import annotations

import pytest

from scripts.benches.scale import World, object_requests


@pytest.mark.timeout(120)
def test_more_traffic_costs_less_a_request() -> None:
    few, many = (World(rate, 0.01, 40).run() for rate in (2_000, 50_000))
    assert many.share("memory") > few.share("memory")
    assert many.dollars < few.dollars
    assert many.origin_rate / 50_000 < few.origin_rate / 2_000
    assert 0 < many.kv_keys < few.kv_keys


@pytest.mark.timeout(120)
def test_purges_reach_the_origin_and_end_within_their_bound() -> None:
    quiet, busy = (World(20_000, purges, 90).run() for purges in (0.01, 5.0))
    assert busy.origin_rate > quiet.origin_rate
    outdated = busy.others.outdated_ms
    assert outdated.count > 0
    assert outdated.quantile(1.0) < 2 * 65_000  # a bucket is twice its least value


def test_a_busy_location_asks_the_purge_log_less_than_once_a_second() -> None:
    quiet, busy = (object_requests(rate, 100, 0.0, seconds=300) for rate in (10, 10_000))
    assert quiet > 900_000
    assert busy < 10_000
