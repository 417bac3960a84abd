"""What the Worker counts: one table of metrics, and the counts themselves.

The Worker fills :class:`Counts`; :mod:`origin_sdk_wire.exposition` writes and reads them as JSON and writes
them as OpenMetrics, and :mod:`origin_sdk_wire.analytics` lays them out as points of Workers Analytics
Engine. All of them follow :data:`METRICS`, so that a metric is declared once, here.

Counts only grow while their isolate lives, as Prometheus wants counters: what happened in an interval is the
difference of two readings (:meth:`Counts.since`).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

__all__ = [
    "ATTEMPTS",
    "BROKEN_SEALS",
    "FAULTS",
    "GAUGES",
    "KV_OPERATIONS",
    "KV_PURPOSES",
    "METRICS",
    "ORIGIN_ERRORS",
    "OTHER",
    "PURGERS",
    "REFRESH_OUTCOMES",
    "SIZES",
    "STATUSES",
    "Cells",
    "Counts",
    "Labels",
    "Metric",
    "MetricKind",
    "Tier",
    "quantile",
    "status_class",
]

OTHER = "other"
"""The value of a label whose own values are more than may be told apart."""

# The values of labels that are ours: each is one of these.
STATUSES = ("2xx", "3xx", "4xx", "5xx")
ATTEMPTS = ("answered", "failed")
ORIGIN_ERRORS = ("unreachable", "timeout", "truncated")
REFRESH_OUTCOMES = ("stored", "validated", "unstored", "failed")
KV_OPERATIONS = ("read", "write", "list", "delete")
KV_PURPOSES: Mapping[str, str] = MappingProxyType(
    {"r": "record", "b": "body", "m": "mark", "p": "log", "c": "metrics", "k": "key"}
)
"""What a key of KV is for, by the letter that it begins with."""
PURGERS = ("unsafe-request", "origin-response")
BROKEN_SEALS = ("unsealed", "unknown-key", "broken")
FAULTS = ("store", "marks", "log", "invalidation", "background", "cache", "hook", "metrics", "worker", OTHER)

Labels: TypeAlias = tuple[str, ...]
"""The values of a metric's labels, in the order of :attr:`Metric.labels`."""
Cells: TypeAlias = list[float]
"""A counter's or gauge's one number; a histogram's sum, then a count for each bucket, not cumulative."""


class MetricKind(StrEnum):
    """What kind of metric it is, by OpenMetrics' names."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Tier(StrEnum):
    """Where an answer came from."""

    MEMORY = "memory"
    """Fresh, out of the isolate's memory."""
    KV = "kv"
    """Fresh, out of Workers KV."""
    STALE = "stale"
    """Stored, and stale: while it is refreshed, or for an origin that fails, is slow or is left alone."""
    VALIDATED = "validated"
    """Stored, after the origin said 304."""
    COLLAPSED = "collapsed"
    """The origin's answer to another request like it."""
    MISS = "miss"
    """The origin's, as nothing that may be used was stored."""
    PASS = "pass"  # noqa: S105 - no password
    """The origin's, as the cache took no part."""
    OWN = "own"
    """The Worker's own: an error, a refusal, or a hook's answer."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table. ``bounds`` are those of a histogram's buckets from above; the last has none."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    bounds: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """How many cells a series has."""
        return 2 + len(self.bounds) if self.kind is MetricKind.HISTOGRAM else 1


_BY_ANSWER = ("host", "rule", "reason", "tier", "status")
_LATENCIES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
_SPANS = (1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0, 86_400.0)
_LAGS = (1.0, 2.5, 5.0, 10.0, 30.0, 65.0, 120.0, 300.0)

_C, _G, _H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM
METRICS: tuple[Metric, ...] = (
    Metric("requests", _C, "Requests that were answered.", _BY_ANSWER),
    Metric("response_bytes", _C, "Bytes of bodies sent, where their size is known.", _BY_ANSWER, "bytes"),
    Metric("collapsed", _C, "Requests that waited for another one's answer.", _BY_ANSWER),
    Metric("stale_seconds", _H, "For how long what was served had been stale.", ("rule",), "seconds", _SPANS),
    Metric("expiries", _C, "Stored responses that were found past their lifetime.", ("rule",)),
    Metric("refreshes", _C, "Background refreshes that ended.", ("rule", "outcome")),
    Metric("origin_requests", _C, "Answers of the origin.", ("rule", "status")),
    Metric("origin_errors", _C, "Times that the origin gave no whole answer.", ("rule", "kind")),
    Metric(
        "origin_seconds",
        _H,
        "From asking the origin to its header fields.",
        ("rule",),
        "seconds",
        _LATENCIES,
    ),
    Metric("origin_attempts", _C, "Times that an origin was asked, by what came.", ("origin", "attempt")),
    Metric("breaker_openings", _C, "Times that an origin was found to be away, and left alone."),
    Metric(
        "kv_keys", _C, "Keys that an operation of KV concerned, as KV bills them.", ("operation", "purpose")
    ),
    Metric("kv_errors", _C, "Operations of KV that failed.", ("operation",)),
    Metric("kv_written_bytes", _C, "Bytes of values written to KV.", (), "bytes"),
    Metric(
        "eviction_seconds",
        _H,
        "How long what memory dropped to make room had been in it.",
        (),
        "seconds",
        _SPANS,
    ),
    Metric("evicted_bytes", _C, "What that had taken of memory.", (), "bytes"),
    Metric("broken_seals", _C, "What couldn't be opened of what lay in KV, and wasn't used.", ("cause",)),
    Metric("purge_lag_seconds", _H, "From a purge to when the isolate saw it.", (), "seconds", _LAGS),
    Metric("purges", _C, "Marks that the Worker wrote itself.", ("by", "lane")),
    Metric("faults", _C, "Faults of the cache itself, which its log names.", ("where",)),
    Metric("memory_bytes", _G, "What memory holds.", (), "bytes"),
    Metric("memory_limit_bytes", _G, "What memory may hold.", (), "bytes"),
    Metric("memory_entries", _G, "Stored responses in memory."),
)
"""Every metric, by the name that JSON has. OpenMetrics puts ``edge_cache_`` before it."""

_BY_NAME: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in METRICS})
SIZES: Mapping[str, int] = MappingProxyType({metric.name: metric.size for metric in METRICS})
"""How many cells a series of a metric has."""
GAUGES = frozenset(metric.name for metric in METRICS if metric.kind is MetricKind.GAUGE)


class Counts:
    """Series by metric and labels. Nothing here bounds them: who counts chooses labels that are bounded."""

    __slots__ = ("series",)

    def __init__(self) -> None:
        self.series: dict[str, dict[Labels, Cells]] = {metric.name: {} for metric in METRICS}

    def add(self, metric: str, labels: Labels = (), amount: float = 1) -> None:
        """Count ``amount`` more."""
        series = self.series[metric]
        cells = series.get(labels)
        if cells is None:
            series[labels] = [amount]
        else:
            cells[0] += amount

    def set(self, metric: str, value: float, labels: Labels = ()) -> None:
        """Set a gauge."""
        self.series[metric][labels] = [value]

    def observe(self, metric: str, value: float, labels: Labels = ()) -> None:
        """Count ``value`` in a histogram."""
        known = _BY_NAME[metric]
        cells = self.series[metric].get(labels)
        if cells is None:
            cells = self.series[metric][labels] = [0.0] * known.size
        cells[0] += value
        cells[1 + bisect_left(known.bounds, value)] += 1

    def value(self, metric: str, labels: Labels = ()) -> float:
        """Return a counter or gauge; 0 for one that was never touched."""
        return self.series[metric].get(labels, [0])[0]

    def total(self, metric: str, **labels: str) -> float:
        """Return the sum of all series with these values of labels; of a histogram, how many it counted."""
        return sum(map(_amount_of(metric), self.cells(metric, **labels)))

    def cells(self, metric: str, **labels: str) -> Iterable[Cells]:
        """Iterate over the cells of all series with these values of labels."""
        names = _BY_NAME[metric].labels
        wanted = [(names.index(name), value) for name, value in labels.items()]
        for values, cells in self.series[metric].items():
            if all(values[at] == value for at, value in wanted):
                yield cells

    def by(self, metric: str, *labels: str) -> dict[Labels, Cells]:
        """Return the series of a metric added up by some of its labels."""
        places = [_BY_NAME[metric].labels.index(name) for name in labels]
        found: dict[Labels, Cells] = {}
        for values, cells in self.series[metric].items():
            _add_to(found, tuple(values[at] for at in places), cells)
        return found

    def merge(self, other: "Counts") -> None:
        """Add what another isolate counted; gauges add up, too."""
        for metric, series in other.series.items():
            for labels, cells in series.items():
                _add_to(self.series[metric], labels, cells)

    def since(self, earlier: "Counts") -> "Counts":
        """Return what was counted after an earlier reading of the same isolate; gauges as they are now.

        Series that didn't change are left out.
        """
        changed = Counts()
        for metric in METRICS:
            before = earlier.series[metric.name] if metric.kind is not MetricKind.GAUGE else {}
            for labels, cells in self.series[metric.name].items():
                rest = _minus(cells, before.get(labels))
                if any(rest) or metric.kind is MetricKind.GAUGE:
                    changed.series[metric.name][labels] = rest
        return changed

    def copy(self) -> "Counts":
        """Return the same counts, which no longer change with these."""
        copied = Counts()
        copied.merge(self)
        return copied

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counts) and self.series == other.series

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __bool__(self) -> bool:
        """Whether anything but gauges was counted."""
        return any(self.series[metric.name] for metric in METRICS if metric.kind is not MetricKind.GAUGE)


def _add_to(series: dict[Labels, Cells], labels: Labels, cells: Cells) -> None:
    known = series.get(labels)
    series[labels] = [a + b for a, b in zip(known, cells, strict=True)] if known else list(cells)


def _minus(cells: Cells, before: Cells | None) -> Cells:
    return [a - b for a, b in zip(cells, before, strict=True)] if before else list(cells)


def _amount_of(metric: str) -> Callable[[Cells], float]:
    if _BY_NAME[metric].kind is MetricKind.HISTOGRAM:
        return lambda cells: sum(cells[1:])
    return lambda cells: cells[0]


def quantile(metric: Metric, cells: Sequence[float], share: float) -> float | None:
    """Estimate the value below which ``share`` of what a histogram counted lies; ``None`` if it is empty.

    It lies evenly within its bucket, as Prometheus' ``histogram_quantile`` has it; what is above the last
    bound counts as that.
    """
    counts, rank = cells[1:], sum(cells[1:]) * share
    if not sum(counts):
        return None
    lower = below = 0.0
    for bound, count in zip(metric.bounds, counts[:-1], strict=True):
        if count and below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        lower, below = bound, below + count
    return metric.bounds[-1]


def status_class(code: int) -> str:
    """Return ``2xx`` for 204, and so on; ``5xx`` for what is no status code of HTTP (RFC 9110 section 15)."""
    return f"{code // 100}xx" if code < 600 else "5xx"
