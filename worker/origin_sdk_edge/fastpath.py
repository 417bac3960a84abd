"""Repeating a decision: a fresh response in memory, sent again without asking the policy.

The full path decides; what it decided for a plain GET holds for every like request until a known moment: its
freshness ends, its purge marks have to be read again, a mark moved, or memory let go of it. "Like" means: the
same URL, none of the request fields that could change the decision, and the same values of those that select
the response. All that is read of a request is its method, its URL and its fields as one JSON text, since each
step across the border to JavaScript costs.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, TypeAlias

from origin_sdk_edge.counters import Counters
from origin_sdk_edge.handler import Served
from origin_sdk_edge.hooks import Hooks
from origin_sdk_edge.policy.access import DEBUG
from origin_sdk_edge.policy.answer import BodyKind, answer_from
from origin_sdk_edge.policy.decision import Lookup, Use
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.relay import shown_fields, shown_key
from origin_sdk_edge.policy.server_timing import short_timing
from origin_sdk_edge.policy.status import Status, cache_status
from origin_sdk_edge.ports import Body, Response
from origin_sdk_edge.storage.mark_table import MarkTable
from origin_sdk_edge.storage.memory import Entry, Memory
from origin_sdk_wire.bounds import CLOCK_STEP_MS, MARKS_AHEAD
from origin_sdk_wire.choices import ServerTiming
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.freshness import current_age_ms
from origin_sdk_wire.metrics import Tier
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.shield import SHIELD_FIELD

__all__ = ["CHANGES_DECISION", "FRAMES_BODY", "FastPath", "Rendered", "Rendering", "Repeated", "text_of"]

_CHANGING = (
    "cache-control",
    "pragma",
    "range",
    "if-range",
    "if-none-match",
    "if-modified-since",
    "if-match",
    "if-unmodified-since",
    "authorization",
    "upgrade",
    "content-length",
    "transfer-encoding",
    DEBUG,
    SHIELD_FIELD,
)
CHANGES_DECISION = re.compile(rf'"(?:{"|".join(_CHANGING)})":', re.IGNORECASE)
"""Finds, in the JSON text of a request's fields, one that the full path has to see."""

FRAMES_BODY = re.compile(r'"(?:content-length|transfer-encoding)":', re.IGNORECASE)
"""Finds, in the JSON text of a request's fields, one that says that there is a body."""

_MAX_REPEATS = 32
"""Of the decisions for one stored response: many URLs may lead to it, and many values of selecting fields."""
_DECISION_BYTES = 4096
"""What a decision costs beside its texts: measured in Pyodide and V8, with a dozen header fields."""
_MAX_CHARACTERS = 512
"""Of a URL and the values that select a variant: clients choose them, and must not fill the memory."""


_Values: TypeAlias = tuple[str | None, ...]
_Place: TypeAlias = tuple[str, _Values]


class Rendered(Protocol):
    """A response that the runtime can send many times."""

    def set(self, name: str, value: str) -> None:
        """Set a field of the responses to come."""

    def response(self) -> Response:
        """Make one response."""


class Rendering(Protocol):
    """Prepares responses."""

    def rendered(self, status: int, fields: list[tuple[str, str]], body: Body) -> Rendered:
        """Prepare a response."""


@dataclass(slots=True, eq=False)
class Repeated:
    """What was answered by repeating a decision, and how often since that was counted last."""

    request: RequestFacts
    rule: str
    code: int
    size_bytes: int
    times: int = 0


@dataclass(slots=True, eq=False)
class _Decided:
    entry: Entry
    repeated: Repeated
    cost_bytes: int
    key: str
    lifetime_ms: int
    since_ms: int
    """Before this the clock was set back since it was decided."""
    until_ms: int
    generation: int
    is_by_log: bool
    """Whether the purge log, and no mark, says that it wasn't purged."""
    rendered: Rendered
    shown_until_ms: int = 0


@dataclass(slots=True, eq=False)
class _Variants:
    names: tuple[str, ...]
    rule: Rule | None = None
    """The rule, if it brings the values of some fields down to a few."""
    undeclared: re.Pattern[str] | None = None
    """Finds a credential that the full path has to see."""
    by_values: dict[_Values, _Decided] = field(default_factory=dict)


class FastPath:
    """The decisions that may be repeated, by URL. They go with the stored response that they are about."""

    def __init__(
        self,
        settings: Settings,
        hooks: Hooks,
        marks: MarkTable,
        memory: Memory,
        rendering: Rendering,
        counters: Counters,
    ) -> None:
        self.on_repeat: Callable[[Repeated], None] | None = None
        self.is_enabled = not (hooks.before_lookup or hooks.before_send)
        self._settings = settings
        self._marks = marks
        self._memory = memory
        self._rendering = rendering
        self._counters = counters
        self._by_url: dict[str, _Variants] = {}
        self._places: dict[Entry, dict[_Place, None]] = {}
        memory.on_drop = self._forget

    def knows(self, url: str) -> bool:
        """Whether there is a decision for ``url``, so that reading the request's fields is worth it."""
        return url in self._by_url

    def repeat(self, url: str, fields: str, now_ms: int) -> Response:
        """Return a response for a GET of ``url`` with ``fields``, a JSON object.

        ``None`` if the policy has to decide.
        """
        variants = self._by_url[url]
        if now_ms >= self._marks.log.due_ms:
            return None  # the full path asks the purge log behind its response
        if CHANGES_DECISION.search(fields) or (variants.undeclared and variants.undeclared.search(fields)):
            return None
        values = _values_of(variants.names, fields, variants.rule) if variants.names else ()
        decided = variants.by_values.get(values)
        if decided is None:
            return None
        if (
            not decided.since_ms <= now_ms < decided.until_ms
            or (decided.is_by_log and now_ms >= self._marks.log.good_until_ms)
            or decided.generation != self._marks.generation
            or not decided.entry.is_held
        ):
            self._remove(url, values)
            return None
        decided.repeated.times += 1
        if self.on_repeat:
            self.on_repeat(decided.repeated)
        self._memory.touch(decided.entry)
        if now_ms >= decided.shown_until_ms:
            self._show_age(decided, now_ms)
        return decided.rendered.response()

    def _show_age(self, decided: _Decided, now_ms: int) -> None:
        age_ms = current_age_ms(decided.entry.record, now_ms)
        left_ms = decided.lifetime_ms - age_ms
        decided.rendered.set("age", str(age_ms // 1000))
        if self._settings.cache_status:
            is_without_log = self._marks.log.is_unavailable(now_ms)
            status = Status(
                Reason.FRESH, hit=True, ttl_seconds=left_ms // 1000, is_without_log=is_without_log
            )
            decided.rendered.set("cache-status", cache_status(self._settings.cache_name, status, decided.key))
        # Age and ttl are of whole seconds, but don't tick together.
        decided.shown_until_ms = now_ms + min(1000 - age_ms % 1000, left_ms % 1000 + 1)

    def remember(self, url: str, fields: str, served: Served, now_ms: int) -> None:
        """Take note of what the full path decided for a GET of ``url``, if it may be repeated."""
        lookup, entry, use = served.lookup, served.entry, served.use
        if not self.is_enabled or lookup is None or entry is None or use is None:
            return
        if not self._is_repeatable(lookup, entry, use) or CHANGES_DECISION.search(fields):
            return
        names = _names(lookup, entry)
        rule = lookup.rule if lookup.rule.negotiates or lookup.rule.ignore_origin else None
        values = _values_of(names, fields, rule)
        if len(url) + sum(map(len, filter(None, values))) > _MAX_CHARACTERS:
            return
        answer = answer_from(entry.record, entry.fields, lookup.client, now_ms)
        if answer.body is not BodyKind.AS_STORED:
            return
        texts = sum(map(len, (url, lookup.key, *filter(None, values))))
        fields_shown = shown_fields(answer.fields, self._settings)
        if self._settings.server_timing is not ServerTiming.NONE:
            fields_shown.append(("server-timing", short_timing(Tier.MEMORY, 0)))
        is_by_log = self._marks.log.vouches(entry.record.birth_ms, now_ms - self._marks.interval_ms)
        decided = _Decided(
            entry,
            Repeated(
                RequestFacts("GET", lookup.client.target, {}),
                lookup.rule.name,
                answer.status,
                entry.size_bytes,
            ),
            _DECISION_BYTES + entry.fields_bytes + texts,
            shown_key(lookup.key, {}, self._settings),
            use.lifetime_ms,
            now_ms - CLOCK_STEP_MS,
            self._until_ms(lookup, entry, use, is_by_log=is_by_log),
            served.generation,
            is_by_log,
            self._rendering.rendered(answer.status, fields_shown, entry.body),
        )
        self._place(url, _Variants(names, rule, self._undeclared(lookup.rule)), values, decided)

    def _is_repeatable(self, lookup: Lookup, entry: Entry, use: Use) -> bool:
        return (
            use.reason is Reason.FRESH
            and lookup.client.method == "GET"
            and entry.is_held
            and entry.body is not None
            and not lookup.rule.claims
            and entry.hits > 1
        )

    def _undeclared(self, rule: Rule) -> re.Pattern[str] | None:
        if not rule.is_for_one:
            return None
        return _any_of(self._settings.credential_fields - rule.declared_credentials)

    def _until_ms(self, lookup: Lookup, entry: Entry, use: Use, *, is_by_log: bool) -> int:
        until_ms = use.until_ms - int(use.lifetime_ms * self._settings.refresh_ahead)
        if is_by_log:
            return until_ms
        # Marks are read again, by the full path and in the background, before the interval is over.
        known_ms = self._marks.known_until(lookup.request.target, entry.record)
        return min(until_ms, known_ms + int(self._marks.interval_ms * MARKS_AHEAD))

    def _place(self, url: str, like: _Variants, values: _Values, decided: _Decided) -> None:
        variants = self._by_url.get(url)
        if variants and _likeness(variants) != _likeness(like):
            for known in list(variants.by_values):
                self._remove(url, known)
        self._remove(url, values)
        places = self._places.setdefault(decided.entry, {})
        if len(places) >= _MAX_REPEATS:
            self._remove(*next(iter(places)))
        self._by_url.setdefault(url, like).by_values[values] = decided
        self._places.setdefault(decided.entry, {})[url, values] = None
        self._memory.charge(decided.entry, decided.cost_bytes)

    def _remove(self, url: str, values: _Values) -> None:
        variants = self._by_url.get(url)
        decided = variants.by_values.pop(values, None) if variants else None
        if variants is None or decided is None:
            return
        if not variants.by_values:
            del self._by_url[url]
        self._count(decided.repeated)
        places = self._places[decided.entry]
        del places[url, values]
        if not places:
            del self._places[decided.entry]
        self._memory.charge(decided.entry, -decided.cost_bytes)

    def count_repeats(self) -> None:
        """Count what was repeated since the last time: a repetition itself counts nowhere else."""
        for variants in self._by_url.values():
            for decided in variants.by_values.values():
                self._count(decided.repeated)

    def _count(self, repeated: Repeated) -> None:
        times, repeated.times = repeated.times, 0
        if times:
            self._counters.repeated(
                repeated.request, repeated.rule, repeated.code, repeated.size_bytes, times
            )

    def _forget(self, entry: Entry) -> None:
        for url, values in list(self._places.get(entry, ())):
            self._remove(url, values)


def _likeness(variants: _Variants) -> tuple[object, ...]:
    return variants.names, variants.rule, variants.undeclared


@lru_cache(maxsize=16)
def _any_of(names: frozenset[str]) -> re.Pattern[str] | None:
    listed = "|".join(map(re.escape, sorted(names)))
    return re.compile(rf'"(?:{listed})":', re.IGNORECASE) if names else None


def _names(lookup: Lookup, entry: Entry) -> tuple[str, ...]:
    """Return the request fields whose values select this response."""
    names = {*entry.names, *lookup.rule.fields} - {""}
    if lookup.rule.cookies or lookup.rule.bypass_cookies:
        names.add("cookie")
    if entry.record.coding or "content-encoding" in entry.fields:
        names.add("accept-encoding")
    return tuple(sorted(names))


@lru_cache(maxsize=256)
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf'[{{,]"{re.escape(name)}":("(?:[^"\\]|\\.)*")', re.IGNORECASE)


def _values_of(names: tuple[str, ...], fields: str, rule: Rule | None) -> _Values:
    """Return the values of the request fields that select, as the full path sees them."""
    if rule is None:
        return tuple(_value_of(name, fields) for name in names)
    from origin_sdk_wire.negotiation import SOURCES, negotiated  # noqa: PLC0415 - only such rules pay for it

    given = {name: json.loads(text) for name in SOURCES if (text := _value_of(name, fields))}
    few: dict[str, str | None] = dict(negotiated(rule, given))
    if rule.ignore_origin:
        few["origin"] = None
    return tuple(few[name] if name in few else _value_of(name, fields) for name in names)


def text_of(name: str, fields: str) -> str:
    """Return the value of a field in the JSON text of a request's fields, and nothing if it isn't there."""
    text: str = json.loads(_value_of(name, fields) or '""')
    return text


def _value_of(name: str, fields: str) -> str | None:
    found = _pattern(name).search(fields)
    return found[1] if found else None
