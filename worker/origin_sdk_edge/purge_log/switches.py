"""Switches of the purge log: what the cache does differently until a time."""

from collections.abc import Callable
from dataclasses import replace
from math import inf

from origin_sdk_edge.policy.decision import Forward, Lookup
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.purge_log.entries import Switch, SwitchKind

__all__ = ["Switches"]


class Switches:
    """The switches that this isolate knows. ``on_change`` is called with each that it learns of."""

    def __init__(self) -> None:
        self.on_change: Callable[[Switch], None] | None = None
        self._by_place: dict[tuple[SwitchKind, str], Switch] = {}
        self._paused_ms = 0

    def learn(self, switch: Switch) -> None:
        """Take in a switch: of the same kind and rule the latest counts."""
        known = self._by_place.get(switch.place)
        if known and (known.moment_ms, known.id) >= (switch.moment_ms, switch.id):
            return
        self._by_place[switch.place] = switch
        if switch.kind is SwitchKind.PAUSE and not (known and known.is_on(switch.moment_ms)):
            self._paused_ms = switch.moment_ms  # and not where it goes on for longer
        if self.on_change:
            self.on_change(switch)

    def on(self, kind: SwitchKind, rule: str, now_ms: int) -> Switch | None:
        """Return the switch that is on for a rule, or else for everything."""
        for place in ((kind, rule), (kind, "")):
            switch = self._by_place.get(place)
            if switch and switch.is_on(now_ms):
                return switch
        return None

    def paused_ms(self, now_ms: int) -> float:
        """Return the moment from which on purges don't count: never, but while a pause is on."""
        return self._paused_ms if self.on(SwitchKind.PAUSE, "", now_ms) else inf

    def applied(self, decision: Forward | Lookup, now_ms: int) -> Forward | Lookup:
        """Return a decision on a request as it is while these switches are on."""
        if not self._by_place or isinstance(decision, Forward):
            return decision
        rule = decision.rule
        if self.on(SwitchKind.BYPASS, rule.name, now_ms):
            return Forward(decision.client, rule, Reason.BYPASS_SWITCH)
        stale = self.on(SwitchKind.STALE, rule.name, now_ms)
        if not stale:
            return decision
        raised = replace(
            rule,
            stale_while_revalidate=max(stale.seconds, rule.stale_while_revalidate or 0),
            stale_if_error=max(stale.seconds, rule.stale_if_error or 0),
        )
        return replace(decision, rule=raised)
