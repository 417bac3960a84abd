"""Carries out what the policy decides: finds, asks, waits, sends. It holds no rule of HTTP."""

from dataclasses import dataclass
from typing import Any

from cachewire.errors import InvalidTarget
from cachewire.key import parse_target
from cachewire.settings import Settings
from edgecache.asking import Asker
from edgecache.collapse import Collapse
from edgecache.forwarder import Forwarder
from edgecache.hooks import HookAnswer, HookRequest, Hooks
from edgecache.judge import Judge
from edgecache.policy.decision import DEFAULT_RULE, Ask, Forward, Lookup, Use, on_request
from edgecache.policy.facts import Reason, RequestFacts
from edgecache.policy.relay import end_to_end, lacks_length
from edgecache.policy.revalidation import ABSENT, is_due_ahead
from edgecache.policy.status import Status
from edgecache.policy.trace import with_valid_trace
from edgecache.ports import Background, Incoming, Ports
from edgecache.refresher import Refresher
from edgecache.refreshes import Refreshes
from edgecache.sending import BodyGoneError, Sender
from edgecache.storage import Found, Storage
from edgecache.storage.memory import Entry

__all__ = ["Handler", "Served"]


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
        self._outgoing = ports.outgoing
        self._timing = ports.timing
        self._report = ports.report
        self._sender = Sender(settings, hooks, storage, ports)
        asker, self._judge = Asker(settings, hooks, storage, ports), Judge(settings, storage, ports.timing)
        self._forwarder = Forwarder(settings, storage, asker, self._sender, ports)
        self._collapse = Collapse(settings, storage, self._judge, asker, self._sender, ports, self._looked_up)
        refreshes = Refreshes(ports.timing, settings.refresh_concurrency)
        self._refresher = Refresher(refreshes, self._collapse, storage)

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
            return Served(await self._forwarder.forward(forward, incoming.body, background))
        decision = on_request(hooked, self.settings, self._timing.now_ms())
        if isinstance(decision, Forward):
            return Served(await self._forwarder.forward(decision, incoming.body, background))
        try:
            return await self._look_up(decision, background)
        except Exception as error:  # noqa: BLE001 - a fault in the cache must not take the API down
            self._report("cache", error)
            forward = Forward(hooked, decision.rule, Reason.CACHE_FAULT)
            return Served(await self._forwarder.forward(forward, None, background))

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

    # Looking

    async def _look_up(self, lookup: Lookup, background: Background) -> Served:
        found = await self._find(lookup)
        decision = await self._judge.decide(lookup, found)
        if isinstance(decision, Use) and found.entry:
            try:
                return await self._use(lookup, found.entry, decision, background)
            except Exception as error:  # noqa: BLE001 - KV may hold what can't be sent: it counts as absent
                self._report("store", error)
                self.storage.memory.drop(found.entry.key)
                return Served(await self._collapse.ask_or_wait(lookup, ABSENT, None, background))
        if isinstance(decision, Ask):
            try:
                return Served(await self._collapse.ask_or_wait(lookup, decision, found.entry, background))
            except BodyGoneError as error:
                self._report("store", error)
                return Served(await self._collapse.ask_or_wait(lookup, ABSENT, None, background))
        text = (
            "Nothing that may be used is stored, and the request allows no more than that (only-if-cached)."
        )
        return Served(self._sender.plain(504, text, Status(Reason.ONLY_IF_CACHED)))

    async def _looked_up(self, lookup: Lookup, background: Background) -> Any:
        return (await self._look_up(lookup, background)).response

    async def _find(self, lookup: Lookup) -> Found:
        found = self.storage.records.find_in_memory(lookup)
        if found.entry:
            return found
        looking, marks = self.storage.records.find_in_store(lookup), self.storage.marks
        if not marks.table.outdated(lookup.mark_names, self._timing.now_ms()):
            return await looking
        results = await self._timing.together(looking, marks.read(lookup.mark_names))
        stored: Found = results[0]
        return stored

    async def _use(self, lookup: Lookup, entry: Entry, use: Use, background: Background) -> Served:
        entry.hits += 1
        generation = self.storage.marks.table.generation
        status = Status(use.reason, hit=True, ttl_seconds=use.ttl_seconds)
        response = await self._sender.stored(lookup, entry, status)
        if use.refresh or is_due_ahead(use, entry.hits, self.settings):
            self._refresher.refresh(lookup, entry, background)
        self._read_marks_ahead(lookup, entry, background)
        return Served(response, lookup, entry, use, generation)

    def _read_marks_ahead(self, lookup: Lookup, entry: Entry, background: Background) -> None:
        marks = self.storage.marks
        if names := marks.due_ahead(lookup, entry.record):
            background.run(marks.read_ahead(names))


def _facts(incoming: Incoming) -> RequestFacts | None:
    try:
        fields = with_valid_trace(end_to_end(incoming.fields))
        return RequestFacts(incoming.method, parse_target(incoming.url), fields)
    except InvalidTarget:
        return None
