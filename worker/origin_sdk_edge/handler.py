"""Carries out what the policy decides: finds, asks, waits, sends. It holds no rule of HTTP."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import cached_property

from origin_sdk_edge.asker import Asker
from origin_sdk_edge.collapse import Collapse
from origin_sdk_edge.counters import Counters
from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.forwarder import Forwarder
from origin_sdk_edge.global_flights.pilot import FlightPort, Pilot
from origin_sdk_edge.hooks import HookAnswer, HookRequest, Hooks
from origin_sdk_edge.intake import Intake
from origin_sdk_edge.judge import Judge
from origin_sdk_edge.policy.credentials import bearer_token, claims_of, presented_key
from origin_sdk_edge.policy.decision import Ask, Awaited, Forward, Lookup, Use
from origin_sdk_edge.policy.facts import CheckedToken, Content, RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.relay import end_to_end, lacks_length
from origin_sdk_edge.policy.revalidation import ABSENT, is_due_ahead
from origin_sdk_edge.policy.shield_field import parse_asking, received
from origin_sdk_edge.policy.status import Status
from origin_sdk_edge.policy.trace import with_valid_trace
from origin_sdk_edge.ports import (
    Background,
    ContentError,
    Incoming,
    LateContentError,
    Ports,
    Read,
    Request,
    Response,
)
from origin_sdk_edge.purge_log.switches import Switches
from origin_sdk_edge.refresher import Refresher
from origin_sdk_edge.refreshes import Refreshes
from origin_sdk_edge.sender import BodyGoneError, Sender
from origin_sdk_edge.shield import Shield, ShieldPort
from origin_sdk_edge.storage import Found, Storage
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_edge.upstream import Upstream
from origin_sdk_wire.disguise import keyed_targets
from origin_sdk_wire.errors import InvalidTarget
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.freshness import current_age_ms
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import Lane, url_mark
from origin_sdk_wire.metrics import Tier
from origin_sdk_wire.rules import first_match
from origin_sdk_wire.settings import DEFAULT_RULE, Settings
from origin_sdk_wire.shield import SHIELD_FIELD, settings_digest
from origin_sdk_wire.storability import content_length

__all__ = ["Handler", "Served", "facts_of"]

_BROKEN_OFF = "The content of the request broke off."
_LATE = "The content of the request took too long."


@dataclass(slots=True)
class Served:
    """A response for the runtime.

    If it came out of storage, also by which decision, so that it can be repeated without deciding again.
    """

    exchange: Exchange
    response: Response
    lookup: Lookup | None = None
    entry: Entry | None = None
    use: Use | None = None
    generation: int = 0
    """That of the purge marks by which it was decided."""


class Handler:
    """Answers requests. One for each isolate: it holds what concurrent requests share.

    By ``flights`` it shares answers of the origin with other isolates, where rules say so; by ``shield`` with
    other locations.
    """

    def __init__(
        self,
        settings: Settings,
        hooks: Hooks,
        storage: Storage,
        ports: Ports,
        counters: Counters,
        flights: FlightPort | None = None,
        shield: ShieldPort | None = None,
    ) -> None:
        self.settings = settings
        self.switches = Switches()
        self.hooks = hooks
        self.storage = storage
        self._outgoing = ports.outgoing
        self._bodies = ports.bodies
        self._timing = ports.timing
        self._report = ports.report
        self._counters = counters
        self._shows_requests = any(rule.hook_request_bytes for rule in settings.rules)
        self._verify = _verifier_of(settings, storage, ports)
        self.sender = Sender(settings, hooks, storage, ports)
        self._judge = Judge(settings, storage, ports.timing)
        front = Shield(shield, settings, ports.timing) if shield else None
        upstream = Upstream(settings, storage.marks, ports, counters, front)
        intake = Intake(settings, storage, ports, counters)
        asker = Asker(settings, hooks, storage, ports, counters, upstream, intake)
        self._forwarder = Forwarder(settings, storage, upstream, intake, self.sender, ports, counters)
        pilot = Pilot(flights, settings, storage, self._judge, asker, ports) if flights else None
        self._collapse = Collapse(
            settings, storage, self._judge, asker, self.sender, ports, counters, self._looked_up, pilot
        )
        refreshes = Refreshes(ports.timing, settings.refresh_concurrency)
        self._refresher = Refresher(refreshes, self._collapse, storage, counters)

    @cached_property
    def _settings_digest(self) -> str:
        return settings_digest(self.settings)

    async def handle(self, incoming: Incoming, background: Background, read: Read | None = None) -> Served:
        """Answer one request. A fault of the cache itself is reported, and the request goes to the origin.

        ``read`` is what was read of KV for it already.
        """
        exchange = Exchange(background, self._timing.now_ms(), read=read)
        served = await self._served(incoming, exchange)
        self._counters.answered(exchange)
        return served

    async def _served(self, incoming: Incoming, exchange: Exchange) -> Served:
        request = exchange.request = facts_of(incoming)
        if request is None or lacks_length(request):
            return Served(exchange, self._refused(exchange, request))
        exchange.is_for_edge = incoming.is_from_edge
        try:
            hooked = await self._hooked(request, incoming)
            if hooked is None or isinstance(hooked, HookAnswer):
                return Served(exchange, self._answered_at_once(exchange, hooked))
            decision = await self._decide(request, hooked, incoming, exchange)
        except ContentError as error:
            code, text = (408, _LATE) if isinstance(error, LateContentError) else (400, _BROKEN_OFF)
            return Served(exchange, self.sender.plain(exchange, code, text, Status(Reason.BODY)))
        if isinstance(decision, Forward):
            return Served(exchange, await self._forwarder.forward(decision, incoming.body, exchange))
        try:
            return await self._look_up(decision, exchange)
        except Exception as error:  # noqa: BLE001 - a fault in the cache must not take the API down
            self._report("cache", error)
            exchange.found_in = None
            forward = Forward(decision.client, decision.rule, Reason.CACHE_FAULT)
            return Served(exchange, await self._forwarder.forward(forward, None, exchange))

    async def _decide(
        self, request: RequestFacts, hooked: RequestFacts | Reason, incoming: Incoming, exchange: Exchange
    ) -> Forward | Lookup:
        """Decide on a request, with its content where that belongs in the key.

        Raises :class:`ContentError`.
        """
        if isinstance(hooked, Reason):
            rule = first_match(self.settings.rules, request.method, request.target) or DEFAULT_RULE
            return Forward(request, rule, hooked)
        decision = on_request(hooked, self.settings, exchange.began_ms)
        exchange.rule = decision.rule.name
        while isinstance(decision, Forward) and decision.awaits:
            supplied = await self._supplied(decision, decision.awaits, incoming, exchange)
            decision = on_request(supplied, self.settings, exchange.began_ms)
        return self.switches.applied(decision, exchange.began_ms)

    async def _supplied(
        self, forward: Forward, awaited: Awaited, incoming: Incoming, exchange: Exchange
    ) -> RequestFacts:
        """Return a request with what the decision on it awaits; raises :class:`ContentError`."""
        if awaited is Awaited.CONTENT:
            return await self._with_content(forward, incoming.body)
        if awaited is Awaited.REVOCATION:
            return await self._with_standing(forward, exchange)
        if awaited is Awaited.API_KEY:
            key, token = presented_key(forward.request, forward.rule), CheckedToken(None)
            if key is not None and self.storage.keys:
                token = await self.storage.keys.verify(key, exchange.background)
            return replace(forward.request, token=token)
        text, token = bearer_token(forward.request.fields), CheckedToken(None)
        if self._verify:
            token = await self._verify(text, exchange.background)
        return replace(forward.request, token=token)

    async def _with_standing(self, forward: Forward, exchange: Exchange) -> RequestFacts:
        """Return a request with whether its credential was revoked."""
        from origin_sdk_edge.revocations import checked  # noqa: PLC0415 - only such rules pay for it

        request, rule = forward.request, forward.rule
        claims, now_ms = claims_of(request, rule, self.settings, exchange.began_ms), exchange.began_ms
        return replace(request, token=await checked(claims, rule, self.storage.marks, now_ms))

    async def _with_content(self, forward: Forward, incoming: Request) -> RequestFacts:
        """Return a request with its content; raises :class:`ContentError`."""
        from origin_sdk_wire.content import content_key  # noqa: PLC0415 - only such rules pay for it

        request = forward.request
        body = await self._bodies.received(incoming, self.settings.between_bytes_timeout)
        key = content_key(request.method, forward.rule.body, request.fields, self._bodies.octets(body))
        return replace(request, content=Content(body, key.parts, key.is_write))

    def _from_edge(self, request: RequestFacts) -> RequestFacts | None:
        """Return what an edge asks this shield; ``None`` if it goes by other settings.

        What it knows of purges is known here from now on.
        """
        try:
            asking = parse_asking(request.fields.get(SHIELD_FIELD, ""))
        except ValueError as error:
            self._report("shield", error)
            return None
        if asking.settings != self._settings_digest:
            return None
        is_told, marks = asking.soft_ms or asking.hard_ms, self.storage.marks
        names = self._url_marks(request) if is_told else ()
        for lane, moment_ms in ((Lane.SOFT, asking.soft_ms), (Lane.HARD, asking.hard_ms)):
            if moment_ms:
                marks.mark_here(names, lane, moment_ms, must_validate=True)
        return received(request, asking)

    def _url_marks(self, request: RequestFacts) -> tuple[str, ...]:
        """Return the marks of what a request's URL may be keyed by."""
        rules = self.settings.rules
        targets = keyed_targets(request.target, rules) if rules else (request.target,)
        return tuple(map(url_mark, targets))

    def _answered_at_once(self, exchange: Exchange, answer: HookAnswer | None) -> Response:
        if answer is None:
            return self.sender.refused(exchange)
        exchange.answer(None, answer.status, len(answer.text.encode()), is_own=True)
        return self._outgoing.plain(answer.status, list(answer.fields.items()), answer.text)

    def _refused(self, exchange: Exchange, request: RequestFacts | None) -> Response:
        if request is None:
            return self.sender.plain(
                exchange, 400, "The URL of the request can't be read.", Status(Reason.BAD_URL)
            )
        text = f"A {request.method} with a body needs a Content-Length: otherwise it can't be passed on."
        return self.sender.plain(exchange, 411, text, Status(Reason.BODY))

    async def _hooked(
        self, request: RequestFacts, incoming: Incoming
    ) -> RequestFacts | HookAnswer | Reason | None:
        """Return what the hook makes of a request, or an edge before this shield; ``None`` if unknown.

        Raises :class:`ContentError`.
        """
        if incoming.is_from_edge:
            return self._from_edge(request)
        if not self.hooks.before_lookup:
            return request
        body = await self._shown(request, incoming)
        given = HookRequest(request.method, str(request.target), request.fields, body)
        result = await self.hooks.before_lookup(given)
        if isinstance(result, HookRequest):
            own = {name for name, value in result.fields.items() if request.fields.get(name) != value}
            return RequestFacts(result.method, parse_target(result.url), result.fields, frozenset(own))
        return result

    async def _shown(self, request: RequestFacts, incoming: Incoming) -> bytes | None:
        """Return the content of a request, where a rule shows it to hooks; raises :class:`ContentError`."""
        if not self._shows_requests:
            return None
        rule = first_match(self.settings.rules, request.method, request.target)
        if not rule or not rule.hook_request_bytes:
            return None
        if incoming.body is None:
            return b""
        length_bytes = content_length(request.fields)
        if length_bytes is None or length_bytes > rule.hook_request_bytes:
            return None
        try:
            body = await self._bodies.copied(incoming.body, self.settings.between_bytes_timeout)
        except LateContentError:
            return None
        return self._bodies.octets(body)

    # Looking

    async def _look_up(self, lookup: Lookup, exchange: Exchange) -> Served:
        if follow := self.storage.marks.follow:
            follow(lookup.request.target.host)
        found = await self._find(lookup, exchange)
        decision = await self._judge.decide(lookup, found)
        if exchange.found_in is Tier.KV:
            exchange.store_ms = exchange.store_ms or self._timing.now_ms() - exchange.began_ms
        if found.entry and not (isinstance(decision, Use) and decision.reason is Reason.FRESH):
            self._note_expiry(lookup, found.entry)
        if isinstance(decision, Use) and found.entry:
            try:
                return await self._use(lookup, found.entry, decision, exchange)
            except Exception as error:  # noqa: BLE001 - KV may hold what can't be sent: it counts as absent
                self._report("store", error)
                self.storage.memory.drop(found.entry.key)
                return Served(exchange, await self._collapse.ask_or_wait(lookup, ABSENT, None, exchange))
        if isinstance(decision, Ask):
            try:
                return Served(
                    exchange, await self._collapse.ask_or_wait(lookup, decision, found.entry, exchange)
                )
            except BodyGoneError as error:
                self._report("store", error)
                return Served(exchange, await self._collapse.ask_or_wait(lookup, ABSENT, None, exchange))
        text = (
            "Nothing that may be used is stored, and the request allows no more than that (only-if-cached)."
        )
        return Served(exchange, self.sender.plain(exchange, 504, text, Status(Reason.ONLY_IF_CACHED)))

    async def _looked_up(self, lookup: Lookup, exchange: Exchange) -> Response:
        return (await self._look_up(lookup, exchange)).response

    def _note_expiry(self, lookup: Lookup, entry: Entry) -> None:
        """Count a stored response whose lifetime is over, once."""
        if entry.has_expired:
            return
        lifetime_ms = entry.freshness(lookup.rule, self.settings).lifetime_ms
        if current_age_ms(entry.record, self._timing.now_ms()) >= lifetime_ms:
            entry.has_expired = True
            self._counters.expired(lookup.rule.name)

    async def _find(self, lookup: Lookup, exchange: Exchange) -> Found:
        found, exchange.found_in = self.storage.records.find_in_memory(lookup), Tier.MEMORY
        if found.entry or lookup.rule.is_kept_in_memory:
            return found
        exchange.found_in = Tier.KV
        looking, marks = self.storage.records.find_in_store(lookup, exchange.read), self.storage.marks
        now_ms = self._timing.now_ms()
        expected = marks.expected(lookup, now_ms)
        if not marks.table.outdated(expected, now_ms):
            return await looking
        results = await self._timing.together(looking, marks.read(expected, now_ms))
        stored: Found = results[0]
        return stored

    async def _use(self, lookup: Lookup, entry: Entry, use: Use, exchange: Exchange) -> Served:
        entry.hits += 1
        generation = self.storage.marks.table.generation
        is_without_log = self.storage.marks.is_without_log()
        status = Status(use.reason, hit=True, ttl_seconds=use.ttl_seconds, is_without_log=is_without_log)
        response = await self.sender.stored(exchange, lookup, entry, status)
        if use.refresh or is_due_ahead(use, entry.hits, self.settings):
            self._refresher.refresh(lookup, entry, exchange)
        self.storage.marks.read_ahead(lookup, entry.record, exchange)
        return Served(exchange, response, lookup, entry, use, generation)


def _verifier_of(
    settings: Settings, storage: Storage, ports: Ports
) -> Callable[[str, Background], Awaitable[CheckedToken]] | None:
    """Return what verifies the tokens of issuers, where there are some."""
    if ports.keys is None:
        return None
    from origin_sdk_edge.key_sets import Verifier  # noqa: PLC0415 - only where there are issuers

    return Verifier(settings, ports.keys, ports.timing, storage.memory, ports.report).verify


def facts_of(incoming: Incoming) -> RequestFacts | None:
    """Return what the policy sees of a request; ``None`` if its URL can't be read."""
    try:
        fields = with_valid_trace(end_to_end(incoming.fields))
        return RequestFacts(incoming.method, parse_target(incoming.url), fields)
    except InvalidTarget:
        return None
