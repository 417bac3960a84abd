"""Tells what was counted: on a route of the Worker, in points, in KV for other isolates, and in the log.

Workers have no timer: the first request of the full path after it is due starts a flush behind its response.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import gmtime, strftime
from typing import Protocol

from origin_sdk_edge.counters import Counters, shown_url
from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.fastpath import FastPath, Repeated
from origin_sdk_edge.policy.access import METRICS_PATH, may_read_metrics
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.storage import Storage
from origin_sdk_wire.analytics import Point, points_of
from origin_sdk_wire.choices import MetricsUrls
from origin_sdk_wire.errors import UnreadableMetrics
from origin_sdk_wire.exposition import (
    JSON_TYPE,
    OPENMETRICS_TYPE,
    Document,
    Isolate,
    UrlCount,
    isolate_text,
    openmetrics,
    parse_isolate,
)
from origin_sdk_wire.key import digest
from origin_sdk_wire.marks import BY_EDGE
from origin_sdk_wire.metrics import Counts, Tier
from origin_sdk_wire.settings import Settings

__all__ = ["IsolateIdentity", "MetricsReply", "Monitor", "SharedCounts", "Sinks"]

FLUSH_SECONDS = 60
WATCHED_FLUSH_SECONDS = 10
_WATCHED_MS = 30_000
"""For so long after somebody read the metrics they are taken for watched."""
_CAN_BE_HIT = frozenset({Tier.MEMORY, Tier.KV, Tier.STALE})


class SharedCounts(Protocol):
    """Counts of isolates, where all of them find each other's. Each method raises :class:`StoreError`."""

    async def write(self, isolate_id: str, text: str) -> None:
        """Leave this isolate's counts for a while."""

    async def read(self) -> list[str]:
        """Return what isolates left."""

    async def watch(self) -> None:
        """Tell all isolates that somebody watches."""

    async def is_watched(self) -> bool:
        """Whether somebody watches."""


@dataclass(frozen=True, slots=True)
class IsolateIdentity:
    """Where counts come from."""

    isolate_id: str
    location: str
    started_ms: int


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where counts go: to a log, and, if there is a place for it, to Analytics Engine and other isolates."""

    log: Callable[[str], None]
    write_point: Callable[[Point], None] | None = None
    shared: SharedCounts | None = None


@dataclass(frozen=True, slots=True)
class MetricsReply:
    """An answer of the route."""

    code: int
    fields: tuple[tuple[str, str], ...]
    text: str


@dataclass(slots=True)
class _Flushed:
    """What was told before."""

    counts: Counts = field(default_factory=Counts)
    urls: dict[str, UrlCount] = field(default_factory=dict)
    at_ms: int = 0


class Monitor:
    """What an isolate tells of itself."""

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        storage: Storage,
        fast_path: FastPath,
        source: IsolateIdentity,
        sinks: Sinks,
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._memory = storage.memory
        self._fast_path = fast_path
        self._source = source
        self._sinks = sinks
        self._flushed = _Flushed(at_ms=source.started_ms)
        self._next_ms = source.started_ms + WATCHED_FLUSH_SECONDS * 1000
        self._watched_until_ms = 0
        self._known_others: list[Isolate] = []
        self._others_until_ms = 0
        self._logged = 0.0
        storage.memory.on_evict = counters.evicted
        storage.marks.table.on_move = counters.saw_purge
        if settings.log_writes:
            storage.audit_by(self._log_write)
        if settings.log_sampling:
            fast_path.on_repeat = self._log_repeated

    # Reading

    def isolate(self, now_ms: int) -> Isolate:
        """Return what this isolate has counted up to now."""
        self._fast_path.count_repeats()
        counts = self._counters.read()
        counts.set("memory_bytes", self._memory.used_bytes)
        counts.set("memory_limit_bytes", self._memory.max_bytes)
        counts.set("memory_entries", len(self._memory))
        source = self._source
        return Isolate(
            source.isolate_id,
            source.location,
            source.started_ms,
            now_ms,
            counts,
            self._counters.urls(),
            tuple(self._counters.purges()),
            self._counters.away(),
        )

    def is_for(self, request: RequestFacts) -> bool:
        """Whether a request is for the route, which there is only where somebody may read it."""
        is_open = bool(self._settings.debug_secret) or self._settings.development
        return is_open and request.target.path == METRICS_PATH

    async def answer(self, request: RequestFacts, now_ms: int) -> MetricsReply:
        """Answer a request of the route: JSON, or OpenMetrics for who prefers that."""
        if not may_read_metrics(request, self._settings):
            return _refusal(self._settings)
        if request.method not in {"GET", "HEAD"}:
            return MetricsReply(
                405, (("allow", "GET, HEAD"), *_PLAIN), "The metrics are read-only: send GET.\n"
            )
        self._watched_until_ms = now_ms + _WATCHED_MS
        self._next_ms = min(self._next_ms, self._flushed.at_ms + WATCHED_FLUSH_SECONDS * 1000)
        isolates = (self.isolate(now_ms), *await self._others(now_ms))
        if "application/openmetrics-text" in request.fields.get("accept", ""):
            return MetricsReply(200, _typed(OPENMETRICS_TYPE), openmetrics(isolates))
        document = Document(
            now_ms,
            self._settings.cache_name,
            isolates,
            self._settings.metrics_urls.value,
            is_shared=self._sinks.shared is not None,
            flush_seconds=WATCHED_FLUSH_SECONDS,
        )
        return MetricsReply(200, _typed(JSON_TYPE), f"{document}\n")

    async def _others(self, now_ms: int) -> list[Isolate]:
        """Return what others left; it is read once in ten seconds, as each of them costs a read of KV."""
        if self._sinks.shared is None or now_ms < self._others_until_ms:
            return self._known_others
        self._others_until_ms = now_ms + WATCHED_FLUSH_SECONDS * 1000
        self._known_others = await self._read_others(self._sinks.shared)
        return self._known_others

    async def _read_others(self, shared: SharedCounts) -> list[Isolate]:
        try:
            await shared.watch()
            texts = await shared.read()
        except Exception as error:  # noqa: BLE001 - this isolate's own counts can still be told
            self._note(error)
            return []
        others = []
        for text in texts:
            try:
                other = parse_isolate(text)
            except UnreadableMetrics as error:
                self._note(error)  # of another version, while one is being deployed
                continue
            if other.id != self._source.isolate_id:
                others.append(other)
        return others

    def _note(self, error: Exception) -> None:
        self._counters.fault("metrics")
        self._sinks.log(json.dumps({"edge_cache": "fault", "where": "metrics", "error": str(error)}))

    # Flushing

    def is_due(self, exchange: Exchange, now_ms: int) -> bool:
        """Log an answer if it is one of the sample; tell whether to flush, once for each flush."""
        if self._settings.log_sampling:
            self._log(exchange, now_ms)
        if now_ms < self._next_ms:
            return False
        is_watched = now_ms < self._watched_until_ms
        self._next_ms = now_ms + (WATCHED_FLUSH_SECONDS if is_watched else FLUSH_SECONDS) * 1000
        return True

    async def flush(self, now_ms: int) -> None:
        """Tell what was counted since the last flush, if anything was."""
        isolate = self.isolate(now_ms)
        before, urls = self._flushed, _urls_since(isolate.urls, self._flushed.urls)
        gained = isolate.counts.since(before.counts)
        self._flushed = _Flushed(isolate.counts, {url.url: url for url in isolate.urls}, now_ms)
        if gained:
            self._log_flush(isolate, gained, (now_ms - before.at_ms) / 1000)
            if self._sinks.write_point:
                for point in points_of(gained, isolate.id, isolate.location, urls):
                    self._sinks.write_point(point)
        if self._sinks.shared:
            try:
                if gained:
                    await self._sinks.shared.write(isolate.id, isolate_text(isolate))
                if await self._sinks.shared.is_watched():
                    self._watched_until_ms = now_ms + FLUSH_SECONDS * 1000
                    self._next_ms = min(self._next_ms, now_ms + WATCHED_FLUSH_SECONDS * 1000)
            except Exception as error:  # noqa: BLE001 - the next flush tells it all
                self._note(error)

    # The log

    def _log_flush(self, isolate: Isolate, gained: Counts, seconds: float) -> None:
        requests = gained.total("requests")
        hits = sum(gained.total("requests", tier=tier) for tier in _CAN_BE_HIT)
        self._sinks.log(
            json.dumps(
                {
                    "edge_cache": "flush",
                    "isolate": isolate.id,
                    "location": isolate.location,
                    "seconds": round(seconds, 1),
                    "requests": requests,
                    "hit_ratio": round(hits / requests, 4) if requests else None,
                    "tiers": {tier: row[0] for (tier,), row in gained.by("requests", "tier").items()},
                    "origin_requests": gained.total("origin_requests"),
                    "origin_errors": gained.total("origin_errors"),
                    "kv_keys_read": gained.total("kv_keys", operation="read"),
                    "kv_keys_written": gained.total("kv_keys", operation="write"),
                    "kv_errors": gained.total("kv_errors"),
                    "evictions": gained.total("eviction_seconds"),
                    "memory_bytes": isolate.counts.value("memory_bytes"),
                    "faults": gained.total("faults"),
                }
            )
        )

    def _log(self, exchange: Exchange, now_ms: int) -> None:
        request = exchange.request
        if self._is_sampled() and request:
            self._log_request(
                request,
                exchange.code,
                exchange.tier,
                exchange.reason,
                exchange.rule,
                now_ms - exchange.began_ms,
                exchange.size_bytes,
            )

    def _log_write(self, now_ms: int, action: str, key: str, details: Mapping[str, object]) -> None:
        """Log a write to KV, in the form of the SDK's audit file."""
        line = {
            "at": strftime("%Y-%m-%dT%H:%M:%S+00:00", gmtime(now_ms // 1000)),
            "action": action,
            "actor": f"{BY_EDGE} {self._source.isolate_id}",
            "outcome": "done",
            "key": _shown_key(key, self._settings.metrics_urls),
            **details,
        }
        self._sinks.log(json.dumps({"edge_cache": "write", **line}))

    def _log_repeated(self, repeated: Repeated) -> None:
        if self._is_sampled():
            self._log_request(
                repeated.request, repeated.code, Tier.MEMORY, "fresh", repeated.rule, 0, repeated.size_bytes
            )

    def _is_sampled(self) -> bool:
        self._logged += self._settings.log_sampling
        if self._logged < 1:
            return False
        self._logged -= 1
        return True

    def _log_request(
        self, request: RequestFacts, code: int, tier: Tier, reason: str, rule: str, ms: int, size_bytes: int
    ) -> None:
        line = {
            "edge_cache": "request",
            "method": request.method,
            "url": shown_url(request, self._settings) or None,
            "status": code,
            "tier": tier.value,
            "reason": reason,
            "rule": rule,
            "ms": ms,
            "bytes": size_bytes,
        }
        self._sinks.log(json.dumps({name: value for name, value in line.items() if value is not None}))


def _shown_key(key: str, urls: MetricsUrls) -> str:
    """Return as much of a key of KV as may be told: it holds a URL, or a group."""
    if urls is MetricsUrls.NONE:
        return digest("key", key)
    return key if urls is MetricsUrls.FULL else key.partition("?")[0]


_NEVER_STORED = ("cache-control", "no-store")
_PLAIN = (("content-type", "text/plain; charset=utf-8"), _NEVER_STORED)


def _typed(media_type: str) -> tuple[tuple[str, str], ...]:
    return ("content-type", media_type), ("vary", "accept, authorization"), _NEVER_STORED


def _refusal(settings: Settings) -> MetricsReply:
    if settings.debug_secret:
        text = "Send DEBUG_SECRET as a bearer token in Authorization, or in Cache-Debug.\n"
    else:
        text = "Address the Worker as localhost, or set DEBUG_SECRET, to read the metrics.\n"
    return MetricsReply(401, (("www-authenticate", 'Bearer realm="metrics"'), *_PLAIN), text)


def _urls_since(urls: tuple[UrlCount, ...], before: dict[str, UrlCount]) -> list[UrlCount]:
    """Return what was counted of URLs since they were told before, the busiest first."""
    gained = [_gain(url, before.get(url.url)) for url in urls]
    return sorted((url for url in gained if url.requests > 0), key=lambda url: -url.requests)


def _gain(url: UrlCount, before: UrlCount | None) -> UrlCount:
    if before is None or before.inherited != url.inherited:
        return UrlCount(
            url.url,
            url.rule,
            url.requests - url.inherited,
            url.bytes,
            url.origin_requests,
            url.origin_seconds,
        )
    return UrlCount(
        url.url,
        url.rule,
        url.requests - before.requests,
        url.bytes - before.bytes,
        url.origin_requests - before.origin_requests,
        url.origin_seconds - before.origin_seconds,
    )
