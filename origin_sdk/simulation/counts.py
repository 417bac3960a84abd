"""What a simulation counts, and what that costs."""

from collections import Counter
from dataclasses import dataclass, field

from origin_sdk._values.prices import Usage

__all__ = ["HITS", "Bucket", "Histogram", "RuleCounts", "Timeline"]

HITS = frozenset({"memory", "kv", "stale"})
"""The tiers that answer from what is stored, without waiting for the origin."""

_MAX_STEPS = 120


class Histogram:
    """Values in buckets that double."""

    def __init__(self) -> None:
        self.count = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, value: float, weight: float = 1.0) -> None:
        """Count a value, which is 0 or more."""
        self.count += weight
        self._buckets[max(0, int(value)).bit_length()] += weight  # type: ignore[assignment]

    def quantile(self, share: float) -> float:
        """Return a value that ``share`` of all values don't exceed, at most twice too large."""
        wanted, seen = self.count * share, 0.0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return float((1 << bucket) - 1)
        return 0.0


@dataclass(slots=True)
class Bucket:
    """What came in one stretch of time."""

    requests: float = 0.0
    hits: float = 0.0
    origin_requests: float = 0.0

    def add(self, other: "Bucket") -> None:
        """Take another stretch in."""
        self.requests += other.requests
        self.hits += other.hits
        self.origin_requests += other.origin_requests


class Timeline:
    """The course of a log in at most 120 steps: their length doubles whenever there are more."""

    def __init__(self) -> None:
        self.first_ms = 0
        self.step_ms = 1000
        self.steps: list[Bucket] = []

    def at(self, now_ms: int) -> Bucket:
        """Return the step that a moment lies in; moments never go back."""
        if not self.steps:
            self.first_ms = now_ms
        place = (now_ms - self.first_ms) // self.step_ms
        while place >= _MAX_STEPS:
            self._double()
            place = (now_ms - self.first_ms) // self.step_ms
        while len(self.steps) <= place:
            self.steps.append(Bucket())
        return self.steps[place]

    def _double(self) -> None:
        self.step_ms *= 2
        merged = []
        for place in range(0, len(self.steps), 2):
            step = self.steps[place]
            for other in self.steps[place + 1 : place + 2]:
                step.add(other)
            merged.append(step)
        self.steps = merged


@dataclass
class RuleCounts:
    """What one rule's requests led to. All but the peaks are estimates where URLs were sampled."""

    requests: float = 0.0
    bytes: float = 0.0
    by_tier: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests by tier and reason."""
    origin_requests: float = 0.0
    origin_bytes: float = 0.0
    origin_errors: float = 0.0
    shield_answers: float = 0.0
    """Requests that a shield answered without asking the origin."""
    origin_peak: float = 0.0
    """The most origin requests in one second."""
    request_peak: float = 0.0
    """The most requests in one second."""
    kv_reads: float = 0.0
    kv_writes: float = 0.0
    stale_ms: Histogram = field(default_factory=Histogram)
    """For how long what was served stale had been so."""
    _second: int = 0
    _origin_in_second: float = 0.0
    _requests_in_second: float = 0.0

    def count(self, tier: str, reason: str, weight: float, size_bytes: int, now_ms: int) -> None:
        """Count a request by what answered it."""
        self.requests += weight
        self.bytes += weight * size_bytes
        self.by_tier[tier] += weight  # type: ignore[assignment]
        self.by_reason[tier, reason] += weight  # type: ignore[assignment]
        self._tick(now_ms)
        self._requests_in_second += weight
        self.request_peak = max(self.request_peak, self._requests_in_second)

    def count_origin(self, weight: float, size_bytes: int, now_ms: int, *, failed: bool) -> None:
        """Count a request to the origin."""
        self.origin_requests += weight
        self.origin_bytes += weight * size_bytes
        self.origin_errors += weight * failed
        self._tick(now_ms)
        self._origin_in_second += weight
        self.origin_peak = max(self.origin_peak, self._origin_in_second)

    def _tick(self, now_ms: int) -> None:
        if (second := now_ms // 1000) != self._second:
            self._second, self._origin_in_second, self._requests_in_second = second, 0.0, 0.0

    @property
    def hits(self) -> float:
        """Requests that were answered without waiting for the origin."""
        return sum(self.by_tier[tier] for tier in HITS)

    @property
    def hit_ratio(self) -> float:
        """The share of requests that were answered without waiting for the origin."""
        return self.hits / self.requests if self.requests else 0.0

    @property
    def usage(self) -> Usage:
        """What Cloudflare bills for what was counted."""
        return {"kv_reads": self.kv_reads, "kv_writes": self.kv_writes, "requests": self.requests}
