"""What is stored of an origin's answers: their bodies are read, held in memory, and written to KV."""

from dataclasses import replace

from origin_sdk_edge.counters import Counters
from origin_sdk_edge.fills import Fill
from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.policy.outcome import unstored
from origin_sdk_edge.policy.ranges import Join, completed
from origin_sdk_edge.ports import Body, OriginError, OriginResponse, Ports, StoreError
from origin_sdk_edge.questions import Outcome, Question
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.storage.memory import Entry, Table
from origin_sdk_wire.bounds import MAX_GROUPS
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.fields import combined
from origin_sdk_wire.freshness import is_of_use
from origin_sdk_wire.marks import Lane
from origin_sdk_wire.record import STORED_CODINGS, Record
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.storability import content_length

__all__ = ["Intake"]

_OVERSIZED_MS = 600_000
_AT_ONCE_SECONDS = 0.02
"""What comes within so long of what came before is taken for one answer."""


class Intake:
    """Reads the bodies of what is to be stored, at once or as they come, and stores them."""

    def __init__(self, settings: Settings, storage: Storage, ports: Ports, counters: Counters) -> None:
        self._settings = settings
        self._storage = storage
        self._oversized_until_ms: Table[int] = storage.memory.table(1 / 64)
        self._counters = counters
        self._bodies = ports.bodies
        self._timing = ports.timing
        self._report = ports.report

    async def read(
        self, question: Question, outcome: Outcome, record: Record, response: OriginResponse
    ) -> Outcome:
        """Read the body of what is to be stored as ``record``, or begin to; raises :class:`OriginError`."""
        join, stored = outcome.plan.join, question.entry
        if join and stored:
            body = self._joined(join, stored, await response.read())
            record = replace(record, body_bytes=self._bodies.size(body))
            return replace(outcome, entry=self._storage.retention.hold(question.lookup, record, body))
        if question.lookup.rule.reads_answers:
            return await self._with_fill(question, outcome, record, response)
        length_bytes = content_length(response.fields)
        if question.flight:
            question.flight.response = response
        if length_bytes is None or length_bytes > self._settings.memory_item_bytes:
            return await self._with_fill(question, outcome, record, response)
        outcome.entry = await self.taken(question.lookup, record, response)
        return outcome

    def is_oversized(self, question: Question, outcome: Outcome, response: OriginResponse) -> bool:
        """Whether a body that doesn't say its length turned out to be too large the last time."""
        is_joined = outcome.plan.join is not None and question.entry is not None
        if is_joined or question.lookup.rule.reads_answers or content_length(response.fields) is not None:
            return False
        return self._timing.now_ms() < (self._oversized_until_ms.get(question.key) or 0)

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
            fill.expect_nobody()
            fill.close()
            raise
        if not (fill.is_whole and fill.is_kept):
            status = replace(outcome.plan.status, detail=Reason.BODY_AWAITED, stored=False)
            return replace(outcome, plan=replace(outcome.plan, status=status), fill=fill)
        body = response.body = await fill.read()
        fill.expect_nobody()
        fill.close()
        if body is None:
            return outcome
        told = await self._told(question.lookup.rule, record, body)
        if isinstance(told, Reason):
            return replace(outcome, plan=unstored(outcome.plan, told))
        return replace(outcome, entry=self._held(question, told, body))

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

    def freshened(self, lookup: Lookup, entry: Entry, record: Record) -> Entry:
        """Return an entry with the record of its validation, and hold it where its body is at hand."""
        fresh = Entry(
            entry.key,
            record,
            entry.body,
            entry.size_bytes,
            decoded=entry.decoded,
            names=entry.names,
            hits=entry.hits,
        )
        if entry.body is not None and not self._storage.variants.is_selected(lookup, fresh):
            return self._storage.retention.hold(lookup, record, entry.body)  # what it varies by has changed
        self._storage.retention.take(fresh)
        return fresh

    async def collected(self, question: Question, record: Record, body: Body) -> Entry | None:
        """Hold what came as it was read; ``None`` if it isn't stored after all."""
        told = await self._told(question.lookup.rule, record, body)
        entry = None if isinstance(told, Reason) else self._held(question, told, body)
        if entry:
            entry.is_counted = not entry.is_held
        return entry

    def _held(self, question: Question, record: Record, body: Body) -> Entry | None:
        whole = completed(replace(record, body_bytes=self._bodies.size(body)))
        return self._storage.retention.hold(question.lookup, whole, body) if whole else None

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

    def note_oversized(self, question: Question) -> None:
        """Remember that a body without a length is too large: the next one isn't collected."""
        self._oversized_until_ms.set(question.key, self._timing.now_ms() + _OVERSIZED_MS)
        explanation = f"{question.lookup.request.target} isn't stored: its body is above MAX_BODY_BYTES"
        self._report("store", StoreError(explanation))

    async def keep(self, lookup: Lookup, outcome: Outcome, entry: Entry | None) -> None:
        """Write to KV what the outcome stores and invalidates."""
        plan = outcome.plan
        try:
            if plan.marks and outcome.facts:
                self._counters.purged(plan.marks, Lane.HARD, "origin-response", self._timing.now_ms())
                await self._storage.marks.mark_everywhere(plan.marks, Lane.HARD, "origin-response")
            if outcome.ended and not lookup.rule.is_kept_in_memory:
                await self._storage.retention.end(outcome.ended.key, outcome.answered_ms)
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
