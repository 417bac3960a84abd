"""What OpenTelemetry hears of an outbox and its drainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from origin_sdk import Purge, PurgeClient
from origin_sdk.outbox import Drainer
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.outbox.telemetry import RoundMetrics, observe
from origin_sdk.testing import FakeKV, ManualClock


def _points(reader: InMemoryMetricReader) -> dict[str, Any]:
    """Return the metrics by name; counters by their end."""
    found: dict[str, Any] = {}
    data = reader.get_metrics_data()
    metrics = data.resource_metrics[0].scope_metrics[0].metrics if data else []
    for metric in metrics:
        for point in metric.data.data_points:
            end = str((point.attributes or {}).get("end", ""))
            found[f"{metric.name} {end}".strip()] = getattr(point, "value", None) or getattr(point, "sum", 0)
    return found


def test_lag_ends_and_what_is_left_are_reported(
    tmp_path: Path, purge_client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("test")
    outbox = SqliteOutbox(tmp_path / "outbox.db", kv_clock)
    observe(outbox, meter)
    drainer = Drainer(outbox, purge_client, clock=kv_clock, on_round=RoundMetrics(meter))

    outbox.record(Purge.of(groups="a"), Purge.of(groups="b"))
    kv_clock.advance(30)
    waiting = _points(reader)
    assert (waiting["edge.outbox.waiting"], waiting["edge.outbox.oldest"]) == (2, 30)

    fake_kv.fail_next(20)
    drainer.drain()
    assert _points(reader)["edge.outbox.entries waiting"] == 2
    for _ in range(10):
        kv_clock.advance(400)
        drainer.drain()
    delivered = _points(reader)
    assert (delivered["edge.outbox.entries done"], delivered["edge.outbox.waiting"]) == (2, 0)
    assert delivered["edge.outbox.lag"] >= 30
    outbox.close()
