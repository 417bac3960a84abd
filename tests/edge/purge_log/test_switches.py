"""Switches: which one counts, and what it does to a decision."""

from __future__ import annotations

from math import inf

import pytest

from origin_sdk_edge.policy.decision import Forward, Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.purge_log.switches import Switches
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.purge_log.entries import Switch, SwitchKind
from origin_sdk_wire.settings import Rule

NOW_MS = 1_795_744_800_000
REQUEST = RequestFacts("GET", parse_target("https://a.example/x"), {})
LOOKUP = Lookup(REQUEST, REQUEST, Rule("menu", stale_if_error=60), "r1/https/a.example/x", ())


def switch(kind: SwitchKind, rule: str = "", *, at: int = 0, until: int = 100, seconds: int = 0) -> Switch:
    return Switch(f"{at}", NOW_MS + at, kind, NOW_MS + until, rule=rule, seconds=seconds)


def applied(*known: Switch, after_ms: int = 50) -> Forward | Lookup:
    switches = Switches()
    for each in known:
        switches.learn(each)
    return switches.applied(LOOKUP, NOW_MS + after_ms)


@pytest.mark.parametrize(
    ("known", "after_ms", "is_bypassed"),
    [
        pytest.param([switch(SwitchKind.BYPASS)], 50, True, id="for everything"),
        pytest.param([switch(SwitchKind.BYPASS, "menu")], 50, True, id="for its rule"),
        pytest.param([switch(SwitchKind.BYPASS, "other")], 50, False, id="for another rule"),
        pytest.param([switch(SwitchKind.BYPASS)], 100, False, id="over"),
        pytest.param(
            [switch(SwitchKind.BYPASS), switch(SwitchKind.BYPASS, at=10, until=10)], 50, False, id="undone"
        ),
        pytest.param(
            [switch(SwitchKind.BYPASS, at=10, until=10), switch(SwitchKind.BYPASS)], 50, False, id="told late"
        ),
    ],
)
def test_a_bypass(known: list[Switch], after_ms: int, is_bypassed: bool) -> None:
    decision = applied(*known, after_ms=after_ms)
    assert (isinstance(decision, Forward) and decision.reason is Reason.BYPASS_SWITCH) is is_bypassed


def test_stale_raises_windows_and_lowers_none() -> None:
    decision = applied(switch(SwitchKind.STALE, seconds=30))
    assert (decision.rule.stale_while_revalidate, decision.rule.stale_if_error) == (30, 60)


def test_purges_wait_from_when_the_pause_began() -> None:
    switches = Switches()
    assert switches.paused_ms(NOW_MS) == inf
    switches.learn(switch(SwitchKind.PAUSE))
    switches.learn(switch(SwitchKind.PAUSE, at=50, until=200))  # it goes on for longer
    assert switches.paused_ms(NOW_MS + 150) == NOW_MS
    assert switches.paused_ms(NOW_MS + 200) == inf
