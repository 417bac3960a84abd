"""Brings together what the policy needs to decide on a stored response: it, the marks and the clock."""

from origin_sdk_edge.policy.decision import VALID, Ask, Invalidity, Lookup, Refuse, Use
from origin_sdk_edge.policy.reuse import on_stored
from origin_sdk_edge.ports import Timing
from origin_sdk_edge.storage import Found, Storage
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.settings import Settings

__all__ = ["Judge"]


class Judge:
    """Has the policy decide on what was found."""

    def __init__(self, settings: Settings, storage: Storage, timing: Timing) -> None:
        self._settings = settings
        self._storage = storage
        self._timing = timing

    async def decide(self, lookup: Lookup, found: Found, *, is_later: bool = False) -> Use | Ask | Refuse:
        """Decide by the marks, which are read where they aren't known.

        Not on what ``is_later``: a response that the origin was asked for after the request had come is as
        good as one of its own, though the moment of a purge may lie ahead of it.
        """
        now_ms, entry = self._timing.now_ms(), found.entry
        if entry is None:
            return on_stored(lookup, None, {}, Invalidity(), now_ms, self._settings, missing=found.missing)
        invalidity = VALID if is_later else self._storage.marks.known(lookup, entry.record, now_ms)
        if invalidity is None:
            invalidity = await self._storage.marks.invalidity(lookup, entry.record)
            now_ms = self._timing.now_ms()
        freshness = entry.freshness(lookup.rule, self._settings)
        return on_stored(
            lookup, entry.record, entry.fields, invalidity, now_ms, self._settings, freshness=freshness
        )

    async def answers(self, lookup: Lookup, entry: Entry, *, is_later: bool = False) -> bool:
        """Whether a response that has only just come for another request answers this one."""
        if not self._storage.variants.is_selected(lookup, entry):
            return False
        decision = await self.decide(lookup, Found(entry), is_later=is_later)
        return isinstance(decision, Use) or (isinstance(decision, Ask) and decision.reason is Reason.STALE)

    def is_purged(self, lookup: Lookup, entry: Entry) -> bool:
        """Whether a response that the request selects is known to be purged."""
        is_selected = self._storage.variants.is_selected(lookup, entry)
        return is_selected and self._storage.marks.table.verdict(lookup, entry.record) != VALID

    def may_stand_in(self, lookup: Lookup, ask: Ask, entry: Entry) -> bool:
        """Whether what is stored may still be sent without asking; another answer may have ended it since."""
        return ask.fallback and not self._storage.marks.is_gone(lookup, entry.key, entry.record)
