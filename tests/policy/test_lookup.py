"""What the cache looks for, and what it takes no part in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from origin_sdk_edge.policy.decision import Forward
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.facts import Fields, Reason
from origin_sdk_wire.settings import Rule
from tests.policy.tables import NOW, STRICT, looked_up, request

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
