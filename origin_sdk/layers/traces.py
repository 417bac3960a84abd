"""Spans of loads and of round trips to Redis: see :mod:`origin_sdk.tracing`."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from origin_sdk._process.spans import Span, are_wanted, span
from origin_sdk.layers.redis.commands import AnyCommand
from origin_sdk.layers.redis.replies import FAILED
from origin_sdk.layers.rules.load_context import AnyContext, LoadContext
from origin_sdk.layers.values.families import AnyKey

__all__ = ["are_wanted", "failing", "traced_load", "traced_redis"]


def traced_load(argument: AnyContext | Sequence[AnyKey]) -> AbstractContextManager[Span]:
    """Open a span for the call of a loader, by what it is called with: a context, or a list of keys."""
    if not are_wanted():
        return span("cache load")
    keys = [argument.key] if isinstance(argument, LoadContext) else list(argument)
    families = sorted({key.family.name for key in keys})
    return span("cache load", cache_family=",".join(families), cache_keys=len(keys))


@contextmanager
def traced_redis(commands: Sequence[AnyCommand]) -> Iterator[Span]:
    """Open a span for a round trip to Redis (OpenTelemetry's conventions for databases)."""
    names = sorted({command.script.name if command.script else "read" for command in commands})
    operation = names[0] if len(names) == 1 else "BATCH"
    with span("redis") as traced:
        traced.note("db.system.name", "redis")
        traced.note("db.operation.name", operation)
        traced.note("db.operation.batch.size", len(commands))
        yield traced


def failing(traced: Span, replies: Sequence[object]) -> None:
    """Say in a span of Redis that it didn't answer."""
    failed = sum(reply is FAILED for reply in replies)
    if failed:
        traced.fail(f"Redis didn't answer {failed} of {len(replies)}")
