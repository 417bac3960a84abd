"""The origin is asked, and its answer becomes a plan: what is stored, what it ends, what the client gets."""

from dataclasses import replace

from origin_sdk_edge.counters import Counters
from origin_sdk_edge.health import Health, Subject
from origin_sdk_edge.hooks import Hooks
from origin_sdk_edge.intake import Intake
from origin_sdk_edge.nominations import Nominations
from origin_sdk_edge.policy.decision import VALID, Lookup
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.policy.outcome import Plan, Relay, answers_cache_alone, on_origin
from origin_sdk_edge.policy.status import Status
from origin_sdk_edge.policy.trouble import Trouble, trouble_of
from origin_sdk_edge.policy.unkeyed import disclosing, neutral
from origin_sdk_edge.ports import OriginError, Ports, StoreError
from origin_sdk_edge.questions import Outcome, Question
from origin_sdk_edge.response_hook import ResponseHook
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_edge.upstream import Upstream
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.marks import Lane
from origin_sdk_wire.settings import Settings

__all__ = ["Asker"]


class Asker:
    """Asks the origin, or the shield before it, and stores the answers."""

    def __init__(
        self,
        settings: Settings,
        hooks: Hooks,
        storage: Storage,
        ports: Ports,
        counters: Counters,
        upstream: Upstream,
        intake: Intake,
    ) -> None:
        self.health = Health(settings, storage.memory)
        self._nominations = Nominations(storage.memory)
        self._settings = settings
        self._hook = ResponseHook(hooks, ports.bodies, ports.report)
        self._storage = storage
        self.upstream = upstream
        self.intake = intake
        self._counters = counters
        self._timing = ports.timing
        self._report = ports.report

    async def ask(self, question: Question) -> Outcome:
        """Ask the origin; read the body of what is to be stored, where it is small enough to be checked."""
        subject = self.subject(question)  # what is purged from here on is to be asked for once more
        outcome = await self._answered(question)
        if outcome.plan.again:
            if outcome.response:
                outcome.response.discard()
            question = replace(question, ask=replace(question.ask, conditional={}))
            outcome = await self._answered(question)
        if outcome.plan.freshen and question.entry:
            outcome.entry = self.intake.freshened(question.lookup, question.entry, outcome.plan.freshen)
        self._note_health(subject, outcome.trouble)
        self._end_here(question, outcome)
        return outcome

    def subject(self, question: Question) -> Subject:
        """Return what the origin is asked for, as its health is remembered by."""
        lookup, entry = question.lookup, question.entry
        purged_ms = self._storage.marks.table.verdict(lookup, entry.record).soft_ms if entry else 0
        origin = "" if self._settings.origin else lookup.request.target.host
        origin = " ".join(lookup.rule.origins) or origin
        return Subject(question.key, question.voice, origin, purged_ms)

    def _end_here(self, question: Question, outcome: Outcome) -> None:
        """Let what the outcome ends be used no more in this isolate, before anyone hears of the outcome."""
        if outcome.plan.marks and outcome.facts:
            # What is ended was there before, though it may be of the same millisecond.
            ended_ms = question.entry.record.birth_ms if question.entry else 0
            moment_ms = max(ended_ms, outcome.facts.birth_ms - 1)
            self._storage.marks.mark_here(outcome.plan.marks, Lane.HARD, moment_ms)
        if outcome.plan.ends and question.entry:
            outcome.ended = question.entry
            self._storage.retention.end_here(question.entry, outcome.answered_ms)

    async def _answered(self, question: Question) -> Outcome:
        """Return what was answered, with the body of what is to be stored."""
        outcome = await self._asked(question)
        try:
            outcome = await self._read(question, outcome)
        except OriginError as error:
            if not outcome.is_shielded:
                return self._failed(question, error)
            self._report("shield", error)
        else:
            if not self._is_overtaken(question.lookup, outcome):
                return outcome
        outcome = await self._asked(question, directly=True)
        try:
            return await self._read(question, outcome)
        except OriginError as error:
            return self._failed(question, error)

    def _is_overtaken(self, lookup: Lookup, outcome: Outcome) -> bool:
        """Whether what the shield had falls under a purge by a group that only its body names."""
        if not (outcome.is_shielded and lookup.rule.reads_answers and outcome.entry):
            return False
        return self._storage.marks.table.verdict(lookup, outcome.entry.record) != VALID

    async def _read(self, question: Question, outcome: Outcome) -> Outcome:
        record, response = outcome.plan.store, outcome.response
        if record is None or response is None:
            return outcome
        if self.intake.is_oversized(question, outcome, response):
            return replace(outcome, plan=self._plan_oversized(question, outcome))
        return await self.intake.read(question, outcome, record, response)

    async def _asked(self, question: Question, *, directly: bool = False) -> Outcome:
        lookup, ask = self._disclosing(question), question.ask
        try:
            arrival = await self.upstream.fetch(question, lookup, directly=directly)
            response, facts = arrival.response, arrival.facts
            hooked: ResponseFacts | Reason = facts
            if not arrival.is_shielded:
                hooked = await self._hook.applied(lookup, facts, response)
        except OriginError as error:
            return self._failed(question, error)
        nominating = facts if isinstance(hooked, Reason) else hooked
        if self._nominations.learn(lookup, nominating.fields):
            if not arrival.is_shielded:
                response.discard()
                return await self._asked(question, directly=directly)
            lookup = self._disclosing(question)  # the shield had them, and has done so
        if isinstance(hooked, Reason) or not arrival.may_store:
            reason = hooked if isinstance(hooked, Reason) else Reason.HOOK_FAILED
            status = Status(reason, forwarded=ask.forwarded, forwarded_status=facts.status)
            plan = Plan(Relay(), status, may_share=False, again=answers_cache_alone(ask, facts.status))
            return Outcome(plan, response, facts, trouble=trouble_of(facts))
        asked = question if lookup is question.lookup else replace(question, lookup=lookup)
        plan = self._plan(asked, hooked)
        if arrival.is_without_shield:
            plan = replace(plan, status=replace(plan.status, is_without_shield=True))
        return Outcome(plan, response, hooked, trouble=trouble_of(facts), is_shielded=arrival.is_shielded)

    def _plan(self, question: Question, outcome: ResponseFacts | OriginFailure) -> Plan:
        lookup, ask = question.lookup, question.ask
        if ask.stored and self._storage.marks.is_gone(lookup, question.key, ask.stored):
            # While the origin was being asked, it may have told another request that this is over.
            ask = replace(ask, fallback=False, when_disconnected=False)
        return on_origin(lookup, ask, outcome, question.stored_fields, self._settings)

    def _disclosing(self, question: Question) -> Lookup:
        """Return the look-up with the request that the origin gets to see."""
        lookup = question.lookup
        request = lookup.request
        if question.entry:
            request = neutral(request, question.entry.fields, lookup.rule, self._settings)
        names = self._nominations.of(lookup)
        request = disclosing(request, lookup.undisclosed, names)
        return lookup if request is lookup.request else replace(lookup, request=request)

    def _failed(self, question: Question, error: OriginError) -> Outcome:
        self.upstream.note_failure(question.lookup.rule, error)
        return Outcome(self._plan(question, error.failure), trouble=trouble_of(error.failure))

    def _note_health(self, subject: Subject, trouble: Trouble | None) -> None:
        if self.health.note(subject, trouble, self._timing.now_ms()):
            self._counters.breaker_opened()

    def shared_failure(self, question: Question, failure: OriginFailure) -> Outcome:
        """Return what comes of the origin having failed another's request, which this one waited for."""
        plan = self._plan(question, failure)
        return Outcome(replace(plan, status=replace(plan.status, collapsed=True)))

    async def collected(self, question: Question, outcome: Outcome) -> Entry | None:
        """Return the entry that others may use, once its body is there.

        Raises :class:`OriginError` if it breaks off, while the client is already being sent what there is.
        """
        fill, record = outcome.fill, outcome.plan.store
        if fill is None or record is None:
            return outcome.entry if outcome.plan.may_share else None
        try:
            body = await fill.read()
        except OriginError as error:
            fill.close()
            self.upstream.note_failure(question.lookup.rule, error)
            self._note_health(self.subject(question), trouble_of(error.failure))
            raise
        if body is not None:
            return await self.intake.collected(question, record, body)
        if fill.is_oversized:
            self.intake.note_oversized(question)
            outcome.plan = self._plan_oversized(question, outcome)
            self._end_here(question, outcome)
        elif not fill.is_abandoned:
            explanation = f"MEMORY_BYTES has no room for {question.key} next to the bodies under way"
            self._report("store", StoreError(explanation))
        return None

    def _plan_oversized(self, question: Question, outcome: Outcome) -> Plan:
        """Return the plan for a response as if it had said how large it is."""
        if outcome.facts is None:
            return outcome.plan
        length = str(self._settings.max_body_bytes + 1)
        return self._plan(
            question, replace(outcome.facts, fields={**outcome.facts.fields, "content-length": length})
        )
