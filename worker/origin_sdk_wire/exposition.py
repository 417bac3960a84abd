"""Counts as documents: JSON, which the SDK reads back, and OpenMetrics, which Prometheus reads.

``docs/metrics.md`` shows a document. One holds the counts of one isolate or of many, each since it started:
for an interval, or sums, tell isolates apart by their ids, as :func:`gained` does.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from origin_sdk_wire.errors import UnreadableMetrics
from origin_sdk_wire.metrics import METRICS, Cells, Counts, Labels, Metric, MetricKind
from origin_sdk_wire.strict_json import shallow

__all__ = [
    "FORMAT",
    "JSON_TYPE",
    "OPENMETRICS_TYPE",
    "VERSION",
    "AwayOrigin",
    "Document",
    "Isolate",
    "SeenPurge",
    "UrlCount",
    "gained",
    "isolate_text",
    "merged_away",
    "openmetrics",
    "parse_document",
    "parse_isolate",
]

FORMAT = "edge-cache-metrics"
VERSION = 1
JSON_TYPE = "application/json"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_PREFIX = "edge_cache_"


@dataclass(frozen=True, slots=True)
class UrlCount:
    """How often a URL was asked for, and what it cost the origin.

    Of the many URLs the busiest are kept: one that comes late takes the place and the ``requests`` of the
    least busy, ``inherited`` of which may be others'.
    """

    url: str
    rule: str
    requests: int
    bytes: int
    origin_requests: int
    origin_seconds: float
    inherited: int = 0


@dataclass(frozen=True, slots=True)
class SeenPurge:
    """A purge that the isolate made or saw, times in milliseconds since the epoch."""

    moment_ms: int
    seen_ms: int
    by: str
    """``unsafe-request`` or ``origin-response`` for what the Worker did itself, else ``elsewhere``."""
    lane: str
    name: str
    """Of the mark; empty where METRICS_URLS doesn't allow it, as it may be a URL."""
    purge_id: str = ""


@dataclass(frozen=True, slots=True)
class AwayOrigin:
    """An origin that gave no answer when it was asked last; times in milliseconds since the epoch."""

    origin: str
    """Its host, ``zone`` for that of the Worker's zone, or ``shield``."""
    since_ms: int
    last_ms: int
    tries: int
    why: str
    """A failure, such as ``origin-timeout``, or the status code that was none of its own, such as ``503``."""


@dataclass(frozen=True, slots=True)
class Isolate:
    """What one isolate counted from ``started_ms`` to ``counted_ms``."""

    id: str
    location: str
    started_ms: int
    counted_ms: int
    counts: Counts
    urls: tuple[UrlCount, ...] = ()
    """The busiest first; empty where METRICS_URLS is ``none``."""
    purges: tuple[SeenPurge, ...] = ()
    """The latest first."""
    away: tuple[AwayOrigin, ...] = ()
    """The longest away first."""


@dataclass(frozen=True, slots=True)
class Document:
    """What the route answers. ``urls`` is METRICS_URLS; ``is_shared`` whether other isolates are in it."""

    made_ms: int
    cache_name: str
    isolates: tuple[Isolate, ...]
    urls: str = "none"
    is_shared: bool = False
    flush_seconds: float = 60.0
    """How old the counts of other isolates may be."""

    def __str__(self) -> str:
        return json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "made_ms": self.made_ms,
                "cache_name": self.cache_name,
                "urls": self.urls,
                "is_shared": self.is_shared,
                "flush_seconds": self.flush_seconds,
                "bounds": {metric.name: metric.bounds for metric in METRICS if metric.bounds},
                "isolates": [_shown_isolate(isolate) for isolate in self.isolates],
            },
            separators=(",", ":"),
        )

    def total(self) -> Counts:
        """Return the sum of all isolates."""
        counts = Counts()
        for isolate in self.isolates:
            counts.merge(isolate.counts)
        return counts


def gained(before: Mapping[str, Counts], document: Document) -> Counts:
    """Return what was counted since earlier readings, by the ids of isolates; all that is new of others.

    Keep readings of isolates that vanish from a document for a day: an idle one comes back.
    """
    counts = Counts()
    for isolate in document.isolates:
        counts.merge(isolate.counts.since(before.get(isolate.id, Counts())))
    return counts


def merged_away(isolates: Iterable[Isolate]) -> tuple[AwayOrigin, ...]:
    """Return the origins that gave isolates no answer, each once; the longest away first.

    Who heard of one last says why. It is away for the isolates that say so: others may reach it.
    """
    merged: dict[str, AwayOrigin] = {}
    for away in (each for isolate in isolates for each in isolate.away):
        known = merged.get(away.origin, away)
        latest = max(known, away, key=lambda each: each.last_ms)
        tries = away.tries if known is away else known.tries + away.tries
        since_ms = min(known.since_ms, away.since_ms)
        merged[away.origin] = AwayOrigin(away.origin, since_ms, latest.last_ms, tries, latest.why)
    return tuple(sorted(merged.values(), key=lambda each: each.since_ms))


# JSON


def isolate_text(isolate: Isolate) -> str:
    """Write one isolate, for others to read."""
    return json.dumps({"version": VERSION, **_shown_isolate(isolate)}, separators=(",", ":"))


def _shown_isolate(isolate: Isolate) -> dict[str, object]:
    return {
        "id": isolate.id,
        "location": isolate.location,
        "started_ms": isolate.started_ms,
        "counted_ms": isolate.counted_ms,
        "metrics": {metric.name: rows for metric in METRICS if (rows := _rows(metric, isolate.counts))},
        "urls": [asdict(url) for url in isolate.urls],
        "purges": [asdict(purge) for purge in isolate.purges],
        "away": [asdict(origin) for origin in isolate.away],
    }


def _rows(metric: Metric, counts: Counts) -> list[list[object]]:
    return [[*labels, *map(_short, cells)] for labels, cells in sorted(counts.series[metric.name].items())]


def _short(number: float) -> float:
    return int(number) if number == int(number) else round(number, 6)


def parse_document(text: str | bytes) -> Document:
    """Read what the route answered; raises :class:`UnreadableMetrics`."""
    try:
        table = json.loads(shallow(text if isinstance(text, str) else text.decode()))
        if table["format"] != FORMAT:
            raise UnreadableMetrics(f'not a document of {FORMAT}: "format" is {table["format"]!r}')
        _check_version(table)
        return Document(
            table["made_ms"],
            table["cache_name"],
            tuple(map(_read_isolate, table["isolates"])),
            table["urls"],
            table["is_shared"],
            table["flush_seconds"],
        )
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UnreadableMetrics):
            raise
        raise UnreadableMetrics(f"not a document of {FORMAT}: {error!r}") from error


def parse_isolate(text: str) -> Isolate:
    """Read what :func:`isolate_text` wrote; raises :class:`UnreadableMetrics`."""
    try:
        table = json.loads(shallow(text))
        _check_version(table)
        return _read_isolate(table)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UnreadableMetrics):
            raise
        raise UnreadableMetrics(f"not the counts of an isolate: {error!r}") from error


def _check_version(table: Mapping[str, object]) -> None:
    if table["version"] != VERSION:
        raise UnreadableMetrics(
            f"version {table['version']!r} of {FORMAT}, and this reads version {VERSION}; "
            "update the older of Worker and SDK"
        )


def _read_isolate(table: Mapping[str, Any]) -> Isolate:
    counts, rows_of = Counts(), table["metrics"]
    for metric in METRICS:  # a metric that only a newer Worker has is passed over
        counts.series[metric.name] = dict(_read_row(metric, row) for row in rows_of.get(metric.name, ()))
    return Isolate(
        table["id"],
        table["location"],
        table["started_ms"],
        table["counted_ms"],
        counts,
        tuple(UrlCount(**row) for row in table["urls"]),
        tuple(SeenPurge(**row) for row in table["purges"]),
        tuple(AwayOrigin(**row) for row in table.get("away", ())),  # older Workers don't tell
    )


def _read_row(metric: Metric, row: list[Any]) -> tuple[Labels, Cells]:
    at = len(metric.labels)
    labels, cells = row[:at], row[at:]
    if len(cells) != metric.size or not all(isinstance(label, str) for label in labels):
        raise UnreadableMetrics(f"{metric.name}: {at} labels and {metric.size} numbers expected, not {row}")
    if not all(isinstance(cell, int | float) for cell in cells):
        raise UnreadableMetrics(f"{metric.name}: numbers expected, not {cells}")
    return tuple(labels), cells


# OpenMetrics


def openmetrics(isolates: Iterable[Isolate]) -> str:
    """Write OpenMetrics 1.0 text: each sample with the label ``isolate``, as each counts for itself.

    URLs and single purges aren't in it.
    """
    known = tuple(isolates)
    lines = [line for metric in METRICS for line in _family(metric, known)]
    return "\n".join([*_isolate_family(known), *lines, "# EOF", ""])


def _isolate_family(isolates: Iterable[Isolate]) -> Iterator[str]:
    name = f"{_PREFIX}isolate"
    yield f"# TYPE {name} info"
    yield f"# HELP {name} The isolates that were counted."
    for isolate in isolates:
        yield f"{name}_info{_labels({'isolate': isolate.id, 'location': isolate.location})} 1"


def _family(metric: Metric, isolates: Iterable[Isolate]) -> Iterator[str]:
    name = _PREFIX + metric.name
    yield f"# TYPE {name} {metric.kind.value}"
    if metric.unit:
        yield f"# UNIT {name} {metric.unit}"
    yield f"# HELP {name} {metric.help}"
    for isolate in isolates:
        for values, cells in sorted(isolate.counts.series[metric.name].items()):
            labels = {"isolate": isolate.id, **dict(zip(metric.labels, values, strict=True))}
            yield from _samples(metric, name, labels, cells, isolate)


def _samples(
    metric: Metric, name: str, labels: Mapping[str, str], cells: Cells, isolate: Isolate
) -> Iterator[str]:
    shown = _labels(labels)
    created = f"{name}_created{shown} {isolate.started_ms / 1000:.3f}"
    match metric.kind:
        case MetricKind.GAUGE:
            yield f"{name}{shown} {_short(cells[0])}"
        case MetricKind.COUNTER:
            yield f"{name}_total{shown} {_short(cells[0])}"
            yield created
        case MetricKind.HISTOGRAM:
            count = 0.0
            for bound, more in zip((*map(str, metric.bounds), "+Inf"), cells[1:], strict=True):
                count += more
                yield f"{name}_bucket{_labels({**labels, 'le': bound})} {_short(count)}"
            yield f"{name}_count{shown} {_short(count)}"
            yield f"{name}_sum{shown} {_short(cells[0])}"
            yield created


def _labels(labels: Mapping[str, str]) -> str:
    shown = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{','.join(shown)}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
