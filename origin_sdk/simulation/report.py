"""What a replay found, as values: for JSON, for the terminal and for a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import sqrt

from origin_sdk._values.prices import MONTH_SECONDS, dollars
from origin_sdk.simulation.counts import RuleCounts
from origin_sdk.simulation.edge import TIERS, Edge
from origin_sdk.simulation.replay import Parameter, Replay

__all__ = ["Report", "RuleReport", "VariantReport"]

_REASONS = 12
_PARAMETERS = 20
_SIGMAS = 2
_OF_CREDENTIALS = frozenset(
    {"authorization", "cookie", "credentials", "identity-missing", "undeclared-credential"}
)


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What came of the requests of one rule, or of all."""

    name: str
    counts: RuleCounts
    seconds: float

    @property
    def month_dollars(self) -> float:
        """What a month of the same traffic would cost."""
        return dollars(self.counts.usage) * MONTH_SECONDS / self.seconds

    @property
    def kv_keys(self) -> float:
        """KV keys read for each request."""
        return self.counts.kv_reads / self.counts.requests if self.counts.requests else 0.0

    @property
    def reasons(self) -> Sequence[tuple[str, str, float]]:
        """Tier, reason and share of the requests, the most frequent first."""
        total = self.counts.requests or 1.0
        found = self.counts.by_reason.most_common(_REASONS)
        return [(tier, reason, count / total) for (tier, reason), count in found]

    def as_json(self) -> Mapping[str, object]:
        """Return it as JSON types."""
        counts, total = self.counts, self.counts.requests or 1.0
        return {
            "requests": round(counts.requests),
            "hit_ratio": round(counts.hit_ratio, 4),
            "tiers": {tier: round(counts.by_tier[tier] / total, 4) for tier in TIERS},
            "reasons": [
                {"tier": tier, "reason": reason, "share": round(share, 4)}
                for tier, reason, share in self.reasons
            ],
            "bytes": round(counts.bytes),
            "origin_requests": round(counts.origin_requests),
            "origin_requests_peak_per_second": round(counts.origin_peak),
            "requests_peak_per_second": round(counts.request_peak),
            "origin_bytes": round(counts.origin_bytes),
            "origin_errors": round(counts.origin_errors),
            "kv_keys_read": round(counts.kv_reads),
            "kv_keys_read_per_request": round(self.kv_keys, 4),
            "kv_keys_written": round(counts.kv_writes),
            "stale_served": round(counts.stale_ms.count),
            "stale_age_ms": {"p50": counts.stale_ms.quantile(0.5), "p95": counts.stale_ms.quantile(0.95)},
            "dollars_per_million": round(dollars(counts.usage) / total * 1e6, 4),
            "dollars_per_month": round(self.month_dollars, 2),
        }


@dataclass(frozen=True, slots=True)
class VariantReport:
    """What came of one set of settings. ``hit_ratio_range`` is where the ratio lies with 95 % certainty."""

    name: str
    overall: RuleReport
    rules: Sequence[RuleReport]
    hit_ratio_range: tuple[float, float]
    keys: int
    sampled: float
    """The share of rarely asked URLs that were followed; 1 for all."""
    waits_ms: Mapping[str, float] = field(default_factory=dict)
    """By region: how long a request waits for the shield or the origin on average, hits included."""

    def as_json(self) -> Mapping[str, object]:
        """Return it as JSON types."""
        return {
            "overall": self.overall.as_json(),
            "hit_ratio_range": [round(bound, 4) for bound in self.hit_ratio_range],
            "keys_followed": self.keys,
            "sampling_rate": self.sampled,
            "shield_answers": round(self.overall.counts.shield_answers),
            "waits_ms": {name: round(each, 2) for name, each in self.waits_ms.items()},
            "rules": {rule.name: rule.as_json() for rule in self.rules},
        }


class Report:
    """What a replay that is over found."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.variants = [_variant(name, edge, replay.seconds) for name, edge in replay.edges.items()]

    @property
    def first(self) -> VariantReport:
        """The settings as they are."""
        return self.variants[0]

    @property
    def times(self) -> tuple[datetime, datetime]:
        """When the log begins and ends."""
        replay = self.replay
        return _moment(replay.first_ms), _moment(replay.last_ms)

    @property
    def has_no_lifetimes(self) -> bool:
        """Whether the log has no response fields, and nothing else says how long responses are fresh."""
        without = self.first.overall.counts.by_reason["miss", "no-freshness"]
        return not self.replay.has_response_fields and without > self.first.overall.counts.requests / 2

    def notes(self) -> Sequence[str]:
        """Say what a reader has to know before believing a number."""
        replay, notes = self.replay, []
        if self.has_no_lifetimes:
            notes.append(
                "the log has no response fields, and no rule gives a lifetime, so that little can be stored: "
                "say what responses carry (--response '/products/** Cache-Control: max-age=60'), log "
                "Cache-Control, or give rules a default_lifetime"
            )
        if replay.log.unreadable_count:
            notes.append(
                f"{replay.log.unreadable_count:,} lines couldn't be read: {replay.log.unreadable[0]}"
            )
        notes += [f"{count:,} lines {why}" for why, count in replay.skipped.most_common(3)]
        if replay.late > replay.log.lines / 100:
            notes.append(
                f"{replay.late:,} lines are out of order by more than a second: sort the log by time"
            )
        if self.first.sampled < 1:
            low, high = self.first.hit_ratio_range
            notes.append(
                f"of the URLs that are rarely asked for, {self.first.sampled:.2%} were followed: "
                f"the hit ratio lies between {low:.1%} and {high:.1%} (--keys follows more)"
            )
        if not self._names_cookies():
            notes.append("requests count as without cookies and credentials, since the log has none")
        return notes

    def _names_cookies(self) -> bool:
        reasons = {reason for _, reason in self.first.overall.counts.by_reason}
        return not reasons.isdisjoint(_OF_CREDENTIALS)

    def as_json(self) -> Mapping[str, object]:
        """Return it as JSON types."""
        replay, (first, last) = self.replay, self.times
        return {
            "log": {
                "place": replay.log.place,
                "format": replay.log.format,
                "lines": replay.log.lines,
                "unreadable": replay.log.unreadable_count,
                "skipped": dict(replay.skipped),
                "from": first.isoformat(),
                "to": last.isoformat(),
            },
            "assumptions": replay.assumptions.told(),
            "notes": list(self.notes()),
            "variants": {each.name: each.as_json() for each in self.variants},
            "hit_ratio_by_lifetime": {
                rule: {str(step): round(ratio, 4) for step, ratio in curve.ratios().items()}
                for rule, curve in replay.lifetimes.items()
            },
            "hit_ratio_by_memory": {
                str(step): round(ratio, 4) for step, ratio in replay.memory.ratios().items()
            },
            "parameters": [
                {"rule": rule, "name": name, "requests": round(each.requests), "values": each.distinct}
                for (rule, name), each in self.parameters()
            ],
        }

    def parameters(self) -> Sequence[tuple[tuple[str, str], Parameter]]:
        """Return the query parameters with the most values, each with its rule."""
        found = sorted(self.replay.parameters.items(), key=lambda each: -each[1].distinct)
        return found[:_PARAMETERS]


def _variant(name: str, edge: Edge, seconds: float) -> VariantReport:
    rules = sorted(edge.ledger.by_rule.items(), key=lambda each: -each[1].requests)
    return VariantReport(
        name,
        RuleReport("all", edge.ledger.overall, seconds),
        [RuleReport(rule, counts, seconds) for rule, counts in rules],
        _range(edge),
        len(edge.sample),
        edge.sample.rate,
        {name: waited / requests for name, (requests, waited) in edge.ledger.waited_ms.items() if requests},
    )


def _range(edge: Edge) -> tuple[float, float]:
    """Return where the hit ratio lies, by the jackknife over parts of the URLs."""
    counts, parts = edge.ledger.overall, edge.ledger.parts
    if edge.sample.rate >= 1:
        return counts.hit_ratio, counts.hit_ratio
    requests, hits = (sum(part[place] for part in parts) for place in (0, 1))
    exact_requests, exact_hits = counts.requests - requests, counts.hits - hits
    share = len(parts) / (len(parts) - 1)
    without = [
        (exact_hits + share * (hits - part[1])) / max(1.0, exact_requests + share * (requests - part[0]))
        for part in parts
    ]
    mean = sum(without) / len(without)
    error = sqrt(sum((each - mean) ** 2 for each in without) / share)
    return max(0.0, counts.hit_ratio - _SIGMAS * error), min(1.0, counts.hit_ratio + _SIGMAS * error)


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
