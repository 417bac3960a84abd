from collections.abc import Mapping

import pytest

from origin_sdk_wire.errors import RefusedRequest, UnreadableEntry
from origin_sdk_wire.purge_log.entries import Purged, Switch, SwitchKind
from origin_sdk_wire.purge_log.messages import parse_question, parse_told
from origin_sdk_wire.signed_requests import (
    MAX_BODY_BYTES,
    REQUEST_WINDOW_MS,
    TELL_PATH,
    VISIBLE_PATH,
    LogKey,
    Permission,
    out_of_scope,
    parse_keys,
    sign,
    verify,
)

_KEY = LogKey("shop", "s" * 32)
_KEYS = {"shop": _KEY}
_NOW, _NONCE, _BODY = 1_795_744_800_000, "1f" * 16, b'{"ids": ["a"]}'


def _signed(**changed: str) -> Mapping[str, str]:
    return {**sign(_KEY, TELL_PATH, _BODY, _NOW, _NONCE), **changed}


def test_a_signed_request_tells_its_key_and_its_nonce() -> None:
    assert verify(_KEYS, TELL_PATH, _signed(), _BODY, _NOW + REQUEST_WINDOW_MS) == (_KEY, _NONCE)


@pytest.mark.parametrize(
    ("path", "fields", "body", "now_ms", "said"),
    [
        pytest.param(VISIBLE_PATH, _signed(), _BODY, _NOW, "signature", id="for another path"),
        pytest.param(TELL_PATH, _signed(), b"{}", _NOW, "signature", id="with another body"),
        pytest.param(TELL_PATH, _signed(**{"edge-log-key": "x"}), _BODY, _NOW, "signature", id="no such key"),
        pytest.param(
            TELL_PATH, _signed(**{"edge-log-signature": "é"}), _BODY, _NOW, "signature", id="not hex"
        ),
        pytest.param(
            TELL_PATH,
            _signed(**{"edge-log-time": str(_NOW + 1)}),
            _BODY,
            _NOW,
            "signature",
            id="another time",
        ),
        pytest.param(
            TELL_PATH, _signed(**{"edge-log-nonce": "2f" * 16}), _BODY, _NOW, "signature", id="another nonce"
        ),
        pytest.param(
            TELL_PATH, _signed(**{"edge-log-nonce": "1f"}), _BODY, _NOW, "no signature", id="short nonce"
        ),
        pytest.param(
            TELL_PATH, _signed(**{"edge-log-time": "now"}), _BODY, _NOW, "no signature", id="no time"
        ),
        pytest.param(TELL_PATH, {}, _BODY, _NOW, "no signature", id="unsigned"),
        pytest.param(TELL_PATH, _signed(), _BODY, _NOW + REQUEST_WINDOW_MS + 1, "clock", id="too late"),
        pytest.param(TELL_PATH, _signed(), _BODY, _NOW - REQUEST_WINDOW_MS - 1, "clock", id="too early"),
        pytest.param(TELL_PATH, _signed(), b"x" * (MAX_BODY_BYTES + 1), _NOW, "bytes", id="too large"),
    ],
)
def test_a_request_is_refused(
    path: str, fields: Mapping[str, str], body: bytes, now_ms: int, said: str
) -> None:
    with pytest.raises(RefusedRequest, match=said):
        verify(_KEYS, path, fields, body, now_ms)


def test_a_key_that_does_not_exist_has_no_empty_secret() -> None:
    with pytest.raises(RefusedRequest):
        verify({}, TELL_PATH, sign(LogKey("ghost", ""), TELL_PATH, _BODY, _NOW, _NONCE), _BODY, _NOW)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param("[]", "table", id="a list"),
        pytest.param("{", "table", id="no JSON"),
        pytest.param({"a": "secret"}, "table", id="a text for a key"),
        pytest.param({"a b": {"secret": "s" * 32}}, "table", id="an id that no field can carry"),
        pytest.param({"a": {"secret": "s"}}, "32 bytes", id="a short secret"),
        pytest.param({"a": {"secret": "s" * 32, "host": ["h"]}}, "'host'", id="a misspelt member"),
        pytest.param({"a": {"secret": "s" * 32, "may": ["all"]}}, "'all'", id="an unknown permission"),
        pytest.param({"a": {"secret": "s" * 32, "groups": []}}, "leave groups out", id="an empty scope"),
        pytest.param({"a": {"secret": "s" * 32, "hosts": "h"}}, "list of strings", id="a text for a list"),
    ],
)
def test_keys_that_cannot_be_read_say_what_to_do(given: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_keys(given)


def test_keys_are_read_from_json_and_show_no_secret() -> None:
    keys = parse_keys('{"shop": {"secret": "%s", "may": ["purge"], "groups": ["shop-*"]}}' % ("s" * 32))
    assert keys["shop"].may == {Permission.PURGE, Permission.READ}
    assert "ssss" not in repr(keys)


_PURGE = Purged("p", _NOW, ("group/shop-1", "group/other"))
_SWITCH = Switch("s", _NOW, SwitchKind.BYPASS, _NOW + 1)


@pytest.mark.parametrize(
    ("key", "refused"),
    [
        pytest.param(LogKey("k", "s"), [], id="all"),
        pytest.param(LogKey("k", "s", frozenset({Permission.READ})), ["p", "s"], id="reading alone"),
        pytest.param(LogKey("k", "s", frozenset({Permission.PURGE})), ["s"], id="purging alone"),
        pytest.param(LogKey("k", "s", frozenset({Permission.SWITCH})), ["p"], id="switches alone"),
        pytest.param(LogKey("k", "s", groups=frozenset({"shop-*"})), ["p", "s"], id="some groups"),
        pytest.param(LogKey("k", "s", groups=frozenset({"*"})), ["s"], id="all groups"),
    ],
)
def test_a_key_may_tell_of_what_lies_in_its_scope(key: LogKey, refused: list[str]) -> None:
    assert [said.partition(":")[0] for said in out_of_scope(key, [_PURGE, _SWITCH])] == refused


def test_bodies_are_read_within_bounds() -> None:
    assert parse_question(b'{"ids": ["a", "b"]}') == ("a", "b")
    for wrong in (b"", b"[]", b'{"ids": []}', b'{"ids": ["a b"]}', b'{"ids": [1]}', b"\xff"):
        with pytest.raises(UnreadableEntry):
            parse_question(wrong)
    told = b'{"entries": [{"id": "p", "at": 1, "names": ["everything"]}]}'
    assert parse_told(told) == [Purged("p", 1, ("everything",))]
    for wrong in (b'{"entries": 1}', b'{"entries": [1]}', b'{"entries": [{}]}', b"[" * 100_000):
        with pytest.raises(UnreadableEntry):
            parse_told(wrong)
