"""Everything that is watched, for Prometheus: the edge, what services export, and outboxes.

The edge's counters are added up over isolates, which come and go: a scraper sees one series that only grows.
Services' metrics are passed on, with the label ``service``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from origin_sdk._values.errors import OriginSdkError
from origin_sdk.dashboard.services import Service, parsed_families
from origin_sdk.dashboard.tallies import Readings, Tally
from origin_sdk.outbox import Outbox, State
from origin_sdk_wire.exposition import Document
from origin_sdk_wire.metrics import METRICS, Cells, MetricKind
from origin_sdk_wire.metrics import Metric as EdgeMetric

__all__ = ["Exporter", "create_app"]

_PREFIX = "edge_cache_"


class Exporter(Collector):
    """Asks everything when it is scraped, and tells what came; what fails has ``edge_cache_up`` 0."""

    def __init__(
        self,
        read: Callable[[], Document] | None,
        services: Sequence[Service] = (),
        outboxes: Mapping[str, Outbox] | None = None,
    ) -> None:
        """``read`` asks the Worker's route; ``outboxes`` are by the names that they are shown by."""
        self._read = read
        self._services = services
        self._outboxes = outboxes or {}
        self._readings = Readings(young_seconds=float("inf"))
        self._total = Tally()
        self._lock = Lock()

    def describe(self) -> Iterable[Metric]:
        """Yield nothing: names are known once something was asked."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Ask, and yield the metrics."""
        up = GaugeMetricFamily(f"{_PREFIX}up", "Whether it answered.", labels=("target",))
        with self._lock:
            if self._read is not None:
                up.add_metric(["edge"], self._poll_edge(self._read))
                yield from map(self._edge_family, METRICS)
            families: dict[str, Metric] = {}
            for service in self._services:
                service.poll()
                is_up = service.health.state == "ok"
                up.add_metric([service.url], is_up)
                if is_up:
                    _add_service(families, service)
            yield from families.values()
            yield from self._outbox_families(up)
        yield up

    def _poll_edge(self, read: Callable[[], Document]) -> bool:
        try:
            self._total.add(self._readings.gained(read()))
        except OriginSdkError:
            return False
        return True

    def _edge_family(self, metric: EdgeMetric) -> Metric:
        name = f"{_PREFIX}{metric.name}"
        series = self._total.counts.series[metric.name]
        if metric.kind is MetricKind.COUNTER:
            counter = CounterMetricFamily(name, metric.help, labels=metric.labels)
            for labels, cells in series.items():
                counter.add_metric(labels, cells[0])
            return counter
        if metric.kind is MetricKind.GAUGE:
            gauge = GaugeMetricFamily(name, metric.help, labels=metric.labels)
            for labels, cells in series.items():
                gauge.add_metric(labels, cells[0])
            return gauge
        histogram = HistogramMetricFamily(name, metric.help, labels=metric.labels)
        for labels, cells in series.items():
            histogram.add_metric(labels, _cumulated(metric, cells), cells[0])
        return histogram

    def _outbox_families(self, up: GaugeMetricFamily) -> Iterator[Metric]:
        if not self._outboxes:
            return
        entries = GaugeMetricFamily(
            "edge_outbox_entries_held", "Entries in an outbox, by state.", labels=("outbox", "state")
        )
        oldest = GaugeMetricFamily(
            "edge_outbox_oldest_age_seconds", "For how long the oldest has waited.", labels=("outbox",)
        )
        for name, outbox in self._outboxes.items():
            try:
                status = outbox.status()
            except OriginSdkError:
                up.add_metric([name], False)
                continue
            up.add_metric([name], True)
            for state in (State.WAITING, State.DEAD):
                entries.add_metric([name, state.value], status.counts.get(state, 0))
            oldest.add_metric([name], status.lag_seconds)
        yield entries
        yield oldest


def _cumulated(metric: EdgeMetric, cells: Cells) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for bound, count in zip((*map(str, metric.bounds), "+Inf"), cells[1:], strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


def _add_service(families: dict[str, Metric], service: Service) -> None:
    """Add a service's metrics to those of others: a name stands once, whoever exports it."""
    for family in parsed_families(*service.export):
        known = families.setdefault(
            family.name, Metric(family.name, family.documentation, family.type, family.unit)
        )
        if known.type != family.type:
            continue
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                known.add_sample(sample.name, {**sample.labels, "service": service.url}, sample.value)


def create_app(exporter: Exporter) -> Starlette:
    """Return the application that answers ``/metrics``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exporter)

    async def metrics(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(await run_in_threadpool(encode, registry), media_type=media_type)

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])
