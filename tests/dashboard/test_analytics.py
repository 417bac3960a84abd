"""Analytics Engine as a source: its SQL API over SQLite, which knows the few functions that are used."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

import httpx
import pytest

from origin_sdk._values.errors import InvalidSettings
from origin_sdk.dashboard.analytics import AnalyticsSettings, AnalyticsSource
from origin_sdk.dashboard.board import board
from origin_sdk.dashboard.ranges import RANGES
from origin_sdk_wire.analytics import Point, points_of
from origin_sdk_wire.exposition import UrlCount
from origin_sdk_wire.metrics import Counts
from tests.dashboard.worlds import HOST, shop_step

NOW = 1_795_000_000.0
URL = "https://api.test/accounts/a/analytics_engine/sql"
TOKEN = "t0k3n"  # noqa: S105 - of no account
HOUR = RANGES["1h"]
_BLOBS, _DOUBLES = 20, 20


@dataclass
class SqlApi:
    """Points of one dataset, and the API that answers for them; ``queries`` are what it was asked."""

    queries: list[str] = field(default_factory=list)
    answer: httpx.Response | Exception | None = None
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        columns = ["timestamp", "_sample_interval", "index1"]
        columns += [f"blob{at + 1}" for at in range(_BLOBS)] + [f"double{at + 1}" for at in range(_DOUBLES)]
        self.table = sqlite3.connect(":memory:", check_same_thread=False)
        self.table.execute(f"CREATE TABLE edge_cache ({', '.join(columns)})")
        self.table.create_function("intDiv", 2, lambda a, b: int(a) // int(b))
        self.table.create_function("toUInt32", 1, int)
        self.table.create_function("toDateTime", 1, int)

    def write(self, at: float, points: tuple[Point, ...], sample_interval: int = 1) -> None:
        for point in points:
            blobs = [*point.blobs, *[""] * (_BLOBS - len(point.blobs))]
            doubles = [*point.doubles, *[0.0] * (_DOUBLES - len(point.doubles))]
            row = [int(at), sample_interval, point.index, *blobs, *doubles]
            places = ", ".join("?" * len(row))
            self.table.execute(f"INSERT INTO edge_cache VALUES ({places})", row)  # noqa: S608 - places alone

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == ("POST", URL)
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        query = request.content.decode()
        with self.lock:
            return self._answered(query)

    def _answered(self, query: str) -> httpx.Response:
        self.queries.append(query)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        assert query.endswith(" FORMAT JSON")
        found = self.table.execute(query.removesuffix(" FORMAT JSON"))
        names = [each[0] for each in found.description]
        # The API writes 64-bit numbers as texts.
        rows = [{name: str(value) for name, value in zip(names, row, strict=True)} for row in found]
        return httpx.Response(200, text=json.dumps({"meta": [], "data": rows, "rows": len(rows)}))


@pytest.fixture
def api() -> SqlApi:
    return SqlApi()


@pytest.fixture
def engine(api: SqlApi) -> Iterator[AnalyticsSource]:
    settings = AnalyticsSettings(URL, TOKEN, "edge_cache")
    source = AnalyticsSource(settings, httpx.MockTransport(api))
    yield source
    source.close()


def counted(requests: int) -> Counts:
    counts = Counts()
    counts.add("requests", (HOST, "default", "fresh", "memory", "2xx"), requests)
    counts.add("kv_keys", ("read", "mark"), 2 * requests)
    counts.observe("origin_seconds", 0.03, ("default",))
    return counts


def test_what_was_written_is_what_is_shown(api: SqlApi, engine: AnalyticsSource) -> None:
    step = shop_step(NOW, 20)
    api.write(NOW - 60, points_of(step.counts, "a", "FRA"))
    shown = board(engine.window(HOUR, NOW))
    totals = step.counts
    assert shown["totals"]["requests"] == totals.total("requests")
    assert shown["totals"]["origin_requests"] == totals.total("origin_requests")
    assert sum(each["requests"] for each in shown["reasons"]) == sum(
        totals.total("requests", tier=tier) for tier in ("validated", "collapsed", "miss", "pass", "own")
    )
    assert engine.health.state == "ok"


def test_a_row_stands_for_as_many_points_as_it_says(api: SqlApi, engine: AnalyticsSource) -> None:
    api.write(NOW - 60, points_of(counted(10), "a", "FRA"), sample_interval=3)
    api.write(NOW - 60, points_of(counted(5), "b", "OSA"))
    shown = board(engine.window(HOUR, NOW))
    assert shown["totals"]["requests"] == 35
    assert shown["totals"]["origin"]["count"] == 4
    assert shown["kv"]["keys"] == [{"operation": "read", "purpose": "mark", "count": 70}]


def test_each_step_has_its_own_and_the_span_before_is_apart(api: SqlApi, engine: AnalyticsSource) -> None:
    starts = HOUR.starts(NOW)
    for at, requests in ((starts[0], 1), (starts[-1], 2), (starts[0] - 1, 4), (starts[0] - 3700, 8)):
        api.write(at, points_of(counted(requests), "a", "FRA"))
    shown = board(engine.window(HOUR, NOW))
    assert (shown["series"]["requests"][0], shown["series"]["requests"][-1]) == (1, 2)
    assert (shown["totals"]["requests"], shown["before"]["requests"]) == (3, 4)


def test_urls_are_summed_up(api: SqlApi, engine: AnalyticsSource) -> None:
    for isolate in ("a", "b"):
        url = UrlCount("https://h/it's", "default", 7, 700, 2, 0.5)
        api.write(NOW - 60, points_of(Counts(), isolate, "FRA", [url]), sample_interval=2)
    [busiest] = board(engine.window(HOUR, NOW))["urls"]["busiest"]
    assert (busiest["url"], busiest["requests"], busiest["origin_seconds"]) == ("https://h/it's", 28, 2.0)


def test_it_is_asked_again_after_half_a_minute_and_not_before(api: SqlApi, engine: AnalyticsSource) -> None:
    engine.window(HOUR, NOW)
    asked = len(api.queries)
    engine.window(HOUR, NOW + 29)
    assert len(api.queries) == asked
    engine.window(HOUR, NOW + 31)
    assert len(api.queries) == 2 * asked


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(
            httpx.Response(403, text="no"), "Account Analytics: Read", id="a token without permission"
        ),
        pytest.param(httpx.Response(429), "too many queries", id="too many queries"),
        pytest.param(
            httpx.Response(422, text="unable to find type of column"), "unable to find", id="its dataset"
        ),
        pytest.param(httpx.Response(503, text="away"), "answered 503: away", id="Cloudflare is away"),
        pytest.param(httpx.Response(200, text="<html>"), "isn't the SQL API's", id="something else answers"),
        pytest.param(httpx.Response(200, text="[]"), "isn't the SQL API's", id="other JSON"),
        pytest.param(httpx.ConnectError("refused"), "ConnectError: refused", id="no connection"),
    ],
)
def test_what_fails_is_told_and_what_is_known_stays(
    api: SqlApi, engine: AnalyticsSource, answer: httpx.Response | Exception, message: str
) -> None:
    api.write(NOW - 60, points_of(counted(5), "a", "FRA"))
    engine.window(HOUR, NOW)
    api.answer = answer
    shown = board(engine.window(HOUR, NOW + 60))
    assert shown["totals"]["requests"] == 5
    assert engine.health.state == "failing"
    assert message in engine.health.message
    assert TOKEN not in engine.health.message
    api.answer = None
    engine.window(HOUR, NOW + 120)
    assert engine.health.state == "ok"


@pytest.mark.parametrize("dataset", ["edge cache", "x; DROP", "", "größe", "a-b"])
def test_a_dataset_that_could_be_sql_is_refused(dataset: str) -> None:
    with pytest.raises(InvalidSettings, match="letters, digits and _ alone"):
        AnalyticsSettings(URL, TOKEN, dataset)
    assert TOKEN not in repr(AnalyticsSettings(URL, TOKEN, "d"))
