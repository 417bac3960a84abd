"""What a simulation counts of its requests: by rule, over time, by region, and by parts of a sample."""

from collections.abc import Iterable

from origin_sdk.simulation.counts import HITS, RuleCounts, Timeline
from origin_sdk.simulation.visits import Visit

__all__ = ["PARTS", "Ledger"]

PARTS = 16


class Ledger:
    """The counts of one edge; each request counts as much as those that it stands for."""

    def __init__(self, regions: Iterable[tuple[str, float]]) -> None:
        """Count with waiting times for ``regions``, by how many milliseconds the origin is away."""
        self.overall = RuleCounts()
        self.by_rule: dict[str, RuleCounts] = {}
        self.timeline = Timeline()
        self.parts = [[0.0, 0.0] for _ in range(PARTS)]
        """Requests and hits of equal parts of the URLs that stand for others: how they differ tells how sure
        a sample is."""
        self._regions = tuple(regions)
        self.waited_ms: dict[str, list[float]] = {name: [0.0, 0.0] for name, _ in self._regions}
        """By region: its requests, and for how long they waited for the shield or the origin in all."""

    def of_rule(self, rule: str) -> RuleCounts:
        """Return the counts of a rule."""
        if (counts := self.by_rule.get(rule)) is None:
            counts = self.by_rule[rule] = RuleCounts()
        return counts

    def answered(self, visit: Visit, tier: str, reason: str, size_bytes: int) -> None:
        """Count a request by what answered it, and why."""
        for counts in visit.counts:
            counts.count(tier, reason, visit.weight, size_bytes, visit.now_ms)
        if self._regions:
            self.waited_ms[self._region(visit)[0]][0] += visit.weight
        step, hits = self.timeline.at(visit.now_ms), visit.weight if tier in HITS else 0.0
        step.requests += visit.weight
        step.hits += hits
        if visit.weight > 1:
            part = self.parts[visit.part]
            part[0] += visit.weight
            part[1] += hits

    def waited(self, visit: Visit, took_ms: int) -> None:
        """Count for how long a request waits for what isn't at its location."""
        if self._regions:
            name, away_ms = self._region(visit)
            self.waited_ms[name][1] += (away_ms + took_ms) * visit.weight

    def _region(self, visit: Visit) -> tuple[str, float]:
        return self._regions[visit.location % len(self._regions)]

    def asked(self, visit: Visit, size_bytes: int) -> None:
        """Count a request to the origin."""
        for counts in visit.counts:
            counts.count_origin(visit.weight, size_bytes, visit.now_ms, failed=visit.exchange.status >= 500)
        self.timeline.at(visit.now_ms).origin_requests += visit.weight

    @staticmethod
    def shielded(visit: Visit) -> None:
        """Count an answer of the shield's."""
        for counts in visit.counts:
            counts.shield_answers += visit.weight

    @staticmethod
    def stale(visit: Visit, stale_ms: int) -> None:
        """Count for how long what is sent had been stale."""
        for counts in visit.counts:
            counts.stale_ms.add(max(0, stale_ms), visit.weight)

    @staticmethod
    def reads(visit: Visit, keys: int) -> None:
        """Count keys that are read from KV."""
        for counts in visit.counts:
            counts.kv_reads += keys * visit.weight

    @staticmethod
    def writes(visit: Visit, keys: int) -> None:
        """Count keys that are written to KV."""
        for counts in visit.counts:
            counts.kv_writes += keys * visit.weight
