"""May a response be stored? The reasons, one condition at a time, and which come before others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.storability import may_store, speaks_for_others, unnominated_names
from origin_sdk_wire.choices import DataClass, Profile
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.settings import Rule, Settings

NOW_MS = 1_795_744_800_000
URL = "https://api.example/a?key=secret-value"
RULE, SAFE, STRICT = Rule(), Settings(), Settings(profile=Profile.RFC9111)
PRIVATE = Rule(data_class=DataClass.PRIVATE, cookies=("sid",))
FRESH = {"cache-control": "max-age=60"}


def asked(**fields: str) -> RequestFacts:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return RequestFacts("GET", parse_target(URL), named)


def said(status: int = 200, cookies: tuple[str, ...] = (), **fields: str) -> ResponseFacts:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return ResponseFacts(status, {**FRESH, **named}, NOW_MS, NOW_MS, cookies)


@pytest.mark.parametrize(
    ("request_", "response", "rule", "settings", "reason"),
    [
        pytest.param(asked(), said(), RULE, SAFE, Reason.STORED, id="a success with a lifetime"),
        pytest.param(asked(), said(429), RULE, SAFE, Reason.STATUS, id="a rate limit"),
        pytest.param(asked(), said(cache_control="no-store"), RULE, SAFE, Reason.NO_STORE, id="no-store"),
        pytest.param(asked(), said(cache_control="private"), RULE, SAFE, Reason.PRIVATE, id="private"),
        pytest.param(
            asked(cookie="sid=1"),
            said(cache_control="private, max-age=60"),
            PRIVATE,
            SAFE,
            Reason.STORED,
            id="private of a declared identity",
        ),
        pytest.param(
            asked(cache_control="no-store"), said(), RULE, STRICT, Reason.REQUEST_NO_STORE, id="strictly"
        ),
        pytest.param(
            asked(cache_control="no-store"), said(), RULE, SAFE, Reason.STORED, id="one client's no-store"
        ),
        pytest.param(
            asked(authorization="Bearer t"), said(), RULE, SAFE, Reason.AUTHORIZATION, id="credentials"
        ),
        pytest.param(
            asked(authorization="Bearer t"),
            said(cache_control="public, max-age=60"),
            RULE,
            SAFE,
            Reason.STORED,
            id="credentials, and public",
        ),
        pytest.param(asked(cookie="a=1"), said(), RULE, SAFE, Reason.COOKIE, id="a cookie"),
        pytest.param(asked(cookie="a=1"), said(), RULE, STRICT, Reason.STORED, id="a cookie, strictly"),
        pytest.param(
            asked(cookie="a=1"),
            said(vary="Cookie"),
            RULE,
            SAFE,
            Reason.STORED,
            id="a cookie that is nominated",
        ),
        pytest.param(asked(), said(cookies=("a=1",)), RULE, SAFE, Reason.SET_COOKIE, id="Set-Cookie"),
        pytest.param(asked(), said(vary="*"), RULE, SAFE, Reason.VARY_ANY, id="Vary: *"),
        pytest.param(asked(x_tenant="a"), said(), RULE, SAFE, Reason.UNKEYED_FIELD, id="a field in no key"),
        pytest.param(
            asked(x_tenant="a"), said(vary="X-Tenant"), RULE, SAFE, Reason.STORED, id="one that is nominated"
        ),
        pytest.param(
            asked(),
            said(link="<https://api.example/a?key=secret-value&page=2>"),
            Rule(parameters=("key",)),
            SAFE,
            Reason.SHOWN_PARAMETER,
            id="a hidden parameter in a link",
        ),
        pytest.param(asked(), said(cache_control=""), RULE, SAFE, Reason.NO_FRESHNESS, id="no lifetime"),
    ],
)
def test_may_store(
    request_: RequestFacts, response: ResponseFacts, rule: Rule, settings: Settings, reason: Reason
) -> None:
    assert may_store(request_, response, rule, settings) is reason


@pytest.mark.parametrize(
    ("fields", "speaks"),
    [
        pytest.param({}, True, id="to anybody"),
        pytest.param({"authorization": "Bearer t"}, False, id="to who sent a credential"),
        pytest.param({"cookie": "a=1"}, False, id="to who sent a cookie"),
        pytest.param({"x-tenant": "a"}, False, id="to who sent a field in no key"),
    ],
)
def test_what_one_client_hears_says_nothing_to_others(fields: Mapping[str, str], speaks: bool) -> None:
    request = RequestFacts("GET", parse_target(URL), fields)
    assert speaks_for_others(request, said(), RULE, SAFE) is speaks


def test_names_that_the_key_lacks() -> None:
    assert unnominated_names(asked(x_tenant="a", x_region="b"), said(vary="X-Region"), RULE, SAFE) == (
        "x-tenant",
    )
