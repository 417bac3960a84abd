"""What services export, however they do, beside the edge; and all of it for Prometheus."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder

from origin_sdk import Purge
from origin_sdk._development.loopback import serving
from origin_sdk._process.clock import SystemClock
from origin_sdk._values.errors import ConnectionFailed
from origin_sdk.cli.screen import Screen
from origin_sdk.cli.top import drawn
from origin_sdk.dashboard.exporter import Exporter
from origin_sdk.dashboard.observatory import Observatory
from origin_sdk.dashboard.services import Service, parsed, quantile_of
from origin_sdk.layers import Family, LayeredCache
from origin_sdk.layers.telemetry import PrometheusCollector
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import ManualClock
from origin_sdk_wire.exposition import Document, Isolate
from tests.dashboard.worlds import HOST, Still, huge, nothing, shop_step
from tests.monitoring.test_monitoring import promtool

__all__ = ["promtool"]  # a fixture of theirs

OTEL = """\
# TYPE edge_outbox_waiting gauge
edge_outbox_waiting 3
# TYPE edge_outbox_dead gauge
edge_outbox_dead 1
# TYPE edge_outbox_oldest_seconds gauge
edge_outbox_oldest_seconds 42
# TYPE edge_outbox_entries_total counter
edge_outbox_entries_total{end="done"} 90
edge_outbox_entries_total{end="waiting"} 4
# TYPE edge_outbox_lag_seconds histogram
edge_outbox_lag_seconds_bucket{le="1.0"} 50
edge_outbox_lag_seconds_bucket{le="5.0"} 100
edge_outbox_lag_seconds_bucket{le="+Inf"} 100
edge_outbox_lag_seconds_sum 120
edge_outbox_lag_seconds_count 100
"""


@contextmanager
def exporting(body: bytes, media_type: str = "text/plain", status: int = 200) -> Iterator[str]:
    """Serve an export on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        yield f"{url}/metrics"


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    """A service's layered cache that has loaded one value and answered three times."""
    made = CollectorRegistry()
    with LayeredCache() as cache:
        made.register(PrometheusCollector(cache))
        products = Family("products", "{id}", int)
        for _ in range(4):
            cache.get_or_load(products.key(id=1), lambda _: 1)
        yield made


@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_a_layered_caches_own_export_is_read(registry: CollectorRegistry, is_openmetrics: bool) -> None:
    encode, media_type = choose_encoder("application/openmetrics-text" if is_openmetrics else "")
    body = encode(registry)
    with exporting(body, media_type) as url, httpx.Client() as client:
        service = Service(url, SystemClock(), client)
        service.poll()
        layers = service.as_json()["layers"]
    [family] = layers["families"]
    assert (family["name"], family["memory"], family["loads"], family["gets"]) == ("products", 3, 1, 4)
    assert family["hit_ratio"] == pytest.approx(0.75)
    assert layers["entries"] == 1


def test_an_outbox_as_opentelemetry_exports_it_is_read() -> None:
    with exporting(OTEL.encode()) as url, httpx.Client() as client:
        service = Service(url, SystemClock(), client)
        service.poll()
        shown = service.as_json()
    assert shown["layers"] is None
    assert shown["outbox"] == {
        "waiting": 3,
        "dead": 1,
        "oldest": 42,
        "done": 90,
        "failed": 4,
        "lag": {"p50": 1.0, "p95": pytest.approx(4.6), "p99": pytest.approx(4.92)},
    }


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 404, "answered 404: is this its metrics' address?"),
        (b"<html>", 200, "not Prometheus' text format"),
        (b"\xff\xfe", 200, "not Prometheus' text format"),
        (b"# " + b"x" * 9_000_000, 200, "more than 8,000,000 bytes"),
    ],
)
def test_a_service_that_tells_something_else_is_named(body: bytes, status: int, message: str) -> None:
    with exporting(body, status=status) as url, httpx.Client() as client:
        service = Service(url, SystemClock(), client)
        service.poll()
    assert service.health.state == "failing"
    assert message in service.health.message
    assert service.as_json()["layers"] is None


@pytest.mark.parametrize(
    ("buckets", "share", "value"),
    [
        ([], 0.5, None),
        ([(1.0, 0.0), (float("inf"), 0.0)], 0.5, None),
        ([(1.0, 10.0), (float("inf"), 10.0)], 0.5, 0.5),
        ([(1.0, 0.0), (2.0, 10.0), (float("inf"), 10.0)], 0.9, 1.9),
        ([(1.0, 5.0), (float("inf"), 10.0)], 0.99, 1.0),
    ],
)
def test_a_quantile_lies_within_its_bucket(
    buckets: list[tuple[float, float]], share: float, value: float | None
) -> None:
    assert quantile_of(buckets, share) == (None if value is None else pytest.approx(value))


def _document(requests: int, id_: str = "a") -> Document:
    counts = shop_step(0, 20).counts
    counts.add("requests", (HOST, 'a "rule"\n\\', "fresh", "memory", "2xx"), requests)
    return Document(2000, "EdgeCache", (Isolate(id_, "FRA", 0, 2000, counts),))


def test_prometheus_takes_all_of_it(registry: CollectorRegistry, tmp_path: Path, promtool: str) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db", ManualClock())
    outbox.record(Purge.of(groups="a"))
    export = generate_latest(registry)
    with exporting(export) as one, exporting(export + OTEL.encode()) as two, httpx.Client() as client:
        services = [Service(url, SystemClock(), client) for url in (one, two, "http://127.0.0.1:1/metrics")]
        everything = CollectorRegistry(auto_describe=False)
        everything.register(Exporter(lambda: _document(5), services, {"outbox.db": outbox}))
        text = generate_latest(everything)
    outbox.close()
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    # What others named isn't ours to mend: promtool's advice on names doesn't count, errors do.
    assert checked.returncode != 1, checked.stderr
    samples = parsed(text.decode(), "text/plain")
    up = {sample.label("target"): sample.value for sample in samples if sample.name == "edge_cache_up"}
    assert up == {"edge": 1, one: 1, two: 1, "http://127.0.0.1:1/metrics": 0, "outbox.db": 1}
    hits = {
        s.label("service") for s in samples if s.name == "cache_hits_total" and s.label("layer") == "memory"
    }
    assert hits == {one, two}
    held = {s.label("state"): s.value for s in samples if s.name == "edge_outbox_entries_held"}
    assert held == {"waiting": 1, "dead": 0}
    mine = [s.value for s in samples if s.name == "edge_cache_requests_total" and "rule" in s.label("rule")]
    assert mine == [5]


def test_counters_only_grow_while_isolates_come_and_go() -> None:
    documents = iter([_document(5), _document(9), _document(3, "b"), ConnectionFailed("gone"), _document(10)])

    def read() -> Document:
        match next(documents):
            case Document() as document:
                return document
            case error:
                raise error  # type: ignore[misc]  # it is one

    everything = CollectorRegistry(auto_describe=False)
    everything.register(Exporter(read))
    seen = []
    for _ in range(5):
        samples = parsed(generate_latest(everything).decode(), "text/plain")
        seen += [
            s.value for s in samples if s.name == "edge_cache_requests_total" and "rule" in s.label("rule")
        ]
    assert seen == [5, 9, 12, 12, 13]


@pytest.mark.parametrize("make", [shop_step, nothing, huge])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 0), (200, 50), (20, 10)])
def test_the_terminal_takes_the_room_that_it_has(
    make: object, width: int, height: int, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Still(make, points=3)  # type: ignore[arg-type]  # one of the three
    shown = Observatory(SystemClock(), [source]).board("10m")
    screen = Screen()
    screen.width = max(width, 60)
    screen.print(drawn(shown, {}, width, height))
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= max(width, 60) for line in lines)
    if height >= 24:
        assert len(lines) <= height
