"""The model of the edge: memory, KV, marks and origin, with the Worker's own policy deciding.

Each request goes through the functions that decide in the Worker (:mod:`origin_sdk_edge.policy`), and what
they decide is carried out on the model instead of on KV. What is simplified, and how it errs: an origin's
answer is stored when it was asked for plus the time that it took, and other requests of that isolate
meanwhile count as collapsed; background refreshes are as quick; bodies are never compressed, so that memory
holds a little less than it would.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from zlib import crc32

from origin_sdk.simulation.assumptions import Assumptions
from origin_sdk.simulation.exchanges import LoggedRequest
from origin_sdk.simulation.ledger import PARTS, Ledger
from origin_sdk.simulation.sample import KeySample
from origin_sdk.simulation.store import SimulatedMarks, SimulatedStore
from origin_sdk.simulation.visits import Checked, Isolates, Visit
from origin_sdk_edge.policy.decision import VALID, Ask, Forward, Invalidity, Lookup, Refuse, Use
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.outcome import Plan, on_forwarded, on_origin
from origin_sdk_edge.policy.reuse import on_stored
from origin_sdk_edge.policy.selection import nominated
from origin_sdk_edge.policy.status import FwdReason
from origin_sdk_edge.policy.validation import conditional_fields
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_wire.bounds import MARKS_AHEAD
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.marks import Lane, lane_key, written_keys
from origin_sdk_wire.metrics import Tier
from origin_sdk_wire.parameters import without_parameters
from origin_sdk_wire.record import Record
from origin_sdk_wire.search_variance import QUERY
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.shield import is_shielded
from origin_sdk_wire.vary import selecting_values

__all__ = ["TIERS", "Answered", "Edge", "Held"]

TIERS = tuple(str(tier) for tier in Tier if tier is not Tier.OWN)
"""What answered, as the Worker counts it."""


_REMEMBERED_DECISIONS = 50_000
_BODY: Any = object()
_NO_FIELDS: Mapping[str, str] = {}


@dataclass(slots=True)
class Held:
    """A stored response as KV holds it."""

    record: Record
    size_bytes: int
    names: tuple[str, ...]


class Answered(NamedTuple):
    """A request that the cache took part in, and what became of it."""

    lookup: Lookup
    tier: str
    weight: float
    now_ms: int
    size_bytes: int
    birth_ms: int
    """When what was sent had been asked for."""


class Edge:
    """All locations of one Worker with one set of settings.

    ``max_keys`` bounds the URLs that are followed; beyond, they are sampled.
    """

    def __init__(self, settings: Settings, assumptions: Assumptions, *, max_keys: int = 100_000) -> None:
        self.settings = settings
        self._shielded = replace(settings, origin=settings.origin or "https://origin.invalid")
        self.assumptions = assumptions
        self.ledger = Ledger(assumptions.regions.items())
        self.sample = KeySample(max_keys)
        self.on_answered: Callable[[Answered], None] = _nobody_listens
        """Called for each request that the cache took part in."""
        self.on_let_go: Callable[[str], None] = _nobody_minds
        """Called for each URL that is followed no more."""
        cached_ms = int(assumptions.kv_seconds * 1000)
        places = assumptions.locations + assumptions.shield
        self.kv: SimulatedStore[Held] = SimulatedStore(places, cached_ms)
        self._marks = SimulatedMarks(places, cached_ms)
        self._names: dict[str, tuple[str, ...]] = {}
        self._sizes: dict[str, int] = {}
        self._keys: dict[str, set[str]] = {}
        self._isolates = Isolates(settings, assumptions)
        self._decisions: dict[tuple[object, ...], Forward | Lookup] = {}

    def answer(self, exchange: LoggedRequest, facts: RequestFacts, now_ms: int) -> None:
        """Run one request of the log through the cache."""
        decision = self._decide(facts, now_ms)
        path = decision.key if isinstance(decision, Lookup) else self._shown(facts)
        followed = self.sample.follow(path)
        if followed is None:
            return
        location = crc32(exchange.client.encode()) % self.assumptions.locations
        visit = Visit(
            exchange,
            location,
            self._isolates.meet(location, now_ms),
            now_ms,
            followed.weight,
            followed.hash % PARTS,
            (self.ledger.of_rule(decision.rule.name), self.ledger.overall),
        )
        if isinstance(decision, Forward):
            self._forward(decision, visit)
        else:
            self._look_up(decision, visit)
        if len(self.sample) > self.sample.max_keys:
            self._thin()

    def _decide(self, facts: RequestFacts, now_ms: int) -> Forward | Lookup:
        if facts.token:
            return on_request(facts, self.settings, now_ms)
        content = facts.content.parts if facts.content else None
        remembered = (facts.method, facts.target, tuple(facts.fields.items()), content)
        decision = self._decisions.get(remembered)
        if decision is None:
            if len(self._decisions) >= _REMEMBERED_DECISIONS:
                self._decisions.clear()
            decision = self._decisions[remembered] = on_request(facts, self.settings, now_ms)
        return decision

    def _shown(self, facts: RequestFacts) -> str:
        return str(without_parameters(facts.target, self.settings.hidden_parameters))

    def _thin(self) -> None:
        for key in self.sample.thin():
            self.on_let_go(key)
            keys = self._keys.pop(key, set())
            self.kv.forget(keys)
            self._names.pop(key, None)
            self._sizes.pop(key, None)
            self._isolates.drop(keys)

    # The three ways of a request

    def _forward(self, forward: Forward, visit: Visit) -> None:
        exchange = visit.exchange
        self.ledger.asked(visit, exchange.size_bytes)
        self.ledger.waited(visit, visit.took_ms)
        plan = on_forwarded(forward, _response(visit), self.settings)
        self._write_marks(plan.marks, visit)
        self.ledger.answered(visit, "pass", str(forward.reason), exchange.size_bytes)

    def _look_up(self, lookup: Lookup, visit: Visit) -> None:
        key = self._key(lookup)
        isolate, now_ms = visit.isolate, visit.now_ms
        checked = isolate.checked.get(key)
        if checked and isolate.still_holds(checked, lookup, now_ms):
            isolate.memory.touch(checked.entry)
            self._use(lookup, checked.use, checked.entry, "memory", visit)
            return
        entry, tier = self._find(lookup, key, visit)
        if entry is not None and entry.record.response_ms > now_ms:
            # Its request is still under way: this one waits for it.
            self._done(lookup, visit, "collapsed", str(Reason.ABSENT), entry.size_bytes, entry.record)
            return
        record, fields = (entry.record, entry.fields) if entry else (None, _NO_FIELDS)
        invalidity, known_ms = self._invalidity(lookup, entry.record, visit) if entry else (VALID, 0)
        decision = on_stored(lookup, record, fields, invalidity, now_ms, self.settings)
        if isinstance(decision, Refuse):
            self._done(lookup, visit, "miss", str(decision.reason), 0)
        elif isinstance(decision, Ask):
            self._ask_origin(lookup, decision, entry, key, visit)
        elif entry:
            if invalidity is VALID and decision.reason is Reason.FRESH:
                isolate.remember(Checked(lookup, entry, isolate.marks.generation, decision, known_ms))
            self._use(lookup, decision, entry, tier, visit)

    def _use(self, lookup: Lookup, use: Use, entry: Entry, tier: str, visit: Visit) -> None:
        entry.hits += 1
        if use.reason is not Reason.FRESH:
            self.ledger.stale(visit, -use.ttl_seconds * 1000)
        is_head = lookup.client.method == "HEAD"
        tier = tier if use.reason is Reason.FRESH else "stale"
        size_bytes = 0 if is_head else entry.size_bytes
        self._done(lookup, visit, tier, str(use.reason), size_bytes, entry.record)
        if use.refresh:
            ask = Ask(FwdReason.STALE, Reason.STALE, entry.record, conditional_fields(entry.fields))
            self._ask_origin(lookup, ask, entry, entry.key, visit, is_background=True)

    def _ask_origin(
        self,
        lookup: Lookup,
        ask: Ask,
        entry: Entry | None,
        key: str,
        visit: Visit,
        *,
        is_background: bool = False,
    ) -> None:
        exchange = visit.exchange
        shield = self._at_shield(lookup, visit)
        if shield and (held := self._held_by(shield, lookup, key, visit)):
            self._hold(lookup, key, held, visit)
            self.ledger.shielded(visit)
            if not is_background:
                self.ledger.waited(visit, 0)
                self._done(lookup, visit, "miss", str(ask.reason), held.size_bytes, held.record)
            return
        response = _response(visit)
        is_same = _answers_not_modified(ask, entry, response)
        size_bytes = self._size(lookup, exchange, entry)
        if is_same:
            response = replace(response, status=304)
        elif response.status == 304:
            # It answers a precondition of the client's, which the cache doesn't send on.
            response = replace(response, status=200)
        self.ledger.asked(visit, 0 if is_same else size_bytes)
        plan = on_origin(lookup, ask, response, entry.fields if entry else _NO_FIELDS, self.settings)
        self._carry_out(plan, lookup, key, size_bytes, shield or visit)
        if shield and (record := plan.store or plan.freshen):
            self._hold(lookup, self._key(lookup), Held(record, size_bytes, nominated(record)), visit)
        if is_background:
            return
        self.ledger.waited(visit, visit.took_ms)
        detail = ask.reason if plan.status.stored and not is_same else plan.status.detail
        if detail == Reason.STALE_IF_ERROR and entry:
            self.ledger.stale(visit, visit.now_ms - entry.record.response_ms)
        self._done(lookup, visit, _TIERS_OF.get(str(detail), "miss"), str(detail), size_bytes)

    # The shield

    def _at_shield(self, lookup: Lookup, visit: Visit) -> Visit | None:
        """Return the visit as the shield has it; ``None`` where none is asked."""
        assumed = self.assumptions
        # Whose address the origin has makes no difference here.
        if not assumed.shield or not is_shielded(lookup.rule, self._shielded):
            return None
        return replace(
            visit, location=assumed.locations, isolate=self._isolates.meet(assumed.locations, visit.now_ms)
        )

    def _held_by(self, shield: Visit, lookup: Lookup, key: str, visit: Visit) -> Held | None:
        """Return what the shield answers with, without asking the origin."""
        entry, _ = self._find(lookup, key, shield)
        if entry is None or self._invalidity(lookup, entry.record, visit)[0] is not VALID:
            return None
        if entry.record.response_ms <= shield.now_ms:
            invalidity, _ = self._invalidity(lookup, entry.record, shield)
            decision = on_stored(lookup, entry.record, entry.fields, invalidity, shield.now_ms, self.settings)
            if not (isinstance(decision, Use) and decision.reason is Reason.FRESH):
                return None
        return Held(entry.record, entry.size_bytes, entry.names)

    # What is stored

    def _key(self, lookup: Lookup) -> str:
        names = self._names.get(lookup.key, _query_names(lookup))
        parts = [*lookup.parts, *(selecting_values(names, lookup.selecting_fields) if names else ())]
        return f"{lookup.key}#{parts}" if parts else lookup.key

    def _find(self, lookup: Lookup, key: str, visit: Visit) -> tuple[Entry | None, str]:
        memory = visit.isolate.memory
        entry = memory.get(key)
        if isinstance(entry, Entry):
            return entry, "memory"
        held = self.kv.read(key, visit.location, visit.now_ms)
        # A response that varies lies under a key of its own, behind an index.
        self.ledger.reads(visit, 1 + bool(held and held.names))
        if held is None:
            return None, ""
        if held.size_bytes > self.settings.memory_item_bytes:
            self.ledger.reads(visit, 1)
        return self._hold(lookup, key, held, visit), "kv"

    def _hold(self, lookup: Lookup, key: str, held: Held, visit: Visit) -> Entry:
        # What is sampled takes the room of those that it stands for.
        is_large = held.size_bytes > self.settings.memory_item_bytes
        body = None if is_large else _BODY
        entry = Entry(key, held.record, body, held.size_bytes, names=held.names)
        memory = visit.isolate.memory
        memory.put(key, entry)
        if visit.weight > 1:
            memory.charge(entry, int(entry.cost_bytes * (visit.weight - 1)))
        self._keys.setdefault(lookup.key, set()).add(key)
        return entry

    def _carry_out(self, plan: Plan, lookup: Lookup, key: str, size_bytes: int, visit: Visit) -> None:
        self._write_marks(plan.marks, visit)
        record = plan.store or plan.freshen
        if plan.ends:
            self.kv.forget((key,))
            visit.isolate.memory.drop(key)
        if record is None:
            return
        names = nominated(record)
        if names != self._names.get(lookup.key, ()):
            self._names[lookup.key] = names
            key = self._key(lookup)
            self.ledger.writes(visit, 1)
        held = Held(record, size_bytes, names)
        self._sizes[lookup.key] = size_bytes
        self._hold(lookup, key, held, visit)
        self.kv.write(key, held, visit.location, record.response_ms)
        self.ledger.writes(visit, 1 + (size_bytes > self.settings.memory_item_bytes))

    def _size(self, lookup: Lookup, exchange: LoggedRequest, entry: Entry | None) -> int:
        if exchange.size_bytes and exchange.status != 304:
            return exchange.size_bytes
        return entry.size_bytes if entry else self._sizes.get(lookup.key, 0)

    # Purges

    def purge(self, keys: Collection[str], now_ms: int) -> None:
        """Write the marks of a purge from outside, by their keys in KV."""
        self.ledger.overall.kv_writes += self._marks.write(keys, now_ms)

    def _write_marks(self, names: Collection[str], visit: Visit) -> None:
        self.ledger.writes(visit, self._marks.write(written_keys(names, Lane.SOFT), visit.now_ms))

    def _invalidity(self, lookup: Lookup, record: Record, visit: Visit) -> tuple[Invalidity, int]:
        """Return what the marks say, read as the Worker reads them, and of what time that is."""
        marks, now_ms = visit.isolate.marks, visit.now_ms
        known_ms = marks.known_until(lookup.request.target, record)
        if now_ms - known_ms > marks.interval_ms * MARKS_AHEAD:
            self._read_marks(lookup, record, visit)
            known_ms = now_ms
        return marks.verdict(lookup, record), known_ms

    def _read_marks(self, lookup: Lookup, record: Record, visit: Visit) -> None:
        marks, target = visit.isolate.marks, lookup.request.target
        # What is read may tell of more.
        while lanes := marks.outdated(marks.deciding(target, record), visit.now_ms, MARKS_AHEAD / 2):
            if not self.assumptions.purge_log:
                self.ledger.reads(visit, len(lanes))
            for lane in lanes:
                marks.learn(lane, self._marks.read(lane_key(lane), visit.now_ms), visit.now_ms)

    def _done(
        self,
        lookup: Lookup,
        visit: Visit,
        tier: str,
        reason: str,
        size_bytes: int,
        stored: Record | None = None,
    ) -> None:
        self.ledger.answered(visit, tier, reason, size_bytes)
        birth_ms = stored.birth_ms if stored else visit.now_ms
        self.on_answered(Answered(lookup, tier, visit.weight, visit.now_ms, size_bytes, birth_ms))


_TIERS_OF = {str(Reason.VALIDATED): "validated", str(Reason.STALE_IF_ERROR): "stale"}


def _response(visit: Visit) -> ResponseFacts:
    """Return the origin's answer to a request: what the log has of it."""
    exchange, now_ms = visit.exchange, visit.now_ms
    fields = exchange.response_fields
    cookies = (fields["set-cookie"],) if "set-cookie" in fields else ()
    if cookies:
        fields = {name: value for name, value in fields.items() if name != "set-cookie"}
    return ResponseFacts(exchange.status, fields, now_ms, now_ms + visit.took_ms, cookies)


def _answers_not_modified(ask: Ask, entry: Entry | None, response: ResponseFacts) -> bool:
    """Whether the origin would answer the cache's precondition with 304: the response is the stored one."""
    if entry is None or not ask.conditional or response.status not in {200, 304}:
        return False
    tag = entry.fields.get("etag") or entry.fields.get("last-modified")
    return tag is not None and tag == (response.fields.get("etag") or response.fields.get("last-modified"))


def _nobody_listens(answered: Answered) -> None:
    """Nobody wants to know."""


def _nobody_minds(key: str) -> None:
    """Nobody follows it."""


def _query_names(lookup: Lookup) -> tuple[str, ...]:
    """Return what selects a query where it is no part of the key: logs don't tell No-Vary-Search."""
    return (QUERY,) if lookup.rule.no_vary_search else ()
