"""Collapsed forwarding: requests for one response wait for one answer of the origin, and share it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import assert_never

from origin_sdk_edge.asker import Asker
from origin_sdk_edge.counters import Counters
from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.fills import Fill
from origin_sdk_edge.flights import Flight, Flights
from origin_sdk_edge.global_flights.pilot import Joined, Pilot
from origin_sdk_edge.judge import Judge
from origin_sdk_edge.policy.decision import Ask, Lookup
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.policy.outcome import Fail, Relay, Reuse
from origin_sdk_edge.policy.revalidation import with_conditions
from origin_sdk_edge.policy.status import Status
from origin_sdk_edge.ports import OriginError, Pipe, Ports, Response, Signal, Stream, Work
from origin_sdk_edge.questions import Outcome, Question
from origin_sdk_edge.sender import Sender
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.storability import content_length, unstored_fields

__all__ = ["Collapse"]

_GRACE_SECONDS = 2.0
"""So much longer than the reader of an origin its clients wait before they take it for lost."""

_SLOW = Status(Reason.SLOW_ORIGIN, hit=True)

LookUp = Callable[[Lookup, Exchange], Awaitable[Response]]
Run = Callable[[Work], None]


@dataclass(slots=True, eq=False)
class _Answered:
    """What came of asking, for the request that began it."""

    signal: Signal
    outcome: Outcome | None = None
    error: Exception | None = None
    is_left: bool = False
    """Whether that request has been answered otherwise."""

    @property
    def is_open(self) -> bool:
        """Whether the request still waits for it."""
        return not (self.outcome or self.error or self.is_left)

    def set(self, outcome: Outcome | None, error: Exception | None = None) -> None:
        self.outcome, self.error = outcome, error
        self.signal.set()

    async def result(self) -> Outcome:
        await self.signal.wait(None)
        if self.outcome is None:
            raise self.error or RuntimeError("the request that asked the origin is lost")
        return self.outcome


class Collapse:
    """Who asks the origin, who waits for whom, and what they are sent.

    ``look_up`` answers from what is stored, should that turn out to do. With a ``pilot`` an isolate may wait
    for another one's answer.
    """

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        judge: Judge,
        asker: Asker,
        sender: Sender,
        ports: Ports,
        counters: Counters,
        look_up: LookUp,
        pilot: Pilot | None = None,
    ) -> None:
        self.flights = Flights(ports.timing, storage.memory.table(1 / 32))
        self._settings = settings
        self._storage = storage
        self._judge = judge
        self._asker = asker
        self._sender = sender
        self._bodies = ports.bodies
        self._timing = ports.timing
        self._counters = counters
        self._look_up = look_up
        self._pilot = pilot

    def rests(self, question: Question) -> Reason | None:
        """Return why the origin isn't to be asked for what can be answered otherwise."""
        health, now_ms = self._asker.health, self._timing.now_ms()
        if reason := health.rests(self._asker.subject(question), now_ms):
            return reason
        if question.is_wish and not self.flights.current(question.key, question.voice):
            return None if health.follows_wish(question.key, now_ms) else Reason.THROTTLED
        return None

    async def ask_or_wait(
        self, lookup: Lookup, ask: Ask, entry: Entry | None, exchange: Exchange
    ) -> Response:
        if exchange.flights_before is None:
            exchange.flights_before = self.flights.started
        key = entry.key if entry else self._storage.variants.expected_key(lookup)
        question = Question(lookup, ask, entry, key)
        if entry and self._judge.may_stand_in(lookup, ask, entry) and (reason := self.rests(question)):
            return await self._sender.stored(exchange, lookup, entry, Status(reason, hit=True))
        flight = self.flights.current(key, question.voice)
        is_apart = lookup.request.method == "HEAD" or ask.reason is Reason.CREDENTIALS
        if not is_apart and self.flights.is_unshared(key, question.voice):
            is_apart, ask = True, replace(ask, hit_for_miss=True)
        if is_apart or (ask.is_for_part and not flight):
            return await self._ask_alone(Question(with_conditions(lookup, ask), ask, entry, key), exchange)
        return await (self._wait(question, flight, exchange) if flight else self._fly(question, exchange))

    async def _ask_alone(self, question: Question, exchange: Exchange) -> Response:
        """Ask the origin for this request only."""
        began_ms = self._timing.now_ms()
        outcome = await self._asker.ask(question)
        exchange.origin_ms += self._timing.now_ms() - began_ms
        exchange.run(self._finish(question, outcome))
        return await self._send(question, outcome, exchange)

    async def _finish(self, question: Question, outcome: Outcome) -> None:
        try:
            entry = await self._asker.collected(question, outcome)
        except OriginError:
            return
        if question.lookup.request.method != "HEAD" and not question.ask.is_for_part:
            self._remember_sharing(question, outcome, entry)
        await self._asker.intake.keep(question.lookup, outcome, entry)

    def _remember_sharing(self, question: Question, outcome: Outcome, entry: Entry | None) -> None:
        if entry or outcome.speaks_of_sharing:
            self.flights.remember(question.key, question.voice, unshared=entry is None)

    async def _fly(self, question: Question, exchange: Exchange) -> Response:
        """Ask the origin for this request and all that come to wait for it."""
        answered, began_ms = _Answered(self._timing.signal()), self._timing.now_ms()
        flight = self.flights.start(question.key, question.voice)
        exchange.run(self.lead(question, flight, answered, exchange.run))
        if self._stand_in(question):
            await answered.signal.wait(self._settings.soft_timeout_of(question.lookup.rule))
            if answered.is_open and (entry := self._stand_in(question)):
                answered.is_left = True
                return await self._sender.stored(exchange, question.lookup, entry, _SLOW)
        outcome = await answered.result()
        exchange.origin_ms += self._timing.now_ms() - began_ms
        return await self._send(question, outcome, exchange)

    def _stand_in(self, question: Question) -> Entry | None:
        """Return what may be sent if the origin is slow."""
        entry = question.entry if self._settings.soft_timeout_of(question.lookup.rule) else None
        return entry if entry and self._judge.may_stand_in(question.lookup, question.ask, entry) else None

    async def lead(
        self, question: Question, flight: Flight, answered: _Answered | None, run: Run
    ) -> Outcome | None:
        """Ask the origin for all that wait. It goes on if the client that began it goes away.

        What others in the world are told meanwhile is done by ``run``. Return what came of it; ``None`` if
        the body broke off.
        """
        stored: Entry | None = None
        outcome: Outcome | None = None
        failure: OriginFailure | None = None
        joined = Joined()
        try:
            joined = await self._joined(question, run)
            if joined.is_released:
                self.flights.land(question.key, flight)
            outcome = joined.outcome or await self._asker.ask(question.leading(flight))
            failure = outcome.failure
            if joined.is_unavailable:
                status = replace(outcome.plan.status, is_without_flight=True)
                outcome.plan = replace(outcome.plan, status=status)
            if answered and answered.is_open:
                answered.set(outcome)
            elif outcome.fill:
                outcome.fill.expect_nobody()
            self._share_coming(question, flight, outcome)
            stored = await self._asker.collected(question, outcome)
        except OriginError as error:
            failure = error.failure
            return None
        except Exception as error:
            if answered and answered.is_open:
                answered.set(None, error)
            raise
        finally:
            self.flights.land(question.key, flight, stored, failure)
            if self._pilot and joined.lead:
                is_sound = outcome is not None and outcome.is_sound
                run(self._pilot.land(joined.lead, stored, failure, is_sound=is_sound))
        self._remember_sharing(question, outcome, stored)
        await self._asker.intake.keep(question.lookup, outcome, stored)
        return outcome

    async def _joined(self, question: Question, run: Run) -> Joined:
        """Join the flight of all isolates, where there is one for this.

        Where the shield is asked it does: who led it here would wait for the shield, and that for the leader.
        """
        if (
            self._pilot is None
            or not self._pilot.is_for(question)
            or self._asker.upstream.asks_shield(question)
        ):
            return Joined()
        joined = await self._pilot.join(question)
        if joined.lead:
            run(self._pilot.beats(joined.lead))
        return joined

    async def _wait(self, question: Question, flight: Flight, exchange: Exchange) -> Response:
        """Wait for another request's outcome."""
        is_soft = self._stand_in(question) is not None
        settings = self._settings
        patience = settings.soft_timeout_of(question.lookup.rule) if is_soft else settings.collapse_timeout
        began_ms = self._timing.now_ms()
        while not flight.has_landed:
            if flight.coming and (response := await self._fed(question, flight, exchange)):
                return response
            has_news = await flight.hears(patience, is_firm=is_soft)
            exchange.shared_ms = self._timing.now_ms() - began_ms
            if not has_news:
                break
        else:
            return await self._share(question, flight, exchange)
        if entry := self._stand_in(question):
            return await self._sender.stored(exchange, question.lookup, entry, _SLOW)
        # It may be lost together with its request: the first to lose patience starts another flight, for
        # those to come.
        if self.flights.current(question.key, question.voice) is flight:
            return await self._fly(question, exchange)
        return await self._ask_alone(question, exchange)

    async def _share(self, question: Question, flight: Flight, exchange: Exchange) -> Response:
        """Answer as a flight that landed was answered; ask the origin after all if that is no answer here."""
        lookup, ask, entry = question.lookup, question.ask, question.entry
        if not flight.entry and flight.voice not in {"", question.voice}:
            return await self._ask_alone(question, exchange)
        if flight.failure:
            shared = self._asker.shared_failure(question, flight.failure)
            return await self._send(question, shared, exchange)
        is_later = _is_later(flight, exchange)
        if flight.entry and await self._judge.answers(lookup, flight.entry, is_later=is_later):
            status = Status(ask.reason, forwarded=ask.forwarded, collapsed=True)
            return await self._sender.stored(exchange, lookup, flight.entry, status)
        # Purged since it was asked for: all that came meanwhile wait for the next one, which is later.
        is_purged = flight.entry and not is_later and self._judge.is_purged(lookup, flight.entry)
        # Or what came shows what responses vary by.
        varies = not entry and self._storage.variants.expected_key(lookup) != question.key
        if flight.entry and (is_purged or varies):
            return await self.ask_or_wait(lookup, ask, entry, exchange)
        # Or that the origin isn't well, and what is stored will do, if it still is.
        if entry and self._judge.may_stand_in(lookup, ask, entry) and self.rests(question):
            return await self._look_up(lookup, exchange)
        return await self._ask_alone(question, exchange)

    # Bodies on their way

    def _feed_client(self, question: Question, outcome: Outcome, exchange: Exchange) -> None:
        """Let the client that a body came for have it as it comes."""
        fill, response, facts, lookup = outcome.fill, outcome.response, outcome.facts, question.lookup
        if fill is None or response is None or facts is None:
            return
        if self._sender.code_by_fields(facts, lookup.client, lookup.key):
            fill.expect_nobody()
        else:
            response.body = self._pipe(fill, content_length(response.fields), exchange)

    def _share_coming(self, question: Question, flight: Flight, outcome: Outcome) -> None:
        """Let those who wait have a body while it comes."""
        if outcome.fill and outcome.plan.store and outcome.plan.may_share:
            flight.share(self._storage.retention.coming(question.lookup, outcome.plan.store), outcome.fill)

    async def _fed(self, question: Question, flight: Flight, exchange: Exchange) -> Response | None:
        """Answer with a body that is still on its way; ``None`` if that is no answer here."""
        lookup, coming, fill = question.lookup, flight.coming, flight.fill
        if coming is None or fill is None or "range" in lookup.client.fields:
            return None
        is_later = _is_later(flight, exchange)
        if not await self._judge.answers(lookup, coming, is_later=is_later) or not fill.is_joinable:
            return None
        size_bytes = content_length(coming.fields)
        status = Status(question.ask.reason, forwarded=question.ask.forwarded, collapsed=True)
        return await self._sender.stored(
            exchange, lookup, coming, status, stream=lambda: self._pipe(fill, size_bytes, exchange)
        )

    def _pipe(self, fill: Fill, size_bytes: int | None, exchange: Exchange) -> Stream:
        """Make the stream by which one client is fed."""
        pipe = self._bodies.pipe(size_bytes)
        fill.join(pipe)
        exchange.run(self._feed(fill, pipe, exchange, is_sized=size_bytes is not None))
        return pipe.readable

    async def _feed(self, fill: Fill, pipe: Pipe, exchange: Exchange, *, is_sized: bool) -> None:
        await fill.feed(pipe, self._settings.between_bytes_timeout + _GRACE_SECONDS)
        if not is_sized:
            self._counters.sent_more(exchange, fill.size_bytes)

    async def _send(self, question: Question, outcome: Outcome, exchange: Exchange) -> Response:
        plan, lookup = outcome.plan, question.lookup
        source = outcome.entry or question.entry
        match plan.answer:
            case Reuse(record) if source:
                own = plan.own_fields or None
                return await self._sender.stored(exchange, lookup, source, plan.status, record, unstored=own)
            case Fail(failure):
                return self._sender.failed(exchange, failure, plan.status)
            case Relay() if outcome.entry and plan.store and outcome.facts:
                unstored = unstored_fields(outcome.facts, lookup.rule, self._settings)
                return await self._sender.stored(
                    exchange, lookup, outcome.entry, plan.status, unstored=unstored
                )
            case Relay() if outcome.response and outcome.facts:
                self._feed_client(question, outcome, exchange)
                return await self._sender.relayed(
                    exchange, outcome.response, outcome.facts, lookup.client, plan.status, lookup.key
                )
            case Reuse() | Relay():
                raise RuntimeError(f"nothing to send for {plan}")
        assert_never(plan.answer)


def _is_later(flight: Flight, exchange: Exchange) -> bool:
    """Whether the origin was asked after the request had come."""
    return exchange.flights_before is not None and flight.number > exchange.flights_before
