"""What comes of the origin's answer: what is stored, freshened, ended and invalidated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from origin_sdk_edge.policy.decision import VALID, Ask, Forward
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.policy.outcome import Fail, Plan, Relay, Reuse, on_forwarded, on_origin
from origin_sdk_edge.policy.relay import http_date
from origin_sdk_edge.policy.reuse import on_stored
from origin_sdk_wire.facts import Fields, Reason, ResponseFacts
from origin_sdk_wire.fields import combined
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import group_mark, host_group_mark, host_groups_mark, url_mark
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.storability import unstored_fields
from tests.policy.tables import (
    CC,
    NOW,
    PART,
    SAFE,
    STRICT,
    TAGGED,
    TEN,
    URL,
    decide,
    looked_up,
    request,
    stored,
)


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
