import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin_sdk_edge.claims import Expected, verified_claims

_KEY = "a key that is long enough for HS256"
_NOW = 1_800_000_000


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _signed(head: str, payload: str, key: str = _KEY) -> str:
    body = f"{_encoded(head.encode())}.{_encoded(payload.encode())}"
    return f"{body}.{_encoded(hmac.new(key.encode(), body.encode(), hashlib.sha256).digest())}"


def token_of(claims: object, header: object = None) -> str:
    return _signed(json.dumps(header or {"alg": "HS256", "typ": "JWT"}), json.dumps(claims))


def test_the_example_of_rfc_7515_appendix_a_1_verifies() -> None:
    # The key has bytes that aren't UTF-8, so that it can't be given as text: the same claims under our key.
    claims = {"iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": True}
    assert verified_claims(token_of(claims), _KEY, 1_300_819_379) == claims


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sub": "17", "exp": _NOW + 1}, id="a token is valid before its end"),
        pytest.param({"sub": "17", "nbf": _NOW, "exp": _NOW + 1}, id="a token is valid from its beginning"),
        pytest.param({"sub": "17", "exp": _NOW + 0.5, "nbf": _NOW - 0.5}, id="times may have fractions"),
        pytest.param({"exp": _NOW + 1}, id="a token may hold nothing but its end"),
    ],
)
def test_accepts(claims: dict[str, object]) -> None:
    assert verified_claims(token_of(claims), _KEY, _NOW) == claims


_END = {"exp": _NOW + 1}
_GOOD = token_of({"sub": "17", **_END})
_HEAD, _PAYLOAD, _SIGNATURE = _GOOD.split(".")
_NONE_HEAD = _encoded(b'{"alg":"none"}')


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="nothing is no token"),
        pytest.param("..", id="empty parts are no token"),
        pytest.param(f"{_HEAD}.{_PAYLOAD}", id="a signature is needed"),
        pytest.param(f"{_HEAD}.{_PAYLOAD}.", id="an empty signature is none"),
        pytest.param(f"{_NONE_HEAD}.{_PAYLOAD}.", id="alg none is no way around it"),
        pytest.param(f"{_NONE_HEAD}.{_PAYLOAD}.{_SIGNATURE}", id="a changed header breaks the signature"),
        pytest.param(f"{_HEAD}.{_encoded(b'{}')}.{_SIGNATURE}", id="a changed payload breaks the signature"),
        pytest.param(f"{_GOOD}.{_SIGNATURE}", id="a token has three parts"),
        pytest.param(f" {_GOOD}", id="a space is no part of a token"),
        pytest.param(f"{_GOOD}\n", id="nor is a line break"),
        pytest.param(f"{_GOOD}=", id="nor is padding"),
        pytest.param(f"{_HEAD}.{_PAYLOAD}.ü", id="a signature is ASCII"),
        pytest.param(f"\ud800.{_PAYLOAD}.{_SIGNATURE}", id="half a surrogate pair is harmless"),
        pytest.param(
            _signed('{"alg":"HS256"}', '{"sub":"17"}', "another key"), id="another key doesn't sign for us"
        ),
        pytest.param(
            token_of({"sub": "17", **_END}, {"alg": "none"}), id="alg none isn't HS256, though signed"
        ),
        pytest.param(
            token_of({"sub": "17", **_END}, {"alg": "hs256"}), id="an algorithm's name is case-sensitive"
        ),
        pytest.param(
            token_of({"sub": "17", **_END}, {"alg": "RS256"}), id="RS256 isn't HS256, though signed"
        ),
        pytest.param(token_of({"sub": "17", **_END}, {"alg": ["HS256"]}), id="an algorithm is text"),
        pytest.param(token_of({"sub": "17", **_END}, {"typ": "JWT"}), id="an algorithm is needed"),
        pytest.param(
            token_of({"sub": "17", **_END}, {"alg": "HS256", "crit": ["b64"]}),
            id="critical extensions are unknown",
        ),
        pytest.param(token_of(["sub", "17"]), id="claims are an object"),
        pytest.param(token_of("17"), id="claims aren't text"),
        pytest.param(_signed('["HS256"]', "{}"), id="a header is an object"),
        pytest.param(_signed('{"alg":"HS256"}', '{"sub":"17"'), id="claims are whole JSON"),
        pytest.param(
            _signed('{"alg":"HS256"}', '{"sub":"17","sub":"18","exp":1800000009}'), id="a claim stands once"
        ),
        pytest.param(_signed('{"alg":"HS256"}', '{"sub":NaN,"exp":1800000009}'), id="NaN isn't JSON"),
        pytest.param(_signed('{"alg":"HS256"}', '{"a":' + "[" * 50_000), id="deep nesting isn't followed"),
        pytest.param(
            _signed('{"alg":"HS256"}', '{"a":' + "1" * 9_999 + "}"), id="endless numbers aren't read"
        ),
        pytest.param(token_of({"sub": "17"}), id="a token without an end has none to wait for"),
        pytest.param(token_of({"sub": "17", "exp": None}), id="null is no end"),
        pytest.param(token_of({"sub": "17", "aud": "x", **_END}), id="a token for somebody else"),
        pytest.param(token_of({"sub": "17", "aud": [], **_END}), id="a token for nobody"),
        pytest.param(
            token_of({"sub": "17", **_END}, {"alg": "HS256", "typ": "refresh+jwt"}),
            id="a token to refresh one",
        ),
        pytest.param(token_of({"exp": _NOW}), id="a token is invalid from its end on"),
        pytest.param(
            token_of({"nbf": _NOW + 1, "exp": _NOW + 9}), id="a token is invalid before its beginning"
        ),
        pytest.param(token_of({"exp": str(_NOW + 9)}), id="an end that isn't a number ends at once"),
        pytest.param(token_of({"exp": True}), id="a boolean isn't a time"),
        pytest.param(token_of({"nbf": None, **_END}), id="null isn't a time"),
    ],
)
def test_refuses(token: str) -> None:
    assert verified_claims(token, _KEY, _NOW) is None


_EXPECTED = Expected(frozenset({"api", "web"}), frozenset({"me"}), {"use": "access", "level": 1})
_RIGHT = {"aud": "api", "iss": "me", "use": "access", "level": 1, **_END}


@pytest.mark.parametrize(
    ("changes", "is_accepted"),
    [
        pytest.param({}, True, id="as expected"),
        pytest.param({"aud": ["x", "web"]}, True, id="for several"),
        pytest.param({"aud": "x"}, False, id="for another audience"),
        pytest.param({"aud": ["x"]}, False, id="for several others"),
        pytest.param({"aud": None}, False, id="for null"),
        pytest.param({"aud": {"api": 1}}, False, id="for something else"),
        pytest.param({"iss": "you"}, False, id="by another issuer"),
        pytest.param({"iss": ["me"]}, False, id="by a list"),
        pytest.param({"use": "refresh"}, False, id="to refresh another"),
        pytest.param({"use": None}, False, id="with null for what it must have"),
        pytest.param({"level": "1"}, False, id="with a text for a number"),
        pytest.param({"level": True}, False, id="with a boolean for a number"),
        pytest.param({"level": 1.0}, False, id="with a fraction for a whole number"),
    ],
)
def test_what_a_token_must_say(changes: dict[str, object], is_accepted: bool) -> None:
    token = token_of({**_RIGHT, **changes})
    assert (verified_claims(token, _KEY, _NOW, _EXPECTED) is not None) is is_accepted


@pytest.mark.parametrize("name", ["aud", "iss", "use", "level"])
def test_a_token_says_all_that_it_must(name: str) -> None:
    claims = {other: value for other, value in _RIGHT.items() if other != name}
    assert verified_claims(token_of(claims), _KEY, _NOW, _EXPECTED) is None


def test_without_a_key_nothing_is_verified() -> None:
    assert verified_claims(_signed('{"alg":"HS256"}', "{}", ""), "", _NOW) is None


def test_a_signature_has_one_spelling() -> None:
    # 32 bytes take 43 characters, of which the last carries two unused bits.
    last = _SIGNATURE[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = (alphabet[alphabet.index(last) & ~3 | bits] for bits in range(4))
    accepted = [other for other in others if verified_claims(_GOOD[:-1] + other, _KEY, _NOW) is not None]
    assert accepted == [last]


@given(st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    assert verified_claims(text, _KEY, _NOW) is None


@given(st.text(), st.text())
def test_no_signed_text_makes_it_raise(head: str, payload: str) -> None:
    body = f"{_encoded(head.encode('utf-8', 'replace'))}.{_encoded(payload.encode('utf-8', 'replace'))}"
    signature = _encoded(hmac.new(_KEY.encode(), body.encode(), hashlib.sha256).digest())
    assert verified_claims(f"{body}.{signature}", _KEY, _NOW) is None
