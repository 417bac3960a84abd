"""What the dashboard shows of a range, as plain values: the page, the terminal and ``--json`` show the same.

Decides, and asks nobody: everything here follows from steps that were counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from origin_sdk._values.prices import MONTH_SECONDS, PRICES, Usage, dollars
from origin_sdk._values.reasons import REASONS
from origin_sdk.dashboard.ranges import Range
from origin_sdk.dashboard.tallies import Tally, UrlSums
from origin_sdk_wire.metrics import METRICS, Cells, Counts, Tier, quantile

__all__ = ["HIT_TIERS", "Summary", "Window", "board", "cost", "month_start", "usage"]

HIT_TIERS = (Tier.MEMORY, Tier.KV, Tier.STALE)
"""Answered from the store, without waiting for the origin: ``hit`` of RFC 9211."""

_METRICS = {metric.name: metric for metric in METRICS}
_SHARES = (0.5, 0.95, 0.99)
_MOST_RULES = 50
_MOST_REASONS = 40
_MOST_URLS = 25
_RULES_DRAWN = 6
_NAMED_RULES = 3


@dataclass(frozen=True, slots=True)
class Summary:
    """What charts show of one step: requests by tier, requests and hits by rule, and the rest by name."""

    by_tier: Mapping[str, float]
    by_rule: Mapping[str, tuple[float, float]]
    bytes: float
    origin_requests: float
    origin_errors: float
    latency: Mapping[str, float | None]
    usage: Usage

    @classmethod
    def of(cls, step: Tally) -> Self:
        """Sum up a step."""
        counts = step.counts
        return cls(
            {tier: cells[0] for (tier,), cells in counts.by("requests", "tier").items()},
            _answers_by_rule(counts),
            counts.total("response_bytes"),
            counts.total("origin_requests"),
            _origin_errors(counts),
            _spread(counts, "origin_seconds"),
            usage(counts),
        )

    @property
    def requests(self) -> float:
        """How many requests there were."""
        return sum(self.by_tier.values())

    @property
    def hit_ratio(self) -> float | None:
        """The share of hits, ``None`` where nobody asked."""
        return _ratio(sum(self.by_tier.get(tier, 0.0) for tier in HIT_TIERS), self.requests)

    def hit_ratio_of(self, rule: str) -> float | None:
        """Return the share of a rule's hits, ``None`` where nobody asked."""
        requests, hits = self.by_rule.get(rule, (0.0, 0.0))
        return _ratio(hits, requests)


def _answers_by_rule(counts: Counts) -> dict[str, tuple[float, float]]:
    """Return requests and hits by rule."""
    found: dict[str, tuple[float, float]] = {}
    for (rule, tier), (count, *_) in counts.by("requests", "rule", "tier").items():
        requests, hits = found.get(rule, (0.0, 0.0))
        found[rule] = requests + count, hits + (count if tier in HIT_TIERS else 0.0)
    return found


@dataclass(frozen=True, slots=True)
class Window:
    """A range up to ``now``, in seconds since the epoch.

    ``total`` is its sum, ``before`` that of the span before; ``since`` is when the first of it was counted.
    """

    span: Range
    now: float
    since: float
    total: Tally
    before: Tally
    summaries: Mapping[int, Summary]

    @classmethod
    def of(cls, span: Range, now: float, steps: Mapping[int, Tally], before: Mapping[int, Tally]) -> Self:
        """Sum up steps by their starts."""
        return cls(
            span,
            now,
            min(steps, default=now),
            Tally.sum(each for _, each in sorted(steps.items())),
            Tally.sum(each for _, each in sorted(before.items())),
            {start: Summary.of(each) for start, each in steps.items()},
        )

    @property
    def seconds(self) -> float:
        """For how long something was counted."""
        return max(1.0, self.now - self.since)


def board(window: Window) -> dict[str, Any]:
    """Return all that follows from what was counted, as JSON types.

    Counts are numbers of requests, times are seconds, sizes bytes; what is beside ``times`` has a value a
    step.
    """
    counts, before = window.total.counts, window.before.counts
    times = window.span.starts(window.now)
    steps = [window.summaries.get(start, EMPTY) for start in times]
    return {
        "range": {"name": window.span.name, "title": window.span.title, "step": window.span.step},
        "now": window.now,
        "times": list(times),
        "seconds": window.seconds,
        "totals": _totals(counts),
        "before": _totals(before) if before else None,
        "series": _series(steps),
        "rules": _rules(counts, steps),
        "reasons": _reasons(counts),
        "hosts": _hosts(counts),
        "stale": _stale(counts),
        "purge_lag": _spread(counts, "purge_lag_seconds"),
        "purges_made": [
            {"by": by, "lane": lane, "count": cells[0]}
            for (by, lane), cells in sorted(counts.by("purges", "by", "lane").items())
        ],
        "memory": _memory(counts),
        "kv": _kv(counts),
        "faults": [
            {"where": where, "count": cells[0]}
            for (where,), cells in sorted(counts.by("faults", "where").items())
        ],
        "urls": _urls(window.total.urls),
    }


def _hits(counts: Counts) -> float:
    return sum(counts.total("requests", tier=tier) for tier in HIT_TIERS)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _totals(counts: Counts) -> dict[str, Any]:
    requests = counts.total("requests")
    hits = _hits(counts)
    return {
        "requests": requests,
        "hits": hits,
        "hit_ratio": _ratio(hits, requests),
        "bytes": counts.total("response_bytes"),
        "stale": counts.total("requests", tier=Tier.STALE),
        "collapsed": counts.total("collapsed"),
        "origin_requests": counts.total("origin_requests"),
        "origin_errors": _origin_errors(counts),
        "origin": _spread(counts, "origin_seconds"),
        "errors": counts.total("requests", status="5xx"),
        "expiries": counts.total("expiries"),
        "refreshes": {o: cells[0] for (o,), cells in sorted(counts.by("refreshes", "outcome").items())},
        "breaker_openings": counts.total("breaker_openings"),
        "evictions": counts.total("eviction_seconds"),
        "tiers": {tier.value: counts.total("requests", tier=tier) for tier in Tier},
    }


def _origin_errors(counts: Counts) -> float:
    """Return how often the origin gave no whole answer, or one of 5xx."""
    return counts.total("origin_errors") + counts.total("origin_requests", status="5xx")


def _spread(counts: Counts, metric: str) -> dict[str, float | None]:
    """Return a histogram's quantiles, its mean and how many values it has."""
    return _spread_of(metric, _added(metric, counts.cells(metric)))


def _spread_of(metric: str, cells: Cells) -> dict[str, float | None]:
    count = sum(cells[1:])
    shown: dict[str, float | None] = {
        f"p{share * 100:g}": quantile(_METRICS[metric], cells, share) for share in _SHARES
    }
    return {**shown, "mean": _ratio(cells[0], count), "count": count}


def _added(metric: str, many: Iterable[Cells]) -> Cells:
    total = [0.0] * _METRICS[metric].size
    for cells in many:
        total = [a + b for a, b in zip(total, cells, strict=True)]
    return total


def _series(steps: Sequence[Summary]) -> dict[str, Any]:
    return {
        "requests": [each.requests for each in steps],
        "hit_ratio": [each.hit_ratio for each in steps],
        "tiers": {tier.value: [each.by_tier.get(tier, 0.0) for each in steps] for tier in Tier},
        "bytes": [each.bytes for each in steps],
        "origin_requests": [each.origin_requests for each in steps],
        "origin_errors": [each.origin_errors for each in steps],
        "latency": {name: [each.latency[name] for each in steps] for name in ("p50", "p95", "p99")},
    }


def _rules(counts: Counts, steps: Sequence[Summary]) -> list[dict[str, Any]]:
    answers = _answers_by_rule(counts)
    names = sorted(answers, key=lambda rule: (-answers[rule][0], rule))[:_MOST_RULES]
    sent, origin = _by_rule(counts, "response_bytes"), _by_rule(counts, "origin_requests")
    stale, failed = _by_rule(counts, "requests", tier=Tier.STALE), _by_rule(counts, "origin_errors")
    refused = _by_rule(counts, "origin_requests", status="5xx")
    latency = {rule: cells for (rule,), cells in counts.by("origin_seconds", "rule").items()}
    return [
        {
            "name": name,
            "requests": answers[name][0],
            "hits": answers[name][1],
            "hit_ratio": _ratio(answers[name][1], answers[name][0]),
            "bytes": sent.get(name, 0.0),
            "stale": stale.get(name, 0.0),
            "origin_requests": origin.get(name, 0.0),
            "origin_errors": failed.get(name, 0.0) + refused.get(name, 0.0),
            "origin": _spread_of("origin_seconds", latency.get(name) or _added("origin_seconds", ())),
            "hit_ratios": [step.hit_ratio_of(name) for step in steps] if place < _RULES_DRAWN else [],
        }
        for place, name in enumerate(names)
    ]


def _by_rule(counts: Counts, metric: str, **fixed: str) -> dict[str, float]:
    """Return a counter by rule, of the series whose further labels are these."""
    found: dict[str, float] = {}
    for (rule, *labels), cells in counts.by(metric, "rule", *fixed).items():
        if labels == list(fixed.values()):
            found[rule] = found.get(rule, 0.0) + cells[0]
    return found


def _reasons(counts: Counts) -> list[dict[str, Any]]:
    """Return why requests weren't hits, the most frequent reason first, with what to do about it."""
    missed: dict[tuple[str, str], dict[str, float]] = {}
    for (reason, tier, rule), cells in counts.by("requests", "reason", "tier", "rule").items():
        if tier not in HIT_TIERS:
            rules = missed.setdefault((reason, tier), {})
            rules[rule] = rules.get(rule, 0) + cells[0]
    all_missed = sum(sum(rules.values()) for rules in missed.values())
    rows = [_reason(reason, tier, rules, all_missed) for (reason, tier), rules in missed.items()]
    return sorted(rows, key=lambda row: (-row["requests"], row["reason"]))[:_MOST_REASONS]


def _reason(reason: str, tier: str, rules: Mapping[str, float], of: float) -> dict[str, Any]:
    known = REASONS.get(reason)
    requests = sum(rules.values())
    foremost = sorted(rules, key=lambda rule: -rules[rule])[:_NAMED_RULES]
    return {
        "reason": reason,
        "tier": tier,
        "requests": requests,
        "share": _ratio(requests, of),
        "what": known.what if known else "",
        "remedy": known.remedy if known and known.has_remedy else "",
        "rules": [{"name": rule, "requests": rules[rule]} for rule in foremost],
        "rule_count": len(rules),
    }


def _hosts(counts: Counts) -> list[dict[str, Any]]:
    hits: dict[str, float] = {}
    for (host, tier), cells in counts.by("requests", "host", "tier").items():
        hits[host] = hits.get(host, 0.0) + (cells[0] if tier in HIT_TIERS else 0.0)
    by_host = sorted(counts.by("requests", "host").items(), key=lambda item: -item[1][0])
    return [
        {"name": host, "requests": cells[0], "hit_ratio": _ratio(hits[host], cells[0])}
        for (host,), cells in by_host[:_MOST_RULES]
    ]


def _stale(counts: Counts) -> dict[str, Any]:
    by_reason = {
        reason: cells[0]
        for (reason, tier), cells in sorted(counts.by("requests", "reason", "tier").items())
        if tier == Tier.STALE
    }
    return {"by_reason": by_reason, "age": _spread(counts, "stale_seconds")}


def _memory(counts: Counts) -> dict[str, Any]:
    return {
        "bytes": counts.value("memory_bytes"),
        "limit": counts.value("memory_limit_bytes"),
        "entries": counts.value("memory_entries"),
        "evictions": counts.total("eviction_seconds"),
        "evicted_bytes": counts.total("evicted_bytes"),
        "age": _spread(counts, "eviction_seconds"),
    }


def _kv(counts: Counts) -> dict[str, Any]:
    return {
        "keys": [
            {"operation": operation, "purpose": purpose, "count": cells[0]}
            for (operation, purpose), cells in sorted(counts.by("kv_keys", "operation", "purpose").items())
        ],
        "errors": {o: cells[0] for (o,), cells in sorted(counts.by("kv_errors", "operation").items())},
        "written_bytes": counts.total("kv_written_bytes"),
    }


def _urls(urls: Mapping[str, UrlSums]) -> dict[str, Any]:
    busiest = sorted(urls.items(), key=lambda item: -item[1].requests)[:_MOST_URLS]
    dearest = sorted(urls.items(), key=lambda item: -item[1].origin_seconds)[:_MOST_URLS]
    return {
        "busiest": [_url(*item) for item in busiest],
        "costliest": [_url(*item) for item in dearest if item[1].origin_seconds],
    }


def _url(url: str, sums: UrlSums) -> dict[str, Any]:
    return {"url": url, **asdict(sums)}


_OPERATIONS = {"read": "kv_reads", "write": "kv_writes", "delete": "kv_deletes", "list": "kv_lists"}


def cost(
    spent: Iterable[Usage], shown: Usage, shown_seconds: float, stored_bytes: float | None
) -> dict[str, Any]:
    """Return the dollars that were ``spent``, and those of a month that goes on as what is ``shown``.

    ``so_far`` is without storage, and ``month`` with it if ``stored_bytes`` are known; both are without what
    the plan includes. ``beyond_included`` is what a paid plan adds for that month, if nothing else uses what
    it includes.
    """
    ahead = {name: units * MONTH_SECONDS / shown_seconds for name, units in shown.items()}
    if stored_bytes is not None:
        ahead["kv_gigabyte_months"] = stored_bytes / 1e9
    used: dict[str, float] = {}
    for each in spent:
        used = {name: used.get(name, 0.0) + units for name, units in each.items()}
    return {
        "so_far": dollars(used),
        "month": dollars(ahead),
        "beyond_included": sum(PRICES[name].beyond_included(units) for name, units in ahead.items()),
        "lines": [
            {"what": PRICES[name].what, "units": units, "dollars": PRICES[name].of(units)}
            for name, units in ahead.items()
        ],
    }


def usage(counts: Counts) -> Usage:
    """Return what was used, by the names of prices."""
    used = {"requests": counts.total("requests")}
    for operation, name in _OPERATIONS.items():
        used[name] = counts.total("kv_keys", operation=operation)
    return used


def month_start(now: float) -> float:
    """Return when the calendar month of ``now`` began, in UTC, by which Cloudflare bills."""
    return (
        datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
    )


EMPTY = Summary.of(Tally())
"""Of a step without anything."""
