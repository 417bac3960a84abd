"""Two curves that say what other settings would bring: hits by lifetime, and hits by size of memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["LIFETIMES", "SIZES", "LifetimeCurve", "MemoryCurve", "at_least"]

LIFETIMES = (1, 10, 60, 600, 3600, 86_400)
"""Seconds."""

SIZES = tuple(mebibytes * 1024 * 1024 for mebibytes in (4, 8, 16, 32, 64, 96))
"""Bytes; an isolate of 128 MiB has room for some 96 MiB at most."""


class LifetimeCurve:
    """The share of requests that would be hits if responses were fresh for so long, and never purged.

    For each lifetime, the first request after its end fetches the response again.
    """

    def __init__(self) -> None:
        self.requests = 0.0
        self._hits = [0.0] * len(LIFETIMES)
        self._asked_ms: dict[str, list[int]] = {}
        self._once: set[str] = set()

    @property
    def share_asked_once(self) -> float:
        """The share of URLs, as far as they are followed, that were asked for once."""
        return len(self._once) / max(1, len(self._asked_ms))

    def add(self, key: str, weight: float, now_ms: int) -> None:
        """Count a request."""
        self.requests += weight
        asked_ms = self._asked_ms.get(key)
        if asked_ms is None:
            self._asked_ms[key] = [now_ms] * len(LIFETIMES)
            self._once.add(key)
            return
        self._once.discard(key)
        for place, lifetime in enumerate(LIFETIMES):
            if now_ms - asked_ms[place] < lifetime * 1000:
                self._hits[place] += weight
            else:
                asked_ms[place] = now_ms

    def forget(self, key: str) -> None:
        """Follow a key no more."""
        self._asked_ms.pop(key, None)
        self._once.discard(key)

    def ratios(self) -> Mapping[int, float]:
        """Return the hit ratio by lifetime in seconds."""
        total = self.requests or 1.0
        return {lifetime: hits / total for lifetime, hits in zip(LIFETIMES, self._hits, strict=True)}


@dataclass
class MemoryCurve:
    """The share of an isolate's requests whose response a memory of some size would still hold.

    By Mattson's stack algorithm (IBM Systems Journal 9, 1970): the bytes of other responses that were used
    since a response was used last, counted in a Fenwick tree over time. It is the curve of LRU; the Worker's
    own eviction does a little better.
    """

    slots: int = 1 << 17
    requests: float = 0.0
    hits: list[float] = field(default_factory=lambda: [0.0] * len(SIZES))
    _tree: list[float] = field(default_factory=list)
    _last: dict[str, tuple[int, float]] = field(default_factory=dict)
    _next: int = 1

    def __post_init__(self) -> None:
        self._tree = [0.0] * (self.slots + 1)

    def add(self, key: str, size_bytes: float, weight: float) -> None:
        """Count a use of a response; ``size_bytes`` includes those that it stands for."""
        self.requests += weight
        if self._next > self.slots:
            self._compact()
        last = self._last.pop(key, None)
        if last is not None:
            slot, held_bytes = last
            distance = self._sum(self._next - 1) - self._sum(slot)
            for place, size in enumerate(SIZES):
                if distance + size_bytes <= size:
                    self.hits[place] += weight
            self._change(slot, -held_bytes)
        self._change(self._next, size_bytes)
        self._last[key] = self._next, size_bytes
        self._next += 1

    def ratios(self) -> Mapping[int, float]:
        """Return the hit ratio by bytes of memory."""
        total = self.requests or 1.0
        return {size: hits / total for size, hits in zip(SIZES, self.hits, strict=True)}

    def _compact(self) -> None:
        # What lies beyond the largest memory can't be a hit of any: it needs no place.
        kept: list[tuple[str, float]] = []
        total = 0.0
        for key, (_, held_bytes) in reversed(self._last.items()):
            total += held_bytes
            if total > SIZES[-1] or len(kept) >= self.slots // 2:
                break
            kept.append((key, held_bytes))
        self._tree = [0.0] * (self.slots + 1)
        self._last.clear()
        self._next = 1
        for key, held_bytes in reversed(kept):
            self._change(self._next, held_bytes)
            self._last[key] = self._next, held_bytes
            self._next += 1

    def _change(self, slot: int, by: float) -> None:
        while slot <= self.slots:
            self._tree[slot] += by
            slot += slot & -slot

    def _sum(self, slot: int) -> float:
        total = 0.0
        while slot > 0:
            total += self._tree[slot]
            slot -= slot & -slot
        return total


def at_least(ratios: Mapping[int, float], share: float) -> int | None:
    """Return the least size or lifetime that has ``share`` of the best ratio; ``None`` if nothing helps."""
    best = max(ratios.values(), default=0.0)
    steps: Sequence[int] = sorted(ratios)
    return next((step for step in steps if best and ratios[step] >= best * share), None)
