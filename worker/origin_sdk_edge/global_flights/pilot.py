"""An isolate's part in flights of the whole world: it joins them, leads them, and takes what they bring.

Only for rules with ``single_flight = "global"``, and for requests that anybody may have sent: what one
client's own fields may have spoilt is neither carried nor waited for.
"""

import json
from dataclasses import dataclass
from typing import Protocol

from origin_sdk_edge.asker import Asker
from origin_sdk_edge.global_flights.board import BEAT_SECONDS, Carried, Landing, Role, Ticket
from origin_sdk_edge.judge import Judge
from origin_sdk_edge.policy.decision import Ask, Use
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.policy.outcome import Plan, Reuse
from origin_sdk_edge.policy.status import Status
from origin_sdk_edge.ports import Ports, Signal, StoredValue, StoreError
from origin_sdk_edge.questions import Outcome, Question
from origin_sdk_edge.storage import Found, Storage
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_edge.storage.records import laid_out
from origin_sdk_wire.choices import SingleFlight
from origin_sdk_wire.errors import UnreadableRecord
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.settings import Settings

__all__ = ["FlightPort", "Joined", "Lead", "Pilot"]

_ROUNDS = 3
"""What is kept may be stale, and what was under way may have been purged meanwhile; then one is its own."""
_QUIET_MS = 1000
"""After the place couldn't be reached, the time in which nobody tries."""
_TROUBLE_SECONDS = 1.0
_UNSHARED_SECONDS = 10.0


class FlightPort(Protocol):
    """The board of a key's place. Each method raises :class:`StoreError`."""

    async def join(self, key: str, since_ms: int, patience_seconds: float) -> Ticket:
        """See :meth:`origin_sdk_edge.global_flights.board.Board.join`."""

    async def beat(self, key: str, number: int) -> None:
        """See :meth:`origin_sdk_edge.global_flights.board.Board.beat`."""

    async def land(self, key: str, number: int, landing: Landing) -> None:
        """See :meth:`origin_sdk_edge.global_flights.board.Board.land`."""


@dataclass(slots=True, eq=False)
class Lead:
    """A flight of the whole world that this isolate leads."""

    key: str
    number: int
    is_over: Signal


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of joining a flight.

    What another isolate's question came to, or that this one leads. With neither the origin is asked as it
    would be otherwise.
    """

    outcome: Outcome | None = None
    lead: Lead | None = None
    is_released: bool = False
    """Whether nobody here need wait for another, either: answers are for one client alone."""
    is_unavailable: bool = False
    """Whether that is so since the place couldn't be had."""


class Pilot:
    """Joins and leads flights."""

    def __init__(
        self,
        port: FlightPort,
        settings: Settings,
        storage: Storage,
        judge: Judge,
        asker: Asker,
        ports: Ports,
    ) -> None:
        self._port = port
        self._settings = settings
        self._storage = storage
        self._judge = judge
        self._asker = asker
        self._bodies = ports.bodies
        self._timing = ports.timing
        self._report = ports.report
        self._quiet_until_ms = 0

    def is_for(self, question: Question) -> bool:
        """Whether all in the world are to wait for one answer to this question."""
        lookup = question.lookup
        is_global = lookup.rule.single_flight is SingleFlight.GLOBAL
        return is_global and not question.voice and not question.ask.is_for_part

    async def join(self, question: Question) -> Joined:
        """Join the flight for what is asked, and wait for it if another isolate leads it."""
        if self._timing.now_ms() < self._quiet_until_ms:
            return Joined(is_unavailable=True)
        try:
            return await self._join(question)
        except StoreError as error:
            self._quiet_until_ms = self._timing.now_ms() + _QUIET_MS
            self._report("flight", error)
            return Joined(is_unavailable=True)

    async def _join(self, question: Question) -> Joined:
        since_ms = question.entry.record.birth_ms if question.entry else 0
        granted: int | None = None
        until_ms = self._timing.now_ms() + int(self._settings.collapse_timeout * 1000)
        for _ in range(_ROUNDS):
            left_seconds = (until_ms - self._timing.now_ms()) / 1000
            if left_seconds <= 0:
                break
            ticket = await self._port.join(question.key, since_ms, left_seconds)
            granted = ticket.granted if granted is None else granted
            match ticket.role:
                case Role.LEAD:
                    return Joined(lead=Lead(question.key, ticket.number, self._timing.signal()))
                case Role.FAIL if ticket.failure:
                    return Joined(self._asker.shared_failure(question, ticket.failure))
                case Role.TAKE | Role.FIND if ticket.carried:
                    if entry := await self._usable(question, ticket, is_later=ticket.number > granted):
                        return Joined(_shared(question, entry))
                    since_ms = ticket.carried.birth_ms
                case Role.GO:
                    return Joined(is_released=True)
                case _:
                    break
        return Joined()

    async def _usable(self, question: Question, ticket: Ticket, *, is_later: bool) -> Entry | None:
        """Return what another isolate got, if it answers this question, too; and hold it here then."""
        carried, lookup = ticket.carried, question.lookup
        if carried is None:
            return None
        try:
            value = StoredValue(json.loads(carried.metadata), carried.value)
            came = self._storage.records.response(carried.entry_key, value)
        except (UnreadableRecord, ValueError) as error:
            self._report("flight", error)
            return None
        if not self._storage.variants.is_selected(lookup, came):
            return None
        decision = await self._judge.decide(lookup, Found(came), is_later=is_later)
        is_stale = isinstance(decision, Ask) and decision.reason is Reason.STALE and ticket.role is Role.TAKE
        if not (is_stale or (isinstance(decision, Use) and decision.reason is Reason.FRESH)):
            return None
        return self._storage.retention.hold(lookup, came.record, came.body)

    # Leading

    async def beats(self, lead: Lead) -> None:
        """Be heard of until the flight is over."""
        while not await lead.is_over.wait(BEAT_SECONDS):
            try:
                await self._port.beat(lead.key, lead.number)
            except StoreError as error:
                self._report("flight", error)

    async def land(
        self, lead: Lead, entry: Entry | None, failure: OriginFailure | None, *, is_sound: bool
    ) -> None:
        """Tell how the flight ended: ``entry`` is what others may have."""
        lead.is_over.set()
        rest_seconds = _UNSHARED_SECONDS if is_sound else _TROUBLE_SECONDS
        landing = Landing(self._carried(entry), failure, rest_seconds)
        try:
            await self._port.land(lead.key, lead.number, landing)
        except StoreError as error:
            self._report("flight", error)

    def _carried(self, entry: Entry | None) -> Carried | None:
        if entry is None or entry.body is None or entry.record.status == 206:
            return None
        if entry.size_bytes > self._settings.memory_item_bytes:
            return None
        metadata, value = laid_out(entry.record, entry.body, self._bodies)
        size_bytes = self._bodies.size(value) + len(metadata)
        return Carried(entry.key, entry.record.birth_ms, metadata, value, size_bytes)


def _shared(question: Question, entry: Entry) -> Outcome:
    """Return the outcome of a question that another isolate has asked."""
    ask = question.ask
    status = Status(ask.reason, forwarded=ask.forwarded, collapsed=True)
    return Outcome(Plan(Reuse(entry.record), status), entry=entry)
