"""Advice tried on the log that it was drawn from: what it brings is measured, not guessed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.prices import MONTH_SECONDS, dollars
from origin_sdk.advice.findings import Advice
from origin_sdk.simulation.edge import Edge
from origin_sdk.simulation.replay import Replay
from origin_sdk.simulation.what_if import NOW, varied

__all__ = ["tried"]

_MOST_TRIALS = 6


def tried(
    advice: Sequence[Advice],
    replay: Replay,
    variables: Mapping[str, Any],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Advice]:
    """Replay the log again with the settings of each piece of advice; return advice with what that brought.

    Advice that the Worker's validation refuses, or that brings nothing, is left out.
    """
    usable = [each for each in advice if each.what_if and _is_valid(variables, each.what_if)]
    chosen = usable[:_MOST_TRIALS]
    if not chosen or replay.log.place == "-":
        return list(advice)
    again = Replay(
        replace(replay.log, lines=0, unreadable=[], unreadable_count=0),
        varied(variables, list(dict.fromkeys(each.what_if for each in chosen))),
        replay.assumptions,
        replay.purges,
        replay.max_keys,
    )
    again.run(on_progress)
    kept = []
    for each in advice:
        if each not in chosen:
            kept.append(each)
        elif gain := _gain(again.edges[NOW], again.edges[each.what_if], again.seconds):
            kept.append(replace(each, gain=gain))
    return kept


def _is_valid(variables: Mapping[str, Any], what_if: str) -> bool:
    try:
        varied(variables, [what_if])
    except InvalidRequest:
        return False
    return True


def _gain(now: Edge, then: Edge, seconds: float) -> str:
    """Say what a change brings; ``""`` if that isn't worth a change."""
    month = MONTH_SECONDS / seconds
    fewer = (now.ledger.overall.origin_requests - then.ledger.overall.origin_requests) * month
    saved = (dollars(now.ledger.overall.usage) - dollars(then.ledger.overall.usage)) * month
    hits = then.ledger.overall.hit_ratio - now.ledger.overall.hit_ratio
    if hits < 0.001 and fewer < now.ledger.overall.origin_requests * month * 0.001 and saved < 0.01:
        return ""
    parts = []
    if abs(hits) >= 0.0005:
        parts.append(f"hit ratio {now.ledger.overall.hit_ratio:.1%} to {then.ledger.overall.hit_ratio:.1%}")
    if abs(fewer) >= 1:
        parts.append(f"{abs(fewer):,.0f} requests a month {'less' if fewer > 0 else 'more'} at the origin")
    if abs(saved) >= 0.01:
        parts.append(f"${abs(saved):,.2f} a month {'less' if saved > 0 else 'more'} for KV and Workers")
    return "; ".join(parts)
