"""A hit from KV by the short way: a plain GET whose response lies in KV and is fresh.

The policy decides as on the full path, but by less: of the request only its URL, and the codings that it
accepts. That will do where nothing in the request's other fields can change the decision, no identity is
declared, and no response of the URL is known to vary. Whatever turns out otherwise goes the full way, with
what was read of KV, so that nothing is read twice.
"""

from collections.abc import Callable
from functools import lru_cache

from origin_sdk_edge.counters import Counters
from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.fastpath import CHANGES_DECISION, text_of
from origin_sdk_edge.handler import Served
from origin_sdk_edge.hooks import Hooks
from origin_sdk_edge.policy.access import METRICS_PATH
from origin_sdk_edge.policy.decision import VALID, Forward, Lookup, Use
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.lookup import on_bare_request, on_request
from origin_sdk_edge.policy.reuse import while_fresh
from origin_sdk_edge.policy.status import Status
from origin_sdk_edge.ports import Background, Read, Timing
from origin_sdk_edge.purge_log.switches import Switches
from origin_sdk_edge.sender import Sender
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_edge.storage.variants import variant
from origin_sdk_wire.errors import InvalidTarget
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.metrics import Tier
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.signed_requests import LOG_PATH

__all__ = ["ShortPath"]

_URLS = 256
_MAX_CHARACTERS = 512
_SELECTING = frozenset({"vary", "content-encoding"})
"""The fields of a response by which it may answer some requests and not others."""


class ShortPath:
    """Answers what the policy lets be answered by what KV holds for a URL."""

    def __init__(
        self,
        settings: Settings,
        hooks: Hooks,
        storage: Storage,
        sender: Sender,
        switches: Switches,
        timing: Timing,
        counters: Counters,
    ) -> None:
        self._is_enabled = not (hooks.before_lookup or hooks.before_send)
        self._settings = settings
        self._storage = storage
        self._sender = sender
        self._switches = switches
        self._timing = timing
        self._counters = counters
        self._remembered: Callable[[str], Lookup | None] = lru_cache(_URLS)(self._lookup_of)

    def lookup(self, url: str, fields: str, now_ms: int) -> Lookup | None:
        """Return what is to be read of KV for a GET of ``url`` with ``fields``, a JSON object.

        ``None`` if that is for the full path to say: also where more than the record has to be read.
        """
        if not self._is_enabled or len(url) > _MAX_CHARACTERS or CHANGES_DECISION.search(fields):
            return None
        lookup = self._remembered(url)
        if lookup is None or (lookup.rule.bypass_cookies and text_of("cookie", fields)):
            return None
        if self._switches.applied(lookup, now_ms) is not lookup:
            return None
        storage, key = self._storage, variant(lookup, ())
        if storage.marks.follow:
            storage.marks.follow(lookup.request.target.host)
        if storage.records.is_at_hand(key) or storage.variants.index_at(key):
            return None
        expected = storage.marks.expected(lookup, now_ms)
        return None if storage.marks.table.outdated(expected, now_ms) else lookup

    def _lookup_of(self, url: str) -> Lookup | None:
        try:
            target = parse_target(url)
        except InvalidTarget:
            return None
        bare = RequestFacts("GET", target, {})
        decision = on_bare_request(target, self._settings) or on_request(bare, self._settings, 0)
        if isinstance(decision, Forward) or decision.rule.is_kept_in_memory:
            return None
        if decision.rule.declares_identity or decision.rule.negotiates:
            return None
        is_own = METRICS_PATH in url or LOG_PATH in url  # as far as it may be one of the Worker's own routes
        return None if is_own else decision

    def answer(
        self, lookup: Lookup, read: Read, fields: str, background: Background, began_ms: int
    ) -> Served | None:
        """Answer by what was read for ``lookup``; ``None`` if the policy has to see all of the request."""
        entry, now_ms = self._storage.records.plain(read), self._timing.now_ms()
        if entry is None or not _SELECTING.isdisjoint(entry.fields):
            return None
        marks, record = self._storage.marks, entry.record
        is_valid = marks.is_known_valid(record, now_ms)
        if not is_valid and marks.known(lookup, record, now_ms) is not VALID:
            return None
        if record.coding:
            lookup = _accepting(lookup, fields)
        use = while_fresh(record, entry.freshness(lookup.rule, self._settings), now_ms)
        if use is None:
            return None
        exchange = Exchange(background, began_ms, lookup.client, lookup.rule.name, Tier.KV, now_ms - began_ms)
        served = self._sent(exchange, lookup, entry, use, now_ms)
        if served and not is_valid:
            marks.read_ahead(lookup, record, exchange)
        return served

    def _sent(self, exchange: Exchange, lookup: Lookup, entry: Entry, use: Use, now_ms: int) -> Served | None:
        is_without_log = self._storage.marks.is_without_log()
        status = Status(use.reason, hit=True, ttl_seconds=use.ttl_seconds, is_without_log=is_without_log)
        try:
            response = self._sender.at_hand(exchange, lookup, entry, status, now_ms)
        except Exception:  # noqa: BLE001 - KV may hold what can't be sent: the full path reports it and asks
            return None
        if response is None:
            return None
        entry.hits += 1
        self._storage.records.hold(entry)
        self._counters.answered(exchange)
        return Served(exchange, response, lookup, entry, use, self._storage.marks.table.generation)


def _accepting(lookup: Lookup, fields: str) -> Lookup:
    """Return the look-up with the codings that the client accepts."""
    codings = text_of("accept-encoding", fields)
    client = RequestFacts("GET", lookup.client.target, {"accept-encoding": codings} if codings else {})
    return Lookup(lookup.request, client, lookup.rule, lookup.key, lookup.parts)
