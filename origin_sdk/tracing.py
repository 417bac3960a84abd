"""Spans for OpenTelemetry: one switch for all of the package.

::

    from origin_sdk import tracing

    tracing.enable()  # with the application's tracer provider

From then on there is a span for each purge and publication (``edge purge``, ``edge publish``), for what is
recorded in an outbox and delivered of it (``outbox record``, ``outbox drain``), for each call of a loader
(``cache load``) and each round trip to Redis (``redis``), each in the trace of what it is part of. They hold
counts and names of families; no keys, URLs or values. It needs the extra ``telemetry``.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

try:
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanKind, StatusCode, TracerProvider, get_tracer
except ImportError as error:
    raise ImportError("tracing needs OpenTelemetry: pip install 'origin-sdk[telemetry]'") from error

from origin_sdk._process.spans import Attribute, Span, open_with

__all__ = ["disable", "enable"]

_CLIENTS = frozenset({"edge purge", "edge publish", "redis"})
"""Spans of calls to other services."""


class _Span:
    """See :class:`origin_sdk._process.spans.Span`."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    def note(self, name: str, value: Attribute) -> None:
        self._span.set_attribute(name, value)

    def fail(self, why: str) -> None:
        self._span.set_status(StatusCode.ERROR, why)


def enable(provider: TracerProvider | None = None) -> None:
    """Make spans from now on, in this process, with the given tracer provider or the application's."""
    tracer = get_tracer("origin_sdk", tracer_provider=provider)

    @contextmanager
    def opened(name: str, attributes: Mapping[str, Attribute]) -> Iterator[Span]:
        kind = SpanKind.CLIENT if name in _CLIENTS else SpanKind.INTERNAL
        with tracer.start_as_current_span(name, kind=kind, attributes=attributes) as span:
            yield _Span(span)

    open_with(opened)


def disable() -> None:
    """Make no spans any more."""
    open_with(None)
