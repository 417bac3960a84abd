import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from origin_sdk_wire.analytics import GROUPS, MOST_POINTS, Point, add_row, points_of, selection
from origin_sdk_wire.errors import UnreadableMetrics
from origin_sdk_wire.exposition import (
    AwayOrigin,
    Document,
    Isolate,
    SeenPurge,
    UrlCount,
    gained,
    isolate_text,
    merged_away,
    openmetrics,
    parse_document,
    parse_isolate,
)
from origin_sdk_wire.metrics import (
    ATTEMPTS,
    BROKEN_SEALS,
    FAULTS,
    KV_PURPOSES,
    METRICS,
    ORIGIN_ERRORS,
    OTHER,
    PURGERS,
    REFRESH_OUTCOMES,
    STATUSES,
    Counts,
    MetricKind,
    Tier,
    quantile,
    status_class,
)

_BY_NAME = {metric.name: metric for metric in METRICS}
_PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")

_VALUES: dict[str, list[str]] = {
    "host": ["shop.example", "api.example"],
    "rule": ["products", "default", "a", "b", "c", "d", "e"],
    "reason": ["fresh", "absent", "stale", "no-store"],
    "tier": list(Tier),
    "status": list(STATUSES),
    "outcome": list(REFRESH_OUTCOMES),
    "kind": list(ORIGIN_ERRORS),
    "cause": list(BROKEN_SEALS),
    "origin": ["a.example", "b.example:8443", "zone", "c", "d"],
    "attempt": list(ATTEMPTS),
    "operation": ["read", "write"],
    "purpose": list(KV_PURPOSES.values()),
    "by": list(PURGERS),
    "lane": ["s", "h"],
    "where": list(FAULTS),
}


@st.composite
def _counts(draw: st.DrawFn) -> Counts:
    counts = Counts()
    for _ in range(draw(st.integers(0, 60))):
        metric = draw(st.sampled_from(list(METRICS)))
        labels = tuple(draw(st.sampled_from(_VALUES[name])) for name in metric.labels)
        amount = draw(st.integers(1, 5000))
        if labels == ("write", "key"):
            continue  # the SDK alone writes API keys
        match metric.kind:
            case MetricKind.COUNTER:
                counts.add(metric.name, labels, amount)
            case MetricKind.GAUGE:
                counts.set(metric.name, amount, labels)
            case MetricKind.HISTOGRAM:
                counts.observe(metric.name, amount / 8, labels)
    return counts


def _isolate(counts: Counts, name: str = "k3j9x2") -> Isolate:
    return Isolate(
        name,
        "FRA",
        1_764_355_000_000,
        1_764_355_060_000,
        counts,
        (UrlCount("https://shop.example/products/17", "products", 40, 1_024, 2, 0.25),),
        (SeenPurge(1_764_355_010_000, 1_764_355_012_500, "elsewhere", "s", "group/product-17", "01JD"),),
    )


def _document(*isolates: Isolate) -> Document:
    return Document(1_764_355_061_000, "EdgeCache", isolates, "full", is_shared=True, flush_seconds=10.0)


# The table


def test_names_are_unique_and_end_in_their_unit() -> None:
    assert len(_BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert metric.name.endswith(metric.unit)
        assert (metric.kind is MetricKind.HISTOGRAM) == bool(metric.bounds)
        assert list(metric.bounds) == sorted(metric.bounds)


def test_every_label_has_values_that_this_test_knows() -> None:
    assert {name for metric in METRICS for name in metric.labels} <= _VALUES.keys()


def test_the_page_has_every_metric_with_its_labels_and_every_tier() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| ([^|]*) \|", _PAGE, re.MULTILINE)
    assert [(name, kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows] == [
        (metric.name, metric.kind.value, list(metric.labels)) for metric in METRICS
    ]
    assert re.findall(r"^\| `([a-z]+)` \| (?!counter|gauge|histogram)", _PAGE, re.MULTILINE)[: len(Tier)] == [
        *Tier
    ]


def test_the_page_names_every_group_of_points() -> None:
    (named,) = re.findall(r"^\| `blob2` \| the group: (.*) \|$", _PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", named) == [*GROUPS, "url"]


def test_the_page_s_document_is_one() -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)
    document = parse_document(example)
    assert json.loads(str(document)) == json.loads(example)
    assert document.total().total("requests", tier="memory") == 912


def test_a_status_has_its_class() -> None:
    assert [status_class(code) for code in (200, 304, 404, 599)] == list(STATUSES)
    assert {status_class(code) for code in (600, 999)} == {"5xx"}


# Counting


def test_a_histogram_counts_into_the_first_bucket_that_fits() -> None:
    counts = Counts()
    for seconds in (0.01, 0.011, 30.0):
        counts.observe("origin_seconds", seconds, ("default",))
    cells = counts.series["origin_seconds"]["default",]
    assert cells[0] == pytest.approx(30.021)
    assert cells[1:3] == [1, 1]
    assert cells[-1] == 1


@given(_counts(), _counts())
def test_a_difference_added_again_is_the_whole(before: Counts, more: Counts) -> None:
    after = before.copy()
    after.merge(more)
    whole = before.copy()
    change = after.since(before)
    for metric in METRICS:
        if metric.kind is MetricKind.GAUGE:
            whole.series[metric.name].clear()
    whole.merge(change)
    assert whole == after


def test_sums_are_by_label() -> None:
    counts = Counts()
    counts.add("requests", ("h", "r", "fresh", "memory", "2xx"), 3)
    counts.add("requests", ("h", "r", "absent", "miss", "2xx"), 2)
    counts.add("requests", ("h", "q", "absent", "miss", "4xx"), 1)
    counts.observe("origin_seconds", 2.0, ("r",))
    assert counts.total("requests") == 6
    assert counts.total("requests", tier="miss", status="2xx") == 2
    assert counts.by("requests", "rule") == {("r",): [5], ("q",): [1]}
    assert counts.total("origin_seconds") == 1


@pytest.mark.parametrize(
    ("seconds", "share", "expected"),
    [
        pytest.param([], 0.5, None, id="nothing was counted"),
        pytest.param([0.03] * 10, 0.5, 0.0375, id="it lies evenly within its bucket"),
        pytest.param([60.0] * 10, 0.95, 25.0, id="what is above all bounds counts as the last"),
        pytest.param([0.005] * 5 + [0.4] * 5, 0.5, 0.01, id="a rank at the edge of a bucket is its bound"),
    ],
)
def test_a_quantile_is_estimated(seconds: list[float], share: float, expected: float | None) -> None:
    counts = Counts()
    for value in seconds:
        counts.observe("origin_seconds", value)
    cells = counts.series["origin_seconds"].get((), [0.0] * _BY_NAME["origin_seconds"].size)
    assert quantile(_BY_NAME["origin_seconds"], cells, share) == (
        None if expected is None else pytest.approx(expected)
    )


# Documents


@given(_counts(), _counts())
def test_json_is_read_as_it_was_written(one: Counts, other: Counts) -> None:
    document = _document(_isolate(one), _isolate(other, "b"))
    assert parse_document(str(document)) == document
    assert parse_isolate(isolate_text(document.isolates[0])) == document.isolates[0]


_GOOD = json.loads(str(_document(_isolate(Counts()))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("<html>", "not a document", id="no JSON"),
        pytest.param("[]", "not a document", id="another JSON"),
        pytest.param('{"format": "x"}', "'x'", id="another format"),
        pytest.param(json.dumps({**_GOOD, "version": 2}), "update the older", id="another version"),
        pytest.param(
            json.dumps({**_GOOD, "isolates": [{}]}), "not a document", id="an isolate without an id"
        ),
        pytest.param(
            json.dumps(
                {**_GOOD, "isolates": [{**_GOOD["isolates"][0], "metrics": {"requests": [["h", 1]]}}]}
            ),
            "5 labels and 1 numbers",
            id="a row that is too short",
        ),
        pytest.param(
            json.dumps(
                {**_GOOD, "isolates": [{**_GOOD["isolates"][0], "metrics": {"expiries": [["r", "1"]]}}]}
            ),
            "numbers expected",
            id="a text for a number",
        ),
    ],
)
def test_what_is_no_document_is_told(text: str, said: str) -> None:
    with pytest.raises(UnreadableMetrics, match=re.escape(said)):
        parse_document(text)


def test_a_metric_that_only_a_newer_worker_has_is_passed_over() -> None:
    (isolate,) = _GOOD["isolates"]
    newer = {**_GOOD, "isolates": [{**isolate, "metrics": {"of_tomorrow": [["x", 1]]}}]}
    assert not parse_document(json.dumps(newer)).total()


def test_origins_that_are_away_are_told_once_and_an_older_worker_tells_of_none() -> None:
    early, late, other = (
        AwayOrigin("a.example", 100, 200, 2, "origin-timeout"),
        AwayOrigin("a.example", 150, 300, 3, "503"),
        AwayOrigin("b.example", 50, 60, 1, "origin-unreachable"),
    )
    isolates = [
        dataclasses.replace(_isolate(Counts()), away=(early,)),
        dataclasses.replace(_isolate(Counts()), away=(late, other)),
    ]
    read = [parse_isolate(isolate_text(each)) for each in isolates]
    assert merged_away(read) == (other, AwayOrigin("a.example", 100, 300, 5, "503"))
    older = json.loads(isolate_text(isolates[0]))
    del older["away"]
    assert parse_isolate(json.dumps(older)).away == ()


def test_gains_keep_to_isolates() -> None:
    first, later = Counts(), Counts()
    first.add("expiries", ("r",), 5)
    later.add("expiries", ("r",), 7)
    document = _document(_isolate(later, "old"), _isolate(first, "new"))
    assert gained({"old": first, "gone": later}, document).total("expiries") == 2 + 5


def _families(counts: Counts) -> dict[str, Family]:
    text = openmetrics([_isolate(counts)])
    return {family.name: family for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]


@given(_counts())
def test_openmetrics_is_read_by_prometheus_own_parser(counts: Counts) -> None:
    families = _families(counts)
    for metric in METRICS:
        family = families[f"edge_cache_{metric.name}"]
        assert (family.type, family.unit) == (metric.kind.value, metric.unit)
        suffix = {MetricKind.COUNTER: "_total", MetricKind.GAUGE: "", MetricKind.HISTOGRAM: "_count"}[
            metric.kind
        ]
        values = [sample.value for sample in family.samples if sample.name == family.name + suffix]
        assert sum(values) == pytest.approx(counts.total(metric.name))


def test_openmetrics_escapes_what_labels_hold() -> None:
    counts = Counts()
    counts.add("expiries", ('a"b\\c\nd',))
    sample = _families(counts)["edge_cache_expiries"].samples[0]
    assert sample.labels["rule"] == 'a"b\\c\nd'


# Points of Analytics Engine


def _rows(points: tuple[Point, ...]) -> Counts:
    """Read points as SQL returns them, numbers as texts."""
    counts = Counts()
    for point in points:
        assert point.blobs[:1] + point.blobs[2:4] == ("1", "k3j9x2", "FRA")
        if point.blobs[1] == "url":
            continue
        group = GROUPS[point.blobs[1]]
        labels = dict(zip(group.labels, point.blobs[4:], strict=True))
        numbers = {f"c{at}": str(value) for at, value in enumerate(point.doubles, 1)}
        add_row(counts, group, {**labels, **numbers})
    return counts


def test_every_metric_has_a_column_and_every_group_fits_a_point() -> None:
    columns = [column for group in GROUPS.values() for column in group.columns]
    assert len(columns) == len(set(columns))
    assert {column.metric for column in columns} == _BY_NAME.keys()
    for metric in METRICS:
        assert {column.cell for column in columns if column.metric == metric.name} == set(range(metric.size))
    for group in GROUPS.values():
        assert len(group.columns) <= 20
        assert 4 + len(group.labels) <= 20
        for column in group.columns:
            labels = {*group.labels, *dict(column.labels)}
            assert labels == set(_BY_NAME[column.metric].labels)


@given(_counts())
def test_points_hold_all_sums_and_are_few(counts: Counts) -> None:
    points = points_of(counts, "k3j9x2", "FRA", _isolate(counts).urls * 9)
    assert len(points) <= MOST_POINTS
    read = _rows(points)
    if not counts:
        return
    for metric in METRICS:
        if metric.kind is MetricKind.GAUGE:
            continue
        assert read.total(metric.name) == pytest.approx(counts.total(metric.name)), metric.name
    for tier in Tier:
        assert read.total("requests", tier=tier) == counts.total("requests", tier=tier)


def test_points_read_back_are_what_was_counted_where_all_fits() -> None:
    counts = Counts()
    counts.add("requests", ("h", "r", "fresh", "memory", "2xx"), 3)
    counts.add("response_bytes", ("h", "r", "fresh", "memory", "2xx"), 300)
    counts.observe("origin_seconds", 0.3, ("r",))
    for purpose in KV_PURPOSES.values():
        counts.add("kv_keys", ("read", purpose), 12)
    counts.observe("purge_lag_seconds", 2.0)
    counts.observe("eviction_seconds", 100.0)
    assert _rows(points_of(counts, "k3j9x2", "FRA")) == counts


def test_a_point_s_index_is_the_rule_and_no_longer_than_may_be() -> None:
    counts = Counts()
    counts.add("expiries", ("é" * 60,))
    counts.add("kv_errors", ("read",))
    indexes = {point.blobs[1]: point.index for point in points_of(counts, "a", "FRA")}
    assert indexes == {"rule": "é" * 48, "kv": "-"}


def test_what_counts_least_is_added_up_under_other() -> None:
    counts = Counts()
    for at in range(100):
        counts.add("requests", ("h", f"r{at}", "fresh", "memory", "2xx"), 1 + at)
    points = points_of(counts, "a", "FRA")
    assert len(points) == MOST_POINTS
    assert [point.blobs[4:] for point in points][-1] == (OTHER, OTHER, OTHER, "memory", OTHER)
    assert points[0].blobs[5] == "r99"


def test_points_are_few_even_with_something_of_everything() -> None:
    counts = Counts()
    for tier in Tier:
        for host in ("a", "b"):
            counts.add("requests", (host, "r", "fresh", tier, "2xx"))
    for name in ("a", "b", "c", "d"):
        counts.add("expiries", (name,))
        counts.add("origin_requests", (name, "2xx"))
        counts.add("origin_attempts", (name, "answered"))
    for metric, labels in (("evicted_bytes", ()), ("kv_written_bytes", ()), ("broken_seals", ("broken",))):
        counts.add(metric, labels)
    counts.observe("eviction_seconds", 3.0)

    points = points_of(counts, "a", "FRA", _isolate(counts).urls * 9)

    assert len(points) == MOST_POINTS
    assert {point.blobs[1] for point in points} == {*GROUPS, "url"}


def test_nothing_counted_is_no_point() -> None:
    counts = Counts()
    counts.set("memory_bytes", 5)
    assert points_of(counts, "a", "FRA") == ()


def test_sql_sums_by_the_sampling() -> None:
    text = selection(GROUPS["answers"])
    assert text.startswith("blob5 AS host, blob6 AS rule, ")
    assert "SUM(_sample_interval * double1) AS c1" in text
    gauge = GROUPS["memory"].double("memory_bytes")
    assert f"SUM(_sample_interval * {gauge}) / SUM(_sample_interval)" in selection(GROUPS["memory"])
    assert GROUPS["answers"].blob("tier") == "blob8"


def test_values_stay_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        _isolate(Counts()).id = "x"  # type: ignore[misc]
