"""Requests that the cache takes no part in, but for what their answers end or store."""

from dataclasses import replace

from origin_sdk_edge.counters import Counters
from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.intake import Intake
from origin_sdk_edge.policy.decision import Forward
from origin_sdk_edge.policy.outcome import on_forwarded
from origin_sdk_edge.policy.status import Status
from origin_sdk_edge.policy.unkeyed import unposing
from origin_sdk_edge.ports import OriginError, Ports, Request, Response, StoreError
from origin_sdk_edge.questions import Outcome
from origin_sdk_edge.sender import Sender
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.upstream import Upstream
from origin_sdk_wire.marks import Lane
from origin_sdk_wire.settings import Settings

__all__ = ["Forwarder"]


class Forwarder:
    """Passes requests to the origin, and its responses to clients."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        upstream: Upstream,
        intake: Intake,
        sender: Sender,
        ports: Ports,
        counters: Counters,
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._upstream = upstream
        self._intake = intake
        self._sender = sender
        self._counters = counters
        self._timing = ports.timing
        self._report = ports.report

    async def forward(self, forward: Forward, body: Request, exchange: Exchange) -> Response:
        """Pass a request on, and return the response for its client."""
        birth_ms = self._timing.now_ms()
        try:
            request = unposing(forward.request, forward.rule, self._settings)
            response = await self._upstream.origins.fetch(forward.rule, request, {}, body)
        except OriginError as error:
            self._upstream.note_failure(forward.rule, error)
            return self._sender.failed(
                exchange, error.failure, Status(error.failure.value, forwarded=forward.forwarded)
            )
        facts = self._upstream.facts_of(forward.rule, forward.request, response, birth_ms)
        exchange.origin_ms = facts.response_ms - birth_ms
        plan = on_forwarded(forward, facts, self._settings)
        if plan.marks:
            lane = Lane.SOFT if self._settings.is_safe else Lane.HARD
            self._storage.marks.mark_here(plan.marks, lane, facts.response_ms, must_validate=True)
            # Without caution the mark ends what is older, and not the response that follows it: a margin for
            # other locations' clocks would cover that too, wherever the mark is read.
            moment_ms = None if self._settings.is_safe else facts.response_ms
            exchange.run(self._mark_everywhere(plan.marks, lane, moment_ms))
        if plan.store and plan.lookup:
            try:
                entry = await self._intake.taken(plan.lookup, plan.store, response)
            except OriginError as error:
                self._upstream.note_failure(forward.rule, error)
                return self._sender.failed(exchange, error.failure, plan.status)
            exchange.run(self._intake.keep(plan.lookup, Outcome(replace(plan, marks=())), entry))
        return await self._sender.relayed(exchange, response, facts, forward.request, plan.status)

    async def _mark_everywhere(self, names: tuple[str, ...], lane: Lane, moment_ms: int | None) -> None:
        try:
            if self._settings.is_safe:
                names = tuple([name for name in names if await self._may_cover(name)])
            self._counters.purged(names, lane, "unsafe-request", self._timing.now_ms())
            await self._storage.marks.mark_everywhere(names, lane, "unsafe-request", moment_ms)
        except StoreError as error:
            self._report("invalidation", error)

    async def _may_cover(self, name: str) -> bool:
        """Whether a mark of that name covers anything stored. That costs a read, and the mark a write."""
        kind, _, location = name.partition("/")
        return kind != "url" or await self._storage.records.may_hold(location)
