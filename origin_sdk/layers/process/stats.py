"""What the layers did, counted."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from origin_sdk.layers.values.families import AnyKey

__all__ = ["Detected", "Stats"]


@dataclass(slots=True)
class Detected:
    """What happened in a ``detect`` block, in order: key and ``memory-hit``, ``redis-miss``, ``loaded``."""

    events: list[tuple[str, str]] = field(default_factory=list)

    def of(self, name: str) -> list[str]:
        """Return the events of one key."""
        return [event for key, event in self.events if key == name]


_detecting: ContextVar[Detected | None] = ContextVar("origin_sdk_layers_detecting", default=None)


class Hits:
    """What a decorated function answered out of memory; a call that is a hit does nothing else."""

    __slots__ = ("count", "family")

    def __init__(self, family: str) -> None:
        self.family = family
        self.count = 0


class Stats:
    """Counts of events by family, and what is observed of times.

    ``observers`` are called with a measurement's name, its value and the family: see
    :mod:`origin_sdk.layers.telemetry`.
    """

    def __init__(self) -> None:
        self.hits: list[Hits] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.breaker_openings = 0
        self.detections = 0
        self.observers: list[Callable[[str, float, str], None]] = []

    def count(self, event: str, family: str, name: str) -> None:
        """Count an event of a key."""
        self.counts[event, family] += 1
        if self.detections and (detected := _detecting.get()) is not None:
            detected.events.append((name, event))

    def hits_of(self, family: str) -> Hits:
        """Return a counter of memory hits for one function."""
        self.hits.append(Hits(family))
        return self.hits[-1]

    def totals(self) -> Mapping[tuple[str, str], int]:
        """Return all counts by event and family."""
        counts = self.counts.copy()
        for each in self.hits:
            counts["memory-hit", each.family] += each.count
        return counts

    def count_many(self, event: str, keys: Sequence[AnyKey]) -> None:
        """Count an event of several keys."""
        if self.detections:
            for key in keys:
                self.count(event, key.family.name, key.name)
            return
        families = [key.family for key in keys]
        for family in set(families):
            self.counts[event, family.name] += families.count(family)

    def observe(self, measurement: str, value: float, family: str = "") -> None:
        """Tell of a time or a size."""
        for observer in self.observers:
            observer(measurement, value, family)

    def lag(self, seconds: float) -> None:
        """Tell how long an invalidation took to get here."""
        self.counts["invalidation-heard", ""] += 1
        self.observe("invalidation-lag", max(0.0, seconds))

    @contextmanager
    def detect(self) -> Iterator[Detected]:
        """Note what each layer does for this thread or task."""
        detected = Detected()
        token = _detecting.set(detected)
        self.detections += 1
        try:
            yield detected
        finally:
            self.detections -= 1
            _detecting.reset(token)
