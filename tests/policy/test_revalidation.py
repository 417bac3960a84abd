"""What the cache asks by itself, what goes along of a client's request, and who is alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from origin_sdk_edge.policy.decision import Ask, Lookup, Use
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.revalidation import ABSENT, is_due_ahead, own_lookup, refresh_of, with_conditions
from origin_sdk_edge.policy.selection import nominated, preference
from origin_sdk_edge.policy.server_timing import full_timing, short_timing
from origin_sdk_edge.policy.voice import voice_of
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.metrics import Tier
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import DEFAULT_RULE, Rule, Settings

TARGET = parse_target("https://a.example/x")
RECORD = Record(200, 1000, 1000, 0, (("etag", '"1"'), ("last-modified", "x")), ())


def lookup(method: str = "GET", rule: Rule = DEFAULT_RULE, **fields: str) -> Lookup:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    request = RequestFacts(method, TARGET, named)
    return Lookup(request, request, rule, "r1/https/a.example/x", ())


def test_a_refresh_validates_and_lets_what_is_stored_stand_in() -> None:
    ask = refresh_of(RECORD, dict(RECORD.fields))
    assert ask.conditional["if-none-match"] == '"1"'
    assert (ask.stored, ask.fallback, ask.when_disconnected) == (RECORD, True, True)


@pytest.mark.parametrize(
    ("ahead", "hits", "reason", "ttl_seconds", "is_due"),
    [
        pytest.param(0.1, 2, Reason.FRESH, 5, True, id="hot, in the last tenth"),
        pytest.param(0.1, 2, Reason.FRESH, 6, False, id="before it"),
        pytest.param(0.1, 1, Reason.FRESH, 5, False, id="asked for once"),
        pytest.param(0.1, 2, Reason.STALE_WHILE_REVALIDATE, -1, False, id="stale: refreshed anyway"),
        pytest.param(0.0, 2, Reason.FRESH, 0, False, id="switched off"),
    ],
)
def test_what_is_hot_is_refreshed_ahead(
    ahead: float, hits: int, reason: Reason, ttl_seconds: int, is_due: bool
) -> None:
    use = Use(RECORD, reason, refresh=False, ttl_seconds=ttl_seconds, until_ms=0, lifetime_ms=60_000)
    assert is_due_ahead(use, hits, Settings(refresh_ahead=ahead)) is is_due


def test_a_request_of_the_caches_own_has_no_wishes_of_a_client() -> None:
    own = own_lookup(lookup("HEAD", cache_control="no-cache", accept="text/html")).request
    assert (own.method, own.fields) == ("GET", {"accept": "text/html"})
    unchanged = lookup(accept="text/html")
    assert own_lookup(unchanged) is unchanged


def test_a_clients_conditions_go_along_where_nothing_is_validated() -> None:
    asked = lookup(if_none_match='"9"', range="bytes=0-1")
    bare = replace(asked, request=replace(asked.request, fields={}))
    assert with_conditions(bare, ABSENT).request.fields == {"if-none-match": '"9"', "range": "bytes=0-1"}
    assert with_conditions(bare, replace(ABSENT, stored=RECORD)) is bare
    assert isinstance(ABSENT, Ask)


@pytest.mark.parametrize(
    ("one", "other", "are_alike"),
    [
        pytest.param(lookup(), lookup(accept="a"), True, id="anybody's"),
        pytest.param(lookup(), lookup(cookie="a=1"), False, id="one with a cookie"),
        pytest.param(lookup(cookie="a=1"), lookup(cookie="a=2"), False, id="another cookie"),
        pytest.param(lookup(), lookup(cache_control="no-store"), False, id="one that may not be stored"),
        pytest.param(lookup(), lookup(cache_control="no-cache"), True, id="one that wants it new"),
        pytest.param(
            lookup(rule=Rule(data_class=DataClass.PRIVATE), cookie="a=1"),
            lookup(rule=Rule(data_class=DataClass.PRIVATE), cookie="a=2"),
            True,
            id="whose key names the client",
        ),
    ],
)
def test_who_shares_a_failure(one: Lookup, other: Lookup, are_alike: bool) -> None:
    assert (voice_of(one) == voice_of(other)) is are_alike


def test_a_coded_response_is_for_clients_that_accept_it() -> None:
    coded = replace(RECORD, fields=(("content-encoding", "br"), ("vary", "Accept-Language")))
    assert nominated(coded) == ("accept-encoding", "accept-language")
    assert preference(coded) > preference(replace(RECORD, response_ms=9999)), (
        "what varies before what doesn't"
    )
    assert preference(replace(coded, response_ms=2000)) > preference(coded), "then the most recent"


def test_server_timing_shows_no_character_that_ends_it() -> None:
    assert short_timing(Tier.MISS, 17) == "cache;desc=miss;dur=17"
    assert full_timing(Tier.MISS, "absent", 'a "rule"\n', 17, [("kv", 0), ("origin", 9)]) == (
        'cache;desc="miss: absent by a ?rule??";dur=17, origin;dur=9'
    )
