"""From decisions to responses: what the client gets, with Cache-Status, after the last hook."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.hooks import HookRequest, HookResponse, Hooks, changed_fields
from origin_sdk_edge.policy.access import knows_secret
from origin_sdk_edge.policy.answer import (
    BodyKind,
    StoredAnswer,
    answer_from,
    code_by_fields,
    code_of_failure,
    without_content,
)
from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.policy.relay import relayed_bytes, relayed_fields, shown_fields, shown_key
from origin_sdk_edge.policy.server_timing import full_timing, short_timing
from origin_sdk_edge.policy.shield_field import told_failure, told_refusal, told_response
from origin_sdk_edge.policy.status import Status, cache_status
from origin_sdk_edge.ports import Background, Body, OriginResponse, Ports, Response, Stream
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_wire.choices import ServerTiming
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.fields import combined
from origin_sdk_wire.freshness import current_age_ms, freshness_of
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.shield import SHIELD_FIELD, setting_digests
from origin_sdk_wire.storability import content_length
from origin_sdk_wire.succession import is_final

__all__ = ["BodyGoneError", "Sender"]

_NOTHING_STORED = "and there is no stored response that may stand in for it."
_EXPLANATIONS = {
    OriginFailure.UNREACHABLE: f"The origin can't be reached, {_NOTHING_STORED}",
    OriginFailure.TIMEOUT: f"The origin didn't answer in time, {_NOTHING_STORED}",
    OriginFailure.TRUNCATED: f"The origin's response broke off, {_NOTHING_STORED}",
}


class BodyGoneError(Exception):
    """KV holds a record, but no longer its body."""


class Sender:
    """Makes responses."""

    def __init__(self, settings: Settings, hooks: Hooks, storage: Storage, ports: Ports) -> None:
        self._settings = settings
        self._hooks = hooks
        self._storage = storage
        self._outgoing = ports.outgoing
        self._timing = ports.timing

    async def stored(
        self,
        exchange: Exchange,
        lookup: Lookup,
        entry: Entry,
        status: Status,
        record: Record | None = None,
        *,
        unstored: Sequence[tuple[str, str]] | None = None,
        stream: Callable[[], Stream] | None = None,
    ) -> Response:
        """Answer from a stored response, under the header fields of ``record`` if given.

        If it has only just come from the origin, ``unstored`` are the fields that came with it for this
        client alone; where its body is still on its way, ``stream`` makes one. Raises :class:`BodyGoneError`.
        """
        record = record or entry.record
        by_name = entry.fields if record is entry.record else combined(record.fields)
        answer = answer_from(record, by_name, lookup.client, self._timing.now_ms())
        if stream:
            body = None if answer.body is BodyKind.NONE else stream()
        else:
            body = await self._body(entry, answer, exchange)
        size_bytes = 0 if body is None else _size_of(entry, answer, is_streamed=stream is not None)
        if unstored is not None:
            kept = [field for field in answer.fields if field != ("age", "0")]
            answer = StoredAnswer(answer.status, [*kept, *unstored], answer.body, answer.part)
        if status.ttl_seconds is None:
            status = self._with_ttl(lookup, entry, record, status)
        if self._hooks.before_send and not exchange.is_for_edge:
            fields = await self._before_send(lookup.client, answer.status, answer.fields)
            answer = replace(answer, fields=fields)
        return self._sent(exchange, lookup, status, answer, body, size_bytes, record.birth_ms)

    def at_hand(
        self, exchange: Exchange, lookup: Lookup, entry: Entry, status: Status, now_ms: int
    ) -> Response | None:
        """Answer from a stored response whose body is sent as it lies at hand; ``None`` for any other.

        For where there is no hook ``before_send``.
        """
        answer = answer_from(entry.record, entry.fields, lookup.client, now_ms)
        if answer.body is not BodyKind.AS_STORED or entry.body is None:
            return None
        birth_ms = entry.record.birth_ms
        return self._sent(exchange, lookup, status, answer, entry.body, entry.size_bytes, birth_ms)

    def _sent(
        self,
        exchange: Exchange,
        lookup: Lookup,
        status: Status,
        answer: StoredAnswer,
        body: Body | None,
        size_bytes: int,
        birth_ms: int,
    ) -> Response:
        is_for_edge = exchange.is_for_edge
        fields = shown_fields(answer.fields, self._settings, is_for_edge=is_for_edge)
        if is_for_edge:
            fields.append((SHIELD_FIELD, told_response(birth_ms, exchange.began_ms)))
        exchange.answer(status, answer.status, size_bytes)
        if shown := self._cache_status(status, lookup.client, lookup.key):
            fields.append(("cache-status", shown))
        if timing := self._server_timing(exchange):
            fields.append(("server-timing", timing))
        return self._outgoing.stored(answer.status, fields, body, is_head=lookup.client.method == "HEAD")

    async def _body(self, entry: Entry, answer: StoredAnswer, background: Background) -> Body | None:
        if answer.body is BodyKind.NONE:
            return None
        is_as_stored = answer.body is BodyKind.AS_STORED
        if is_as_stored and entry.body is not None:
            return entry.body
        bodies = self._storage.bodies
        if is_as_stored:
            body = await bodies.stream(entry, background)
        else:
            body = await (bodies.part(entry, *answer.part) if answer.part else bodies.decoded(entry))
        if body is None:
            self._storage.memory.drop(entry.key)
            raise BodyGoneError(entry.key)
        return body

    async def _before_send(
        self, request: RequestFacts, status: int, fields: list[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        before = combined(fields)
        changes = changed_fields(before, await self._hooked(request, status, before))
        kept = [(name, value) for name, value in fields if name not in changes]
        return [*kept, *((name, value) for name, value in changes.items() if value is not None)]

    async def _hooked(
        self, request: RequestFacts, status: int, fields: Mapping[str, str]
    ) -> Mapping[str, str]:
        if not self._hooks.before_send:
            return fields
        hook_request = HookRequest(request.method, str(request.target), request.fields)
        result = await self._hooks.before_send(hook_request, HookResponse(status, fields))
        return fields if isinstance(result, Reason) else result.fields

    async def relayed(
        self,
        exchange: Exchange,
        response: OriginResponse,
        facts: ResponseFacts,
        request: RequestFacts,
        status: Status,
        key: str = "",
    ) -> Response:
        """Hand on the origin's response, or answer the request's precondition from its fields."""
        if not (is_final(facts.status) or (facts.status == 101 and "upgrade" in request.fields)):
            # RFC 9110 section 15.6.3: a gateway's word for an invalid response, which goes to nobody.
            response.discard()
            told = _told_of(facts, status, exchange) if exchange.is_for_edge else ""
            text = f"The origin answered with the status code {facts.status}, {_NOTHING_STORED}"
            return self.plain(exchange, 502, text, status, told)
        if code := self.code_by_fields(facts, request, key):
            exchange.answer(status, code, 0)
            return await self._bodiless(exchange, code, facts, request, status, key)
        is_for_edge = exchange.is_for_edge
        exchange.answer(
            status, facts.status, relayed_bytes(request.method, facts.status, response.fields) or 0
        )
        fields = facts.fields if is_for_edge else await self._hooked(request, facts.status, facts.fields)
        added = {
            "cache-status": self._cache_status(status, request, key),
            "server-timing": self._server_timing(exchange),
        }
        changes = relayed_fields(
            response.fields, fields, added, facts.response_ms, self._settings, is_for_edge=is_for_edge
        )
        if is_for_edge:
            changes[SHIELD_FIELD] = _told_of(facts, status, exchange)
        return self._outgoing.relayed(response, changes)

    def code_by_fields(self, facts: ResponseFacts, request: RequestFacts, key: str) -> int | None:
        """Return the status code where the fields of what came answer the client's precondition."""
        return code_by_fields(facts, request) if key else None

    async def _bodiless(
        self,
        exchange: Exchange,
        code: int,
        facts: ResponseFacts,
        request: RequestFacts,
        status: Status,
        key: str,
    ) -> Response:
        is_for_edge = exchange.is_for_edge
        sent: Mapping[str, str] = dict(without_content(facts.fields.items()))
        sent = sent if is_for_edge else await self._hooked(request, code, sent)
        fields = shown_fields(sent.items(), self._settings, is_for_edge=is_for_edge)
        if is_for_edge:
            fields.append((SHIELD_FIELD, _told_of(facts, status, exchange)))
        if shown := self._cache_status(status, request, key):
            fields.append(("cache-status", shown))
        if timing := self._server_timing(exchange):
            fields.append(("server-timing", timing))
        return self._outgoing.stored(code, fields, None, is_head=False)

    def failed(self, exchange: Exchange, failure: OriginFailure, status: Status) -> Response:
        """Answer 502 or 504 for an origin that failed."""
        told = told_failure(failure) if exchange.is_for_edge else ""
        return self.plain(exchange, code_of_failure(failure), _EXPLANATIONS[failure], status, told)

    def refused(self, exchange: Exchange) -> Response:
        """Answer an edge that goes by other settings."""
        text = "This shield was deployed with other settings than who asks it."
        told = told_refusal(setting_digests(self._settings))
        return self.plain(exchange, 409, text, Status(Reason.SHIELD_REFUSED), told)

    def plain(self, exchange: Exchange, code: int, text: str, status: Status, told: str = "") -> Response:
        """Answer with an explanation of the cache's own, and to an edge with what it is ``told``."""
        exchange.answer(status, code, len(text) + 1, is_own=True)
        fields = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")]
        if told:
            fields.append((SHIELD_FIELD, told))
        if shown := self._cache_status(status):
            fields.append(("cache-status", shown))
        if timing := self._server_timing(exchange):
            fields.append(("server-timing", timing))
        return self._outgoing.plain(code, fields, text + "\n")

    def _with_ttl(self, lookup: Lookup, entry: Entry, record: Record, status: Status) -> Status:
        if record is entry.record:
            freshness = entry.freshness(lookup.rule, self._settings)
        else:
            freshness = freshness_of(record, combined(record.fields), lookup.rule, self._settings)
        age_ms = current_age_ms(record, self._timing.now_ms())
        return replace(status, ttl_seconds=(freshness.lifetime_ms - age_ms) // 1000)

    def _server_timing(self, exchange: Exchange) -> str:
        setting = self._settings.server_timing
        if setting is ServerTiming.NONE:
            return ""
        total_ms = self._timing.now_ms() - exchange.began_ms
        request = exchange.request
        if setting is ServerTiming.SHORT or not (request and knows_secret(request.fields, self._settings)):
            return short_timing(exchange.tier, total_ms)
        steps = (
            ("kv", exchange.store_ms),
            ("origin", exchange.origin_ms),
            ("collapsed", exchange.shared_ms),
        )
        return full_timing(exchange.tier, exchange.reason, exchange.rule, total_ms, steps)

    def _cache_status(self, status: Status, request: RequestFacts | None = None, key: str = "") -> str:
        if not self._settings.cache_status:
            return ""
        key = shown_key(key, request.fields, self._settings) if request else ""
        return cache_status(self._settings.cache_name, status, key)


def _told_of(facts: ResponseFacts, status: Status, exchange: Exchange) -> str:
    """Write what an edge is told of a response that only passes."""
    may_store = status.detail not in {Reason.HOOK_FAILED, Reason.HOOK_TIMEOUT}
    return told_response(facts.birth_ms, exchange.began_ms, may_store=may_store)


def _size_of(entry: Entry, answer: StoredAnswer, *, is_streamed: bool) -> int:
    """Return the bytes of a body that is sent; 0 where it only comes, and doesn't say how many."""
    if answer.part:
        start, end = answer.part
        return end - start
    if is_streamed:
        return content_length(entry.fields) or 0
    is_at_hand = answer.body is BodyKind.AS_STORED and entry.body is not None
    return entry.size_bytes if is_at_hand else entry.record.body_bytes
