"""The URLs that are asked for most, and those that cost the origin most, of many in little memory.

After Metwally's Space-Saving, but cut down many at a time: once there are twice as many as are kept, those of
least use go, and who comes later inherits the requests of the busiest that went.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from origin_sdk_wire.exposition import UrlCount

__all__ = ["Busiest"]

_MOST_CHARACTERS = 512


@dataclass(slots=True)
class _Use:
    rule: str
    requests: int = 0
    bytes: int = 0
    origin_requests: int = 0
    origin_ms: int = 0
    inherited: int = 0


class Busiest:
    """Counts by URL. ``kept`` of them are told: half for their requests, half for the origin's time."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._uses: dict[str, _Use] = {}
        self._inherited = 0

    def note(
        self, url: str, rule: str, requests: int, size_bytes: int, origin_requests: int, origin_ms: int
    ) -> None:
        """Count answers for a URL."""
        url = url[:_MOST_CHARACTERS]
        use = self._uses.get(url)
        if use is None:
            if len(self._uses) >= 2 * self._kept:
                self._cut_down()
            use = self._uses[url] = _Use(rule, self._inherited, inherited=self._inherited)
        use.requests += requests
        use.bytes += size_bytes
        use.origin_requests += origin_requests
        use.origin_ms += origin_ms

    def _cut_down(self) -> None:
        kept = self._leading()
        gone = (use.requests for url, use in self._uses.items() if url not in kept)
        self._inherited = max(gone, default=self._inherited)
        self._uses = {url: use for url, use in self._uses.items() if url in kept}

    def _leading(self) -> set[str]:
        by_use, by_cost = self._ranked(_requests), self._ranked(_origin_ms)
        busiest = set(by_use[: self._kept // 2])
        costliest = [url for url in by_cost if url not in busiest and self._uses[url].origin_ms]
        leading = busiest.union(costliest[: self._kept // 2])
        return leading.union(by_use[: self._kept - len(leading)]) if len(leading) < self._kept else leading

    def _ranked(self, use: Callable[[_Use], int]) -> list[str]:
        return sorted(self._uses, key=lambda url: -use(self._uses[url]))

    def urls(self) -> tuple[UrlCount, ...]:
        """Return the leading URLs, the busiest first."""
        leading: Iterable[str] = self._leading()
        counts = [_told(url, self._uses[url]) for url in leading]
        return tuple(sorted(counts, key=lambda count: (-count.requests, count.url)))


def _requests(use: _Use) -> int:
    return use.requests


def _origin_ms(use: _Use) -> int:
    return use.origin_ms


def _told(url: str, use: _Use) -> UrlCount:
    return UrlCount(
        url, use.rule, use.requests, use.bytes, use.origin_requests, use.origin_ms / 1000, use.inherited
    )
