"""Which fields a path's responses nominate, as an isolate learns it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from origin_sdk_edge.nominations import Nominations
from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.storage.memory import Memory
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import START_MS


def lookup(url: str = "https://a.example/x?a=1", **fields: str) -> Lookup:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    decided = on_request(RequestFacts("GET", parse_target(url), named), Settings(), START_MS)
    assert isinstance(decided, Lookup)
    return decided


def nominations() -> Nominations:
    return Nominations(Memory(1 << 20))


@pytest.mark.parametrize(
    ("vary", "names"),
    [
        pytest.param("User-Agent", {"user-agent"}, id="a field that was withheld"),
        pytest.param("user-agent, Accept", {"user-agent"}, id="beside one that was sent"),
        pytest.param("Accept", set(), id="one that was sent"),
        pytest.param("X-Other", set(), id="one that the request doesn't have"),
        pytest.param("", set(), id="none"),
    ],
)
def test_a_response_nominates(vary: str, names: set[str]) -> None:
    known, asked = nominations(), lookup(user_agent="one", accept="*/*")
    assert known.of(asked) == set()
    assert known.learn(asked, {"vary": vary}) is bool(names)
    assert known.of(asked) == names


@pytest.mark.parametrize(
    ("other", "knows"),
    [
        pytest.param("https://a.example/x?a=2", True, id="another query"),
        pytest.param("https://a.example/y", False, id="another path"),
        pytest.param("https://b.example/x", False, id="another host"),
    ],
)
def test_what_was_learnt_holds_for_the_path(other: str, *, knows: bool) -> None:
    known = nominations()
    known.learn(lookup(user_agent="one"), {"vary": "User-Agent"})
    assert known.of(lookup(other, user_agent="two")) == ({"user-agent"} if knows else set())


@pytest.mark.parametrize(
    "fields", [pytest.param({}, id="nothing withheld"), pytest.param({"accept": "*/*"}, id="all of it sent")]
)
def test_a_request_that_withholds_nothing_is_asked_for_once(fields: Mapping[str, str]) -> None:
    known = nominations()
    known.learn(lookup(user_agent="one"), {"vary": "User-Agent"})
    assert known.of(lookup(**fields)) == set()
    assert not known.learn(lookup(**fields), {"vary": "User-Agent"})


def test_names_add_up() -> None:
    known, asked = nominations(), lookup(user_agent="one", referer="https://c.example/")
    known.learn(asked, {"vary": "User-Agent"})
    known.learn(asked, {"vary": "Referer"})
    assert known.of(asked) == {"user-agent", "referer"}
