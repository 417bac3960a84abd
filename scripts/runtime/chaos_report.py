"""What the processes of the chaos saw, whether that is good, and how it is told."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from origin_sdk.layers import Policy
from scripts.runtime.chaos_client import BOUND_SECONDS
from scripts.runtime.chaos_stores import TIMEOUT_SECONDS

__all__ = ["LONGEST_SECONDS", "Report", "told"]

_SLACK_SECONDS = 0.3
"""What two busy cores add to a call."""
_BEFORE_SECONDS = 1.0
_TOLD = 3
"""So many violations, errors and calls are told in full."""

LONGEST_SECONDS = TIMEOUT_SECONDS * 2 + _SLACK_SECONDS + Policy().lock
"""What the longest call may take beside its load."""


@dataclass
class Report:
    """What all processes saw together."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    waits: list[tuple[float, float, str]] = field(default_factory=list)
    """When calls began, what they took beside their loads, and for what they asked."""
    began: float = 0.0
    begun: list[tuple[float, str]] = field(default_factory=list)
    """When which fault began."""
    errors: list[str] = field(default_factory=list)
    violations: list[dict[str, Any]] = field(default_factory=list)
    reloaded: list[tuple[str, int, int]] = field(default_factory=list)
    """After which faults, that lose nothing, how many of how many values that nobody changed were loaded."""
    healing: list[float] = field(default_factory=list)
    """Seconds from the end of each fault until every process has found its link whole."""

    def quantile(self, share: float, fault: str = "") -> float:
        """Return what this share of the calls took at most, beside their loads; or of those after a fault."""
        ordered = sorted(wait for at, wait, _ in self.waits if not fault or self.fault_before(at)[0] == fault)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    def fault_before(self, at: float) -> tuple[str, float]:
        """Return which fault began last before a moment, and how many seconds; no name if there was none."""
        place = bisect_right(self.begun, at, key=lambda each: each[0])
        began, name = self.begun[place - 1] if place else (at, "")
        return name, at - began

    def slow(self) -> list[tuple[float, float, str]]:
        """Return the calls that took longer than a caller may be kept waiting, the longest first."""
        return sorted((call for call in self.waits if call[1] > LONGEST_SECONDS), key=lambda call: -call[1])

    def add(self, seen: dict[str, Any]) -> None:
        """Add what one process saw."""
        for name in ("reads", "loads", "invalidations", "owed", "cut_off", "forks"):
            self.counts[name] += seen[name]
        self.waits += [tuple(call) for call in seen["waits"]]
        self.errors += seen["errors"]
        self.violations += seen["violations"]

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept.

        A call may meet a stalled Redis twice, as it looks and as it stores; and of a thousand one may wait
        for the load of a process that was stopped or killed, for as long as that one's lock lives.
        """
        is_prompt = self.quantile(0.999) <= TIMEOUT_SECONDS * 2 + _SLACK_SECONDS
        is_kept = not any(again > of / 2 for _, again, of in self.reloaded)
        return not self.violations and not self.errors and is_prompt and is_kept and not self.slow()


def told(store: str, report: Report) -> Iterator[str]:
    """Yield lines that tell of a run."""
    counts = report.counts
    milliseconds = {
        name: f"{report.quantile(share) * 1e3:.1f} ms"
        for name, share in (("median", 0.5), ("99 %", 0.99), ("99.9 %", 0.999), ("longest", 1.0))
    }
    after_each = {name: f"{report.quantile(0.999, name) * 1e3:.0f} ms" for name in report.faults}
    healing = sorted(report.healing) or [0.0]
    slow = report.slow()
    yield (
        f"{store}: {counts['reads']:,} reads, {counts['invalidations']:,} invalidations ({counts['owed']:,} "
        f"owed), {counts['loads']:,} loads, {counts['forks']:,} forks, {sum(report.faults.values())} faults"
    )
    yield f"  faults: {dict(report.faults)}"
    yield f"  calls beside their loads: {milliseconds}"
    yield f"  99.9 % after each: {after_each}"
    yield f"  healed after {healing[len(healing) // 2]:.2f} s (median), {healing[-1]:.2f} s (longest)"
    yield f"  reads held to their own process alone, for a link that was down or young: {counts['cut_off']:,}"
    yield (
        f"  errors: {len(report.errors)}, calls of more than {LONGEST_SECONDS:.2f} s: {len(slow)}, "
        f"violations: {len(report.violations)}"
    )
    for name, again, of in sorted(report.reloaded, key=lambda each: -each[1])[:_TOLD]:
        yield f"  {again} of {of} values that nobody changed were loaded again after {name}"
    for error, times in Counter(report.errors).most_common(_TOLD):
        yield f"  {times} x {error}"
    for at, wait, what in slow[:_TOLD]:
        yield f"  {wait:.2f} s for {what} {_since(report, at)}"
    kinds = Counter(
        f"{each['through']} older than {_whose(each)} invalidation, "
        f"after {report.fault_before(each['at'])[0] or 'no fault'}"
        for each in report.violations
    )
    for kind, times in kinds.most_common():
        yield f"  {times} x {kind}"
    for violation in report.violations[:_TOLD]:
        yield from _history(report, violation)


def _since(report: Report, at: float) -> str:
    name, seconds = report.fault_before(at)
    return f"{seconds:.0f} s after {name}" if name else "before any fault"


def _whose(violation: dict[str, Any]) -> str:
    return "its own" if violation["is_own"] else "another's"


def _history(report: Report, violation: dict[str, Any]) -> Iterator[str]:
    """Yield what a process saw of an item from the last version that was right, and what was broken then."""
    at = violation["at"]
    yield (
        f"  process {violation['process']} read version {violation['version']} of item {violation['item']} "
        f"through {violation['through']} after {_whose(violation)} invalidation of all before "
        f"{violation['least']}; its link was whole for {violation['whole_for']:.1f} s {violation['link']}"
    )
    changes = [when for when, what, value in violation["history"] if not what.startswith("read")]
    since = max((when for when in changes if when <= at - BOUND_SECONDS), default=at - BOUND_SECONDS)
    events = [(when, f"{what} {value}") for when, what, value in violation["history"]]
    events += [(when, f"fault: {name}") for when, name in report.begun]
    recent = sorted(event for event in events if since - _BEFORE_SECONDS <= event[0] <= at)
    for what, same in groupby(recent, key=lambda event: event[1]):
        times = [when for when, _ in same]
        more = f" ({len(times)} times)" if len(times) > 1 else ""
        yield f"    {times[0] - at:+8.3f} s  {what}{more}"
