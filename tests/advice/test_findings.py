"""Every signal has its advice, and what is well has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from origin_sdk.advice.evidence import Evidence
from origin_sdk.advice.findings import advice_of
from origin_sdk.simulation.curves import LifetimeCurve
from origin_sdk.simulation.replay import Parameter
from origin_sdk.simulation.what_if import settings_of, with_changes
from origin_sdk_wire.metrics import Counts
from origin_sdk_wire.settings import Settings

_RULES = {"RULES": [{"name": "products", "path": "/products/**"}]}
_MIB = 1024 * 1024

Count = Callable[[Counts], None]


def asked(reason: str, tier: str = "miss", requests: int = 500, rule: str = "products") -> Count:
    return lambda counts: counts.add("requests", ("h", rule, reason, tier, "2xx"), requests)


def observed(metric: str, value: float, times: int, *labels: str) -> Count:
    def count(counts: Counts) -> None:
        for _ in range(times):
            counts.observe(metric, value, labels)

    return count


def added(metric: str, amount: float, *labels: str) -> Count:
    return lambda counts: counts.add(metric, labels, amount)


def evidence(*facts: Count, variables: Mapping[str, Any] = _RULES, **more: Any) -> Evidence:
    counts = Counts()
    asked("fresh", "memory", 10_000)(counts)
    for fact in facts:
        fact(counts)
    return Evidence(counts, 3600, settings_of(variables, "a test"), **more)


SIGNALS: Mapping[str, tuple[Evidence, str, str]] = {
    "no-freshness": (evidence(asked("no-freshness")), "no-freshness", "default_lifetime"),
    "no-freshness where no rule matches": (
        evidence(asked("no-freshness", rule="default")),
        "no-freshness",
        'name = "rest"',
    ),
    "set-cookie": (evidence(asked("set-cookie")), "set-cookie", "ignore_cookies"),
    "cookie": (evidence(asked("cookie")), "cookie", "ignore_cookies"),
    "authorization": (evidence(asked("authorization")), "authorization", "key_claims"),
    "private": (evidence(asked("private")), "private", "data_class"),
    "vary-any": (evidence(asked("vary-any")), "vary-any", "Vary"),
    "unkeyed-field": (evidence(asked("unkeyed-field")), "unkeyed-field", "key_fields"),
    "no-store": (evidence(asked("no-store")), "no-store", "max-age"),
    "out of date": (evidence(asked("stale")), "stale", "stale_while_revalidate"),
    "validated": (evidence(asked("validated", "validated")), "stale", "stale_while_revalidate"),
    "purged hard": (evidence(asked("purged-hard")), "purged-hard", "edge.purge"),
    "an origin that fails": (
        evidence(
            asked("stale-if-error", "stale"),
            added("origin_requests", 1000, "products", "2xx"),
            added("origin_requests", 600, "products", "5xx"),
        ),
        "stale-if-error",
        "",
    ),
    "too large": (evidence(asked("too-large")), "too-large", "MAX_BODY_BYTES"),
    "too many groups": (evidence(asked("too-many-groups")), "too-many-groups", "256"),
    "keys of KV": (evidence(added("kv_keys", 60_000, "read", "mark")), "kv-keys", "MARK_INTERVAL"),
    "a slow origin": (
        evidence(observed("origin_seconds", 4, 100, "products")),
        "slow-origin",
        "SOFT_TIMEOUT",
    ),
    "a late purge": (evidence(observed("purge_lag_seconds", 200, 50)), "purge-lag", ""),
    "evictions": (evidence(observed("eviction_seconds", 20, 5000)), "memory", "MEMORY_BYTES"),
    "a memory curve": (
        evidence(memory={32 * _MIB: 0.5, 64 * _MIB: 0.9}),
        "memory",
        'MEMORY_BYTES = "64MiB"',
    ),
    "faults": (evidence(added("faults", 20, "marks")), "faults", "wrangler tail"),
    "a parameter of many values": (
        evidence(parameters={("products", "utm_id"): Parameter(4000, set(range(900)))}),
        "cardinality",
        'query_drop = ["utm_id"]',
    ),
}


@pytest.mark.parametrize("row", SIGNALS.values(), ids=SIGNALS)
def test_a_signal_has_its_advice(row: tuple[Evidence, str, str]) -> None:
    given, signal, snippet = row
    (advice,) = [each for each in advice_of(given) if each.signal == signal]
    assert snippet in advice.snippet
    assert advice.title
    assert advice.evidence
    assert advice.weight > 0
    if advice.what_if:  # the Worker takes what is proposed
        settings_of(with_changes(_RULES, advice.what_if), advice.what_if)


def test_what_is_well_needs_no_advice() -> None:
    assert advice_of(evidence()) == []


def test_a_few_requests_prove_nothing() -> None:
    counts = Counts()
    asked("no-store", requests=50)(counts)
    assert advice_of(Evidence(counts, 60, Settings())) == []


def test_the_lifetime_is_the_least_that_brings_most() -> None:
    curve = LifetimeCurve()
    for second in range(0, 40_000, 100):  # a URL that is asked for each 100 s
        curve.add("a", 1, second * 1000)
    (advice,) = advice_of(evidence(asked("no-freshness"), lifetimes={"products": curve}))
    assert 'default_lifetime = "10m"' in advice.snippet
    assert "10m 83%" in advice.evidence


def test_the_weightiest_comes_first() -> None:
    signals = [each.signal for each in advice_of(evidence(asked("cookie", requests=400), asked("private")))]
    assert signals == ["private", "cookie"]
