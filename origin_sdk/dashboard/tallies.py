"""What was counted in a span of time: counts, and the URLs that stood out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from heapq import nlargest
from typing import Self

from origin_sdk_wire.exposition import Document, Isolate, UrlCount
from origin_sdk_wire.metrics import GAUGES, Counts

__all__ = ["READINGS_KEPT_SECONDS", "YOUNG_SECONDS", "Readings", "Tally", "UrlSums"]

MOST_SERIES = 5000
"""How many series a step holds: labels are bounded by the Worker, and a source that isn't one may lie."""
MOST_URLS = 200
YOUNG_SECONDS = 3600.0
"""The shortest range: what a younger isolate counted falls into it, whenever that was."""
READINGS_KEPT_SECONDS = 86_400.0
"""For so long the readings of an isolate that is silent are kept: an idle one comes back."""


@dataclass(slots=True)
class UrlSums:
    """What a URL's requests came to; seconds that the origin took in all."""

    rule: str
    requests: float = 0
    bytes: float = 0
    origin_requests: float = 0
    origin_seconds: float = 0

    def as_row(self) -> list[str | float]:
        """Return its values in order."""
        return [self.rule, self.requests, self.bytes, self.origin_requests, self.origin_seconds]

    def add(self, other: "UrlSums") -> None:
        """Add what another one came to."""
        self.requests += other.requests
        self.bytes += other.bytes
        self.origin_requests += other.origin_requests
        self.origin_seconds += other.origin_seconds

    @classmethod
    def since(cls, now: UrlCount, before: UrlCount | None) -> Self:
        """Return what came since an earlier reading of the same isolate.

        Where the URL lost its place meanwhile and came back, that is all that is known for certain to be its
        own.
        """
        if before is None or before.inherited != now.inherited or before.requests > now.requests:
            own = now.requests - now.inherited
            return cls(now.rule, own, now.bytes, now.origin_requests, now.origin_seconds)
        return cls(
            now.rule,
            now.requests - before.requests,
            max(0, now.bytes - before.bytes),
            max(0, now.origin_requests - before.origin_requests),
            max(0.0, now.origin_seconds - before.origin_seconds),
        )


@dataclass(slots=True)
class Tally:
    """What was counted; gauges are as they were at the end."""

    counts: Counts = field(default_factory=Counts)
    urls: dict[str, UrlSums] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Add what was counted later."""
        self._add_counts(other.counts)
        for url, sums in other.urls.items():
            known = self.urls.get(url)
            if known is None:
                self.urls[url] = replace(sums)
            else:
                known.add(sums)
        if len(self.urls) > MOST_URLS:
            self.urls = dict(_foremost(self.urls))

    def _add_counts(self, counted: Counts) -> None:
        room = MOST_SERIES - sum(map(len, self.counts.series.values()))
        for name, series in counted.series.items():
            known = self.counts.series[name]
            if name in GAUGES:
                known.update({labels: list(cells) for labels, cells in series.items()})
                continue
            for labels, cells in series.items():
                if labels in known:
                    known[labels] = [a + b for a, b in zip(known[labels], cells, strict=True)]
                elif room > 0:
                    known[labels] = list(cells)
                    room -= 1

    @classmethod
    def sum(cls, steps: Iterable["Tally"]) -> Self:
        """Return all of them, the earliest given first."""
        total = cls()
        for step in steps:
            total.add(step)
        return total


def _foremost(urls: Mapping[str, UrlSums]) -> list[tuple[str, UrlSums]]:
    """Return the busiest half and the most expensive half."""
    busiest = nlargest(MOST_URLS // 2, urls.items(), key=lambda item: item[1].requests)
    dearest = nlargest(MOST_URLS // 2, urls.items(), key=lambda item: item[1].origin_seconds)
    return list(dict([*busiest, *dearest]).items())


class Readings:
    """The last readings of isolates, to tell what is new in the next one."""

    def __init__(self, known: Iterable[Isolate] = (), *, young_seconds: float = YOUNG_SECONDS) -> None:
        self._young_seconds = young_seconds
        self._known = {isolate.id: isolate for isolate in known}

    def gained(self, document: Document) -> Tally:
        """Return what was counted since the last document.

        Of an isolate that wasn't known that is everything if it started within ``young_seconds``, else
        nothing: when it was counted isn't known.
        """
        gained = Tally()
        counts_from_ms = document.made_ms - self._young_seconds * 1000
        for isolate in document.isolates:
            before = self._known.get(isolate.id)
            if before is not None or isolate.started_ms >= counts_from_ms:
                gained.counts.merge(isolate.counts.since(before.counts if before else Counts()))
                self._add_urls(gained, isolate, before)
            else:
                gained.counts.merge(_gauges_of(isolate.counts))
            self._known[isolate.id] = isolate
        oldest = document.made_ms - READINGS_KEPT_SECONDS * 1000
        self._known = {each.id: each for each in self._known.values() if each.counted_ms >= oldest}
        return gained

    @staticmethod
    def _add_urls(gained: Tally, isolate: Isolate, before: Isolate | None) -> None:
        earlier = {each.url: each for each in before.urls} if before else {}
        for each in isolate.urls:
            sums = UrlSums.since(each, earlier.get(each.url))
            if sums.requests > 0:
                known = gained.urls.setdefault(each.url, UrlSums(each.rule))
                known.add(sums)


def _gauges_of(counts: Counts) -> Counts:
    found = Counts()
    for name in GAUGES:
        found.series[name] = dict(counts.series[name])
    return found
