"""Carries out what the policy decides: finds, asks, waits, sends. It holds no rule of HTTP."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, assert_never

from cachewire.errors import InvalidTarget
from cachewire.key import parse_target
from cachewire.marks import Lane
from cachewire.settings import Settings
from edgecache.asking import Asker, Outcome, Question
from edgecache.begun import Begun
from edgecache.fills import Fill
from edgecache.flights import Flight, Flights
from edgecache.hooks import HookAnswer, HookRequest, Hooks
from edgecache.memory import Entry
from edgecache.policy.decision import (
    DEFAULT_RULE,
    Ask,
    Forward,
    Invalidity,
    Lookup,
    Refuse,
    Use,
    on_request,
    on_stored,
)
from edgecache.policy.facts import OriginFailure, Reason, RequestFacts
from edgecache.policy.freshness import freshness_of
from edgecache.policy.outcome import Fail, Relay, Reuse, on_forwarded
from edgecache.policy.relay import end_to_end, lacks_length
from edgecache.policy.status import Forwarded, Status
from edgecache.policy.storing import content_length, unstored_fields
from edgecache.policy.validation import PRECONDITIONS, conditional_fields
from edgecache.ports import Background, Incoming, OriginError, Ports, StoreError
from edgecache.refreshes import Refreshes
from edgecache.sending import BodyGoneError, Sender
from edgecache.storage import Found, Storage

__all__ = ["MARKS_AHEAD", "Handler", "Served"]

_CLIENT_CONDITIONS = (*sorted(PRECONDITIONS), "if-none-match", "if-modified-since", "if-range", "range")
_CLIENT_WISHES = ("cache-control", "pragma")
_GRACE_SECONDS = 2.0
"""So much longer than the reader of an origin its clients wait before they take it for lost."""
MARKS_AHEAD = 0.7
"""The share of the interval after which the marks of a response in use are read again, in the background."""


@dataclass(slots=True)
class Served:
    """A response for the runtime.

    If it came out of storage, also by which decision, so that it can be repeated without deciding anew.
    """

    response: Any
    lookup: Lookup | None = None
    entry: Entry | None = None
    use: Use | None = None
    generation: int = 0
    """That of the purge marks by which it was decided."""


class Handler:
    """Answers requests. One for each isolate: it holds what concurrent requests share."""

    def __init__(self, settings: Settings, hooks: Hooks, storage: Storage, ports: Ports) -> None:
        self.settings = settings
        self.hooks = hooks
        self.storage = storage
        self.flights = Flights(ports.timing, storage.memory.table(1 / 32))
        self.refreshes = Refreshes(ports.timing, settings.refresh_concurrency)
        self._origin = ports.origin
        self._bodies = ports.bodies
        self._outgoing = ports.outgoing
        self._timing = ports.timing
        self._report = ports.report
        self._sender = Sender(settings, hooks, storage, ports)
        self._asker = Asker(settings, hooks, storage, ports)

    async def handle(self, incoming: Incoming, background: Background) -> Served:
        """Answer one request. A fault of the cache itself is reported, and the request goes to the origin."""
        request = _facts(incoming)
        if request is None or lacks_length(request):
            return Served(self._refused(request))
        hooked = self._before_lookup(request)
        if isinstance(hooked, HookAnswer):
            return Served(self._outgoing.plain(hooked.status, list(hooked.fields.items()), hooked.text))
        if hooked is None:
            forward = Forward(request, DEFAULT_RULE, Reason.HOOK_FAILED)
            return Served(await self._forward(forward, incoming.body, background))
        decision = on_request(hooked, self.settings, self._timing.now_ms())
        if isinstance(decision, Forward):
            return Served(await self._forward(decision, incoming.body, background))
        try:
            return await self._look_up(decision, background)
        except Exception as error:  # noqa: BLE001 - a fault in the cache must not take the API down
            self._report("cache", error)
            forward = Forward(hooked, decision.rule, Reason.CACHE_FAULT)
            return Served(await self._forward(forward, None, background))

    def _refused(self, request: RequestFacts | None) -> Any:
        if request is None:
            return self._sender.plain(400, "The URL of the request can't be read.", Status(Reason.BAD_URL))
        text = f"A {request.method} with a body needs a Content-Length: otherwise it can't be passed on."
        return self._sender.plain(411, text, Status(Reason.BODY))

    def _before_lookup(self, request: RequestFacts) -> RequestFacts | HookAnswer | None:
        if not self.hooks.before_lookup:
            return request
        result = self.hooks.before_lookup(HookRequest(request.method, str(request.target), request.fields))
        if isinstance(result, HookRequest):
            own = {name for name, value in result.fields.items() if request.fields.get(name) != value}
            return RequestFacts(result.method, parse_target(result.url), result.fields, frozenset(own))
        return result

    # The cache takes no part

    async def _forward(self, forward: Forward, body: Any, background: Background) -> Any:
        birth_ms = self._timing.now_ms()
        try:
            response = await self._origin.fetch(forward.request, {}, body, self.settings.origin_timeout)
        except OriginError as error:
            self._report("origin", error)
            return self._sender.failed(
                error.failure, Status(error.failure.value, forwarded=forward.forwarded)
            )
        facts = self._asker.facts_of(forward.request, response, birth_ms)
        plan = on_forwarded(forward, facts, self.settings)
        if plan.marks:
            lane = Lane.SOFT if self.settings.is_safe else Lane.HARD
            self.storage.mark_here(plan.marks, lane, facts.response_ms, must_validate=True)
            background.run(self._mark_everywhere(plan.marks, lane))
        if plan.store and plan.lookup:
            try:
                entry = await self._asker.taken(plan.lookup, plan.store, response)
            except OriginError as error:
                self._report("origin", error)
                return self._sender.failed(error.failure, plan.status)
            background.run(self._asker.keep(plan.lookup, Outcome(replace(plan, marks=())), entry))
        return self._sender.relayed(response, facts, forward.request, plan.status)

    async def _mark_everywhere(self, names: tuple[str, ...], lane: Lane) -> None:
        try:
            if self.settings.is_safe:
                names = tuple([name for name in names if await self._may_cover(name)])
            await self.storage.mark_everywhere(names, lane, "unsafe-request")
        except StoreError as error:
            self._report("invalidation", error)

    async def _may_cover(self, name: str) -> bool:
        """Whether a mark of that name covers anything stored. That costs a read, and the mark a write."""
        kind, _, location = name.partition("/")
        return kind != "url" or await self.storage.may_hold(location)

    # Looking

    async def _look_up(self, lookup: Lookup, background: Background) -> Served:
        found = await self._find(lookup)
        decision = await self._decide(lookup, found)
        absent = Ask(Forwarded.URI_MISS, Reason.ABSENT)
        if isinstance(decision, Use) and found.entry:
            try:
                return await self._use(lookup, found.entry, decision, background)
            except Exception as error:  # noqa: BLE001 - KV may hold what can't be sent: it counts as absent
                self._report("store", error)
                self.storage.memory.drop(found.entry.key)
                return Served(await self._ask_or_wait(lookup, absent, None, background))
        if isinstance(decision, Ask):
            try:
                return Served(await self._ask_or_wait(lookup, decision, found.entry, background))
            except BodyGoneError as error:
                self._report("store", error)
                return Served(await self._ask_or_wait(lookup, absent, None, background))
        text = (
            "Nothing that may be used is stored, and the request allows no more than that (only-if-cached)."
        )
        return Served(self._sender.plain(504, text, Status(Reason.ONLY_IF_CACHED)))

    async def _find(self, lookup: Lookup) -> Found:
        found = self.storage.find_in_memory(lookup)
        if found.entry:
            return found
        looking = self.storage.find_in_store(lookup)
        if not self.storage.marks.outdated(lookup.mark_names, self._timing.now_ms()):
            return await looking
        marks = Begun(self.storage.read_marks(lookup.mark_names))
        found = await looking
        await marks
        return found

    async def _decide(self, lookup: Lookup, found: Found) -> Use | Ask | Refuse:
        now_ms, entry = self._timing.now_ms(), found.entry
        if entry is None:
            return on_stored(
                lookup, None, {}, Invalidity(), now_ms, self.settings, other_variant=found.other_variant
            )
        invalidity = self.storage.known_invalidity(lookup, entry.record, now_ms)
        if invalidity is None:
            invalidity = await self.storage.invalidity(lookup, entry.record)
            now_ms = self._timing.now_ms()
        return on_stored(lookup, entry.record, entry.fields, invalidity, now_ms, self.settings)

    async def _use(self, lookup: Lookup, entry: Entry, use: Use, background: Background) -> Served:
        entry.hits += 1
        generation = self.storage.marks.generation
        status = Status(use.reason, hit=True, ttl_seconds=use.ttl_seconds)
        response = await self._sender.stored(lookup, entry, status)
        if use.refresh or self._is_due(lookup, entry, use):
            self._refresh(lookup, entry, background)
        self._read_marks_ahead(lookup, entry, background)
        return Served(response, lookup, entry, use, generation)

    def _is_due(self, lookup: Lookup, entry: Entry, use: Use) -> bool:
        """Whether a hot response is so near its expiry that it is refreshed ahead."""
        share = self.settings.refresh_ahead
        if not share or entry.hits < 2 or use.reason is not Reason.FRESH:
            return False
        freshness = freshness_of(entry.record, entry.fields, lookup.rule, self.settings)
        return use.ttl_seconds * 1000 < freshness.lifetime_ms * share

    def _read_marks_ahead(self, lookup: Lookup, entry: Entry, background: Background) -> None:
        marks, now_ms = self.storage.marks, self._timing.now_ms()
        if marks.known_until(lookup, entry.record) < now_ms - marks.interval_ms * MARKS_AHEAD:
            names = marks.deciding(lookup, entry.record)
            outdated = marks.claim(marks.outdated(names, now_ms, MARKS_AHEAD / 2), now_ms)
            if outdated:
                background.run(self._read_marks(outdated))

    async def _read_marks(self, names: list[str]) -> None:
        await self.storage.read_marks(names, MARKS_AHEAD / 2)

    # Asking the origin

    def _refresh(self, lookup: Lookup, entry: Entry, background: Background) -> None:
        key, rule = entry.key, id(lookup.rule)
        lookup = _own(lookup)
        ask = Ask(
            Forwarded.STALE,
            Reason.STALE,
            entry.record,
            conditional_fields(entry.fields),
            fallback=True,
            when_disconnected=True,
        )
        question = Question(lookup, ask, entry, key)
        is_waiting = self.refreshes.knows(key) or self.flights.current(key, question.voice)
        if is_waiting or self.flights.is_unshared(key, question.voice) or self._rests(question):
            return
        if self.refreshes.begin(key, rule):
            background.run(self._refresh_now(question, self.flights.start(key, question.voice)))
        elif not self.refreshes.is_full():
            background.run(self._refresh_later(question, rule))

    async def _refresh_now(self, question: Question, flight: Flight) -> None:
        try:
            await self._lead(question, flight, None)
        finally:
            self.refreshes.end(question.key)

    async def _refresh_later(self, question: Question, rule: int) -> None:
        key = question.key
        if not await self.refreshes.turn(key, rule):
            return
        held = self.storage.memory.get(key)
        if self.flights.current(key, question.voice) or (held and held is not question.entry):
            self.refreshes.end(key)  # somebody else has refreshed it
            return
        await self._refresh_now(question, self.flights.start(key, question.voice))

    def _rests(self, question: Question) -> Reason | None:
        """Return why the origin isn't to be asked for what can be answered otherwise."""
        health, now_ms = self._asker.health, self._timing.now_ms()
        if reason := health.rests(self._asker.subject(question), now_ms):
            return reason
        if question.is_wish and not self.flights.current(question.key, question.voice):
            return None if health.follows_wish(question.key, now_ms) else Reason.THROTTLED
        return None

    async def _ask_or_wait(
        self, lookup: Lookup, ask: Ask, entry: Entry | None, background: Background
    ) -> Any:
        key = entry.key if entry else self.storage.expected_key(lookup)
        question = Question(lookup, ask, entry, key)
        if entry and self._may_stand_in(lookup, ask, entry) and (reason := self._rests(question)):
            return await self._sender.stored(lookup, entry, Status(reason, hit=True))
        flight = self.flights.current(key, question.voice)
        is_apart = lookup.request.method != "GET" or ask.reason is Reason.CREDENTIALS
        if not is_apart and self.flights.is_unshared(key, question.voice):
            is_apart, ask = True, replace(ask, hit_for_miss=True)
        if is_apart or (ask.is_for_part and not flight):
            return await self._ask_alone(Question(_as_asked(lookup, ask), ask, entry, key), background)
        return await (self._wait(question, flight, background) if flight else self._fly(question, background))

    async def _ask_alone(self, question: Question, background: Background) -> Any:
        """Ask the origin for this request only."""
        outcome = await self._asker.ask(question)
        background.run(self._finish(question, outcome))
        return await self._send(question, outcome, background)

    async def _finish(self, question: Question, outcome: Outcome) -> None:
        try:
            entry = await self._asker.collected(question, outcome)
        except OriginError:
            return
        if question.lookup.request.method == "GET" and not question.ask.is_for_part:
            self._remember_sharing(question, outcome, entry)
        await self._asker.keep(question.lookup, outcome, entry)

    def _remember_sharing(self, question: Question, outcome: Outcome, entry: Entry | None) -> None:
        if entry or outcome.speaks_of_sharing:
            self.flights.remember(question.key, question.voice, unshared=entry is None)

    async def _fly(self, question: Question, background: Background) -> Any:
        """Ask the origin for this request and all that come to wait for it."""
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        flight = self.flights.start(question.key, question.voice)
        background.run(self._lead(question, flight, answered))
        if self._stand_in(question):
            await asyncio.wait({answered}, timeout=self.settings.soft_timeout)
            if not answered.done() and (entry := self._stand_in(question)):
                answered.cancel()
                return await self._sender.stored(question.lookup, entry, Status(Reason.SLOW_ORIGIN, hit=True))
        return await self._send(question, await answered, background)

    def _stand_in(self, question: Question) -> Entry | None:
        """Return what may be sent if the origin is slow."""
        entry = question.entry if self.settings.soft_timeout else None
        return entry if entry and self._may_stand_in(question.lookup, question.ask, entry) else None

    def _may_stand_in(self, lookup: Lookup, ask: Ask, entry: Entry) -> bool:
        """Whether what is stored may still be sent without asking; another answer may have ended it since."""
        return ask.fallback and not self.storage.is_ended(lookup, entry.key, entry.record)

    async def _lead(
        self, question: Question, flight: Flight, answered: "asyncio.Future[Outcome] | None"
    ) -> None:
        """Ask the origin for all that wait. It goes on if the client that began it goes away."""
        stored: Entry | None = None
        failure: OriginFailure | None = None
        try:
            outcome = await self._asker.ask(replace(question, flight=flight))
            failure = outcome.failure
            if answered and not answered.done():
                answered.set_result(outcome)
            elif outcome.fill:
                outcome.fill.is_expected = False
            self._share_coming(question, flight, outcome)
            stored = await self._asker.collected(question, outcome)
        except OriginError as error:
            failure = error.failure
            return
        except Exception as error:
            if answered and not answered.done():
                answered.set_exception(error)
            raise
        finally:
            self.flights.land(question.key, flight, stored, failure)
        self._remember_sharing(question, outcome, stored)
        await self._asker.keep(question.lookup, outcome, stored)

    async def _wait(self, question: Question, flight: Flight, background: Background) -> Any:
        """Wait for another request's outcome."""
        is_soft = self._stand_in(question) is not None
        patience = self.settings.soft_timeout if is_soft else self.settings.collapse_timeout
        while not flight.has_landed:
            if flight.coming and (response := await self._fed(question, flight, background)):
                return response
            if not await flight.hears(patience, is_firm=is_soft):
                break
        else:
            return await self._share(question, flight, background)
        if entry := self._stand_in(question):
            return await self._sender.stored(question.lookup, entry, Status(Reason.SLOW_ORIGIN, hit=True))
        # It may be lost together with its request: the first to lose patience flies anew, for those to come.
        if self.flights.current(question.key, question.voice) is flight:
            return await self._fly(question, background)
        return await self._ask_alone(question, background)

    async def _share(self, question: Question, flight: Flight, background: Background) -> Any:
        """Answer as a flight that landed was answered; ask the origin after all if that is no answer here."""
        lookup, ask, entry = question.lookup, question.ask, question.entry
        if not flight.entry and flight.voice not in {"", question.voice}:
            return await self._ask_alone(question, background)
        if flight.failure:
            plan = self._asker.shared_failure(question, flight.failure).plan
            shared = Outcome(replace(plan, status=replace(plan.status, collapsed=True)))
            return await self._send(question, shared, background)
        if flight.entry and await self._answers(lookup, flight.entry):
            status = Status(ask.reason, forwarded=ask.forwarded, collapsed=True)
            return await self._sender.stored(lookup, flight.entry, status)
        # What came shows what responses vary by.
        if flight.entry and not entry and self.storage.expected_key(lookup) != question.key:
            return await self._ask_or_wait(lookup, ask, entry, background)
        # Or that the origin isn't well, and what is stored will do, if it still is.
        if entry and self._may_stand_in(lookup, ask, entry) and self._rests(question):
            return (await self._look_up(lookup, background)).response
        return await self._ask_alone(question, background)

    # Bodies on their way

    def _feed_client(self, question: Question, outcome: Outcome, background: Background) -> None:
        """Let the client that a body came for have it as it comes."""
        fill, response, facts, lookup = outcome.fill, outcome.response, outcome.facts, question.lookup
        if fill is None or response is None or facts is None:
            return
        if self._sender.code_by_fields(facts, lookup.client, lookup.key):
            fill.is_expected = False
        else:
            response.body = self._pipe(fill, content_length(response.fields), background)

    def _share_coming(self, question: Question, flight: Flight, outcome: Outcome) -> None:
        """Let those who wait have a body while it comes."""
        if outcome.fill and outcome.plan.store and outcome.plan.may_share:
            flight.share(self.storage.coming(question.lookup, outcome.plan.store), outcome.fill)

    async def _fed(self, question: Question, flight: Flight, background: Background) -> Any | None:
        """Answer with a body that is still on its way; ``None`` if that is no answer here."""
        lookup, coming, fill = question.lookup, flight.coming, flight.fill
        if coming is None or fill is None or "range" in lookup.client.fields:
            return None
        if not await self._answers(lookup, coming) or not fill.is_joinable:
            return None
        size_bytes = content_length(coming.fields)
        status = Status(question.ask.reason, forwarded=question.ask.forwarded, collapsed=True)
        return await self._sender.stored(
            lookup, coming, status, stream=lambda: self._pipe(fill, size_bytes, background)
        )

    def _pipe(self, fill: Fill, size_bytes: int | None, background: Background) -> Any:
        """Make the stream by which one client is fed."""
        pipe = self._bodies.pipe(size_bytes)
        fill.join(pipe)
        background.run(fill.feed(pipe, self.settings.between_bytes_timeout + _GRACE_SECONDS))
        return pipe.readable

    async def _answers(self, lookup: Lookup, entry: Entry) -> bool:
        """Whether a response that has only just come for another request answers this one."""
        if not self.storage.is_selected(lookup, entry):
            return False
        decision = await self._decide(lookup, Found(entry))
        return isinstance(decision, Use) or (isinstance(decision, Ask) and decision.reason is Reason.STALE)

    async def _send(self, question: Question, outcome: Outcome, background: Background) -> Any:
        plan, lookup = outcome.plan, question.lookup
        source = outcome.entry or question.entry
        match plan.answer:
            case Reuse(record) if source:
                own = plan.own_fields or None
                return await self._sender.stored(lookup, source, plan.status, record, unstored=own)
            case Fail(failure):
                return self._sender.failed(failure, plan.status)
            case Relay() if outcome.entry and plan.store and outcome.facts:
                unstored = unstored_fields(outcome.facts, lookup.rule, self.settings)
                return await self._sender.stored(lookup, outcome.entry, plan.status, unstored=unstored)
            case Relay() if outcome.response and outcome.facts:
                self._feed_client(question, outcome, background)
                return self._sender.relayed(
                    outcome.response, outcome.facts, lookup.client, plan.status, lookup.key
                )
            case Reuse() | Relay():
                raise RuntimeError(f"nothing to send for {plan}")
        assert_never(plan.answer)


def _facts(incoming: Incoming) -> RequestFacts | None:
    try:
        return RequestFacts(incoming.method, parse_target(incoming.url), end_to_end(incoming.fields))
    except InvalidTarget:
        return None


def _own(lookup: Lookup) -> Lookup:
    """Return the look-up for a request of the cache's own: without what the client wants of caches."""
    fields = {name: value for name, value in lookup.request.fields.items() if name not in _CLIENT_WISHES}
    return replace(lookup, request=replace(lookup.request, method="GET", fields=fields))


def _as_asked(lookup: Lookup, ask: Ask) -> Lookup:
    """Return the look-up with the client's own preconditions and range, where nothing stored is validated."""
    own = {name: value for name in _CLIENT_CONDITIONS if (value := lookup.client.fields.get(name))}
    if ask.stored or not own:
        return lookup
    return replace(lookup, request=replace(lookup.request, fields={**lookup.request.fields, **own}))
