"""A declared identity is read as no framework could read it otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from django.http.cookie import parse_cookie as django_cookies
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import cookie_parser as starlette_cookies
from werkzeug.sansio.http import parse_cookie as werkzeug_cookies

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.identity import cookies_of, identity_of
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import claim_text, parse_target, variant_key
from origin_sdk_wire.settings import Rule, Settings

SESSION = Rule(cookies=("session",), data_class=DataClass.PRIVATE)
CURRENCY = Rule(cookies=("currency",))
KEY = Rule(fields=("x-api-key",), data_class=DataClass.PRIVATE)


def identity(rule: Rule, fields: Mapping[str, str]) -> object:
    return identity_of(RequestFacts("GET", parse_target("https://a.test/"), fields), rule, Settings(), 0)


@pytest.mark.parametrize(
    ("rule", "cookie", "expected"),
    [
        pytest.param(SESSION, "session=bob", "bob", id="one"),
        pytest.param(SESSION, "a=1; session=bob;b=2;", "bob", id="among others"),
        pytest.param(SESSION, 'session="bob"', '"bob"', id="in quotes"),
        pytest.param(SESSION, "session=a=b=", "a=b=", id="with signs of equality"),
        pytest.param(SESSION, "Session=bob", Reason.IDENTITY_MISSING, id="of another case"),
        pytest.param(SESSION, "a=1", Reason.IDENTITY_MISSING, id="none"),
        pytest.param(SESSION, "session=", Reason.IDENTITY_MISSING, id="an empty one"),
        pytest.param(SESSION, 'session=""', Reason.IDENTITY_MISSING, id="an empty one in quotes"),
        pytest.param(
            SESSION, "session=bob; session =alice", Reason.MALFORMED_COOKIE, id="a space after a name"
        ),
        pytest.param(SESSION, "session=bob; session=alice", Reason.MALFORMED_COOKIE, id="twice"),
        pytest.param(SESSION, "session=bob; session=bob", Reason.MALFORMED_COOKIE, id="twice the same"),
        pytest.param(SESSION, "session=bob, session=alice", Reason.MALFORMED_COOKIE, id="a comma"),
        pytest.param(SESSION, 'a="; session=bob; b="', Reason.MALFORMED_COOKIE, id="quotes around another"),
        pytest.param(SESSION, "session=bob\\", Reason.MALFORMED_COOKIE, id="a backslash"),
        pytest.param(SESSION, "session=b b", Reason.MALFORMED_COOKIE, id="a space in a value"),
        pytest.param(SESSION, "session", Reason.MALFORMED_COOKIE, id="no sign of equality"),
        pytest.param(SESSION, "=session; session=bob", Reason.MALFORMED_COOKIE, id="no name"),
        pytest.param(SESSION, "\u00a0session=bob", Reason.MALFORMED_COOKIE, id="a space that isn't ASCII"),
        pytest.param(SESSION, "\x1fsession=bob", Reason.MALFORMED_COOKIE, id="a control character"),
        pytest.param(SESSION, "s%65ssion=bob", Reason.MALFORMED_COOKIE, id="a name that is encoded"),
        pytest.param(CURRENCY, "currency =EVIL", Reason.MALFORMED_COOKIE, id="a space, and no private data"),
        pytest.param(CURRENCY, "a=1", None, id="none where none is needed"),
    ],
)
def test_cookies(rule: Rule, cookie: str, expected: object) -> None:
    found = identity(rule, {"cookie": cookie})
    name = f"cookie:{rule.cookies[0]}"
    assert found == (expected if isinstance(expected, Reason) else ((name, expected),))


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_field_is_nobodys(value: str | None) -> None:
    assert identity(KEY, {} if value is None else {"x-api-key": value}) is Reason.IDENTITY_MISSING


_PIECES = st.sampled_from(
    [
        "session", "Session", "other", "=", "=", ";", "; ", ",", " ", "\t", '"', "\\", "\\073", "alice",
        "bob", "%73", "\u00a0", "\x1c", "\x85", "$Path", "expires", "{", "}", ":", "\\054", "__proto__",
    ]
)  # fmt: skip
_COOKIES = st.lists(_PIECES, max_size=14).map("".join)


def _read(value: str) -> list[tuple[str, list[str]]]:
    """What each framework takes for the cookie ``session``."""
    django, starlette = django_cookies(value), starlette_cookies(value)
    return [
        ("Django", [django["session"]] if "session" in django else []),
        ("Starlette", [starlette["session"]] if "session" in starlette else []),
        ("Werkzeug", werkzeug_cookies(value).getlist("session")),
    ]


@given(_COOKIES)
def test_no_framework_reads_another_cookie_than_the_key_has(value: str) -> None:
    cookies = cookies_of(value, ("session",))
    if cookies is None:
        return
    own = cookies.get("session")
    for framework, read in _read(value):
        assert read == ([] if own is None else [own.removeprefix('"').removesuffix('"')]), framework


@given(_COOKIES, _COOKIES)
def test_two_requests_of_one_key_are_one_to_every_framework(one: str, other: str) -> None:
    keys = [cookies_of(value, ("session",)) for value in (one, other)]
    if None not in keys and keys[0] == keys[1]:
        assert _read(one) == _read(other)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
    | st.sampled_from(["None", "1", "1.0", "True", "true", "null", "['a']", '["a"]', "[]", "{}"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def _shape(value: object) -> object:
    """A value with the types of all that is in it."""
    if isinstance(value, list):
        return [_shape(item) for item in value]
    if isinstance(value, dict):
        return {name: _shape(item) for name, item in value.items()}
    return type(value).__name__, repr(value)


@pytest.mark.parametrize(
    "values",
    [
        (None, "None"),
        (1, "1"),
        (1, 1.0),
        (1, True),
        (True, "true"),
        (["a"], "['a']"),
        (["a"], '["a"]'),
        ([], "[]"),
    ],
)
def test_a_claim_of_another_type_is_another_key(values: tuple[object, object]) -> None:
    one, other = (variant_key("r1/x", [("claim:sub", claim_text(value))]) for value in values)
    assert one != other


@given(_JSON, _JSON)
def test_claims_of_one_key_are_the_same(one: object, other: object) -> None:
    one, other = (json.loads(json.dumps(value)) for value in (one, other))
    assert (claim_text(one) == claim_text(other)) == (_shape(one) == _shape(other))
