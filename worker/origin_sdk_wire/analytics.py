"""Counts as points of Workers Analytics Engine, and how SQL reads them back.

A point has up to 20 texts (*blobs*), 20 numbers (*doubles*) and an index of 96 bytes, by which Cloudflare
samples when there are many: each row that is left stands for ``_sample_interval`` points, so that a sum is
``SUM(_sample_interval * double1)``. What was counted since the last flush is written as a few points, one or
more of each *group*, at most :data:`MOST_POINTS` in all::

    index1   the rule, or "-" for what belongs to none
    blob1    the layout's version: 1
    blob2    the group: answers, origin, origins, rule, memory, kv, seals, lags, or url
    blob3    the isolate's id        blob4    the location, such as FRA
    blob5..  the group's labels      double1..  the group's columns

Where there is more than fits, what counts least is added up under ``other``, so that sums stay right.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from origin_sdk_wire.exposition import UrlCount
from origin_sdk_wire.marks import Lane
from origin_sdk_wire.metrics import (
    ATTEMPTS,
    BROKEN_SEALS,
    FAULTS,
    GAUGES,
    KV_OPERATIONS,
    KV_PURPOSES,
    METRICS,
    ORIGIN_ERRORS,
    OTHER,
    PURGERS,
    REFRESH_OUTCOMES,
    SIZES,
    STATUSES,
    Cells,
    Counts,
    Labels,
)

__all__ = [
    "GROUPS",
    "MOST_POINTS",
    "URL_COLUMNS",
    "URL_LABELS",
    "Column",
    "ColumnGroup",
    "Point",
    "add_row",
    "points_of",
    "selection",
]

MOST_POINTS = 24
"""In one flush, with one for each tier, and all that may be of the rest; the platform takes 250."""
_VERSION = "1"
_INDEX_BYTES = 96
_MOST_BY_RULE = 3
_MOST_URLS = 3
_BLOB_CHARACTERS = 1000
_LABELS = {metric.name: metric.labels for metric in METRICS}

_KV_WRITTEN = tuple(purpose for purpose in KV_PURPOSES.values() if purpose != "key")
"""What the Worker writes as well as reads: API keys are written by the SDK alone."""

URL_LABELS = ("rule", "url")
URL_COLUMNS = ("requests", "bytes", "origin_requests", "origin_seconds")


@dataclass(frozen=True, slots=True)
class Column:
    """What a double holds: a cell of the series of ``metric`` whose further labels are these."""

    metric: str
    labels: tuple[tuple[str, str], ...] = ()
    cell: int = 0


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    """Points of one shape: ``labels`` are texts from blob5 on, ``columns`` numbers from double1 on."""

    name: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]

    def double(self, metric: str, cell: int = 0, **labels: str) -> str:
        """Return the name of the double that holds a cell, such as ``double7``."""
        return f"double{1 + self.columns.index(Column(metric, tuple(labels.items()), cell))}"

    def blob(self, label: str) -> str:
        """Return the name of the blob that holds a label, such as ``blob5``."""
        return f"blob{5 + self.labels.index(label)}"


@dataclass(frozen=True, slots=True)
class Point:
    """What ``writeDataPoint`` takes."""

    index: str
    blobs: tuple[str, ...]
    doubles: tuple[float, ...]


def _each(metric: str, label: str, values: Iterable[str]) -> tuple[Column, ...]:
    return tuple(Column(metric, ((label, value),)) for value in values)


def _whole(metric: str) -> tuple[Column, ...]:
    return tuple(Column(metric, (), cell) for cell in range(SIZES[metric]))


def _pairs(metric: str, labels: tuple[str, str], values: Iterable[tuple[str, str]]) -> tuple[Column, ...]:
    return tuple(Column(metric, tuple(zip(labels, pair, strict=True))) for pair in values)


GROUPS: Mapping[str, ColumnGroup] = {
    group.name: group
    for group in (
        ColumnGroup(
            "answers",
            ("host", "rule", "reason", "tier", "status"),
            (Column("requests"), Column("response_bytes"), Column("collapsed")),
        ),
        ColumnGroup(
            "origin",
            ("rule",),
            (
                *_each("origin_requests", "status", STATUSES),
                *_each("origin_errors", "kind", ORIGIN_ERRORS),
                *_whole("origin_seconds"),
            ),
        ),
        ColumnGroup("origins", ("origin",), _each("origin_attempts", "attempt", ATTEMPTS)),
        ColumnGroup(
            "rule",
            ("rule",),
            (
                Column("expiries"),
                *_each("refreshes", "outcome", REFRESH_OUTCOMES),
                *_whole("stale_seconds"),
            ),
        ),
        ColumnGroup(
            "memory",
            (),
            (
                Column("evicted_bytes"),
                Column("breaker_openings"),
                *_pairs("purges", ("by", "lane"), ((by, lane.value) for by in PURGERS for lane in Lane)),
                *_each("faults", "where", FAULTS),
                *map(Column, sorted(GAUGES)),
            ),
        ),
        ColumnGroup(
            "kv",
            (),
            (
                *_pairs(
                    "kv_keys",
                    ("operation", "purpose"),
                    (
                        *(("read", purpose) for purpose in _KV_WRITTEN),
                        *(("write", purpose) for purpose in _KV_WRITTEN),
                        *(("list", purpose) for purpose in ("log", "metrics")),
                        *(("delete", purpose) for purpose in ("record", "body", "mark")),
                    ),
                ),
                *_each("kv_errors", "operation", KV_OPERATIONS),
                Column("kv_written_bytes"),
            ),
        ),
        ColumnGroup(
            "seals",
            (),
            (
                *_each("broken_seals", "cause", BROKEN_SEALS),
                # The group of KV has all 20 columns that a point can have.
                *_pairs("kv_keys", ("operation", "purpose"), [("read", "key")]),
            ),
        ),
        ColumnGroup("lags", (), (*_whole("purge_lag_seconds"), *_whole("eviction_seconds"))),
    )
}
"""The groups by name. That of URLs, ``url``, has :data:`URL_LABELS` and :data:`URL_COLUMNS`."""


def points_of(
    gained: Counts, isolate_id: str, location: str, urls: Sequence[UrlCount] = ()
) -> tuple[Point, ...]:
    """Lay out what was counted since the last flush; ``urls`` likewise, the busiest first."""
    urls = urls[:_MOST_URLS]
    rows = {name: _rows(group, gained) for name, group in GROUPS.items()}
    for name in ("origin", "origins", "rule"):
        rows[name] = _fitted(rows[name], _MOST_BY_RULE, sum, lambda _: (OTHER,))
    left = MOST_POINTS - len(urls) - sum(len(of) for name, of in rows.items() if name != "answers")
    rows["answers"] = _fitted(rows["answers"], left, _requests_of, _folded_answer)
    points = [
        _point(GROUPS[name], labels, doubles, isolate_id, location)
        for name, of in rows.items()
        for labels, doubles in of.items()
    ]
    return (*points, *(_url_point(url, isolate_id, location) for url in urls))


def _rows(group: ColumnGroup, counts: Counts) -> dict[Labels, Cells]:
    rows: dict[Labels, Cells] = {}
    for at, column in enumerate(group.columns):
        names = _LABELS[column.metric]
        fixed = dict(column.labels)
        for labels, cells in counts.series[column.metric].items():
            by_name = dict(zip(names, labels, strict=True))
            if any(by_name[name] != value for name, value in fixed.items()):
                continue
            key = tuple(by_name[name] for name in group.labels)
            rows.setdefault(key, [0.0] * len(group.columns))[at] += cells[column.cell]
    return {labels: row for labels, row in rows.items() if _says_something(group, row)}


def _says_something(group: ColumnGroup, row: Cells) -> bool:
    counted = (cell for cell, column in zip(row, group.columns, strict=True) if column.metric not in GAUGES)
    return any(counted)


def _requests_of(answers: Cells) -> float:
    return answers[0]


def _folded_answer(labels: Labels) -> Labels:
    tier = labels[3]
    return OTHER, OTHER, OTHER, tier, OTHER


def _fitted(
    rows: dict[Labels, Cells],
    most: int,
    weight: Callable[[Cells], float],
    folded: Callable[[Labels], Labels],
) -> dict[Labels, Cells]:
    """Keep the rows of the most weight, and add up the rest, so that there are at most ``most``."""
    if len(rows) <= most:
        return rows
    ranked = sorted(rows, key=lambda labels: -weight(rows[labels]))
    for kept in range(most, 0, -1):
        fitted = _with_rest(rows, ranked[:kept], ranked[kept:], folded)
        if len(fitted) <= most:
            return fitted
    return _with_rest(rows, (), ranked, folded)


def _with_rest(
    rows: dict[Labels, Cells],
    kept: Sequence[Labels],
    rest: Iterable[Labels],
    folded: Callable[[Labels], Labels],
) -> dict[Labels, Cells]:
    fitted = {labels: rows[labels] for labels in kept}
    for labels in rest:
        key = folded(labels)
        known = fitted.get(key, [0.0] * len(rows[labels]))
        fitted[key] = [a + b for a, b in zip(known, rows[labels], strict=True)]
    return fitted


def _point(group: ColumnGroup, labels: Labels, doubles: Cells, isolate_id: str, location: str) -> Point:
    rule = dict(zip(group.labels, labels, strict=True)).get("rule", "-")
    return Point(_clipped(rule), _blobs(group.name, isolate_id, location, labels), tuple(doubles))


def _url_point(url: UrlCount, isolate_id: str, location: str) -> Point:
    doubles = (float(url.requests), float(url.bytes), float(url.origin_requests), url.origin_seconds)
    return Point(_clipped(url.rule), _blobs("url", isolate_id, location, (url.rule, url.url)), doubles)


def _blobs(group: str, isolate_id: str, location: str, labels: Labels) -> tuple[str, ...]:
    return _VERSION, group, isolate_id, location, *(label[:_BLOB_CHARACTERS] for label in labels)


def _clipped(index: str) -> str:
    return index.encode()[:_INDEX_BYTES].decode("utf-8", "ignore")


# Reading


def selection(group: ColumnGroup) -> str:
    """Return what SQL selects to sum a group's points up by its labels, as :func:`add_row` takes it.

    ::

        SELECT {selection(group)} FROM dataset
        WHERE blob1 = '1' AND blob2 = '{group.name}' AND timestamp > NOW() - INTERVAL '1' HOUR
        GROUP BY {labels}

    Gauges are averaged over points.
    """
    labels = (f"{group.blob(label)} AS {label}" for label in group.labels)
    sums = (_sum(at, column) for at, column in enumerate(group.columns, 1))
    return ", ".join((*labels, *sums))


def _sum(at: int, column: Column) -> str:
    total = f"SUM(_sample_interval * double{at})"
    shown = f"{total} / SUM(_sample_interval)" if column.metric in GAUGES else total
    return f"{shown} AS c{at}"


def add_row(counts: Counts, group: ColumnGroup, row: Mapping[str, object]) -> None:
    """Count in what SQL returned for :func:`selection`: labels by name, and columns as ``c1`` and so on.

    Numbers may be texts, as the API gives them.
    """
    labels = {name: str(row[name]) for name in group.labels}
    for at, column in enumerate(group.columns, 1):
        value = float(str(row[f"c{at}"]))
        if not value:
            continue
        by_name = {**labels, **dict(column.labels)}
        series = counts.series[column.metric]
        key = tuple(by_name[name] for name in _LABELS[column.metric])
        cells = series.setdefault(key, [0.0] * SIZES[column.metric])
        cells[column.cell] += value
