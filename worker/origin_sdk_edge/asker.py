"""Asking the origin, and what follows from its answer: bodies, storage, marks."""

from dataclasses import dataclass, replace
from functools import cached_property

from origin_sdk_edge.counters import Counters
from origin_sdk_edge.fills import Fill
from origin_sdk_edge.flights import Flight
from origin_sdk_edge.health import Health, Subject
from origin_sdk_edge.hooks import HookRequest, HookResponse, Hooks
from origin_sdk_edge.nominations import Nominations
from origin_sdk_edge.origins import Origins
from origin_sdk_edge.policy.decision import VALID, Ask, Invalidity, Lookup
from origin_sdk_edge.policy.facts import WITHOUT_CONTENT, OriginFailure, RequestFacts
from origin_sdk_edge.policy.outcome import Fail, Plan, Relay, answers_cache_alone, on_origin, unstored
from origin_sdk_edge.policy.ranges import Join, completed
from origin_sdk_edge.policy.relay import dated, localised
from origin_sdk_edge.policy.status import FwdReason, Status
from origin_sdk_edge.policy.trouble import Trouble, trouble_of
from origin_sdk_edge.policy.unkeyed import disclosing, neutral
from origin_sdk_edge.policy.voice import voice_of
from origin_sdk_edge.ports import Body, OriginError, OriginResponse, Ports, StoreError
from origin_sdk_edge.shield import Shield, ShieldError
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.storage.memory import Entry, Table
from origin_sdk_wire.bounds import MAX_GROUPS
from origin_sdk_wire.facts import Fields, Reason, ResponseFacts
from origin_sdk_wire.fields import combined
from origin_sdk_wire.freshness import is_of_use
from origin_sdk_wire.marks import Lane
from origin_sdk_wire.record import STORED_CODINGS, Record
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.storability import content_length, groups_of, is_endless
from origin_sdk_wire.succession import speaks_of_resource

__all__ = ["Asker", "Outcome", "Question"]

_OVERSIZED_MS = 600_000
_SHIELD_TRIES = 2
"""The second time it knows of the purge that it didn't know of the first time."""
_ANY = Record(200, 1, 1, 0, ())
"""One that any purge of its URL comes after."""
_AT_ONCE_SECONDS = 0.02
"""What comes within so long of what came before is taken for one answer."""


@dataclass(frozen=True)
class Question:
    """What the origin is asked.

    ``entry`` is the stored response that is validated or may stand in, and ``key`` the key of the response
    that is expected: under it requests for the same response are known to each other.
    """

    lookup: Lookup
    ask: Ask
    entry: Entry | None
    key: str
    flight: Flight | None = None
    """What others wait for meanwhile."""

    def leading(self, flight: Flight) -> "Question":
        """Return the question for which others wait."""
        return Question(self.lookup, self.ask, self.entry, self.key, flight)

    @cached_property
    def voice(self) -> str:
        """On whose behalf the origin is asked."""
        return voice_of(self.lookup)

    @property
    def is_wish(self) -> bool:
        """Whether what is stored would do, if this client didn't want another."""
        return self.ask.fallback and self.ask.forwarded is FwdReason.REQUEST

    @property
    def stored_fields(self) -> Fields:
        """The header fields of the stored response."""
        return self.entry.fields if self.entry else {}


@dataclass(slots=True)
class Outcome:
    """What came of asking the origin.

    ``entry`` is what was stored of it, ``ended`` what is stored no longer, ``fill`` a body that is stored
    once it is complete.
    """

    plan: Plan
    response: OriginResponse | None = None
    facts: ResponseFacts | None = None
    entry: Entry | None = None
    ended: Entry | None = None
    fill: Fill | None = None
    trouble: Trouble | None = None
    """What the answer says of the origin's state."""
    is_shielded: bool = False
    """Whether it came from the shield, which writes to KV what is stored."""

    @property
    def failure(self) -> OriginFailure | None:
        """How the origin failed, if that is what the client gets to know."""
        return self.plan.answer.failure if isinstance(self.plan.answer, Fail) else None

    @property
    def is_sound(self) -> bool:
        """Whether the origin answered as it should."""
        return self.facts is not None and self.trouble is None

    @property
    def speaks_of_sharing(self) -> bool:
        """Whether the answer is one to the resource, and not to how this client asked for it."""
        if self.facts is None or not self.is_sound:
            return False
        if self.fill and not self.fill.is_oversized:
            return False  # its clients left it, or there was no room
        return speaks_of_resource(self.facts.status)


@dataclass(frozen=True, slots=True)
class _Came:
    """A response, and what the policy sees of it."""

    response: OriginResponse
    facts: ResponseFacts
    is_shielded: bool = False
    may_store: bool = True
    is_without_shield: bool = False


class Asker:
    """Asks the origin, or the shield before it, and stores the answers."""

    def __init__(
        self,
        settings: Settings,
        hooks: Hooks,
        storage: Storage,
        ports: Ports,
        counters: Counters,
        shield: Shield | None = None,
    ) -> None:
        self.health = Health(settings, storage.memory)
        self._nominations = Nominations(storage.memory)
        self._settings = settings
        self._hooks = hooks
        self._storage = storage
        self._oversized_until_ms: Table[int] = storage.memory.table(1 / 64)
        self.origins = Origins(settings, ports.origin, ports.timing, ports.report, counters)
        self._shield = shield
        self._counters = counters
        self._bodies = ports.bodies
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
            outcome.entry = self._freshened(question.lookup, question.entry, outcome.plan.freshen)
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
            self._storage.retention.end_here(question.entry)

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
        return self._purged(lookup, outcome.entry.record) != VALID

    async def _read(self, question: Question, outcome: Outcome) -> Outcome:
        if outcome.plan.store and outcome.response:
            return await self._with_body(question, outcome, outcome.plan.store, outcome.response)
        return outcome

    async def _asked(self, question: Question, *, directly: bool = False) -> Outcome:
        lookup, ask = self._disclosing(question), question.ask
        try:
            came = await self._came(question, lookup, directly=directly)
            response, facts = came.response, came.facts
            hooked: ResponseFacts | Reason = facts
            if self._hooks.after_origin and not came.is_shielded:
                hooked = await self._after_origin(lookup, facts, response)
        except OriginError as error:
            return self._failed(question, error)
        nominating = facts if isinstance(hooked, Reason) else hooked
        if self._nominations.learn(lookup, nominating.fields):
            if not came.is_shielded:
                response.discard()
                return await self._asked(question, directly=directly)
            lookup = self._disclosing(question)  # the shield had them, and has done so
        if isinstance(hooked, Reason) or not came.may_store:
            reason = hooked if isinstance(hooked, Reason) else Reason.HOOK_FAILED
            status = Status(reason, forwarded=ask.forwarded, forwarded_status=facts.status)
            plan = Plan(Relay(), status, may_share=False, again=answers_cache_alone(ask, facts.status))
            return Outcome(plan, response, facts, trouble=trouble_of(facts))
        asked = question if lookup is question.lookup else replace(question, lookup=lookup)
        plan = self._plan(asked, hooked)
        if came.is_without_shield:
            plan = replace(plan, status=replace(plan.status, is_without_shield=True))
        return Outcome(plan, response, hooked, trouble=trouble_of(facts), is_shielded=came.is_shielded)

    def asks_shield(self, question: Question) -> bool:
        """Whether the shield is asked for this in the origin's place."""
        return self._is_for_shield(question) and self._shield is not None and not self._shield.rests()

    def _is_for_shield(self, question: Question) -> bool:
        shield = self._shield
        return shield is not None and not question.ask.hit_for_miss and shield.is_for(question.lookup)

    async def _came(self, question: Question, lookup: Lookup, *, directly: bool) -> _Came:
        """Ask the shield, if there is one for this, else the origin; raises :class:`OriginError`."""
        shield, conditional, is_without_shield = self._shield, question.ask.conditional, False
        if shield and not directly and self._is_for_shield(question):
            is_without_shield = shield.rests()
            if not is_without_shield:
                try:
                    if came := await self._from_shield(shield, question, lookup):
                        return came
                except ShieldError as error:
                    self._report("shield", error)
                    self._counters.shield_tried(self._timing.now_ms(), error.why)
                    is_without_shield = True
        birth_ms = self._timing.now_ms()
        response = await self.origins.fetch(lookup.rule, lookup.request, conditional, None)
        if shield and is_without_shield and not shield.rests():
            shield.rest_after(self._timing.now_ms() - birth_ms)
        facts = self.facts_of(lookup.rule, lookup.request, response, birth_ms)
        return _Came(response, facts, is_without_shield=is_without_shield)

    async def _from_shield(self, shield: Shield, question: Question, lookup: Lookup) -> _Came | None:
        """Ask the shield; ``None`` if it has nothing that wasn't purged before it was asked."""
        purged = self._purged(lookup, question.entry.record if question.entry else _ANY)
        for _ in range(_SHIELD_TRIES):
            came = await shield.fetch(lookup, question.ask.conditional, purged)
            self._counters.shield_tried(self._timing.now_ms())
            now_ms = self._timing.now_ms()
            fields = localised(came.fields, lookup.request.target, lookup.rule, self._settings)
            facts = came.facts(now_ms, fields)
            groups = groups_of(fields, lookup.rule)
            if came.response.status == 304 and question.entry and not groups:
                groups = question.entry.record.groups
            record = Record(facts.status, facts.birth_ms, now_ms, 0, (), groups)
            purged = VALID if came.told.is_later else self._purged(lookup, record)
            if purged == VALID:
                return _Came(came.response, facts, is_shielded=True, may_store=came.told.may_store)
            came.response.discard()
        return None

    def _purged(self, lookup: Lookup, record: Record) -> Invalidity:
        return self._storage.marks.table.verdict(lookup, record)

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
        self.note_failure(question.lookup.rule, error)
        return Outcome(self._plan(question, error.failure), trouble=trouble_of(error.failure))

    def note_failure(self, rule: Rule, error: OriginError) -> None:
        """Report and count that the origin gave no whole answer."""
        self._report("origin", error)
        self._counters.origin_failed(rule.name, error.failure)

    def _note_health(self, subject: Subject, trouble: Trouble | None) -> None:
        if self.health.note(subject, trouble, self._timing.now_ms()):
            self._counters.breaker_opened()

    def shared_failure(self, question: Question, failure: OriginFailure) -> Outcome:
        """Return what comes of the origin having failed another's request, which this one waited for."""
        plan = self._plan(question, failure)
        return Outcome(replace(plan, status=replace(plan.status, collapsed=True)))

    def facts_of(
        self, rule: Rule, request: RequestFacts, response: OriginResponse, birth_ms: int
    ) -> ResponseFacts:
        """Return what the policy sees of a response to a request that was sent at ``birth_ms``; count it."""
        now_ms = self._timing.now_ms()
        fields = dated(localised(response.fields, request.target, rule, self._settings), now_ms)
        self._counters.origin_answered(rule.name, response.status, now_ms - birth_ms)
        return ResponseFacts(response.status, fields, birth_ms, now_ms, response.set_cookies)

    async def _after_origin(
        self, lookup: Lookup, facts: ResponseFacts, response: OriginResponse
    ) -> ResponseFacts | Reason:
        """Return what the hook makes of a response, or why it failed; raises :class:`OriginError`."""
        if not self._hooks.after_origin:
            return facts
        request, body = lookup.request, await self._shown(lookup, facts, response)
        given = HookRequest(request.method, str(request.target), request.fields)
        result = await self._hooks.after_origin(given, HookResponse(facts.status, facts.fields, body))
        return result if isinstance(result, Reason) else replace(facts, fields=result.fields)

    async def _shown(self, lookup: Lookup, facts: ResponseFacts, response: OriginResponse) -> bytes | None:
        """Return a body without its coding, where a rule shows it to hooks; raises :class:`OriginError`."""
        most_bytes, coding = lookup.rule.hook_response_bytes, facts.fields.get("content-encoding", "")
        has_content = lookup.request.method != "HEAD" and facts.status not in WITHOUT_CONTENT
        if not most_bytes or not has_content or coding not in {"", *STORED_CODINGS}:
            return None
        if is_endless(facts.fields):
            return None
        body = await response.copied(most_bytes)
        try:
            if coding and body is not None:
                body = await self._bodies.expanded(body, coding, most_bytes)
        except ValueError:
            return None
        return None if body is None else self._bodies.octets(body)

    async def _with_body(
        self, question: Question, outcome: Outcome, record: Record, response: OriginResponse
    ) -> Outcome:
        join, stored = outcome.plan.join, question.entry
        if join and stored:
            body = self._joined(join, stored, await response.read())
            record = replace(record, body_bytes=self._bodies.size(body))
            return replace(outcome, entry=self._storage.retention.hold(question.lookup, record, body))
        length_bytes = content_length(response.fields)
        if question.lookup.rule.reads_answers:
            return await self._with_fill(question, outcome, record, response)
        if length_bytes is None and self._is_oversized(question.key):
            return replace(outcome, plan=self._plan_oversized(question, outcome))
        if question.flight:
            question.flight.response = response
        if length_bytes is None or length_bytes > self._settings.memory_item_bytes:
            return await self._with_fill(question, outcome, record, response)
        outcome.entry = await self.taken(question.lookup, record, response)
        return outcome

    async def _with_fill(
        self, question: Question, outcome: Outcome, record: Record, response: OriginResponse
    ) -> Outcome:
        """Begin to read a body that may be large; what comes at once is checked as a small one is."""
        most_bytes = self._settings.memory_item_bytes
        fill = Fill(
            response.pieces(),
            self._bodies,
            self._timing,
            self._storage.memory,
            limit_bytes=self._settings.max_body_bytes,
            alone_bytes=most_bytes,
        )
        # Where something stored may stand in, nothing is sent before it is clear that it needn't.
        may_stand_in = question.ask.stored is not None and question.ask.when_disconnected
        is_awaited = may_stand_in or question.lookup.rule.reads_answers
        try:
            await fill.read_ahead(most_bytes, None if is_awaited else _AT_ONCE_SECONDS)
        except OriginError:
            fill.close()
            raise
        if not (fill.is_whole and fill.is_kept):
            status = replace(outcome.plan.status, detail=Reason.BODY_AWAITED, stored=False)
            return replace(outcome, plan=replace(outcome.plan, status=status), fill=fill)
        body = response.body = await fill.read()
        fill.close()
        if body is None:
            return outcome
        told = await self._told(question.lookup.rule, record, body)
        if isinstance(told, Reason):
            return replace(outcome, plan=unstored(outcome.plan, told))
        return replace(outcome, entry=self._held(question, told, body))

    async def _told(self, rule: Rule, record: Record, body: Body) -> Record | Reason:
        """Return a record with the groups that its body names by the rule, or why it isn't stored."""
        if not rule.reads_answers:
            return record
        from origin_sdk_wire.answers import read_answer  # noqa: PLC0415 - only such rules pay for it

        coding = combined(record.fields).get("content-encoding", "")
        if coding not in {"", *STORED_CODINGS} or self._bodies.size(body) > self._settings.memory_item_bytes:
            return Reason.ANSWER_UNREAD
        try:
            most_bytes = self._settings.memory_item_bytes
            if coding:
                body = await self._bodies.expanded(body, coding, most_bytes)
            content = self._bodies.octets(body)
        except ValueError:
            return Reason.ANSWER_UNREAD
        groups = read_answer(record.status, content, rule)
        if isinstance(groups, Reason):
            return groups
        together = tuple(dict.fromkeys((*record.groups, *groups)))
        return Reason.TOO_MANY_GROUPS if len(together) > MAX_GROUPS else replace(record, groups=together)

    def _held(self, question: Question, record: Record, body: Body) -> Entry | None:
        whole = completed(replace(record, body_bytes=self._bodies.size(body)))
        return self._storage.retention.hold(question.lookup, whole, body) if whole else None

    async def taken(self, lookup: Lookup, record: Record, response: OriginResponse) -> Entry:
        """Read the body of what is stored as ``record``, and hold it; raises :class:`OriginError`."""
        body = response.body = await response.read()
        record = replace(record, body_bytes=self._bodies.size(body))
        return self._storage.retention.hold(lookup, completed(record) or record, body)

    def _joined(self, join: Join, stored: Entry, body: Body) -> Body:
        if self._bodies.size(body) != join.received.size_bytes:
            raise OriginError(OriginFailure.TRUNCATED, f"not the bytes that were announced: {join.received}")
        head = self._bodies.part(stored.body, 0, join.head)
        tail = self._bodies.part(stored.body, join.tail, stored.size_bytes)
        return self._bodies.joined((head, body, tail))

    def _freshened(self, lookup: Lookup, entry: Entry, record: Record) -> Entry:
        fresh = Entry(
            entry.key,
            record,
            entry.body,
            entry.size_bytes,
            decoded=entry.decoded,
            names=entry.names,
            hits=entry.hits,
        )
        if entry.body is None:
            return fresh
        if not self._storage.variants.is_selected(lookup, fresh):
            return self._storage.retention.hold(lookup, record, entry.body)  # what it varies by has changed
        self._storage.memory.put(entry.key, fresh)
        return fresh

    async def collected(self, question: Question, outcome: Outcome) -> Entry | None:
        """Return the entry that others may use, once its body is there.

        Raises :class:`OriginError` if it breaks off, while the client is already being sent what there is.
        """
        fill = outcome.fill
        if fill is None or outcome.plan.store is None:
            return outcome.entry if outcome.plan.may_share else None
        try:
            body = await fill.read()
        except OriginError as error:
            fill.close()
            self.note_failure(question.lookup.rule, error)
            self._note_health(self.subject(question), trouble_of(error.failure))
            raise
        if body is not None:
            told = await self._told(question.lookup.rule, outcome.plan.store, body)
            entry = None if isinstance(told, Reason) else self._held(question, told, body)
            if entry:
                entry.is_counted = not entry.is_held
            return entry
        if fill.is_oversized:
            self._note_oversized(question, outcome)
        elif not fill.is_abandoned:
            explanation = f"MEMORY_BYTES has no room for {question.key} next to the bodies under way"
            self._report("store", StoreError(explanation))
        return None

    def _is_oversized(self, key: str) -> bool:
        return self._timing.now_ms() < (self._oversized_until_ms.get(key) or 0)

    def _note_oversized(self, question: Question, outcome: Outcome) -> None:
        """Remember that a body without a length is too large: the next one isn't collected."""
        self._oversized_until_ms.set(question.key, self._timing.now_ms() + _OVERSIZED_MS)
        explanation = f"{question.lookup.request.target} isn't stored: its body is above MAX_BODY_BYTES"
        self._report("store", StoreError(explanation))
        outcome.plan = self._plan_oversized(question, outcome)
        self._end_here(question, outcome)

    def _plan_oversized(self, question: Question, outcome: Outcome) -> Plan:
        """Return the plan for a response as if it had said how large it is."""
        if outcome.facts is None:
            return outcome.plan
        length = str(self._settings.max_body_bytes + 1)
        return self._plan(
            question, replace(outcome.facts, fields={**outcome.facts.fields, "content-length": length})
        )

    async def keep(self, lookup: Lookup, outcome: Outcome, entry: Entry | None) -> None:
        """Write to KV what the outcome stores and invalidates."""
        plan = outcome.plan
        try:
            if plan.marks and outcome.facts:
                self._counters.purged(plan.marks, Lane.HARD, "origin-response", self._timing.now_ms())
                await self._storage.marks.mark_everywhere(plan.marks, Lane.HARD, "origin-response")
            if outcome.ended and not lookup.rule.is_kept_in_memory:
                await self._storage.retention.end(outcome.ended.key)
            if (
                entry
                and not outcome.is_shielded
                and (
                    plan.store
                    or (plan.freshen and is_of_use(entry.record, entry.fields, lookup.rule, self._settings))
                )
            ):
                await self._storage.retention.keep(lookup, entry, str(plan.status.detail))
        except (StoreError, ValueError) as error:
            self._report("store", error)
        finally:
            if outcome.fill:
                outcome.fill.close()
