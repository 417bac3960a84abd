"""What the layers did, for OpenTelemetry and for Prometheus."""

from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from origin_sdk.layers.base import Base

__all__ = ["PrometheusCollector", "instrument"]

_HISTOGRAMS = {
    "load-seconds": ("cache.load.duration", "s", "how long loaders take"),
    "stale-age": ("cache.stale.age", "s", "how long what is served had been stale"),
    "invalidation-lag": (
        "cache.invalidation.lag",
        "s",
        "how long others' invalidations took to get here",
    ),
    "stored-bytes": ("cache.stored", "By", "the size of what is written to Redis"),
}


def instrument(cache: Base, meter: Meter | None = None) -> None:
    """Report a cache's metrics to OpenTelemetry, without keys or values.

    ``cache.events`` counts by event and family, ``cache.entries`` and ``cache.redis.up`` are gauges; load
    times, ages of stale values, lags of invalidations and stored bytes are histograms.
    """
    meter = meter or get_meter("origin_sdk.layers")
    histograms = {
        name: meter.create_histogram(metric, unit, text) for name, (metric, unit, text) in _HISTOGRAMS.items()
    }

    def events(_: CallbackOptions) -> Iterable[Observation]:
        for event, family, count in counted(cache):
            yield Observation(count, {"event": event, "family": family})

    def observe(measurement: str, value: float, family: str) -> None:
        histograms[measurement].record(value, {"family": family} if family else {})

    meter.create_observable_counter("cache.events", [events], description="what the layers did")
    meter.create_observable_gauge("cache.entries", [lambda _: [Observation(len(cache.memory))]])
    meter.create_observable_gauge("cache.redis.up", [lambda _: [Observation(is_up(cache))]])
    cache.stats.observers.append(observe)


def counted(cache: Base) -> Iterator[tuple[str, str, int]]:
    """Yield event, family and count of all that was counted."""
    stats = cache.stats
    yield "memory-hit-decorated", "", stats.memory_hits
    yield "memory-evicted", "", cache.memory.evictions
    yield "breaker-opened", "", stats.breaker_openings
    for (event, family), count in list(stats.counts.items()):
        yield event, family, count


def is_up(cache: Base) -> int:
    """Return 1 if Redis is used, else 0."""
    return int(cache.link is not None and cache.link.is_up)


class PrometheusCollector:
    """Counts and gauges for ``prometheus_client.REGISTRY.register(PrometheusCollector(cache))``."""

    def __init__(self, cache: Base) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Any]:
        """Yield the metrics as they are now."""
        from prometheus_client.core import (  # noqa: PLC0415 - an extra of its own
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        events = CounterMetricFamily("cache_events", "What the layers did.", labels=["event", "family"])
        for event, family, count in counted(self._cache):
            events.add_metric([event, family], count)
        yield events
        yield GaugeMetricFamily("cache_entries", "Values in memory.", value=len(self._cache.memory))
        yield GaugeMetricFamily("cache_redis_up", "Whether Redis is used.", value=is_up(self._cache))
