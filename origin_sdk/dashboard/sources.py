"""Where counts come from: a source answers for a range, and says how it is.

:class:`Recorded` keeps what the Worker's own route tells, reading by reading;
:class:`origin_sdk.dashboard.analytics.AnalyticsEngine` asks Cloudflare.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol

from origin_sdk._process.clock import Clock
from origin_sdk._values.errors import OriginSdkError
from origin_sdk.dashboard.board import Summary, Window
from origin_sdk.dashboard.history import History
from origin_sdk.dashboard.ranges import Range
from origin_sdk.dashboard.tallies import YOUNG_SECONDS, Readings, Tally
from origin_sdk_wire.exposition import AwayOrigin, Document, SeenPurge, merged_away

__all__ = ["Recorded", "Source", "SourceHealth"]

_IDLE_WRITE_SECONDS = 20.0
"""A reading without news is written this often, for the gauges."""
MOST_PURGES = 200


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How a source is: ``waiting`` before its first answer, then ``ok`` or ``failing``.

    ``good_at`` is when it last answered, in seconds since the epoch.
    """

    state: str = "waiting"
    message: str = ""
    good_at: float | None = None

    def as_json(self) -> dict[str, object]:
        """Return it as JSON types."""
        return {"state": self.state, "message": self.message, "good_at": self.good_at}

    def worked(self, now: float) -> "SourceHealth":
        """Return how it is after an answer."""
        return SourceHealth("ok", "", now)

    def failed(self, error: Exception) -> "SourceHealth":
        """Return how it is after a failure."""
        return replace(self, state="failing", message=str(error))


class Source(Protocol):
    """Counts by range."""

    @property
    def name(self) -> str:
        """Its name in addresses."""
        ...

    @property
    def title(self) -> str:
        """What a person calls it."""
        ...

    @property
    def health(self) -> SourceHealth:
        """How it is."""
        ...

    def window(self, span: Range, now: float) -> Window:
        """Return what was counted in a range up to ``now``."""
        ...


@dataclass(slots=True)
class _Past:
    """What no longer changes of a range: its sum, and that of the span before."""

    first: int
    last: int
    since: float
    total: Tally
    before: Tally
    summaries: dict[int, Summary]


class Recorded:
    """What the Worker's route told since this program runs, and before, as far as the history has it."""

    name = "route"
    title = "Worker's route"

    def __init__(
        self,
        history: History,
        read: Callable[[], Document],
        clock: Clock,
        key: str,
        *,
        young_seconds: float = YOUNG_SECONDS,
    ) -> None:
        """``read`` asks the route; ``key`` tells its history from those of other Workers.

        What an isolate counted before its first reading counts if it started within ``young_seconds``.
        """
        self._history = history
        self._read = read
        self._clock = clock
        self._key = key
        self._readings = Readings(history.readings(key), young_seconds=young_seconds)
        self._health = SourceHealth()
        self._past: dict[str, _Past] = {}
        self._lock = Lock()
        self._written_at = 0.0
        self._document: Document | None = None

    @property
    def health(self) -> SourceHealth:
        """How the last reading went."""
        return self._health

    @property
    def document(self) -> Document | None:
        """The last reading."""
        return self._document

    @property
    def purges(self) -> list[SeenPurge]:
        """What purges the isolates saw, the latest first."""
        isolates = self._document.isolates if self._document else ()
        seen = [purge for isolate in isolates for purge in isolate.purges]
        return sorted(seen, key=lambda purge: -purge.moment_ms)[:MOST_PURGES]

    @property
    def away(self) -> tuple[AwayOrigin, ...]:
        """What origins gave no answer when they were asked last."""
        return merged_away(self._document.isolates) if self._document else ()

    def poll(self) -> None:
        """Read once; a failure is for :attr:`health` to tell."""
        try:
            document = self._read()
        except OriginSdkError as error:
            self._health = self._health.failed(error)
            return
        now = self._clock.now()
        gained = self._readings.gained(document)
        if gained.counts or gained.urls or now >= self._written_at + _IDLE_WRITE_SECONDS:
            with self._lock:
                self._history.add(self._key, now, gained, document.isolates)
            self._written_at = now
        self._document = document
        self._health = self._health.worked(now)

    def window(self, span: Range, now: float) -> Window:
        """Return what the history has of a range."""
        with self._lock:
            starts = span.starts(now)
            last = starts[-1]
            past = self._past.get(span.name)
            if past is None or (past.first, past.last) != (starts[0], last):
                past = self._past[span.name] = self._read_past(span, now)
            current = self._history.steps(self._key, span, range(last, last + span.step, span.step))
        total = Tally.sum((past.total, *current.values()))
        summaries = past.summaries | {start: Summary.of(step) for start, step in current.items()}
        since = min(past.since, *current, now)
        return Window(span, now, since, total, past.before, summaries)

    def _read_past(self, span: Range, now: float) -> _Past:
        starts = span.starts(now)
        steps = self._history.steps(self._key, span, starts[:-1])
        before = self._history.steps(self._key, span, span.starts_before(now))
        window = Window.of(span, now, steps, before)
        return _Past(starts[0], starts[-1], window.since, window.total, window.before, dict(window.summaries))
