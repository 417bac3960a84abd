"""What advice rests on: counts, for how long they were counted, and the settings of that time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from origin_sdk.simulation.curves import LifetimeCurve
from origin_sdk.simulation.replay import Parameter, Replay
from origin_sdk_wire.metrics import METRICS, Counts, quantile
from origin_sdk_wire.settings import Rule, Settings

__all__ = ["Evidence", "of_replay"]

_HISTOGRAMS = {metric.name: metric for metric in METRICS if metric.bounds}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Counts of ``seconds``. What only a log can tell is empty where there is none."""

    counts: Counts
    seconds: float
    settings: Settings
    lifetimes: Mapping[str, LifetimeCurve] = field(default_factory=dict)
    parameters: Mapping[tuple[str, str], Parameter] = field(default_factory=dict)
    memory: Mapping[int, float] = field(default_factory=dict)
    """The share of an isolate's requests that a memory of that many bytes could answer."""
    once: Mapping[str, float] = field(default_factory=dict)
    """The share of a rule's stored URLs that were asked for once."""

    @property
    def rules(self) -> list[str]:
        """The names of the rules that requests came under, the busiest first."""
        by_rule = self.counts.by("requests", "rule")
        return [rule for (rule,), _ in sorted(by_rule.items(), key=lambda each: -each[1][0])]

    def requests(self, rule: str) -> float:
        """How many requests came under a rule."""
        return self.counts.total("requests", rule=rule)

    def share(self, rule: str, *reasons: str) -> float:
        """The share of a rule's requests that were answered for one of these reasons."""
        found = sum(self.counts.total("requests", rule=rule, reason=reason) for reason in reasons)
        return found / (self.requests(rule) or 1.0)

    def quantile(self, metric: str, share: float, **labels: str) -> float | None:
        """A quantile of a histogram; ``None`` if it counted nothing."""
        cells = [sum(column) for column in zip(*self.counts.cells(metric, **labels), strict=True)]
        return quantile(_HISTOGRAMS[metric], cells, share) if cells else None

    def rule(self, name: str) -> Rule | None:
        """The rule of that name; ``None`` for what no rule matches."""
        return next((rule for rule in self.settings.rules if rule.name == name), None)


def of_replay(replay: Replay) -> Evidence:
    """Return what a replay counted for the first of its settings."""
    edge = replay.first
    counts = Counts()
    for rule, found in edge.ledger.by_rule.items():
        for (tier, reason), requests in found.by_reason.items():
            counts.add("requests", ("", rule, reason, tier, "2xx"), requests)
        counts.add("origin_requests", (rule, "2xx"), found.origin_requests - found.origin_errors)
        if found.origin_errors:
            counts.add("origin_requests", (rule, "5xx"), found.origin_errors)
    counts.add("kv_keys", ("read", "record"), edge.ledger.overall.kv_reads)
    counts.add("kv_keys", ("write", "record"), edge.ledger.overall.kv_writes)
    return Evidence(
        counts,
        replay.seconds,
        edge.settings,
        replay.lifetimes,
        replay.parameters,
        replay.memory.ratios(),
        {rule: curve.share_asked_once for rule, curve in replay.lifetimes.items()},
    )
