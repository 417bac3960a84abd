"""What an isolate counts, and how it bounds the labels that clients choose."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from origin_sdk_edge.busiest import Busiest
from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_wire.choices import MetricsUrls
from origin_sdk_wire.exposition import AwayOrigin, SeenPurge, UrlCount
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.marks import Lane, Mark, is_index
from origin_sdk_wire.metrics import ATTEMPTS, FAULTS, KV_PURPOSES, OTHER, Counts, Labels, Tier, status_class
from origin_sdk_wire.parameters import without_parameters
from origin_sdk_wire.settings import Settings

__all__ = ["Counters", "shown_url"]

_MOST_HOSTS = 20
_MOST_SERIES = 500
"""Of answers; beyond it hosts aren't told apart, and what is left follows from the rules."""
_KEPT_URLS = 100
_KEPT_PURGES = 50
_OWN_MARK_MS = 10_000
"""A mark that moves so shortly after the Worker wrote it itself is that write, seen in KV."""
_HOOKS = frozenset({"before_lookup", "after_origin", "before_send"})


@dataclass(slots=True, eq=False)
class _Row:
    """The sums of one series of answers."""

    is_stale: bool
    requests: int = 0
    size_bytes: int = 0
    collapsed: int = 0


class Counters:
    """Counts of one isolate. Each method costs a look-up in a dictionary or two."""

    def __init__(self, settings: Settings) -> None:
        self.counts = Counts()
        self._settings = settings
        self._answers: dict[Labels, _Row] = {}
        self._rows: dict[tuple[object, ...], _Row] = {}
        """Those of the answers that were met, by what is at hand of each."""
        self._keeps_urls = settings.metrics_urls is not MetricsUrls.NONE
        self._hosts = {OTHER}
        self._away: dict[str, AwayOrigin] = {}
        self._busiest = Busiest(_KEPT_URLS)
        self._purges: deque[SeenPurge] = deque(maxlen=_KEPT_PURGES)
        self._own_marks: deque[tuple[str, int]] = deque(maxlen=_KEPT_PURGES)

    # Answers

    def answered(self, exchange: Exchange) -> None:
        """Count what a client was sent."""
        status, request = exchange.status, exchange.request
        kind = (
            request.target.host if request else OTHER,
            exchange.rule,
            exchange.reason,
            exchange.found_in,
            exchange.code,
            status.collapsed if status else False,
            exchange.is_own,
        )
        row = self._rows.get(kind)
        if row is None:
            row = self._row(kind, exchange)
        row.requests += 1
        row.size_bytes += exchange.size_bytes
        if status and status.collapsed:
            row.collapsed += 1
        if row.is_stale and status:
            self.counts.observe("stale_seconds", max(0, -(status.ttl_seconds or 0)), (exchange.rule,))
        if self._keeps_urls and request:
            asked = int(status is not None and status.forwarded_status is not None)
            self._note_url(request, exchange.rule, 1, exchange.size_bytes, asked, exchange.origin_ms)

    def _row(self, kind: tuple[object, ...], exchange: Exchange) -> "_Row":
        host = exchange.request.target.host if exchange.request else OTHER
        row = self._series_of(host, exchange.rule, exchange.reason, exchange.tier, exchange.code)
        if len(self._rows) < _MOST_SERIES:
            self._rows[kind] = row
        return row

    def sent_more(self, exchange: Exchange, size_bytes: int) -> None:
        """Count bytes of a body whose size wasn't known when its response began."""
        self._row((), exchange).size_bytes += size_bytes

    def repeated(self, request: RequestFacts, rule: str, code: int, size_bytes: int, times: int) -> None:
        """Count a decision that was repeated out of memory."""
        row = self._series_of(request.target.host, rule, Reason.FRESH, Tier.MEMORY, code)
        row.requests += times
        row.size_bytes += times * size_bytes
        if self._keeps_urls:
            self._note_url(request, rule, times, times * size_bytes, 0, 0)

    def _note_url(
        self, request: RequestFacts, rule: str, requests: int, size_bytes: int, asked: int, origin_ms: int
    ) -> None:
        url = shown_url(request, self._settings)
        self._busiest.note(url, rule, requests, size_bytes, asked, origin_ms)

    def _series_of(self, host: str, rule: str, reason: str, tier: Tier, code: int) -> "_Row":
        others = (rule, reason, tier, status_class(code))
        row = self._answers.get((host, *others))
        if row is not None:
            return row
        is_full = len(self._answers) >= _MOST_SERIES
        if not is_full and len(self._hosts) <= _MOST_HOSTS:
            self._hosts.add(host)
        if is_full or host not in self._hosts:
            host = OTHER
        return self._answers.setdefault((host, *others), _Row(is_stale=tier is Tier.STALE))

    def expired(self, rule: str) -> None:
        """Count a stored response that was found past its lifetime."""
        self.counts.add("expiries", (rule,))

    def refreshed(self, rule: str, outcome: str) -> None:
        """Count a background refresh that ended."""
        self.counts.add("refreshes", (rule, outcome))

    # The origin

    def origin_answered(self, rule: str, code: int, milliseconds: int) -> None:
        """Count an answer of the origin, and how long its header fields took."""
        self.counts.add("origin_requests", (rule, status_class(code)))
        self.counts.observe("origin_seconds", milliseconds / 1000, (rule,))

    def origin_failed(self, rule: str, failure: OriginFailure) -> None:
        """Count an answer that didn't come, or not whole."""
        self.counts.add("origin_errors", (rule, failure.value.removeprefix("origin-")))

    def origin_tried(self, origin: str, now_ms: int, why_away: str = "") -> None:
        """Count that an origin was asked, given by its URL; empty for that of the Worker's zone.

        ``why_away`` says why it gave no answer.
        """
        self._tried(origin.partition("://")[2].partition("/")[0] or "zone", now_ms, why_away)

    def shield_tried(self, now_ms: int, why_away: str = "") -> None:
        """Count that the shield was asked in place of an origin."""
        self._tried("shield", now_ms, why_away)

    def _tried(self, name: str, now_ms: int, why_away: str) -> None:
        self.counts.add("origin_attempts", (name, ATTEMPTS[bool(why_away)]))
        if not why_away:
            self._away.pop(name, None)
            return
        known = self._away.get(name)
        since_ms, tries = (known.since_ms, known.tries) if known else (now_ms, 0)
        self._away[name] = AwayOrigin(name, since_ms, now_ms, tries + 1, why_away)

    def breaker_opened(self) -> None:
        """Count an origin that is left alone from now on."""
        self.counts.add("breaker_openings")

    # Storage

    def kv_used(self, operation: str, keys: Sequence[str]) -> None:
        """Count the keys of an operation of KV, which are all of one kind."""
        self.counts.add("kv_keys", (operation, KV_PURPOSES.get(keys[0][:1], "record")), len(keys))

    def kv_failed(self, operation: str) -> None:
        """Count an operation of KV that failed."""
        self.counts.add("kv_errors", (operation,))

    def kv_wrote(self, size_bytes: int) -> None:
        """Count the bytes of a value."""
        self.counts.add("kv_written_bytes", (), size_bytes)

    def evicted(self, size_bytes: int, held_ms: int) -> None:
        """Count a stored response that memory dropped to make room."""
        self.counts.add("evicted_bytes", (), size_bytes)
        self.counts.observe("eviction_seconds", held_ms / 1000)

    def broken_seal(self, kind: str) -> None:
        """Count what couldn't be opened."""
        self.counts.add("broken_seals", (kind,))

    # Purges and faults

    def purged(self, names: Iterable[str], lane: Lane, by: str, moment_ms: int) -> None:
        """Count marks that the Worker writes itself."""
        for name in names:
            self.counts.add("purges", (by, lane.value))
            self._own_marks.append((name, moment_ms))
            self._note_purge(name, lane, by, Mark(moment_ms, by), moment_ms)

    def saw_purge(self, name: str, lane: Lane, mark: Mark, seen_ms: int) -> None:
        """Count a mark that was seen to move; the Worker's own are counted where they are written."""
        moment_ms = mark.moment_ms
        if is_index(name) or self._is_own(name, moment_ms):
            return  # what an index tells of moves with it
        if lane is Lane.HARD and self._hardens(name, moment_ms):
            return
        self.counts.observe("purge_lag_seconds", max(0, seen_ms - moment_ms) / 1000)
        self._note_purge(name, lane, "elsewhere", mark, seen_ms)

    def _is_own(self, name: str, moment_ms: int) -> bool:
        return any(own == name and abs(moment_ms - own_ms) <= _OWN_MARK_MS for own, own_ms in self._own_marks)

    def _hardens(self, name: str, moment_ms: int) -> bool:
        """Take note that a purge was hard which its soft mark, which is read first, has told of."""
        shown = self._shown_mark(name)
        for at, seen in enumerate(self._purges):
            if seen.name == shown and abs(seen.moment_ms - moment_ms) <= _OWN_MARK_MS:
                self._purges[at] = replace(seen, lane=Lane.HARD.value)
                return True
        return False

    def _shown_mark(self, name: str) -> str:
        return name if self._keeps_urls else ""

    def _note_purge(self, name: str, lane: Lane, by: str, mark: Mark, seen_ms: int) -> None:
        self._purges.appendleft(
            SeenPurge(mark.moment_ms, seen_ms, by, lane.value, self._shown_mark(name), mark.purge_id)
        )

    def fault(self, where: str) -> None:
        """Count a fault that the log names; those of the origin and of seals have counters of their own."""
        if where not in {"origin", "seal"}:
            where = "hook" if where in _HOOKS else where
            self.counts.add("faults", (where if where in FAULTS else OTHER,))

    # Reading

    def read(self) -> Counts:
        """Return all counts, apart from these."""
        counts = self.counts.copy()
        for labels, row in self._answers.items():
            if row.requests:
                counts.series["requests"][labels] = [row.requests]
            for metric, amount in (("response_bytes", row.size_bytes), ("collapsed", row.collapsed)):
                if amount:
                    counts.series[metric][labels] = [amount]
        return counts

    def urls(self) -> tuple[UrlCount, ...]:
        """Return the busiest and the most expensive URLs."""
        return self._busiest.urls()

    def away(self) -> tuple[AwayOrigin, ...]:
        """Return the origins that gave no answer when they were asked last, the longest away first."""
        return tuple(sorted(self._away.values(), key=lambda each: each.since_ms))

    def purges(self) -> Iterator[SeenPurge]:
        """Return the latest purges, the last one first."""
        return iter(tuple(self._purges))


def shown_url(request: RequestFacts, settings: Settings) -> str:
    """Return as much of a request's URL as may be kept and told: it can be personal."""
    target = request.target
    if settings.metrics_urls is MetricsUrls.FULL:
        return str(without_parameters(target, settings.hidden_parameters))
    if settings.metrics_urls is MetricsUrls.PATH:
        return f"{target.scheme}://{target.host}{target.path}"
    return ""
