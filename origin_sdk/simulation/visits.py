"""A request on its way through the model, and the isolate that it meets at its location."""

from dataclasses import dataclass, field
from typing import NamedTuple

from origin_sdk.simulation.assumptions import Assumptions
from origin_sdk.simulation.counts import RuleCounts
from origin_sdk.simulation.exchanges import LoggedRequest
from origin_sdk_edge.policy.decision import Lookup, Use
from origin_sdk_edge.storage.mark_table import MarkTable
from origin_sdk_edge.storage.memory import Entry, Memory
from origin_sdk_wire.bounds import MARKS_AHEAD
from origin_sdk_wire.settings import Settings

__all__ = ["Checked", "Isolate", "Isolates", "Visit"]

_REMEMBERED_CHECKS = 50_000


class Checked(NamedTuple):
    """A decision, and up to when the same request has it again: lifetimes, and what is known of marks."""

    lookup: Lookup
    entry: Entry
    generation: int
    use: Use
    until_ms: float


@dataclass(slots=True)
class Isolate:
    """What one isolate knows, for as long as it lives."""

    memory: Memory
    marks: MarkTable
    ends_ms: float
    checked: dict[str, Checked] = field(default_factory=dict)

    def remember(self, checked: Checked) -> None:
        """Decide in the same way on the same request, for as long as that holds."""
        if len(self.checked) >= _REMEMBERED_CHECKS:
            self.checked.clear()
        until_ms = min(checked.use.until_ms, checked.until_ms + self.marks.interval_ms * MARKS_AHEAD)
        self.checked[checked.entry.key] = checked._replace(until_ms=until_ms)

    def still_holds(self, checked: Checked, lookup: Lookup, now_ms: int) -> bool:
        """Whether what was decided is decided again."""
        return (
            checked.lookup is lookup
            and checked.entry.is_held
            and checked.generation == self.marks.generation
            and now_ms < checked.until_ms
        )


class Isolates:
    """Those of all locations: each begins when a request meets it, and ends by its time."""

    def __init__(self, settings: Settings, assumptions: Assumptions) -> None:
        self._settings = settings
        self._assumptions = assumptions
        self._alive: dict[tuple[int, int], Isolate] = {}
        self._drawn = assumptions.seed

    def meet(self, location: int, now_ms: int) -> Isolate:
        """Return the isolate that a request at a location is given to, one of several by chance."""
        place = location, int(self._draw() * self._assumptions.isolates)
        isolate = self._alive.get(place)
        if isolate is None or now_ms >= isolate.ends_ms:
            life_ms = self._assumptions.isolate_minutes * 60_000
            # The first ones are of any age, so that they don't all end at once.
            left_ms = life_ms if isolate or not self._alive else life_ms * self._draw()
            memory = Memory(self._settings.memory_bytes)
            marks = MarkTable(int(self._settings.mark_interval * 1000), memory)
            isolate = self._alive[place] = Isolate(memory, marks, now_ms + left_ms)
        return isolate

    def drop(self, keys: set[str]) -> None:
        """Hold these in no memory any more."""
        for isolate in self._alive.values():
            for each in keys:
                isolate.memory.drop(each)

    def _draw(self) -> float:
        """Return a number below 1: the next of a sequence that is the same in every run."""
        self._drawn = (self._drawn * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % (1 << 64)
        return (self._drawn >> 32) / (1 << 32)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request on its way through the model."""

    exchange: LoggedRequest
    location: int
    isolate: Isolate
    now_ms: int
    weight: float
    part: int
    counts: tuple[RuleCounts, ...]

    @property
    def took_ms(self) -> int:
        """How long the origin took to answer."""
        return int(self.exchange.duration_ms or 0)
