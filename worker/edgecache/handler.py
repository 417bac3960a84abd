"""Carries out what the policy decides: finds, asks, sends, keeps. It knows of I/O and holds no rule of HTTP."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

from cachewire.errors import InvalidTarget
from cachewire.key import parse_target, variant_key
from edgecache.flights import Flight, Flights
from edgecache.health import Health
from edgecache.hooks import HookAnswer, HookRequest, HookResponse, Hooks, changed_fields
from edgecache.memory import Entry
from edgecache.policy.answer import BodyKind, answer_from
from edgecache.policy.decision import (
    DEFAULT_RULE,
    Ask,
    Fail,
    Forward,
    Invalidity,
    Lookup,
    Plan,
    Refuse,
    Relay,
    Reuse,
    Use,
    combined,
    mark_names,
    on_forwarded,
    on_origin,
    on_request,
    on_stored,
)
from edgecache.policy.facts import Fields, OriginFailure, Reason, RequestFacts, ResponseFacts
from edgecache.policy.freshness import current_age_ms, freshness_of
from edgecache.policy.relay import http_date, localised, relayed_fields
from edgecache.policy.status import Forwarded, Status, cache_status
from edgecache.policy.validation import conditional_fields, is_not_modified
from edgecache.ports import Background, Bodies, Body, Incoming, Origin, OriginError, OriginResponse, Outgoing, StoreError, Timing
from edgecache.settings import Settings
from edgecache.storage import Found, Storage

__all__ = ["Handler", "Ports", "Served"]

_EXPLANATIONS = {
    OriginFailure.UNREACHABLE: "The origin can't be reached, and there is no stored response that may stand in for it.",
    OriginFailure.TIMEOUT: "The origin didn't answer in time, and there is no stored response that may stand in for it.",
    OriginFailure.TRUNCATED: "The origin's response broke off, and there is no stored response that may stand in for it.",
}
_CLIENT_CONDITIONS = ("if-none-match", "if-modified-since", "if-range", "range")
_MARKS_AHEAD = 0.7
"""The share of the interval after which the marks of a response in use are read again, in the background."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world."""

    origin: Origin
    bodies: Bodies
    outgoing: Outgoing
    timing: Timing
    report: Callable[[str, Exception], None]


@dataclass(slots=True)
class Served:
    """A response for the runtime; and, if it came fresh out of memory, by which decision and entry, so that it can be
    repeated without deciding anew."""

    response: Any
    lookup: Lookup | None = None
    entry: Entry | None = None
    use: Use | None = None


@dataclass(slots=True)
class _Outcome:
    """What came of asking the origin."""

    plan: Plan
    response: OriginResponse | None = None
    facts: ResponseFacts | None = None
    entry: Entry | None = None
    collect: Callable[[int], Any] | None = None


class _BodyGone(Exception):
    """KV holds a record, but no longer its body."""


class Handler:
    """Answers requests. One for each isolate: it holds what concurrent requests share."""

    def __init__(self, settings: Settings, hooks: Hooks, storage: Storage, ports: Ports) -> None:
        self.settings = settings
        self.hooks = hooks
        self.storage = storage
        self.flights = Flights(ports.timing)
        self.health = Health(settings)
        self._ports = ports

    async def handle(self, incoming: Incoming, background: Background) -> Served:
        """Answer one request. A fault of the cache itself is reported, and the request goes to the origin."""
        request = _facts(incoming)
        if request is None:
            return Served(self._plain(400, "The URL of the request can't be read.", Status("bad-url")))
        hooked = self._before_lookup(request)
        if isinstance(hooked, HookAnswer):
            return Served(self._ports.outgoing.plain(hooked.status, list(hooked.fields.items()), hooked.text))
        if hooked is None:
            return Served(await self._forward(Forward(request, DEFAULT_RULE, Reason.HOOK_FAILED), incoming.body, background))
        decision = on_request(hooked, self.settings, self._now())
        if isinstance(decision, Forward):
            return Served(await self._forward(decision, incoming.body, background))
        try:
            return await self._look_up(decision, background)
        except Exception as error:  # noqa: BLE001 - a fault in the cache must not take the API down
            self._ports.report("cache", error)
            return Served(await self._forward(Forward(hooked, decision.rule, Reason.CACHE_FAULT), None, background))

    def _now(self) -> int:
        return self._ports.timing.now_ms()

    def _before_lookup(self, request: RequestFacts) -> RequestFacts | HookAnswer | None:
        if not self.hooks.before_lookup:
            return request
        result = self.hooks.before_lookup(HookRequest(request.method, str(request.target), request.fields))
        if isinstance(result, HookRequest):
            return RequestFacts(result.method, parse_target(result.url), result.fields)
        return result

    # The cache takes no part

    async def _forward(self, forward: Forward, body: Any, background: Background) -> Any:
        birth_ms = self._now()
        try:
            response = await self._ports.origin.fetch(forward.request, {}, body, self.settings.origin_timeout)
        except OriginError as error:
            self._ports.report("origin", error)
            return self._failed(error.failure, Status(error.failure.value, forwarded=forward.forwarded))
        facts = self._response_facts(forward.request, response, birth_ms)
        plan = on_forwarded(forward, facts)
        self._mark(plan.marks, facts.response_ms, background)
        return self._relay(response, facts, forward.request, plan.status, "")

    def _mark(self, names: tuple[str, ...], moment_ms: int, background: Background) -> None:
        if names:
            self.storage.mark_here(names, moment_ms)
            background.run(self._mark_everywhere(names, moment_ms))

    async def _mark_everywhere(self, names: tuple[str, ...], moment_ms: int) -> None:
        try:
            await self.storage.mark_everywhere(names, moment_ms, "unsafe-request")
        except StoreError as error:
            self._ports.report("invalidation", error)

    # Looking

    async def _look_up(self, lookup: Lookup, background: Background) -> Served:
        found = await self._find(lookup)
        decision = await self._decide(lookup, found)
        if isinstance(decision, Use) and found.entry:
            try:
                return await self._use(lookup, found.entry, decision, background)
            except _BodyGone:
                found, decision = Found(), Ask(Forwarded.URI_MISS, Reason.ABSENT)
        if isinstance(decision, Refuse):
            text = "Nothing that may be used is stored, and the request allows no more than that (only-if-cached)."
            return Served(self._plain(504, text, Status(decision.reason)))
        assert isinstance(decision, Ask)
        return Served(await self._ask_or_wait(lookup, decision, found.entry, background))

    async def _find(self, lookup: Lookup) -> Found:
        found = self.storage.find_in_memory(lookup)
        if found.entry:
            return found
        if self.storage.marks.outdated(lookup.mark_names, self._now()):
            found, _ = await asyncio.gather(self.storage.find_in_store(lookup), self.storage.read_marks(lookup.mark_names))
            return found
        return await self.storage.find_in_store(lookup)

    async def _decide(self, lookup: Lookup, found: Found) -> Use | Ask | Refuse:
        entry = found.entry
        if entry is None:
            return on_stored(lookup, None, {}, Invalidity(), self._now(), self.settings, other_variant=found.other_variant)
        invalidity = self.storage.known_invalidity(lookup, entry.record, self._now())
        if invalidity is None:
            invalidity = await self.storage.invalidity(lookup, entry.record)
        return on_stored(lookup, entry.record, entry.fields, invalidity, self._now(), self.settings)

    async def _use(self, lookup: Lookup, entry: Entry, use: Use, background: Background) -> Served:
        entry.hits += 1
        status = Status(use.reason, hit=True, ttl_seconds=use.ttl_seconds)
        response = await self._send_stored(lookup, entry, status)
        if use.refresh or self._is_due(lookup, entry, use):
            self._refresh(lookup, entry, background)
        self._read_marks_ahead(lookup, entry, background)
        return Served(response, lookup, entry, use)

    def _is_due(self, lookup: Lookup, entry: Entry, use: Use) -> bool:
        """Whether a hot response is so near its expiry that it is refreshed ahead."""
        share = self.settings.refresh_ahead
        if not share or entry.hits < 2 or use.reason is not Reason.FRESH:
            return False
        freshness = freshness_of(entry.record, entry.fields, lookup.rule, self.settings)
        return use.ttl_seconds * 1000 < freshness.lifetime_ms * share

    def _read_marks_ahead(self, lookup: Lookup, entry: Entry, background: Background) -> None:
        names, now_ms = mark_names(lookup, entry.record), self._now()
        interval_ms = self.storage.marks.interval_ms
        if self.storage.marks.known_at(names, entry.record.birth_ms) > now_ms - interval_ms * _MARKS_AHEAD:
            return
        background.run(self._read_marks(names))

    async def _read_marks(self, names: tuple[str, ...]) -> None:
        await self.storage.read_marks(names, _MARKS_AHEAD / 2)

    # Asking the origin

    def _refresh(self, lookup: Lookup, entry: Entry, background: Background) -> None:
        key, now_ms = _flight_key(lookup), self._now()
        if self.flights.current(key) or self.health.is_throttled(key, now_ms) or self.health.is_open(now_ms):
            return
        lookup = replace(lookup, request=replace(lookup.request, method="GET"))
        ask = Ask(Forwarded.STALE, Reason.STALE, entry.record, conditional_fields(entry.fields), fallback=True, when_disconnected=True)
        background.run(self._lead(lookup, ask, entry, self.flights.start(key), None))

    async def _ask_or_wait(self, lookup: Lookup, ask: Ask, entry: Entry | None, background: Background) -> Any:
        key, now_ms = _flight_key(lookup), self._now()
        if entry and ask.fallback and (self.health.is_throttled(key, now_ms) or self.health.is_open(now_ms)):
            reason = Reason.BREAKER_OPEN if self.health.is_open(now_ms) else Reason.THROTTLED
            return await self._send_stored(lookup, entry, self._status(lookup, entry, Status(reason, hit=True)))
        if lookup.request.method != "GET" or self.flights.is_unshared(key):
            outcome = await self._ask(_as_asked(lookup, ask), ask, entry)
            self._after(lookup, outcome, background)
            return await self._send_outcome(lookup, outcome, entry)
        flight = self.flights.current(key)
        if flight:
            return await self._wait(lookup, ask, entry, flight, background)
        return await self._fly(lookup, ask, entry, key, background)

    async def _fly(self, lookup: Lookup, ask: Ask, entry: Entry | None, key: str, background: Background) -> Any:
        answered: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        background.run(self._lead(lookup, ask, entry, self.flights.start(key), answered))
        if entry and ask.fallback and self.settings.soft_timeout:
            await asyncio.wait({answered}, timeout=self.settings.soft_timeout)
            if not answered.done():
                return await self._send_stored(lookup, entry, self._status(lookup, entry, Status(Reason.SLOW_ORIGIN, hit=True)))
        return await self._send_outcome(lookup, await answered, entry)

    async def _lead(
        self, lookup: Lookup, ask: Ask, entry: Entry | None, flight: Flight, answered: "asyncio.Future[_Outcome] | None"
    ) -> None:
        """Ask the origin for all that wait, and see to what follows. It goes on if the client that began it goes away."""
        key = _flight_key(lookup)
        stored: Entry | None = None
        failure: OriginFailure | None = OriginFailure.UNREACHABLE
        try:
            outcome = await self._ask(lookup, ask, entry)
            if answered:
                answered.set_result(outcome)
            stored, failure = await self._collected(lookup, outcome), _failure_of(outcome)
        except Exception as error:
            if answered and not answered.done():
                answered.set_exception(error)
            else:
                self._ports.report("cache", error)
            return
        finally:
            self.flights.land(key, flight, stored, failure)
        self.flights.remember(key, unshared=stored is None and failure is None)
        self._mark_locally(outcome)
        await self._keep(lookup, outcome, stored)

    async def _collected(self, lookup: Lookup, outcome: _Outcome) -> Entry | None:
        """Return the entry that others may use, once its body is there."""
        if outcome.collect is None or outcome.plan.store is None:
            return outcome.entry if outcome.plan.may_share else None
        body = await outcome.collect(self.settings.max_body_bytes)
        if body is None:
            return None
        record = replace(outcome.plan.store, body_bytes=self._ports.bodies.size(body))
        return self.storage.hold(lookup, record, body)

    async def _wait(self, lookup: Lookup, ask: Ask, entry: Entry | None, flight: Flight, background: Background) -> Any:
        """Wait for another request's outcome; ask the origin after all if it is no answer to this request."""
        timeout = self.settings.soft_timeout if entry and ask.fallback and self.settings.soft_timeout else self.settings.collapse_timeout
        landed = await flight.landed.wait(timeout)
        if not landed and entry and ask.fallback:
            return await self._send_stored(lookup, entry, self._status(lookup, entry, Status(Reason.SLOW_ORIGIN, hit=True)))
        if landed and flight.failure:
            plan = on_origin(lookup, ask, flight.failure, entry.fields if entry else {}, self.settings)
            return await self._send_outcome(lookup, _Outcome(replace(plan, status=replace(plan.status, collapsed=True))), entry)
        shared = flight.entry
        if landed and shared and self.storage.is_selected(lookup, shared):
            decision = await self._decide(lookup, Found(shared))
            is_answer = isinstance(decision, Use) or (isinstance(decision, Ask) and decision.reason is Reason.STALE)
            if is_answer:
                status = Status(ask.reason, forwarded=ask.forwarded, collapsed=True)
                return await self._send_stored(lookup, shared, self._status(lookup, shared, status))
        outcome = await self._ask(lookup, ask, entry)
        self._after(lookup, outcome, background)
        return await self._send_outcome(lookup, outcome, entry)

    async def _ask(self, lookup: Lookup, ask: Ask, entry: Entry | None) -> _Outcome:
        """Ask the origin, and read the body of what is to be stored and is small enough to be checked before it is sent."""
        stored_fields = entry.fields if entry else {}
        outcome = await self._asked(lookup, ask, stored_fields)
        if outcome.plan.again:
            ask = replace(ask, conditional={})
            outcome = await self._asked(lookup, ask, stored_fields)
        if outcome.plan.store and outcome.response:
            try:
                outcome = await self._with_body(lookup, outcome, outcome.response)
            except OriginError as error:
                outcome = _Outcome(on_origin(lookup, ask, error.failure, stored_fields, self.settings))
        if outcome.plan.freshen and entry:
            outcome.entry = self._freshened(entry, outcome.plan.freshen)
        key = _flight_key(lookup)
        if outcome.facts is None or outcome.facts.status >= 500:
            self.health.failed(key, self._now())
        else:
            self.health.succeeded(key)
        return outcome

    async def _asked(self, lookup: Lookup, ask: Ask, stored_fields: Fields) -> _Outcome:
        birth_ms = self._now()
        try:
            response = await self._ports.origin.fetch(lookup.request, ask.conditional, None, self.settings.origin_timeout)
        except OriginError as error:
            self._ports.report("origin", error)
            return _Outcome(on_origin(lookup, ask, error.failure, stored_fields, self.settings))
        facts = self._response_facts(lookup.request, response, birth_ms)
        hooked = self._after_origin(lookup.request, facts)
        if hooked is None:
            status = Status(Reason.HOOK_FAILED, forwarded=ask.forwarded, forwarded_status=facts.status)
            return _Outcome(Plan(Relay(), status, may_share=False), response, facts)
        return _Outcome(on_origin(lookup, ask, hooked, stored_fields, self.settings), response, hooked)

    def _response_facts(self, request: RequestFacts, response: OriginResponse, birth_ms: int) -> ResponseFacts:
        fields = localised(response.fields, request.target, self.settings)
        now_ms = self._now()
        if "date" not in fields:
            fields = {**fields, "date": http_date(now_ms)}  # RFC 9110 section 6.6.1
        return ResponseFacts(response.status, fields, birth_ms, now_ms, response.set_cookies)

    def _after_origin(self, request: RequestFacts, facts: ResponseFacts) -> ResponseFacts | None:
        if not self.hooks.after_origin:
            return facts
        hook_request = HookRequest(request.method, str(request.target), request.fields)
        result = self.hooks.after_origin(hook_request, HookResponse(facts.status, facts.fields))
        return replace(facts, fields=result.fields) if result else None

    async def _with_body(self, lookup: Lookup, outcome: _Outcome, response: OriginResponse) -> _Outcome:
        record, plan = outcome.plan.store, outcome.plan
        assert record is not None
        length = response.fields.get("content-length", "")
        length_bytes = int(length) if length.isascii() and length.isdigit() else None
        if length_bytes is not None and length_bytes > self.settings.max_body_bytes:
            status = replace(plan.status, detail=Reason.TOO_LARGE, stored=False)
            return replace(outcome, plan=replace(plan, status=status, store=None, may_share=False))
        if length_bytes is None or length_bytes > self.settings.memory_item_bytes:
            return replace(outcome, collect=response.fork())
        body = await response.read()
        record = replace(record, body_bytes=self._ports.bodies.size(body))
        return replace(outcome, entry=self.storage.hold(lookup, record, body))

    def _freshened(self, entry: Entry, record: Any) -> Entry:
        fresh = Entry(entry.key, record, entry.body, entry.size_bytes, decoded=entry.decoded, hits=entry.hits)
        if entry.is_held or entry.body is not None:
            self.storage.memory.put(entry.key, fresh)
        return fresh

    # After the answer

    def _after(self, lookup: Lookup, outcome: _Outcome, background: Background) -> None:
        self._mark_locally(outcome)
        background.run(self._finish(lookup, outcome))

    async def _finish(self, lookup: Lookup, outcome: _Outcome) -> None:
        entry = await self._collected(lookup, outcome)
        if entry:
            self.flights.remember(_flight_key(lookup), unshared=False)
        await self._keep(lookup, outcome, entry)

    def _mark_locally(self, outcome: _Outcome) -> None:
        if outcome.plan.marks and outcome.facts:
            self.storage.mark_here(outcome.plan.marks, outcome.facts.birth_ms - 1)

    async def _keep(self, lookup: Lookup, outcome: _Outcome, entry: Entry | None) -> None:
        plan = outcome.plan
        try:
            if plan.marks and outcome.facts:
                await self.storage.mark_everywhere(plan.marks, outcome.facts.birth_ms - 1, "origin-response")
            if entry and (plan.store or (plan.freshen and self._is_extended(lookup, entry))):
                await self.storage.keep(lookup, entry)
        except (StoreError, ValueError) as error:
            self._ports.report("store", error)

    def _is_extended(self, lookup: Lookup, entry: Entry) -> bool:
        freshness = freshness_of(entry.record, entry.fields, lookup.rule, self.settings)
        return freshness.lifetime_ms > 0 and not freshness.must_validate

    # Sending

    async def _send_outcome(self, lookup: Lookup, outcome: _Outcome, entry: Entry | None) -> Any:
        plan = outcome.plan
        match plan.answer:
            case Reuse():
                source = outcome.entry or entry
                assert source is not None
                try:
                    status = self._status(lookup, source, plan.status)
                    return await self._send_stored(lookup, source, status, plan.answer.record)
                except _BodyGone:
                    return self._failed(OriginFailure.UNREACHABLE, plan.status)
            case Fail():
                return self._failed(plan.answer.failure, plan.status)
            case Relay():
                return await self._send_relayed(lookup, outcome)
        assert_never(plan.answer)

    async def _send_relayed(self, lookup: Lookup, outcome: _Outcome) -> Any:
        if outcome.entry and outcome.plan.store:
            return await self._send_stored(lookup, outcome.entry, self._status(lookup, outcome.entry, outcome.plan.status), is_new=True)
        assert outcome.response is not None
        assert outcome.facts is not None
        client = lookup.client
        if client.method == "GET" and outcome.facts.status == 200 and is_not_modified(client.fields, outcome.facts.fields, self._now()):
            fields = [(name, value) for name, value in outcome.facts.fields.items() if not name.startswith("content-")]
            fields.append(("cache-status", self._cache_status(outcome.plan.status, lookup.key)))
            return self._ports.outgoing.stored(304, fields, None, is_head=False)
        return self._relay(outcome.response, outcome.facts, client, outcome.plan.status, lookup.key)

    def _relay(self, response: OriginResponse, facts: ResponseFacts, request: RequestFacts, status: Status, key: str) -> Any:
        fields: Mapping[str, str] = facts.fields
        if self.hooks.before_send:
            hook_request = HookRequest(request.method, str(request.target), request.fields)
            fields = self.hooks.before_send(hook_request, HookResponse(facts.status, fields)).fields
        changes = relayed_fields(response.fields, fields, self._cache_status(status, key), self._now())
        return self._ports.outgoing.relayed(response, changes)

    async def _send_stored(
        self, lookup: Lookup, entry: Entry, status: Status, record: Any = None, *, is_new: bool = False
    ) -> Any:
        record = record or entry.record
        answer = answer_from(record, combined(record.fields), lookup.client, self._now())
        body = await self._body(entry, answer.body, answer.part)
        fields = [field for field in answer.fields if not (is_new and field == ("age", "0"))]
        if self.hooks.before_send:
            fields = self._before_send(lookup.client, answer.status, fields)
        if shown := self._cache_status(status, lookup.key):
            fields.append(("cache-status", shown))
        return self._ports.outgoing.stored(answer.status, fields, body, is_head=lookup.client.method == "HEAD")

    def _before_send(self, request: RequestFacts, status: int, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
        assert self.hooks.before_send is not None
        before = combined(fields)
        hook_request = HookRequest(request.method, str(request.target), request.fields)
        changes = changed_fields(before, self.hooks.before_send(hook_request, HookResponse(status, before)).fields)
        kept = [(name, value) for name, value in fields if name not in changes]
        return [*kept, *((name, value) for name, value in changes.items() if value is not None)]

    async def _body(self, entry: Entry, kind: BodyKind, part: tuple[int, int] | None) -> Body | None:
        if kind is BodyKind.NONE:
            return None
        is_as_stored = kind is BodyKind.AS_STORED
        body = await (self.storage.body_of(entry) if is_as_stored else self.storage.decoded_body_of(entry))
        if body is None:
            self.storage.memory.drop(entry.key)
            raise _BodyGone
        return self._ports.bodies.part(body, *part) if part else body

    def _status(self, lookup: Lookup, entry: Entry, status: Status) -> Status:
        freshness = freshness_of(entry.record, entry.fields, lookup.rule, self.settings)
        return replace(status, ttl_seconds=(freshness.lifetime_ms - current_age_ms(entry.record, self._now())) // 1000)

    def _cache_status(self, status: Status, key: str) -> str:
        return cache_status(self.settings.cache_name, status, key) if self.settings.cache_status else ""

    def _failed(self, failure: OriginFailure, status: Status) -> Any:
        code = 504 if failure is OriginFailure.TIMEOUT else 502
        return self._plain(code, _EXPLANATIONS[failure], status)

    def _plain(self, code: int, text: str, status: Status) -> Any:
        fields = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")]
        if shown := self._cache_status(status, ""):
            fields.append(("cache-status", shown))
        return self._ports.outgoing.plain(code, fields, text + "\n")


def _facts(incoming: Incoming) -> RequestFacts | None:
    try:
        return RequestFacts(incoming.method, parse_target(incoming.url), incoming.fields)
    except InvalidTarget:
        return None


def _flight_key(lookup: Lookup) -> str:
    return variant_key(lookup.key, lookup.parts)


def _as_asked(lookup: Lookup, ask: Ask) -> Lookup:
    """Return the look-up with the client's own preconditions and range: nothing is to be shared or validated."""
    if ask.stored:
        return lookup
    own = {name: lookup.client.fields[name] for name in _CLIENT_CONDITIONS if name in lookup.client.fields}
    return replace(lookup, request=replace(lookup.request, fields={**lookup.request.fields, **own})) if own else lookup


def _failure_of(outcome: _Outcome) -> OriginFailure | None:
    return outcome.plan.answer.failure if isinstance(outcome.plan.answer, Fail) else None
