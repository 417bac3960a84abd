"""What the layers did, for OpenTelemetry and for Prometheus: one table, so that both say the same."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from origin_sdk._process.forks import renew_after_fork
from origin_sdk.layers.base_cache import BaseCache

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["COUNTERS", "GAUGES", "HISTOGRAMS", "PrometheusCollector", "instrument"]


class _Measured(NamedTuple):
    name: str
    unit: str
    text: str
    bounds: tuple[float, ...]


_LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_AGES = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
_SIZES = (64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0)
HISTOGRAMS = {
    "load-seconds": _Measured("load.duration", "s", "how long loaders take", _LATENCIES),
    "wait-seconds": _Measured("wait.duration", "s", "how long callers wait for a load of others", _LATENCIES),
    "stale-age": _Measured("stale.age", "s", "how long what is served had been stale", _AGES),
    "invalidation-lag": _Measured(
        "invalidation.lag", "s", "how long others' invalidations took to get here", _LATENCIES
    ),
    "stored-bytes": _Measured("stored.size", "By", "the size of what is written to Redis", _SIZES),
}
"""By measurement."""
COUNTERS = {
    "hits": "values found, by layer",
    "misses": "values not found, by layer",
    "loads": "calls of loaders, by outcome",
    "waits": "callers that waited for a load of their own process, or of others",
    "expiries": "values found in memory whose time was over",
    "early_refreshes": "loads begun before the end of a lifetime",
    "stale_served": "stale values served: while refreshed, or since loading failed or took too long",
    "breaker_openings": "how often Redis was left out",
    "events": "all else, by event",
}
GAUGES = {"entries": "values in memory", "redis.up": "whether Redis is used"}
_EVENTS: Mapping[str, tuple[str, dict[str, str]]] = {
    "memory-hit": ("hits", {"layer": "memory"}),
    "redis-hit": ("hits", {"layer": "redis"}),
    "memory-miss": ("misses", {"layer": "memory"}),
    "redis-miss": ("misses", {"layer": "redis"}),
    "loaded": ("loads", {"outcome": "done"}),
    "load-failed": ("loads", {"outcome": "failed"}),
    "waited": ("waits", {"scope": "process"}),
    "waited-for-process": ("waits", {"scope": "processes"}),
    "memory-expired": ("expiries", {}),
    "early-refresh": ("early_refreshes", {}),
    "stale-served": ("stale_served", {"reason": "refreshing"}),
    "fail-safe": ("stale_served", {"reason": "failed"}),
    "breaker-opened": ("breaker_openings", {}),
}
_LABELS = {
    "hits": ("layer", "family"),
    "misses": ("layer", "family"),
    "loads": ("outcome", "family"),
    "waits": ("scope", "family"),
    "expiries": ("family",),
    "early_refreshes": ("family",),
    "stale_served": ("reason", "family"),
    "breaker_openings": (),
    "events": ("event", "family"),
}
_UNITS = {"s": "_seconds", "By": "_bytes"}


def counted(cache: BaseCache) -> Mapping[str, Counter[tuple[str, ...]]]:
    """Return the counters by name, each by the values of its labels."""
    totals: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in COUNTERS}
    for event, family, count in _counts(cache):
        name, attributes = _EVENTS.get(event, ("events", {"event": event}))
        known = attributes | {"family": family}
        totals[name][tuple(known[label] for label in _LABELS[name])] += count
    return totals


def _counts(cache: BaseCache) -> Iterator[tuple[str, str, int]]:
    stats = cache.stats
    yield "memory-evicted", "", cache.memory.evictions
    yield "breaker-opened", "", stats.breaker_openings
    for (event, family), count in stats.totals().items():
        yield event, family, count


def _gauged(cache: BaseCache) -> dict[str, int]:
    return {"entries": len(cache.memory), "redis.up": int(cache.link is not None and cache.link.is_up)}


def instrument(cache: BaseCache, meter: Meter | None = None) -> None:
    """Report a cache's metrics to OpenTelemetry, without keys or values, named ``cache.…``."""
    meter = meter or get_meter("origin_sdk.layers")
    histograms = {
        measurement: meter.create_histogram(
            f"cache.{each.name}",
            each.unit,
            each.text,
            explicit_bucket_boundaries_advisory=each.bounds,
        )
        for measurement, each in HISTOGRAMS.items()
    }

    def observe(measurement: str, value: float, family: str) -> None:
        histograms[measurement].record(value, {"family": family} if family else {})

    for name, text in COUNTERS.items():
        meter.create_observable_counter(f"cache.{name}", [_observer(cache, name)], description=text)
    for name, text in GAUGES.items():
        meter.create_observable_gauge(
            f"cache.{name}",
            [lambda _, name=name: [Observation(_gauged(cache)[name])]],  # type: ignore[misc]  # a lambda's default
            description=text,
        )
    cache.stats.observers.append(observe)


def _observer(cache: BaseCache, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        for values, count in counted(cache)[name].items():
            yield Observation(count, dict(zip(_LABELS[name], values, strict=True)))

    return observe


@dataclass(slots=True)
class _Distribution:
    """How many values there were up to each bound, the last without one, and their sum."""

    counts: list[int]
    total: float = 0.0


class PrometheusCollector:
    """``prometheus_client.REGISTRY.register(PrometheusCollector(cache))``: metrics named ``cache_…``."""

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache
        self._lock = Lock()
        self._observed: dict[tuple[str, str], _Distribution] = {}
        cache.stats.observers.append(self._observe)
        renew_after_fork(self)

    def renew(self) -> None:
        """Start over after a fork, with a free lock."""
        self._lock = Lock()

    def _observe(self, measurement: str, value: float, family: str) -> None:
        bounds = HISTOGRAMS[measurement].bounds
        with self._lock:
            each = self._observed.setdefault((measurement, family), _Distribution([0] * (len(bounds) + 1)))
            each.counts[bisect_left(bounds, value)] += 1
            each.total += value

    def collect(self) -> "Iterator[Metric]":
        """Yield the metrics as they are now."""
        from prometheus_client.core import (  # noqa: PLC0415 - an extra of its own
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        totals = counted(self._cache)
        for name, text in COUNTERS.items():
            counter = CounterMetricFamily(f"cache_{name}", text, labels=_LABELS[name])
            for values, count in totals[name].items():
                counter.add_metric(values, count)
            yield counter
        for name, value in _gauged(self._cache).items():
            yield GaugeMetricFamily(f"cache_{name.replace('.', '_')}", GAUGES[name], value=value)
        yield from self._histograms()

    def _histograms(self) -> "Iterator[Metric]":
        from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - an extra of its own

        for measurement, each in HISTOGRAMS.items():
            name = f"cache_{each.name.replace('.', '_')}{_UNITS[each.unit]}"
            histogram = HistogramMetricFamily(name, each.text, labels=("family",))
            with self._lock:
                found = {
                    family: _Distribution(list(known.counts), known.total)
                    for (of, family), known in self._observed.items()
                    if of == measurement
                }
            for family, known in found.items():
                histogram.add_metric([family], _cumulated(each.bounds, known.counts), known.total)
            yield histogram


def _cumulated(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
