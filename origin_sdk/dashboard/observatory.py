"""Everything that the dashboard watches, polled in the background: what it shows is put together here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from threading import Event, Thread
from typing import Any, Self

from origin_sdk._process.clock import Clock
from origin_sdk._values.errors import InvalidRequest
from origin_sdk.dashboard.board import Window, board, cost, month_start, usage
from origin_sdk.dashboard.holdings import Holdings, Stored
from origin_sdk.dashboard.ranges import RANGES, Range
from origin_sdk.dashboard.services import Service
from origin_sdk.dashboard.sources import Recorded, Source

__all__ = ["Intervals", "Observatory"]

_WATCHED_SECONDS = 30.0
_LONGEST = RANGES["90d"]
_STOP_SECONDS = 5.0
_NO_NAMESPACE = "no KV namespace is known: start the dashboard with --config, --namespace or --base-url"


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often what is asked, in seconds; ``idle`` while nobody looks.

    The Worker's route is asked at even moments, as many times in one step of a range as in the next: else
    charts of rates would show how the questions fell.
    """

    route: float = 1.25
    idle: float = 5.0
    services: float = 5.0
    marks: float = 60.0
    stored: float = 600.0


@dataclass
class Observatory:
    """Sources, services and KV. As a context manager it polls them until its end."""

    clock: Clock
    sources: Sequence[Source]
    services: Sequence[Service] = ()
    holdings: Holdings | None = None
    intervals: Intervals = field(default_factory=Intervals)
    keeps: str = ""
    """Where the history is, for a person."""
    _watched_at: float = 0.0
    _stopping: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        intervals = self.intervals
        for source in self.sources:
            if isinstance(source, Recorded):
                self._repeat(source.poll, lambda: self._until_even(intervals))
        for service in self.services:
            self._repeat(service.poll, lambda: intervals.services)
        if self.holdings:
            self._repeat(self.holdings.list_marks, lambda: intervals.marks, only_watched=True)
            self._repeat(self.holdings.count, lambda: intervals.stored, only_watched=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    def poll(self) -> None:
        """Ask all that is polled once, now: for who looks without the background."""
        for source in self.sources:
            if isinstance(source, Recorded):
                source.poll()
        for service in self.services:
            service.poll()

    def _repeat(
        self, task: Callable[[], None], seconds: Callable[[], float], *, only_watched: bool = False
    ) -> None:
        def run() -> None:
            while not self._stopping.is_set():
                if only_watched and not self._is_watched():
                    self._stopping.wait(1.0)
                    continue
                task()
                self._stopping.wait(seconds())

        thread = Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _until_even(self, intervals: Intervals) -> float:
        interval = intervals.route if self._is_watched() else intervals.idle
        # In the middle between two multiples, so that none of a step's moments falls into its neighbour.
        return interval - (self.clock.now() - interval / 2) % interval

    def _is_watched(self) -> bool:
        return self.clock.now() < self._watched_at + _WATCHED_SECONDS

    def source(self, name: str = "") -> Source:
        """Return a source by its name, or the first; raises :class:`InvalidRequest`."""
        found = [source for source in self.sources if name in {"", source.name}]
        if not found:
            known = ", ".join(source.name for source in self.sources)
            raise InvalidRequest(f"source = {name!r}: choose one of {known}")
        return found[0]

    def board(self, range_name: str, source_name: str = "") -> dict[str, Any]:
        """Return all that is shown of a range."""
        span, now = _range(range_name), self.clock.now()
        self._watched_at = now
        source = self.source(source_name)
        window = source.window(span, now)
        shown = board(window)
        stored = self.holdings.stored if self.holdings else None
        return shown | {
            "source": source.name,
            "sources": [
                {"name": each.name, "title": each.title, "health": each.health.as_json()}
                for each in self.sources
            ],
            "ranges": [{"name": each.name, "title": each.title} for each in RANGES.values()],
            "stored": stored.as_json() if stored else None,
            "kv_health": self.holdings.health.as_json() if self.holdings else None,
            "may_purge": bool(self.holdings and self.holdings.may_purge),
            "purges": self._purges(window.span.starts(now).start),
            "away": [
                asdict(away) for each in self.sources if isinstance(each, Recorded) for away in each.away
            ],
            "cost": self._cost(source, window, stored),
            "services": [service.as_json() for service in self.services],
            "keeps": self.keeps,
        }

    def kv(self) -> Holdings:
        """Return what KV holds; raises :class:`InvalidRequest` where no namespace is known."""
        if self.holdings is None:
            raise InvalidRequest(_NO_NAMESPACE)
        return self.holdings

    def _purges(self, since: float) -> list[Mapping[str, Any]]:
        seen = [purge for each in self.sources if isinstance(each, Recorded) for purge in each.purges]
        holdings = self.holdings or Holdings(_no_client, self.clock)
        return list(holdings.purges(seen, since))

    def _cost(self, source: Source, window: Window, stored: Stored | None) -> dict[str, Any]:
        longest = source.window(_LONGEST, window.now)
        month = month_start(window.now)
        spent = [each.usage for start, each in longest.summaries.items() if start >= month]
        shown = cost(spent, usage(window.total.counts), window.seconds, stored.bytes if stored else None)
        return shown | {"since": max(month, longest.since)}


def _no_client() -> Any:
    raise InvalidRequest(_NO_NAMESPACE)


def _range(name: str) -> Range:
    span = RANGES.get(name)
    if span is None:
        raise InvalidRequest(f"range = {name!r}: choose one of {', '.join(RANGES)}")
    return span
