"""Metrics, the detect block and the advisor."""

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from origin_sdk.layers import DataClass, Family, LayeredCache, Policy, RedisOptions
from origin_sdk.layers.advice import advise
from origin_sdk.layers.telemetry import PrometheusCollector, instrument
from tests.layers.servers import RedisServer
from tests.layers.test_contract import Source

FAMILY = Family("text", "{id}", str)
KEY = FAMILY.key(id=1)


def test_opentelemetry_hears_of_events_and_times() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    with LayeredCache() as cache:
        instrument(cache, provider.get_meter("test"))
        for _ in range(3):
            cache.get_or_load(KEY, Source("a"))
        data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    metrics: dict[str, list[Any]] = {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    events = {dict(point.attributes or {})["event"]: point.value for point in metrics["cache.events"]}
    assert (events["memory-hit"], events["loaded"]) == (2, 1)
    assert metrics["cache.load.duration"]
    assert metrics["cache.entries"][0].value == 1


def test_prometheus_reads_the_same_counts() -> None:
    registry = CollectorRegistry()
    with LayeredCache() as cache:
        registry.register(PrometheusCollector(cache))
        for _ in range(3):
            cache.get_or_load(KEY, Source("a"))
        text = generate_latest(registry).decode()
    assert 'cache_events_total{event="memory-hit",family="text"} 2.0' in text
    assert "cache_entries 1.0" in text


def test_detect_says_what_each_layer_did(redis_server: RedisServer, prefix: str) -> None:
    with LayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=2)) as cache:
        assert cache.wait_until_synced()
        cached = cache.cached(FAMILY)(lambda id: f"text {id}")  # noqa: A006 - the key's name for it
        with cache.detect() as detected:
            cached(1)
            cached(1)
            cache.memory.clear()
            cached(1)
        cached(1)
    assert detected.of("text.v1:1") == ["redis-miss", "loaded", "memory-hit", "redis-hit"]


@pytest.mark.parametrize(
    ("family", "advice"),
    [
        (Family("a", "{id}"), None),
        (Family("a", "{id}", policy=Policy(soft_timeout=1)), "soft_timeout does nothing"),
        (
            Family("a", "{id}", policy=Policy(soft_timeout=2, hard_timeout=1, stale=1)),
            "isn't below hard_timeout",
        ),
        (Family("a", "{id}", policy=Policy(errors=(LookupError,))), "error_lifetime is 0"),
        (Family("a", "{id}", policy=Policy(fail_safe=1)), "throttle is above fail_safe"),
        (Family("a", "{id}", policy=Policy(refresh_ahead=0.5, xfetch=1)), "one of them is enough"),
        (Family("a", "{id}", policy=Policy(lifetime=90_000)), "above the horizon"),
        (Family("a", "{id}", data_class=DataClass.RESTRICTED), "doesn't encrypt"),
    ],
)
def test_the_advisor_warns_of_what_makes_no_sense(family: Family[object], advice: str | None) -> None:
    cache = LayeredCache(RedisOptions(url="rediss://u:p@redis.example.com", prefix="app"))
    cache.register(family)
    found = advise(cache)
    assert len(found) == (1 if advice else 0)
    assert advice is None or advice in found[0]
