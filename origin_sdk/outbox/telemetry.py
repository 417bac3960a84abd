"""What drainers do and what an outbox holds, for OpenTelemetry.

::

    Drainer(outbox, client, on_round=RoundMetrics())
    observe(outbox)
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from origin_sdk.outbox._stores.entries import State
from origin_sdk.outbox._stores.ports import Outbox

if TYPE_CHECKING:
    from origin_sdk.outbox._delivery.rounds import Round

__all__ = ["RoundMetrics", "observe"]

_LAGS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0, 86_400.0)


class RoundMetrics:
    """Takes rounds.

    ``edge.outbox.entries`` counts what became of entries, ``edge.outbox.untold`` the purges that the purge
    log couldn't be told of; ``edge.outbox.lag`` holds each round's lag.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        meter = meter or get_meter("origin_sdk.outbox")
        self._entries = meter.create_counter("edge.outbox.entries", description="tries, by their end")
        self._untold = meter.create_counter(
            "edge.outbox.untold", description="purges that the purge log couldn't be told of"
        )
        self._lag = meter.create_histogram(
            "edge.outbox.lag",
            "s",
            "the longest time from a commit to its delivery, of each round",
            explicit_bucket_boundaries_advisory=_LAGS,
        )

    def __call__(self, made: "Round") -> None:
        """Take a round."""
        for end, count in (("done", made.done), ("waiting", made.failed), ("dead", made.dead)):
            self._entries.add(count, {"end": end})
        self._untold.add(made.untold)
        self._lag.record(made.lag_seconds)


def observe(outbox: Outbox, meter: Meter | None = None) -> None:
    """Report what ``outbox`` holds: it is asked for its status whenever metrics are collected.

    ``edge.outbox.waiting`` and ``edge.outbox.dead`` are entries, ``edge.outbox.oldest`` is for how many
    seconds the oldest has waited.
    """
    meter = meter or get_meter("origin_sdk.outbox")

    def count(state: State) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(outbox.status().counts.get(state, 0))]

    for state in (State.WAITING, State.DEAD):
        meter.create_observable_gauge(f"edge.outbox.{state.value}", [count(state)])
    meter.create_observable_gauge(
        "edge.outbox.oldest", [lambda _: [Observation(outbox.status().lag_seconds)]], "s"
    )
