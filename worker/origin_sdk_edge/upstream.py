"""Who answers in the end: the shield, where there is one for a request, or the origin."""

from origin_sdk_edge.counters import Counters
from origin_sdk_edge.origins import Origins
from origin_sdk_edge.policy.decision import VALID, Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.relay import dated, localised
from origin_sdk_edge.ports import OriginError, OriginResponse, Ports
from origin_sdk_edge.questions import Arrival, Question
from origin_sdk_edge.shield import Shield, ShieldError
from origin_sdk_edge.storage.marks import Marks
from origin_sdk_wire.facts import ResponseFacts
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.storability import groups_of

__all__ = ["Upstream"]

_SHIELD_TRIES = 2
"""The second time it knows of the purge that it didn't know of the first time."""
_ANY = Record(200, 1, 1, 0, ())
"""One that any purge of its URL comes after."""


class Upstream:
    """Asks the shield and the origin, and tells the policy and the counters what they answered."""

    def __init__(
        self,
        settings: Settings,
        marks: Marks,
        ports: Ports,
        counters: Counters,
        shield: Shield | None = None,
    ) -> None:
        self.origins = Origins(settings, ports.origin, ports.timing, ports.report, counters)
        self._settings = settings
        self._marks = marks
        self._shield = shield
        self._counters = counters
        self._timing = ports.timing
        self._report = ports.report

    def asks_shield(self, question: Question) -> bool:
        """Whether the shield is asked for this in the origin's place."""
        return self._is_for_shield(question) and self._shield is not None and not self._shield.rests()

    def _is_for_shield(self, question: Question) -> bool:
        shield = self._shield
        return shield is not None and not question.ask.hit_for_miss and shield.is_for(question.lookup)

    async def fetch(self, question: Question, lookup: Lookup, *, directly: bool) -> Arrival:
        """Ask the shield, if there is one for this, else the origin; ``directly`` the origin in any case.

        Raises :class:`OriginError`.
        """
        shield, conditional, is_without_shield = self._shield, question.ask.conditional, False
        if shield and not directly and self._is_for_shield(question):
            is_without_shield = shield.rests()
            if not is_without_shield:
                try:
                    if arrival := await self._from_shield(shield, question, lookup):
                        return arrival
                except ShieldError as error:
                    self._report("shield", error)
                    self._counters.shield_tried(self._timing.now_ms(), error.why)
                    is_without_shield = True
        birth_ms = self._timing.now_ms()
        response = await self.origins.fetch(lookup.rule, lookup.request, conditional, None)
        if shield and is_without_shield and not shield.rests():
            shield.rest_after(self._timing.now_ms() - birth_ms)
        facts = self.facts_of(lookup.rule, lookup.request, response, birth_ms)
        return Arrival(response, facts, is_without_shield=is_without_shield)

    async def _from_shield(self, shield: Shield, question: Question, lookup: Lookup) -> Arrival | None:
        """Ask the shield; ``None`` if it has nothing that wasn't purged before it was asked."""
        purged = self._marks.table.verdict(lookup, question.entry.record if question.entry else _ANY)
        for _ in range(_SHIELD_TRIES):
            shielded = await shield.fetch(lookup, question.ask.conditional, purged)
            self._counters.shield_tried(self._timing.now_ms())
            now_ms = self._timing.now_ms()
            fields = localised(shielded.fields, lookup.request.target, lookup.rule, self._settings)
            facts = shielded.facts(now_ms, fields)
            groups = groups_of(fields, lookup.rule)
            if shielded.response.status == 304 and question.entry and not groups:
                groups = question.entry.record.groups
            record = Record(facts.status, facts.birth_ms, now_ms, 0, (), groups)
            purged = VALID if shielded.told.is_later else self._marks.table.verdict(lookup, record)
            if purged == VALID:
                return Arrival(shielded.response, facts, is_shielded=True, may_store=shielded.told.may_store)
            shielded.response.discard()
        return None

    def facts_of(
        self, rule: Rule, request: RequestFacts, response: OriginResponse, birth_ms: int
    ) -> ResponseFacts:
        """Return what the policy sees of a response to a request that was sent at ``birth_ms``; count it."""
        now_ms = self._timing.now_ms()
        fields = dated(localised(response.fields, request.target, rule, self._settings), now_ms)
        self._counters.origin_answered(rule.name, response.status, now_ms - birth_ms)
        return ResponseFacts(response.status, fields, birth_ms, now_ms, response.set_cookies)

    def note_failure(self, rule: Rule, error: OriginError) -> None:
        """Report and count that the origin gave no whole answer."""
        self._report("origin", error)
        self._counters.origin_failed(rule.name, error.failure)
