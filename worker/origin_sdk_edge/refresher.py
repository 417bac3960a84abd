"""Refreshes behind responses that were sent stale, or soon would be."""

from origin_sdk_edge.collapse import Collapse
from origin_sdk_edge.counters import Counters
from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.flights import Flight
from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.revalidation import own_lookup, refresh_of
from origin_sdk_edge.questions import Outcome, Question
from origin_sdk_edge.refreshes import Refreshes
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.storage.memory import Entry

__all__ = ["Refresher"]


class Refresher:
    """Has the origin asked in the background, once for each response, as far as ``refreshes`` allows."""

    def __init__(
        self, refreshes: Refreshes, collapse: Collapse, storage: Storage, counters: Counters
    ) -> None:
        self._refreshes = refreshes
        self._collapse = collapse
        self._storage = storage
        self._counters = counters

    def refresh(self, lookup: Lookup, entry: Entry, exchange: Exchange) -> None:
        """Refresh a stored response, unless somebody does, or the origin rests."""
        key, rule, flights = entry.key, id(lookup.rule), self._collapse.flights
        question = Question(own_lookup(lookup), refresh_of(entry.record, entry.fields), entry, key)
        is_waiting = self._refreshes.knows(key) or flights.current(key, question.voice)
        if is_waiting or flights.is_unshared(key, question.voice) or self._collapse.rests(question):
            return
        if self._refreshes.begin(key, rule):
            exchange.run(self._refresh_now(question, flights.start(key, question.voice), exchange))
        elif not self._refreshes.is_full():
            exchange.run(self._refresh_later(question, rule, exchange))

    async def _refresh_now(self, question: Question, flight: Flight, exchange: Exchange) -> None:
        outcome: Outcome | None = None
        try:
            outcome = await self._collapse.lead(question, flight, None, exchange.run)
        finally:
            self._refreshes.end(question.key)
            self._counters.refreshed(question.lookup.rule.name, _result_of(outcome))

    async def _refresh_later(self, question: Question, rule: int, exchange: Exchange) -> None:
        key, flights = question.key, self._collapse.flights
        if not await self._refreshes.turn(key, rule):
            return
        held = self._storage.memory.get(key)
        if flights.current(key, question.voice) or (held and held is not question.entry):
            self._refreshes.end(key)  # somebody else has refreshed it
            return
        await self._refresh_now(question, flights.start(key, question.voice), exchange)


def _result_of(outcome: Outcome | None) -> str:
    if outcome and outcome.entry and outcome.facts is None:
        return "stored"  # by another isolate
    if outcome is None or not outcome.is_sound:
        return "failed"
    if outcome.plan.freshen:
        return "validated"
    return "stored" if outcome.plan.store else "unstored"
