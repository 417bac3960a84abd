"""What services behind the edge export for Prometheus: their layered caches, outbox and drainer.

Names are those of :mod:`origin_sdk.layers.telemetry` and :mod:`origin_sdk.outbox.telemetry`, whichever way
they are exported: by ``prometheus_client`` or by OpenTelemetry's exporter for Prometheus.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from origin_sdk._process.clock import Clock
from origin_sdk._values.errors import ConnectionFailed, RequestRejected
from origin_sdk.dashboard.sources import SourceHealth

__all__ = ["Sample", "Service", "parsed", "parsed_families"]

_RECENT_SECONDS = 60.0
_SECONDS = 5.0
MOST_BYTES = 8_000_000
_MOST_FAMILIES = 50
_TEXT = "text/plain; version=0.0.4"
_OPENMETRICS = "application/openmetrics-text"
ACCEPT = f"{_OPENMETRICS}; version=1.0.0, {_TEXT}; q=0.5"


@dataclass(frozen=True, slots=True)
class Sample:
    """A number with its name and labels."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float

    def label(self, name: str) -> str:
        """Return a label's value, or ``""``."""
        return next((value for known, value in self.labels if known == name), "")


def parsed_families(text: str, media_type: str) -> list[Metric]:
    """Read Prometheus' text format or OpenMetrics; raises ValueError."""
    parse = openmetrics_families if media_type.startswith(_OPENMETRICS) else text_families
    return list(parse(text))


def parsed(text: str, media_type: str) -> list[Sample]:
    """Read the samples of either format; raises ValueError."""
    return [
        Sample(sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in parsed_families(text, media_type)
        for sample in family.samples
    ]


class Scraped:
    """Samples of one moment."""

    def __init__(self, at: float, samples: Iterable[Sample]) -> None:
        self.at = at
        self._by_name: dict[str, list[Sample]] = {}
        for sample in samples:
            self._by_name.setdefault(sample.name, []).append(sample)

    def has(self, prefix: str) -> bool:
        """Whether there is a sample whose name begins so."""
        return any(name.startswith(prefix) for name in self._by_name)

    def of(self, name: str, **labels: str) -> Iterator[Sample]:
        """Yield the samples of a name that have these labels."""
        for sample in self._by_name.get(name, ()):
            if all(sample.label(label) == value for label, value in labels.items()):
                yield sample

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of samples."""
        return sum(sample.value for sample in self.of(name, **labels))

    def values(self, name: str, label: str) -> set[str]:
        """Return the values that a label has."""
        return {sample.label(label) for sample in self.of(name)}

    def quantile(self, name: str, share: float, **labels: str) -> float | None:
        """Return a quantile of a histogram, evenly within its bucket, or ``None`` if it is empty."""
        buckets: dict[float, float] = {}
        for sample in self.of(f"{name}_bucket", **labels):
            bound = float(sample.label("le").replace("+Inf", "inf"))
            buckets[bound] = buckets.get(bound, 0.0) + sample.value
        return quantile_of(sorted(buckets.items()), share)


def quantile_of(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """Return a quantile of cumulative buckets, the last one without a bound."""
    if not buckets or not buckets[-1][1]:
        return None
    rank = buckets[-1][1] * share
    for (lower, below), (upper, up_to) in pairwise([(0.0, 0.0), *buckets]):
        if up_to >= rank and up_to > below:
            return (
                lower if upper == float("inf") else lower + (upper - lower) * (rank - below) / (up_to - below)
            )
    return buckets[-1][0]


@dataclass
class Service:
    """One service's export, scraped now and then."""

    url: str
    clock: Clock
    client: httpx.Client
    health: SourceHealth = field(default_factory=SourceHealth)
    _scrapes: deque[Scraped] = field(default_factory=deque, repr=False)
    export: tuple[str, str] = ("", "")
    """What it exported last, and its media type."""

    def poll(self) -> None:
        """Scrape once; a failure is for :attr:`health` to tell."""
        now = self.clock.now()
        try:
            samples = self._scraped()
        except (ConnectionFailed, RequestRejected) as error:
            self.health = self.health.failed(error)
            return
        self._scrapes.append(Scraped(now, samples))
        while len(self._scrapes) > 1 and self._scrapes[1].at <= now - _RECENT_SECONDS:
            self._scrapes.popleft()
        self.health = self.health.worked(now)

    def _scraped(self) -> list[Sample]:
        try:
            with self.client.stream(
                "GET", self.url, headers={"accept": ACCEPT}, timeout=_SECONDS
            ) as response:
                body = _limited(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectionFailed(f"{self.url}: {type(error).__name__}: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise RequestRejected(
                f"{self.url} answered {response.status_code}: is this its metrics' address?"
            )
        try:
            export = body.decode(), response.headers.get("content-type", "")
            samples = parsed(*export)
        except ValueError as error:
            raise RequestRejected(f"{self.url}: not Prometheus' text format: {error}") from error
        self.export = export
        return samples

    def as_json(self) -> dict[str, Any]:
        """Return what the dashboard shows of it."""
        shown: dict[str, Any] = {
            "url": self.url,
            "health": self.health.as_json(),
            "layers": None,
            "outbox": None,
        }
        if self._scrapes:
            now, before = self._scrapes[-1], self._scrapes[0]
            shown["layers"] = _layers(now, before) if now.has("cache_hits") else None
            shown["outbox"] = _outbox(now) if now.has("edge_outbox_") else None
        return shown


def _limited(response: httpx.Response) -> bytes:
    body = b""
    for part in response.iter_bytes():
        body += part
        if len(body) > MOST_BYTES:
            raise RequestRejected(f"{response.url}: more than {MOST_BYTES:,} bytes of metrics")
    return body


def _layers(now: Scraped, before: Scraped) -> dict[str, Any]:
    names = now.values("cache_hits_total", "family") | now.values("cache_misses_total", "family")
    families = [_family(name, now) for name in names]
    families.sort(key=lambda family: -family["gets"])
    seconds = now.at - before.at

    def rate(name: str, **labels: str) -> float | None:
        return (now.total(name, **labels) - before.total(name, **labels)) / seconds if seconds else None

    return {
        "families": families[:_MOST_FAMILIES],
        "entries": now.total("cache_entries"),
        "redis_up": any(sample.value for sample in now.of("cache_redis_up")),
        "breaker_openings": now.total("cache_breaker_openings_total"),
        "rates": {
            "memory_hits": rate("cache_hits_total", layer="memory"),
            "redis_hits": rate("cache_hits_total", layer="redis"),
            "loads": rate("cache_loads_total"),
        },
        "load": _spread(now, "cache_load_duration_seconds"),
        "invalidation_lag": _spread(now, "cache_invalidation_lag_seconds"),
    }


def _family(name: str, now: Scraped) -> dict[str, Any]:
    memory = now.total("cache_hits_total", layer="memory", family=name)
    redis = now.total("cache_hits_total", layer="redis", family=name)
    loads = now.total("cache_loads_total", family=name)
    # A look-up that misses in memory is asked for in Redis: what misses in the last layer is a miss.
    missed = now.total("cache_misses_total", layer="redis", family=name)
    if not missed and not redis:
        missed = now.total("cache_misses_total", layer="memory", family=name)
    gets = memory + redis + missed
    return {
        "name": name,
        "gets": gets,
        "memory": memory,
        "redis": redis,
        "hit_ratio": (memory + redis) / gets if gets else None,
        "loads": loads,
        "failed": now.total("cache_loads_total", family=name, outcome="failed"),
        "stale": now.total("cache_stale_served_total", family=name),
        "expiries": now.total("cache_expiries_total", family=name),
        "load": _spread(now, "cache_load_duration_seconds", family=name),
    }


def _outbox(now: Scraped) -> dict[str, Any]:
    oldest = "edge_outbox_oldest_seconds" if now.has("edge_outbox_oldest_seconds") else "edge_outbox_oldest"
    return {
        "waiting": now.total("edge_outbox_waiting"),
        "dead": now.total("edge_outbox_dead"),
        "oldest": now.total(oldest),
        "done": now.total("edge_outbox_entries_total", end="done"),
        "failed": now.total("edge_outbox_entries_total", end="waiting"),
        "lag": _spread(now, "edge_outbox_lag_seconds"),
    }


def _spread(now: Scraped, name: str, **labels: str) -> Mapping[str, float | None]:
    return {f"p{share * 100:g}": now.quantile(name, share, **labels) for share in (0.5, 0.95, 0.99)}
