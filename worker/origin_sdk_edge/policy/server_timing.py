"""The Server-Timing field (W3C Server Timing): where the time of one response went, as browsers show it."""

from collections.abc import Iterable

from origin_sdk_wire.metrics import Tier

__all__ = ["full_timing", "short_timing"]


def short_timing(tier: Tier, total_ms: int) -> str:
    """Tell where the answer came from, and the time in all."""
    return f"cache;desc={tier.value};dur={total_ms}"


def full_timing(tier: Tier, reason: str, rule: str, total_ms: int, steps: Iterable[tuple[str, int]]) -> str:
    """Tell reason and rule, too, and each step that took any time."""
    shown = "".join(f", {name};dur={milliseconds}" for name, milliseconds in steps if milliseconds)
    return f'cache;desc="{tier.value}: {_quoted(reason)} by {_quoted(rule)}";dur={total_ms}{shown}'


def _quoted(text: str) -> str:
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)
