"""Sources for the dashboard's tests: a shop on an ordinary day, nothing at all, too much, and what breaks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from origin_sdk.dashboard.board import Window
from origin_sdk.dashboard.ranges import Range
from origin_sdk.dashboard.sources import SourceHealth
from origin_sdk.dashboard.tallies import Tally, UrlSums
from origin_sdk_wire.metrics import Counts

HOST = "api.shop.example"


@dataclass(frozen=True)
class Rule:
    """How a rule's requests are answered: requests a second, and shares by (reason, tier)."""

    name: str
    rate: float
    answers: dict[tuple[str, str], float]
    seconds: float = 0.08


SHOP = (
    Rule(
        "catalogue",
        42,
        {
            ("fresh", "memory"): 0.84,
            ("fresh", "kv"): 0.09,
            ("stale-while-revalidate", "stale"): 0.035,
            ("absent", "miss"): 0.02,
            ("purged-soft", "validated"): 0.005,
            ("absent", "collapsed"): 0.01,
        },
    ),
    Rule(
        "search",
        11,
        {
            ("fresh", "memory"): 0.38,
            ("fresh", "kv"): 0.17,
            ("absent", "miss"): 0.36,
            ("other-variant", "miss"): 0.04,
            ("stale", "miss"): 0.05,
        },
        0.22,
    ),
    Rule(
        "basket", 4.5, {("identity-missing", "pass"): 0.3, ("fresh", "memory"): 0.5, ("absent", "miss"): 0.2}
    ),
    Rule(
        "default", 3, {("no-freshness", "miss"): 0.62, ("set-cookie", "miss"): 0.2, ("method", "pass"): 0.18}
    ),
    Rule("health", 0.5, {("bypass-rule", "pass"): 1.0}, 0.012),
)


def shop_step(start: float, seconds: float, rules: Sequence[Rule] = SHOP) -> Tally:
    """Return what a shop counts in a step: a day's tide, and half an hour's outage of the origin."""
    step = Tally()
    tide = 1 + 0.55 * math.sin(start / 86_400 * math.tau - 2) + 0.08 * math.sin(start / 137)
    is_down = 64_800 <= start % 86_400 < 66_600
    for rule in rules:
        _count(step.counts, rule, rule.rate * tide * seconds, is_down=is_down)
    for number in range(30):
        share = 1 / (number + 2) ** 1.2
        requests = round(20 * tide * seconds * share)
        sums = UrlSums("catalogue", requests, requests * 2100, requests // 40, requests / 40 * 0.09)
        step.urls[f"https://{HOST}/products/{17 * number + 3}"] = sums
    asked = round(6 * seconds)
    step.urls[f"https://{HOST}/search?q=copper+kettle&page=2"] = UrlSums(
        "search", asked, asked * 9000, asked // 2, asked / 2 * 0.31
    )
    step.counts.set("memory_bytes", 21_400_000)
    step.counts.set("memory_limit_bytes", 33_554_432)
    step.counts.set("memory_entries", 8_214)
    return step


def _count(counts: Counts, rule: Rule, requests: float, *, is_down: bool) -> None:
    for (reason, tier), share in rule.answers.items():
        asked = round(requests * share)
        if not asked:
            continue
        why, from_ = (reason, tier)
        if is_down and tier in {"miss", "validated"} and rule.name == "catalogue":
            why, from_ = "stale-if-error", "stale"
        labels = (HOST, rule.name, why, from_, "2xx")
        counts.add("requests", labels, asked)
        counts.add("response_bytes", labels, asked * 2_300)
        if from_ == "collapsed":
            counts.add("collapsed", labels, asked)
        if from_ == "stale":
            for _ in range(min(asked, 20)):
                counts.observe("stale_seconds", 1200.0 if is_down else 4.0, (rule.name,))
        if tier in {"miss", "pass", "validated"}:
            _ask_origin(counts, rule, asked, is_down=is_down)
        if tier == "kv":
            counts.add("kv_keys", ("read", "record"), asked)
            counts.add("kv_keys", ("read", "mark"), asked * 3)
        if tier == "miss":
            counts.add("kv_keys", ("write", "record"), asked)


def _ask_origin(counts: Counts, rule: Rule, asked: int, *, is_down: bool) -> None:
    failed = round(asked * (0.9 if is_down else 0.002))
    counts.add("origin_requests", (rule.name, "2xx"), asked - failed)
    if failed:
        counts.add("origin_requests", (rule.name, "5xx"), failed)
    for number in range(20):
        spread = rule.seconds * (0.6 + 0.9 * (number / 20) ** 6 * 4)
        counts.observe("origin_seconds", spread * (2.5 if is_down else 1), (rule.name,))


@dataclass
class Made:
    """A source whose steps a function makes."""

    make: Callable[[float, float], Tally]
    name: str = "route"
    title: str = "Worker's route"
    health: SourceHealth = field(default_factory=lambda: SourceHealth("ok", "", 0.0))

    def window(self, span: Range, now: float) -> Window:
        """Return made steps for the range and the span before."""
        starts, before = span.starts(now), span.starts_before(now)
        steps = {start: self.make(start, min(span.step, max(1.0, now - start))) for start in starts}
        return Window.of(span, now, steps, {start: self.make(start, span.step) for start in before})


_taken: dict[tuple[Callable[[float, float], Tally], str], Window] = {}


@dataclass
class Still(Made):
    """A source whose numbers stand still, and can be compared; ``points`` are the steps that have any."""

    points: int = 1000

    def window(self, span: Range, now: float) -> Window:
        """Return what was made when it was first asked for, by whomever."""
        known = _taken.get((self.make, span.name))
        if known is None:
            starts = span.starts(now)[-self.points :]
            steps = {start: self.make(start, span.step) for start in starts[:-1]}
            before = {start: self.make(start, span.step) for start in span.starts_before(now)[:2]}
            known = _taken[self.make, span.name] = Window.of(span, now, steps, before)
        return replace(known, now=now)


def nothing(_: float, __: float) -> Tally:
    """Return a step in which nobody asked."""
    return Tally()


def huge(start: float, seconds: float) -> Tally:
    """Return a step of a big service: 300 rules with long names, and large numbers."""
    rules = [
        Rule(
            f"a-rule-with-quite-a-long-name-of-team-{number}/<b>not markup</b>",
            9000 / (number + 1),
            SHOP[number % 5].answers,
        )
        for number in range(300)
    ]
    return shop_step(start, seconds, rules)
