"""Metrics, the detect block and the advisor."""

import time
from itertools import accumulate
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from origin_sdk.layers import DataClass, Family, LayeredCache, Policy, RedisOptions
from origin_sdk.layers.advice import advise
from origin_sdk.layers.telemetry import COUNTERS, GAUGES, HISTOGRAMS, PrometheusCollector, instrument
from scripts.runtime import paths
from tests.layers.servers import PATIENT_SECONDS, RedisServer
from tests.layers.test_breakdowns import eventually
from tests.layers.test_contract import Source

FAMILY = Family("text", "{id}", str)
KEY = FAMILY.key(id=1)


class World:
    """A cache to which everything has happened, and what both exporters say of it."""

    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self._reader = InMemoryMetricReader()
        self._provider = MeterProvider([self._reader])
        with RedisServer(folder) as server:
            options = RedisOptions(url=server.url, prefix="app", timeout=PATIENT_SECONDS)
            with LayeredCache(options) as cache, LayeredCache(options) as other:
                assert cache.wait_until_synced(30)
                assert other.wait_until_synced(30)
                instrument(cache, self._provider.get_meter("test"))
                self.registry.register(PrometheusCollector(cache))
                _let_everything_happen(cache, other)
                server.stop()
                cache.invalidate(groups=["gone"])
                eventually(lambda: bool(cache.link and not cache.link.is_up))
                self.prometheus = generate_latest(self.registry).decode()
                data = self._reader.get_metrics_data()
        self._provider.shutdown()
        assert data is not None
        self.opentelemetry: dict[str, list[Any]] = {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str, attributes: dict[str, str]) -> list[Any]:
        found = self.opentelemetry.get(name, [])
        return [point for point in found if attributes.items() <= dict(point.attributes or {}).items()]


def _let_everything_happen(cache: LayeredCache, other: LayeredCache) -> None:
    cache.get_or_load(KEY, Source("a"))
    cache.get_or_load(KEY, Source("a"))
    cache.memory.clear()
    cache.get_or_load(KEY, Source("a"))
    decorated = cache.cached("{id}", name="decorated")(lambda id: f"text {id}")  # noqa: A006 - the key's name
    for _ in range(3):
        decorated(1)
    with pytest.raises(LookupError):
        cache.get_or_load(FAMILY.key(id="fails"), Source(LookupError("no rows")))
    _wait_for_each_other(cache, cache)
    _wait_for_each_other(other, cache)
    short = {"lifetime": 0.05, "jitter": 0.0}
    for name, policy in (
        ("expires", Policy(**short)),  # type: ignore[arg-type]  # numbers
        ("early", Policy(lifetime=60, refresh_ahead=0.0001, jitter=0)),
        ("stale", Policy(stale=60, **short)),  # type: ignore[arg-type]  # numbers
        ("spare", Policy(fail_safe=60, throttle=1, **short)),  # type: ignore[arg-type]  # numbers
    ):
        key = Family(name, "{id}", str, policy=policy).key(id=1)
        cache.get_or_load(key, Source("a"))
        time.sleep(0.1)  # a lifetime
        cache.get_or_load(key, Source("b" if name != "spare" else LookupError("no rows")))
    other.invalidate(groups=["anything"])
    eventually(lambda: cache.stats.counts["invalidation-heard", ""] > 0)


def _wait_for_each_other(first: LayeredCache, second: LayeredCache) -> None:
    key = FAMILY.key(id="slow" if first is second else "slow elsewhere")
    began, goes_on = Event(), Event()

    def load(_: object) -> str:
        began.set()
        goes_on.wait(20)
        return "a"

    threads = [Thread(target=cache.get_or_load, args=(key, load)) for cache in (first, second)]
    threads[0].start()
    assert began.wait(20)
    missed = second.stats.totals()["memory-miss", FAMILY.name]
    threads[1].start()
    if first is second:
        eventually(lambda: second.stats.totals()["memory-miss", FAMILY.name] > missed)
        time.sleep(0.1)  # that it waits can't be heard of
    else:
        eventually(lambda: bool(second.link and second.link.waiters))
    goes_on.set()
    for thread in threads:
        thread.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("redis"))


COUNTED: list[tuple[str, str, dict[str, str]]] = [
    ("a hit in memory", "hits", {"layer": "memory", "family": "text"}),
    ("a hit of a decorated function, by family", "hits", {"layer": "memory", "family": "decorated"}),
    ("a hit in Redis", "hits", {"layer": "redis", "family": "text"}),
    ("a miss in memory", "misses", {"layer": "memory", "family": "text"}),
    ("a miss in Redis", "misses", {"layer": "redis", "family": "text"}),
    ("a load", "loads", {"outcome": "done", "family": "text"}),
    ("a load that failed", "loads", {"outcome": "failed", "family": "text"}),
    ("waiting for this process", "waits", {"scope": "process", "family": "text"}),
    ("waiting for another", "waits", {"scope": "processes", "family": "text"}),
    ("an expiry", "expiries", {"family": "expires"}),
    ("an early refresh", "early_refreshes", {"family": "early"}),
    ("stale while refreshed", "stale_served", {"reason": "refreshing", "family": "stale"}),
    ("stale since loading failed", "stale_served", {"reason": "failed", "family": "spare"}),
    ("the breaker", "breaker_openings", {}),
    ("something else", "events", {"event": "invalidation-heard"}),
]
OBSERVED = [
    ("load.duration", "load_duration_seconds", "text"),
    ("wait.duration", "wait_duration_seconds", "text"),
    ("stale.age", "stale_age_seconds", "stale"),
    ("invalidation.lag", "invalidation_lag_seconds", ""),
    ("stored.size", "stored_size_bytes", "text"),
]


@pytest.mark.parametrize(
    ("name", "attributes"), [row[1:] for row in COUNTED], ids=[row[0] for row in COUNTED]
)
def test_both_exporters_count(world: World, name: str, attributes: dict[str, str]) -> None:
    point: Any = world.points(f"cache.{name}", attributes)[0]
    assert point.value > 0
    labels = dict(point.attributes or {})
    assert world.registry.get_sample_value(f"cache_{name}_total", labels) == point.value
    assert f"\ncache_{name}_total" in world.prometheus


@pytest.mark.parametrize(("name", "exposed", "family"), OBSERVED, ids=[row[0] for row in OBSERVED])
def test_both_exporters_have_histograms(world: World, name: str, exposed: str, family: str) -> None:
    (point,) = world.points(f"cache.{name}", {"family": family} if family else {})
    labels = {"family": family}
    assert point.count > 0
    sample = world.registry.get_sample_value
    assert sample(f"cache_{exposed}_count", labels) == point.count
    assert sample(f"cache_{exposed}_sum", labels) == pytest.approx(point.sum)
    cumulated = [
        sample(f"cache_{exposed}_bucket", {"le": str(bound), **labels})
        for bound in (*point.explicit_bounds, "+Inf")
    ]
    assert cumulated == list(accumulate(point.bucket_counts))


@pytest.mark.parametrize(("name", "value"), [("entries", 7), ("redis.up", 0)])
def test_both_exporters_have_gauges(world: World, name: str, value: int) -> None:
    (point,) = world.points(f"cache.{name}", {})
    assert point.value == world.registry.get_sample_value(f"cache_{name.replace('.', '_')}")
    assert point.value >= value


def test_every_metric_is_documented() -> None:
    text = (paths.ROOT / "docs" / "layers.md").read_text()
    names = (*COUNTERS, *GAUGES, *(each.name for each in HISTOGRAMS.values()))
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_detect_says_what_each_layer_did(redis_server: RedisServer, prefix: str) -> None:
    with LayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)) as cache:
        assert cache.wait_until_synced(30)
        cached = cache.cached(FAMILY)(lambda id: f"text {id}")  # noqa: A006 - the key's name for it
        with cache.detect() as detected:
            cached(1)
            cached(1)
            cache.memory.clear()
            cached(1)
        cached(1)
    assert detected.of("text.v1:1") == [
        *("memory-miss", "redis-miss", "loaded"),
        "memory-hit",
        *("memory-miss", "redis-hit"),
    ]


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
