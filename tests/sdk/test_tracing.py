"""One switch makes spans of purges, the outbox, loads and Redis, each in the trace of what it is part of."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from origin_sdk import AsyncPurgeClient, Purge, PurgeClient, tracing
from origin_sdk.errors import OriginSdkError
from origin_sdk.layers import AsyncLayeredCache, Family, LayeredCache, RedisOptions
from origin_sdk.outbox import Drainer
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV, ManualClock
from scripts.runtime.servers import Redis

_SECRET = "nobody-may-see-this"  # noqa: S105 - that is what is tested


class Trace:
    """The spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


def _attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


def _is_within(span: ReadableSpan, outer: ReadableSpan) -> bool:
    return span.parent is not None and span.parent.span_id == (outer.context and outer.context.span_id)


@pytest.fixture
def trace() -> Iterator[Trace]:
    made = Trace()
    tracing.enable(made.provider)
    yield made
    tracing.disable()


def test_a_purge_is_a_span(trace: Trace, purge_client: PurgeClient) -> None:
    receipt = purge_client.purge(groups=[_SECRET, "b"], reason="test")
    span = trace.one("edge purge")
    assert span.kind is SpanKind.CLIENT
    assert _attributes(span) == {"edge.purge.id": receipt.id, "edge.purge.marks": 2}
    assert _SECRET not in str(_attributes(span))


async def test_a_purge_of_the_asynchronous_client_is_one(
    trace: Trace, async_purge_client: AsyncPurgeClient
) -> None:
    await async_purge_client.purge(groups=["a"])
    assert _attributes(trace.one("edge purge"))["edge.purge.marks"] == 1


def test_what_fails_is_a_span_with_its_error(
    trace: Trace, purge_client: PurgeClient, fake_kv: FakeKV
) -> None:
    fake_kv.fail_next(50)
    with pytest.raises(OriginSdkError):
        purge_client.purge(groups=["a"])
    span = trace.one("edge purge")
    assert span.status.status_code is StatusCode.ERROR
    assert span.events[0].name == "exception"


def test_what_is_recorded_and_drained_are_spans(
    trace: Trace, tmp_path: Path, purge_client: PurgeClient, kv_clock: ManualClock, fake_kv: FakeKV
) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db", kv_clock)
    drainer = Drainer(outbox, purge_client, clock=kv_clock)
    with trace.tracer.start_as_current_span("a change"):
        outbox.record(Purge.of(groups="a"), Purge.of(groups="b"))
    drainer.drain()
    recorded, drained = trace.one("outbox record"), trace.one("outbox drain")
    assert _is_within(recorded, trace.one("a change"))
    assert _attributes(recorded) == {"outbox.entries": 2}
    assert _attributes(drained)["outbox.entries"] == _attributes(drained)["outbox.done"] == 2
    assert drained.status.status_code is StatusCode.UNSET
    assert all(_is_within(span, drained) for span in trace.named("edge purge"))

    fake_kv.fail_next(20)
    outbox.record(Purge.of(groups="c"))
    drainer.drain()
    assert trace.named("outbox drain")[-1].status.status_code is StatusCode.ERROR
    outbox.close()


_FAMILY = Family("products", "product:{id}", type=dict[str, int])


def test_loads_and_redis_are_spans_of_the_request(trace: Trace, redis_server: Redis) -> None:
    options = RedisOptions(url=redis_server.url, prefix="traced")
    with LayeredCache(options) as cache, trace.tracer.start_as_current_span("a request") as request:
        cache.get_or_load(_FAMILY.key(id=_SECRET), lambda _: {"a": 1})
        trace_id = request.get_span_context().trace_id
    load = trace.one("cache load")
    assert _attributes(load) == {"cache.family": "products", "cache.keys": 1}
    asked = [span for span in trace.named("redis") if span.context and span.context.trace_id == trace_id]
    assert {_attributes(span)["db.system.name"] for span in asked} == {"redis"}
    assert len(asked) >= 2
    assert load.context is not None
    assert load.context.trace_id == trace_id
    assert _SECRET not in "".join(str(_attributes(span)) for span in trace.spans)


async def test_loads_of_the_asynchronous_cache_are_spans(trace: Trace, redis_server: Redis) -> None:
    async def loaded(_: object) -> dict[str, int]:
        with trace.tracer.start_as_current_span("the loader's own"):
            await asyncio.sleep(0)
        return {"a": 1}

    async with AsyncLayeredCache(RedisOptions(url=redis_server.url, prefix="traced-async")) as cache:
        await cache.get_or_load(_FAMILY.key(id=1), loaded)
    assert _is_within(trace.one("the loader's own"), trace.one("cache load"))
    assert trace.named("redis")


def test_a_loader_that_raises_is_a_span_with_its_error(trace: Trace) -> None:
    def failing(_: object) -> dict[str, int]:
        raise LookupError("no such product")

    with LayeredCache() as cache, pytest.raises(LookupError):
        cache.get_or_load(_FAMILY.key(id=1), failing)
    assert trace.one("cache load").status.status_code is StatusCode.ERROR


def test_a_redis_that_is_away_is_told(trace: Trace) -> None:
    options = RedisOptions(url="redis://127.0.0.1:9/0", timeout=0.2)
    with LayeredCache(options) as cache:
        assert cache.get_or_load(_FAMILY.key(id=1), lambda _: {"a": 1}) == {"a": 1}
    assert all(span.status.status_code is StatusCode.ERROR for span in trace.named("redis"))


def test_nothing_is_made_until_it_is_switched_on(purge_client: PurgeClient) -> None:
    made = Trace()
    tracing.enable(made.provider)
    tracing.disable()
    purge_client.purge(groups=["a"])
    assert made.spans == ()


def test_without_opentelemetry_the_switch_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import origin_sdk, origin_sdk.layers, origin_sdk.outbox\n"
        "try:\n    import origin_sdk.tracing\nexcept ImportError as error:\n    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'origin-sdk[telemetry]'" in told.stdout
