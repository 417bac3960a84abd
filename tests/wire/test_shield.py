"""What edge and shield have to have in common, and where the shield runs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from origin_sdk_wire.choices import DataClass, StoreOn
from origin_sdk_wire.config import load, problems
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.shield import (
    _OF_ONE_WORKER,
    differing_settings,
    is_shielded,
    placement_of,
    setting_digests,
    settings_digest,
)

_BASE: dict[str, Any] = {
    "ORIGIN": "https://o.example",
    "STORE_KEYS": "a:YW4gZXhhbXBsZSwgYW5kIG5vdCB0byBiZSB1c2VkLi4=",
    "TOKEN_SECRET": "an example of thirty-two bytes, not to be used",
    "RULES": [{"path": "/a/**", "negative_lifetimes": {"404": "1m", "410": "2m"}}],
}


def _digest(**changes: Any) -> str:
    return settings_digest(load({**_BASE, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"RULES": []}, id="rules"),
        pytest.param({"RULES": [{"path": "/a/**", "negative_lifetimes": {"404": "1m"}}]}, id="in a rule"),
        pytest.param({"KEY_VERSION": "2"}, id="a setting"),
        pytest.param({"TOKEN_SECRET": "another example of thirty-two bytes, not to be used"}, id="a secret"),
        pytest.param({"STORE_KEYS": "a:YW5vdGhlciBleGFtcGxlLCBub3QgdG8gYmUgdXNlZC4="}, id="a secret's bytes"),
    ],
)
def test_settings_that_answer_otherwise_are_told_apart(changes: dict[str, Any]) -> None:
    assert _digest(**changes) != _digest()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="the same"),
        pytest.param({"CACHE_NAME": "Shield"}, id="a name"),
        pytest.param(
            {
                "DEBUG_SECRET": "an example of thirty-two bytes, not used",
                "LOG_SAMPLING": 0.5,
                "METRICS_URLS": "path",
            },
            id="counts",
        ),
        pytest.param({"SHIELD_TIMEOUT": "1s", "SHIELD_PLACEMENT": "aws:eu-central-1"}, id="of the shield"),
        pytest.param(
            {"RULES": [{"path": "/a/**", "negative_lifetimes": {"410": "2m", "404": "1m"}}]}, id="order"
        ),
    ],
)
def test_settings_that_answer_alike_are_not(changes: dict[str, Any]) -> None:
    assert _digest(**changes) == _digest()


def test_what_differs_is_named_and_no_value_told() -> None:
    other = "another example of thirty-two bytes, not to be used"
    theirs = setting_digests(load({**_BASE, "TOKEN_SECRET": other, "KEY_VERSION": "2", "LOG_SAMPLING": 0.5}))
    own = load(_BASE)
    assert differing_settings(own, theirs) == ("KEY_VERSION", "TOKEN_SECRET")
    assert differing_settings(own, setting_digests(own)) == ()
    assert not [each for each in theirs.values() if len(each) != 12]


def test_what_only_another_version_has_differs() -> None:
    own = load(_BASE)
    theirs = {**setting_digests(own), "NEW_SETTING": "0" * 12, "the version": "0" * 12}
    del theirs["CODINGS"]
    assert differing_settings(own, theirs) == ("CODINGS", "NEW_SETTING", "the version")


@pytest.mark.parametrize(
    ("setting", "placement"),
    [
        ("smart", {"mode": "smart"}),
        ("aws:eu-central-1", {"region": "aws:eu-central-1"}),
        ("host:db.example.com:5432", {"host": "db.example.com:5432"}),
        ("hostname:api.example.com", {"hostname": "api.example.com"}),
    ],
)
def test_a_place_is_written_as_wrangler_takes_it(setting: str, placement: dict[str, str]) -> None:
    assert not problems({**_BASE, "SHIELD_PLACEMENT": setting}).errors
    assert placement_of(setting) == placement


@pytest.mark.parametrize("setting", ["frankfurt", "aws:", "host:db.example.com", "hostname:a/b", "", 7])
def test_a_place_that_cloudflare_doesnt_know_is_refused(setting: object) -> None:
    [error] = problems({**_BASE, "SHIELD_PLACEMENT": setting}).errors
    assert "give smart, a cloud's region" in error


_O = "https://o.example"


@pytest.mark.parametrize(
    ("rule", "origin", "goes"),
    [
        pytest.param(Rule(), _O, True, id="public"),
        pytest.param(Rule(), "", False, id="nobody to ask"),
        pytest.param(Rule(origins=(_O,)), _O, True, id="a rule's origin"),
        pytest.param(Rule(data_class=DataClass.PRIVATE), _O, False, id="private"),
        pytest.param(Rule(store_on=StoreOn.NEVER), _O, False, id="kept at the user's location"),
        pytest.param(Rule(data_class=DataClass.PRIVATE, shield=True), _O, True, id="private, told to"),
        pytest.param(Rule(shield=False), _O, False, id="told not to"),
    ],
)
def test_what_goes_through_it(rule: Rule, origin: str, goes: bool) -> None:
    assert is_shielded(rule, Settings(origin=origin)) is goes


def test_what_may_differ_are_settings() -> None:
    assert {each.name for each in fields(Settings)} >= _OF_ONE_WORKER
