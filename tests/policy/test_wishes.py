"""What a client wishes of the cache, and how far it is followed (RFC 9111 section 5.2.1)."""

from __future__ import annotations

import pytest

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.wishes import (
    knows_better,
    refused_by_client,
    request_stale_if_error_ms,
    takes_stale,
    wishes_of,
)
from origin_sdk_wire.directives import Directives, request_directives
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Settings

NOW_MS = 1_795_744_800_000
TARGET = parse_target("https://api.example/a")


def client(**fields: str) -> RequestFacts:
    return RequestFacts("GET", TARGET, {name.replace("_", "-"): value for name, value in fields.items()})


def stored(age_seconds: int) -> Record:
    came_ms = NOW_MS - age_seconds * 1000
    return Record(200, came_ms, came_ms, 0, (("etag", '"1"'),), ())


def wished(text: str) -> Directives:
    return request_directives({"cache-control": text})


@pytest.mark.parametrize(
    ("fields", "age_seconds", "settings", "counts"),
    [
        pytest.param({"cache_control": "no-cache"}, 11, Settings(), {"no-cache"}, id="of what is older"),
        pytest.param({"cache_control": "no-cache, max-stale"}, 9, Settings(), {"max-stale"}, id="no demand"),
        pytest.param({"pragma": "no-cache"}, 11, Settings(), {"no-cache"}, id="Pragma"),
        pytest.param(
            {"cache_control": "no-cache"},
            11,
            Settings(honour_request_directives=False),
            set(),
            id="none where the settings say so",
        ),
    ],
)
def test_a_demand_counts_unless_the_origin_answered_just_now(
    fields: dict[str, str], age_seconds: int, settings: Settings, counts: set[str]
) -> None:
    assert wishes_of(client(**fields), stored(age_seconds), NOW_MS, settings).arguments.keys() == counts


@pytest.mark.parametrize(
    ("wish", "age_ms", "staleness_ms", "reason"),
    [
        pytest.param("", 5000, 0, None, id="none"),
        pytest.param("no-cache", 0, -9000, Reason.REQUEST_NO_CACHE, id="no-cache"),
        pytest.param("max-age=5", 5000, -9000, None, id="not older than max-age"),
        pytest.param("max-age=5", 5001, -9000, Reason.REQUEST_MAX_AGE, id="older"),
        pytest.param("max-age=0", 0, -9000, Reason.REQUEST_MAX_AGE, id="max-age=0 takes nothing stored"),
        pytest.param("min-fresh=9", 0, -9000, None, id="fresh for as long as min-fresh"),
        pytest.param("min-fresh=10", 0, -9000, Reason.REQUEST_MIN_FRESH, id="fresh for less"),
    ],
)
def test_a_client_refuses(wish: str, age_ms: int, staleness_ms: int, reason: Reason | None) -> None:
    assert refused_by_client(wished(wish), age_ms, staleness_ms) is reason


@pytest.mark.parametrize(
    ("wish", "staleness_ms", "takes"),
    [
        pytest.param("", 1, False, id="nothing stale by default"),
        pytest.param("max-stale", 10**9, True, id="anything"),
        pytest.param("max-stale=5", 5000, True, id="as stale as it says"),
        pytest.param("max-stale=5", 5001, False, id="staler"),
        pytest.param("max-stale=x", 1, False, id="an invalid bound"),
    ],
)
def test_a_client_takes_what_is_stale(wish: str, staleness_ms: int, takes: bool) -> None:
    assert takes_stale(wished(wish), staleness_ms) is takes


def test_a_precondition_on_another_response_asks_for_a_newer_one() -> None:
    for age_seconds, tag, better in ((11, '"2"', True), (11, '"1"', False), (9, '"2"', False)):
        record = stored(age_seconds)
        assert knows_better(client(if_match=tag), record, {"etag": '"1"'}, NOW_MS, Settings()) is better


def test_a_request_grants_itself_a_window() -> None:
    assert request_stale_if_error_ms({"cache-control": "stale-if-error=5"}) == 5000
    assert request_stale_if_error_ms({"cache-control": "no-cache"}) == 0
    assert request_stale_if_error_ms({}) == 0
