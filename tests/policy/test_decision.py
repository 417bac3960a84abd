from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin_sdk_edge.policy.answer import answer_from
from origin_sdk_edge.policy.decision import VALID, Ask, Forward, Invalidity, Lookup, Refuse, Use
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.outcome import Fail, Plan, Relay, Reuse, on_forwarded, on_origin
from origin_sdk_edge.policy.relay import http_date, outbound_fields, relayed_fields
from origin_sdk_edge.policy.reuse import on_stored
from origin_sdk_edge.policy.status import FwdReason, cache_status
from origin_sdk_wire.choices import DataClass, Profile
from origin_sdk_wire.facts import Fields, Reason, ResponseFacts
from origin_sdk_wire.fields import combined
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import group_mark, host_group_mark, host_groups_mark, url_mark
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.storability import unstored_fields

NOW = 1_795_744_800_000
URL = "https://api.example/products?page=2"
STRICT = Settings(
    profile=Profile.RFC9111, stale_if_error=0, heuristic_fraction=0.1, lifetime_jitter=0.0, soft_timeout=0.0
)
SAFE = Settings(lifetime_jitter=0.0)
CC = "cache-control"


def request(fields: Fields | None = None, method: str = "GET", url: str = URL) -> RequestFacts:
    return RequestFacts(method, parse_target(url), fields or {})


def looked_up(
    fields: Fields | None = None,
    *,
    method: str = "GET",
    settings: Settings = STRICT,
    rule: Rule | None = None,
) -> Lookup:
    settings = replace(settings, rules=(rule,)) if rule else settings
    decision = on_request(request(fields, method), settings, NOW)
    assert isinstance(decision, Lookup)
    return decision


def stored(fields: Fields, *, age: int = 0, status: int = 200) -> Record:
    moment_ms = NOW - age * 1000
    return Record(status, moment_ms, moment_ms, 0, tuple(fields.items()), body_bytes=7)


def decide(
    record: Record | None,
    asked: Fields | None = None,
    *,
    settings: Settings = STRICT,
    invalidity: Invalidity = VALID,
    method: str = "GET",
) -> Use | Ask | Refuse:
    fields = combined(record.fields) if record else {}
    lookup = looked_up(asked, method=method, settings=settings)
    return on_stored(lookup, record, fields, invalidity, NOW, settings)


_LOGGED_IN = Rule(bypass_cookies=frozenset({"sessionid", "wp_in_*"}), ignore_cookies=True)


@pytest.mark.parametrize("cookies", ["_ga=sessionid", "Sessionid=a", "xsessionid=a", "wp_i=a", ""])
def test_whoever_has_none_of_these_cookies_shares_and_the_origin_sees_no_cookie(cookies: str) -> None:
    lookup = looked_up({"cookie": cookies}, settings=replace(STRICT, rules=(_LOGGED_IN,)))
    assert lookup.request.fields == {}


@pytest.mark.parametrize(
    ("fields", "method", "rule", "reason"),
    [
        pytest.param({}, "POST", None, Reason.METHOD, id="a POST"),
        pytest.param({}, "OPTIONS", None, Reason.METHOD, id="an OPTIONS"),
        pytest.param({}, "PURGE", None, Reason.METHOD, id="an unknown method"),
        pytest.param({"if-match": '"a"'}, "GET", None, Reason.PRECONDITION, id="If-Match"),
        pytest.param(
            {"if-unmodified-since": "x"}, "GET", None, Reason.PRECONDITION, id="If-Unmodified-Since"
        ),
        pytest.param({"content-length": "3"}, "GET", None, Reason.BODY, id="a GET with a body"),
        pytest.param({"transfer-encoding": "chunked"}, "GET", None, Reason.BODY, id="with a chunked one"),
        pytest.param({"upgrade": "websocket"}, "GET", None, Reason.UPGRADE, id="an upgrade"),
        pytest.param({}, "GET", Rule(bypass=True), Reason.BYPASS_RULE, id="a rule that says so"),
        pytest.param({}, "GET", Rule(data_class=DataClass.NEVER), Reason.CLASS_NEVER, id="the class never"),
        *(
            pytest.param({"cookie": text}, "GET", _LOGGED_IN, Reason.BYPASS_COOKIE, id=f"the cookie {text}")
            for text in ("sessionid=a", "a=1; sessionid=", " sessionid =a", "wp_in_7=x; a", "sessionid")
        ),
    ],
)
def test_what_isnt_looked_up(fields: Fields, method: str, rule: Rule | None, reason: Reason) -> None:
    settings = replace(STRICT, rules=(rule,)) if rule else STRICT
    decision = on_request(request(fields, method), settings, NOW)
    assert isinstance(decision, Forward)
    assert decision.reason is reason


def test_the_origin_sees_no_precondition_of_the_clients() -> None:
    conditions = {"if-none-match": '"a"', "if-modified-since": "x", "range": "bytes=0-1", "if-range": '"a"'}
    lookup = looked_up({**conditions, "x-a": "1"})
    assert lookup.request.fields == {"x-a": "1"}
    assert lookup.client.fields.keys() == {*conditions, "x-a"}


TEN = {CC: "max-age=10"}
TAGGED = {**TEN, "etag": '"a"'}

USES: list[object] = [
    pytest.param(TEN, 0, {}, Reason.FRESH, id="fresh"),
    pytest.param(TEN, 9, {}, Reason.FRESH, id="still fresh"),
    pytest.param(TEN, 9, {CC: "max-age=9"}, Reason.FRESH, id="as old as the client allows"),
    pytest.param(TEN, 5, {CC: "min-fresh=5"}, Reason.FRESH, id="as fresh as the client wants"),
    pytest.param(TEN, 12, {CC: "max-stale=2"}, Reason.MAX_STALE, id="as stale as the client allows"),
    pytest.param(TEN, 99, {CC: "max-stale"}, Reason.MAX_STALE, id="any staleness"),
    pytest.param(
        {CC: "max-age=10, stale-while-revalidate=5"},
        12,
        {},
        Reason.STALE_WHILE_REVALIDATE,
        id="in the window",
    ),
]


@pytest.mark.parametrize(("fields", "age", "asked", "reason"), USES)
def test_what_is_used(fields: Fields, age: int, asked: Fields, reason: Reason) -> None:
    decision = decide(stored(fields, age=age), asked)
    assert isinstance(decision, Use)
    assert decision.reason is reason
    assert decision.refresh is (reason is Reason.STALE_WHILE_REVALIDATE)


@pytest.mark.parametrize(
    ("fields", "age", "asked", "forwarded", "reason"),
    [
        pytest.param(TEN, 10, {}, FwdReason.STALE, Reason.STALE, id="as old as its lifetime"),
        pytest.param(TEN, 5, {CC: "no-cache"}, FwdReason.REQUEST, Reason.REQUEST_NO_CACHE, id="no-cache"),
        pytest.param(TEN, 5, {"pragma": "no-cache"}, FwdReason.REQUEST, Reason.REQUEST_NO_CACHE, id="Pragma"),
        pytest.param(TEN, 5, {CC: "max-age=4"}, FwdReason.REQUEST, Reason.REQUEST_MAX_AGE, id="too old"),
        pytest.param(TEN, 0, {CC: "max-age=0"}, FwdReason.REQUEST, Reason.REQUEST_MAX_AGE, id="max-age=0"),
        pytest.param(
            TEN,
            5,
            {CC: "min-fresh=6"},
            FwdReason.REQUEST,
            Reason.REQUEST_MIN_FRESH,
            id="not fresh enough",
        ),
        pytest.param(TEN, 13, {CC: "max-stale=2"}, FwdReason.STALE, Reason.STALE, id="too stale"),
        pytest.param(TEN, 13, {CC: "max-stale=x"}, FwdReason.STALE, Reason.STALE, id="an invalid max-stale"),
        pytest.param(
            {CC: "max-age=10, no-cache"}, 0, {}, FwdReason.STALE, Reason.NO_CACHE, id="its no-cache"
        ),
        pytest.param(
            {CC: "s-maxage=10"},
            12,
            {CC: "max-stale"},
            FwdReason.STALE,
            Reason.STALE,
            id="s-maxage, stale",
        ),
    ],
)
def test_what_is_asked_about(
    fields: Fields, age: int, asked: Fields, forwarded: FwdReason, reason: Reason
) -> None:
    decision = decide(stored(fields, age=age), asked)
    assert isinstance(decision, Ask)
    assert (decision.forwarded, decision.reason) == (forwarded, reason)


@pytest.mark.parametrize("ahead_ms", [-5000, -1, 0, 1, 2000])
@pytest.mark.parametrize("settings", [STRICT, SAFE], ids=["strict", "safe"])
def test_a_soft_purge_makes_stale_also_while_its_moment_lies_ahead(settings: Settings, ahead_ms: int) -> None:
    purged = Invalidity(soft_ms=NOW + ahead_ms)
    assert decide(stored(TEN, age=0), settings=settings).reason is Reason.FRESH
    decision = decide(stored(TEN, age=0), settings=settings, invalidity=purged)
    assert isinstance(decision, Ask)
    assert decision.reason is Reason.PURGED_SOFT


def test_after_a_write_nothing_is_used_before_the_origin_was_asked() -> None:
    fields = {CC: "max-age=10, stale-while-revalidate=60, stale-if-error=60", "etag": '"1"'}
    soft = Invalidity(soft_ms=NOW)
    assert decide(stored(fields), settings=SAFE, invalidity=soft).reason is Reason.STALE_WHILE_REVALIDATE
    decision = decide(stored(fields), settings=SAFE, invalidity=replace(soft, must_validate=True))
    assert isinstance(decision, Ask)
    assert (decision.reason, decision.fallback) == (Reason.PURGED_SOFT, True)
    assert decision.conditional == {"if-none-match": '"1"'}


@pytest.mark.parametrize(
    ("asked", "age", "is_used"),
    [
        pytest.param({CC: "no-cache"}, 9, True, id="no-cache, of what has just come"),
        pytest.param({CC: "no-cache"}, 10, False, id="no-cache"),
        pytest.param({CC: "max-age=0"}, 9, True, id="max-age, of what has just come"),
        pytest.param({CC: "max-age=0"}, 10, False, id="max-age"),
        pytest.param({"pragma": "no-cache"}, 9, True, id="Pragma, of what has just come"),
        pytest.param({"pragma": "no-cache"}, 10, False, id="Pragma"),
        pytest.param({"if-match": '"2"'}, 9, True, id="another tag, of what has just come"),
        pytest.param({"if-match": '"2"'}, 10, False, id="another tag"),
        pytest.param({"if-match": '"1"'}, 10, True, id="its tag"),
        pytest.param({CC: "only-if-cached, no-cache"}, 9, True, id="only-if-cached"),
        pytest.param({CC: "no-store"}, 10, True, id="no-store"),
    ],
)
def test_a_client_has_asked_anew_only_what_is_not_recent(asked: Fields, age: int, *, is_used: bool) -> None:
    record = stored({CC: "max-age=60", "etag": '"1"'}, age=age)
    assert isinstance(decide(record, asked, settings=SAFE), Use) is is_used


def test_request_directives_can_be_switched_off() -> None:
    settings = replace(STRICT, honour_request_directives=False)
    assert isinstance(decide(stored(TEN), {CC: "no-cache"}, settings=settings), Use)
    assert isinstance(decide(None, {CC: "only-if-cached"}, settings=settings), Ask)


def test_only_if_cached_never_asks() -> None:
    assert isinstance(decide(None, {CC: "only-if-cached"}), Refuse)
    assert isinstance(decide(stored(TEN, age=11), {CC: "only-if-cached"}), Refuse)
    assert isinstance(decide(stored(TEN), {CC: "only-if-cached"}), Use)


@pytest.mark.parametrize(
    ("invalidity", "reason", "keeps"),
    [
        pytest.param(Invalidity(hard_ms=NOW), Reason.PURGED_HARD, False, id="a hard purge"),
        pytest.param(Invalidity(soft_ms=NOW), Reason.PURGED_SOFT, True, id="a soft purge"),
        pytest.param(Invalidity(is_unknown=True), Reason.MARKS_UNKNOWN, True, id="marks that can't be read"),
    ],
)
def test_purges(invalidity: Invalidity, reason: Reason, *, keeps: bool) -> None:
    decision = decide(stored(TAGGED), invalidity=invalidity)
    assert isinstance(decision, Ask)
    assert decision.reason is reason
    assert bool(decision.stored) is keeps
    assert bool(decision.conditional) is keeps


def test_a_soft_purge_leaves_stale_while_revalidate_in_force() -> None:
    fields = {CC: "max-age=1000, stale-while-revalidate=60"}
    decision = decide(stored(fields, age=100), invalidity=Invalidity(soft_ms=NOW - 5000))
    assert isinstance(decision, Use)
    assert decision.refresh


@pytest.mark.parametrize(
    ("fields", "age", "settings", "fallback", "disconnected"),
    [
        pytest.param(TEN, 20, STRICT, False, True, id="stale"),
        pytest.param(TEN, 20, SAFE, True, True, id="stale, in the safe profile's window"),
        pytest.param(TEN, 90_000, SAFE, False, False, id="stale, beyond the safe profile's window"),
        pytest.param({CC: "max-age=10, stale-if-error=20"}, 20, STRICT, True, True, id="in its window"),
        pytest.param({CC: "max-age=10, stale-if-error=5"}, 20, STRICT, False, False, id="beyond its window"),
        pytest.param({CC: "max-age=10, must-revalidate"}, 20, SAFE, False, False, id="must-revalidate"),
        pytest.param({CC: "s-maxage=10"}, 20, STRICT, False, False, id="s-maxage"),
    ],
)
def test_what_may_stand_in(
    fields: Fields, age: int, settings: Settings, *, fallback: bool, disconnected: bool
) -> None:
    decision = decide(stored(fields, age=age), settings=settings)
    assert isinstance(decision, Ask)
    assert (decision.fallback, decision.when_disconnected) == (fallback, disconnected)


def test_a_stored_error_never_stands_in() -> None:
    decision = decide(stored({CC: "max-age=1, stale-if-error=99"}, age=9, status=500))
    assert isinstance(decision, Ask)
    assert not decision.when_disconnected


PART = {**TAGGED, "content-range": "bytes 0-6/20"}


@pytest.mark.parametrize(
    ("asked", "conditional"),
    [
        pytest.param({"range": "bytes=0-6"}, None, id="the same range"),
        pytest.param({"range": "bytes=2-3"}, None, id="a range within it"),
        pytest.param({"range": "bytes=0-9"}, {"range": "bytes=0-9"}, id="a range beyond it"),
        pytest.param({"range": "bytes=-3"}, {"range": "bytes=-3"}, id="the last bytes"),
        pytest.param({}, {"range": "bytes=7-19", "if-range": '"a"'}, id="the whole"),
        pytest.param({"range": "lines=1"}, {"range": "lines=1"}, id="another unit"),
    ],
)
def test_a_stored_part(asked: Fields, conditional: Fields | None) -> None:
    decision = decide(stored(PART, status=206), asked)
    if conditional is None:
        assert isinstance(decision, Use)
    else:
        assert isinstance(decision, Ask)
        assert decision.reason is Reason.PARTIAL
        assert decision.conditional == conditional


def test_a_stale_part_is_asked_for_anew() -> None:
    decision = decide(stored(PART, age=99, status=206), {"range": "bytes=0-3"})
    assert isinstance(decision, Ask)
    assert decision.stored is None
    assert decision.conditional == {"range": "bytes=0-3"}


def outcome(
    status: int,
    fields: Fields,
    record: Record | None = None,
    *,
    asked: Fields | None = None,
    settings: Settings = STRICT,
    method: str = "GET",
    cookies: tuple[str, ...] = (),
    took_ms: int = 0,
) -> Plan:
    lookup = looked_up(asked, method=method, settings=settings)
    known = combined(record.fields) if record else {}
    ask = on_stored(lookup, record, known, VALID, NOW, settings)
    assert isinstance(ask, Ask)
    response = ResponseFacts(status, fields, NOW - took_ms, NOW, cookies)
    return on_origin(lookup, ask, response, known, settings)


ONE = {CC: "max-age=1"}


@pytest.mark.parametrize(
    ("fields", "took_ms", "settings", "reason"),
    [
        (ONE, 900, SAFE, None),
        (ONE, 1000, SAFE, None),
        (ONE, 1000, replace(SAFE, stale_if_error=0), Reason.EXPIRED),
        (ONE, SAFE.stale_if_error * 1000 + 1000, SAFE, Reason.EXPIRED),
        ({**ONE, "date": http_date(NOW - 1)}, 5, SAFE, None),
        ({**ONE, "date": http_date(NOW - 2000)}, 5, SAFE, Reason.EXPIRED),
        ({**ONE, "age": "1"}, 5, SAFE, Reason.EXPIRED),
        ({CC: "max-age=1, must-revalidate"}, 1000, SAFE, Reason.EXPIRED),
        ({CC: "max-age=1, stale-if-error=0"}, 1000, SAFE, Reason.EXPIRED),
        ({CC: "max-age=1, no-cache"}, 1000, SAFE, Reason.NO_CACHE),
    ],
    ids=[
        "in time",
        "a slow origin",
        "nothing stands in",
        "slower than it may be of use",
        "the clock turned to the next second",
        "sent with an old Date",
        "sent with an Age",
        "must-revalidate",
        "by its own word not",
        "no-cache",
    ],
)
def test_what_used_up_its_lifetime_on_the_way_is_kept_for_when_the_origin_fails(
    fields: Fields, took_ms: int, settings: Settings, reason: Reason | None
) -> None:
    plan = outcome(200, fields, settings=settings, took_ms=took_ms)
    assert (plan.store is None, plan.status.detail) == (reason is not None, reason or Reason.ABSENT)


@pytest.mark.parametrize(
    ("status", "fields", "asked", "settings", "reason"),
    [
        pytest.param(200, TEN, {}, STRICT, Reason.STORED, id="a lifetime"),
        pytest.param(200, {}, {}, STRICT, Reason.NO_FRESHNESS, id="no lifetime"),
        pytest.param(200, {"etag": '"a"'}, {}, STRICT, Reason.STORED, id="a validator"),
        pytest.param(200, {"etag": '"a"'}, {}, SAFE, Reason.NO_FRESHNESS, id="a validator alone, safe"),
        pytest.param(302, {}, {}, STRICT, Reason.STATUS, id="a status without heuristics"),
        pytest.param(304, TEN, {}, STRICT, Reason.STATUS, id="a 304 out of the blue"),
        pytest.param(206, PART, {}, STRICT, Reason.PARTIAL, id="a part that wasn't asked for"),
        pytest.param(206, PART, {"range": "bytes=0-6"}, STRICT, Reason.STORED, id="a part"),
        pytest.param(206, TEN, {"range": "bytes=0-6"}, STRICT, Reason.PARTIAL, id="a part of nothing"),
        pytest.param(416, TEN, {"range": "bytes=0-6"}, STRICT, Reason.PARTIAL, id="a range not satisfied"),
        pytest.param(600, TEN, {}, STRICT, Reason.STATUS, id="a status beyond HTTP's"),
        pytest.param(200, {CC: "max-age=9, no-store"}, {}, STRICT, Reason.NO_STORE, id="no-store"),
        pytest.param(200, {CC: "max-age=9, private"}, {}, STRICT, Reason.PRIVATE, id="private"),
        pytest.param(200, {**TEN, "vary": "x, *"}, {}, STRICT, Reason.VARY_ANY, id="Vary: *"),
        pytest.param(200, TEN, {CC: "no-store"}, STRICT, Reason.REQUEST_NO_STORE, id="a request's no-store"),
        pytest.param(200, TEN, {"authorization": "x"}, STRICT, Reason.AUTHORIZATION, id="credentials"),
        pytest.param(
            299, {CC: "max-age=9, must-understand"}, {}, STRICT, Reason.NOT_UNDERSTOOD, id="not understood"
        ),
        pytest.param(
            200, {**TEN, "x": "caf\ufffd"}, {}, STRICT, Reason.BAD_FIELD, id="a field that was lost"
        ),
        pytest.param(200, {**TEN, "x": "y" * 70_000}, {}, STRICT, Reason.TOO_LARGE, id="large fields"),
        pytest.param(200, TEN, {"cookie": "a"}, SAFE, Reason.COOKIE, id="cookies, safe"),
        pytest.param(200, TEN, {"cookie": "a"}, STRICT, Reason.STORED, id="cookies, strict"),
        pytest.param(503, TEN, {}, SAFE, Reason.SERVER_ERROR, id="an error, safe"),
        pytest.param(503, TEN, {}, STRICT, Reason.STORED, id="an error, strict"),
        pytest.param(200, {CC: "max-age=0"}, {}, SAFE, Reason.NO_FRESHNESS, id="stale at once, safe"),
        pytest.param(
            200, {CC: "max-age=0, stale-if-error=9"}, {}, SAFE, Reason.STORED, id="for errors, safe"
        ),
        pytest.param(
            200,
            {**TEN, "cache-groups": ", ".join(f'"{n}"' for n in range(257))},
            {},
            STRICT,
            Reason.TOO_MANY_GROUPS,
            id="too many groups",
        ),
    ],
)
def test_what_is_stored(
    status: int, fields: Fields, asked: Fields, settings: Settings, reason: Reason
) -> None:
    plan = outcome(status, fields, asked=asked, settings=settings)
    assert isinstance(plan.answer, Relay)
    if reason is Reason.STORED:
        assert plan.store is not None
        assert plan.status.stored
    else:
        assert plan.store is None
        assert plan.status.detail is reason


def test_cookies_are_stored_in_the_strict_profile_alone() -> None:
    strict = outcome(200, TEN, cookies=("a=1", "b=2")).store
    assert strict is not None
    assert [value for name, value in strict.fields if name == "set-cookie"] == ["a=1", "b=2"]
    assert outcome(200, TEN, cookies=("a=1",), settings=SAFE).status.detail is Reason.SET_COOKIE


def test_what_isnt_stored_of_a_response() -> None:
    fields = {
        CC: 'max-age=10, no-cache="x-a", private="X-B"',
        "connection": "x-c",
        **dict.fromkeys(("x-a", "x-b", "x-c", "x-d", "age", "keep-alive", "cache-status", "cache-tag"), "1"),
    }
    record = outcome(200, fields).store
    assert record is not None
    assert {name for name, _ in record.fields} == {CC, "x-d"}
    assert record.groups == ("1",)
    shown = dict(unstored_fields(ResponseFacts(200, fields, NOW, NOW), Rule(), SAFE))
    assert shown.keys() == {"x-a", "x-b", "cache-status"}


def test_a_304_freshens() -> None:
    plan = outcome(304, {CC: "max-age=99", "etag": '"a"', "x-a": "new"}, stored(TAGGED, age=20))
    assert isinstance(plan.answer, Reuse)
    assert plan.freshen == plan.answer.record
    assert plan.answer.record.response_ms == NOW
    assert dict(plan.answer.record.fields)["x-a"] == "new"


def test_a_304_about_another_response_asks_again() -> None:
    assert outcome(304, {"etag": '"b"'}, stored(TAGGED, age=20)).again


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_isnt_kept(status: int) -> None:
    assert outcome(status, {}, stored(TAGGED, age=20)).marks == (url_mark(parse_target(URL)),)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_error_gives_way_to_what_is_stored(status: int) -> None:
    assert isinstance(outcome(status, {}, stored(TEN, age=20)).answer, Reuse)
    forbidden = stored({CC: "max-age=10, must-revalidate"}, age=20)
    assert isinstance(outcome(status, {}, forbidden).answer, Relay)


@pytest.mark.parametrize("failure", list(OriginFailure))
def test_a_failure_gives_way_to_what_is_stored(failure: OriginFailure) -> None:
    lookup, record = looked_up(), stored(TEN, age=20)
    ask = decide(record)
    assert isinstance(ask, Ask)
    assert isinstance(on_origin(lookup, ask, failure, TEN, STRICT).answer, Reuse)
    nothing = decide(None)
    assert isinstance(nothing, Ask)
    assert isinstance(on_origin(lookup, nothing, failure, {}, STRICT).answer, Fail)


def test_parts_are_joined() -> None:
    rest = {**PART, "content-range": "bytes 7-19/20"}
    plan = outcome(206, rest, stored(PART, status=206))
    assert plan.join is not None
    assert plan.store is not None
    assert plan.store.status == 200
    assert "content-range" not in dict(plan.store.fields)


def test_a_range_beyond_the_end_leaves_the_stored_part_alone() -> None:
    asked = {"range": "bytes=4-30"}
    plan = outcome(416, {**TEN, "content-range": "bytes */20"}, stored(PART, status=206), asked=asked)
    assert isinstance(plan.answer, Relay)
    assert plan.store is None
    assert not plan.again


def test_a_part_that_doesnt_fit_is_no_answer_to_a_request_for_the_whole() -> None:
    other = {**PART, "etag": '"b"', "content-range": "bytes 7-19/20"}
    assert outcome(206, other, stored(PART, status=206)).again
    asked = outcome(206, other, stored(PART, status=206), asked={"range": "bytes=7-19"})
    assert asked.store is not None
    assert asked.join is None


@pytest.mark.parametrize(
    ("method", "status", "fields", "marks"),
    [
        pytest.param("POST", 200, {}, {URL}, id="a POST"),
        pytest.param("DELETE", 303, {}, {URL}, id="a redirect"),
        pytest.param("FOO", 200, {}, {URL}, id="an unknown method"),
        pytest.param("POST", 400, {"location": "/x"}, set(), id="a failure"),
        pytest.param("POST", 201, {"location": "/x"}, {URL, "https://api.example/x"}, id="Location"),
        pytest.param("POST", 201, {"location": "x?y"}, {URL, "https://api.example/x?y"}, id="a relative one"),
        pytest.param(
            "PUT", 200, {"content-location": "?p"}, {URL, "https://api.example/products?p"}, id="a query"
        ),
        pytest.param("PUT", 200, {"content-location": "//b.example/"}, {URL}, id="another host"),
        pytest.param("PUT", 200, {"location": "http://api.example/x"}, {URL}, id="another scheme"),
        pytest.param("PUT", 200, {"location": "https://api.example:444/"}, {URL}, id="another port"),
        pytest.param("PUT", 200, {"location": "mailto:x"}, {URL}, id="no URL"),
        pytest.param("PUT", 200, {"location": "https://["}, {URL}, id="a broken URL"),
        pytest.param("GET", 200, {"location": "/x"}, set(), id="a safe method"),
        pytest.param("QUERY", 200, {}, set(), id="another safe method"),
    ],
)
def test_invalidation(method: str, status: int, fields: Fields, marks: set[str]) -> None:
    forward = Forward(request(method=method), Rule(), Reason.METHOD)
    plan = on_forwarded(forward, ResponseFacts(status, fields, NOW, NOW), STRICT)
    assert set(plan.marks) == {url_mark(parse_target(url)) for url in marks}


def test_what_is_stored_under_an_edited_query_is_invalidated_there() -> None:
    settings = replace(STRICT, rules=(Rule(query_drop=("page",)),))
    plan = on_forwarded(
        Forward(request(method="POST"), Rule(), Reason.METHOD), ResponseFacts(200, {}, NOW, NOW), settings
    )
    assert plan.marks == (url_mark(parse_target("https://api.example/products")),)


@pytest.mark.parametrize(
    ("fields", "settings", "is_stored"),
    [
        pytest.param({**TEN, "content-location": URL}, STRICT, True, id="its own URL"),
        pytest.param({**TEN, "content-location": "/products?page=2"}, STRICT, True, id="its own path"),
        pytest.param({**TEN, "content-location": "/products"}, STRICT, False, id="another URL"),
        pytest.param(TEN, STRICT, False, id="no Content-Location"),
        pytest.param({"etag": '"a"', "content-location": URL}, STRICT, False, id="no explicit freshness"),
        pytest.param({CC: "no-store", "content-location": URL}, STRICT, False, id="no-store"),
        pytest.param({**TEN, "content-location": URL}, SAFE, False, id="the safe profile"),
    ],
)
def test_a_post_that_answers_later_gets(fields: Fields, settings: Settings, *, is_stored: bool) -> None:
    forward = Forward(request({"content-length": "3", "x-a": "1"}, "POST"), Rule(), Reason.METHOD)
    plan = on_forwarded(forward, ResponseFacts(200, fields, NOW - 50, NOW), settings)
    assert bool(plan.store) is is_stored
    if plan.store:
        assert plan.store.birth_ms > NOW
        assert plan.lookup is not None
        assert plan.lookup.request.fields == {"x-a": "1"}


def test_groups_are_invalidated_by_name() -> None:
    fields = {"cache-group-invalidation": '"a", "b"'}
    forward = Forward(request(method="POST"), Rule(), Reason.METHOD)
    plan = on_forwarded(forward, ResponseFacts(500, fields, NOW, NOW), STRICT)
    assert set(plan.marks) == {group_mark("a"), group_mark("b")}
    safe = Forward(request(method="OPTIONS"), Rule(), Reason.METHOD)
    assert not on_forwarded(safe, ResponseFacts(200, fields, NOW, NOW), STRICT).marks


HOST_GROUPS = {host_group_mark("api.example", "a"), host_groups_mark("api.example")}
ITSELF = {url_mark(parse_target(URL))}


@pytest.mark.parametrize(
    ("status", "location", "is_proof"),
    [
        pytest.param(200, "", True, id="200"),
        pytest.param(204, "", True, id="204"),
        pytest.param(303, "/products", True, id="to what was changed"),
        pytest.param(302, "/products?page=1", True, id="found"),
        pytest.param(302, "/login", False, id="a login"),
        pytest.param(302, "/accounts/Sign-In/", False, id="a login by another name"),
        pytest.param(303, "/x?next=%2Fproducts%3Fpage%3D2", False, id="with a way back"),
        pytest.param(302, "https://id.example/", False, id="another host"),
        pytest.param(302, "", False, id="to itself"),
        *(pytest.param(status, "/products", False, id=f"{status}") for status in (301, 307, 308, 304)),
        *(pytest.param(status, "", False, id=f"{status}") for status in (400, 401, 403, 404, 429, 500, 503)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PURGE"])
def test_the_safe_profile_takes_only_proof_for_a_change(
    method: str, status: int, location: str, *, is_proof: bool
) -> None:
    fields = {"cache-group-invalidation": '"a"', **({"location": location} if location else {})}
    forward = Forward(request(method=method), Rule(), Reason.METHOD)
    marks = set(on_forwarded(forward, ResponseFacts(status, fields, NOW, NOW), SAFE).marks)
    assert (marks >= HOST_GROUPS | ITSELF) is is_proof
    assert bool(marks) is is_proof


@pytest.mark.parametrize(
    ("named", "names"),
    [
        pytest.param('"shared-1"', {group_mark("shared-1")}, id="shared"),
        pytest.param('"a"', HOST_GROUPS, id="the host's"),
        pytest.param('"a", "shared-1"', HOST_GROUPS | {group_mark("shared-1")}, id="both"),
        pytest.param('"a", b', set(), id="not a list of strings"),
        pytest.param('" a"', set(), id="no name of a group"),
    ],
)
def test_an_answer_invalidates_the_groups_of_its_host_and_shared_ones(named: str, names: set[str]) -> None:
    settings = replace(SAFE, shared_groups=frozenset({"shared-*"}))
    forward = Forward(request(method="POST"), Rule(), Reason.METHOD)
    plan = on_forwarded(forward, ResponseFacts(200, {"cache-group-invalidation": named}, NOW, NOW), settings)
    assert set(plan.marks) == names | ITSELF


NAMES = st.sampled_from(
    [
        CC,
        "age",
        "date",
        "expires",
        "etag",
        "last-modified",
        "vary",
        "pragma",
        "range",
        "if-range",
        "if-none-match",
        "if-modified-since",
        "content-range",
        "content-length",
        "content-location",
        "location",
        "connection",
        "cdn-cache-control",
        "cache-groups",
        "cache-tag",
        "surrogate-key",
        "cache-group-invalidation",
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "cookie",
        "content-type",
        "cache-status",
        "x-a",
    ]
)
WORDS = st.sampled_from(
    [
        "max-age=10",
        "s-maxage=3",
        "no-cache",
        "no-store",
        "private",
        'no-cache="x-a"',
        "must-understand",
        "max-stale",
        "min-fresh=2",
        "only-if-cached",
        "stale-if-error=9",
        "stale-while-revalidate=9",
        "public",
        '"a"',
        'W/"a"',
        "*",
        "bytes=0-3",
        "bytes 0-3/9",
        "bytes 0-3/*",
        "bytes=-",
        http_date(NOW),
        http_date(NOW - 10**7),
        "x-a",
        "9" * 400,
        "gzip;q=0",
        "\x00",
        "\ufffd",
        "\u0661",
        "=",
        ";",
        '"',
        "\\",
        "https://api.example/x",
        "//[",
        "?",
    ]
)
VALUES = st.lists(WORDS, max_size=4).map(", ".join) | st.text(max_size=30)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=8)
STATUSES = st.sampled_from([200, 204, 206, 299, 301, 304, 404, 410, 416, 500, 503, 599, 600])


@given(
    FIELDS, FIELDS, FIELDS, STATUSES, STATUSES, st.booleans(), st.sampled_from(["GET", "HEAD", "POST", "X"])
)
def test_no_field_breaks_the_policy(
    asked: Mapping[str, str],
    kept: Mapping[str, str],
    came: Mapping[str, str],
    stored_status: int,
    status: int,
    is_safe: bool,
    method: str,
) -> None:
    settings = SAFE if is_safe else STRICT
    response = ResponseFacts(status, came, NOW - 50, NOW, ("a=1",))
    outbound_fields(request(asked), settings)
    relayed_fields(came, came, {"cache-status": "x"}, NOW, STRICT)
    decision = on_request(request(asked, method), settings, NOW)
    if isinstance(decision, Forward):
        on_forwarded(decision, response, settings)
        return
    record = stored(kept, status=min(stored_status, 599))
    fields = combined(record.fields)
    choice = on_stored(decision, record, fields, VALID, NOW, settings)
    if isinstance(choice, Use):
        answer = answer_from(record, fields, decision.client, NOW)
        assert answer.part is None or 0 <= answer.part[0] <= answer.part[1] <= max(7, record.body_bytes)
    elif isinstance(choice, Ask):
        plan = on_origin(decision, choice, response, fields, settings)
        assert cache_status("X", plan.status, "").startswith("X; fwd=")
        if plan.store:
            assert 200 <= plan.store.status <= 599
            assert plan.store.status != 304
