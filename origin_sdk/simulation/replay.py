"""A log run through one or more sets of settings, side by side."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from zlib import crc32

from origin_sdk._values.errors import InvalidRequest, OriginSdkError
from origin_sdk._values.targets import NAMES, Purge, Targets
from origin_sdk.simulation.accesslog import AccessLog
from origin_sdk.simulation.assumptions import Assumptions
from origin_sdk.simulation.curves import LifetimeCurve, MemoryCurve
from origin_sdk.simulation.edge import Answered, Edge
from origin_sdk.simulation.exchanges import LoggedRequest
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.relay import end_to_end
from origin_sdk_wire.errors import InvalidTarget
from origin_sdk_wire.key import Target, parse_target
from origin_sdk_wire.lifetimes import parse_date
from origin_sdk_wire.settings import Settings

__all__ = ["LoggedPurge", "Parameter", "Replay", "read_purges"]

_PROGRESS_LINES = 2000
_REMEMBERED_VALUES = 1000
_REMEMBERED_TARGETS = 100_000
_PARAMETERS = 200
_UNNAMED = frozenset({"user-agent", "referer"})
"""Fields that describe the client, and that no key has unless a rule or Vary names them."""
_OF_ONE_EXCHANGE = frozenset(
    {"age", "date", "expires", "cache-status", "x-cache", "transfer-encoding", "content-length"}
)


@dataclass(frozen=True, slots=True)
class LoggedPurge:
    """A purge that was made while the log was written."""

    at_ms: int
    purge: Purge


@dataclass
class Parameter:
    """A query parameter, and how many values it had."""

    requests: float = 0.0
    values: set[int] = field(default_factory=set)

    @property
    def distinct(self) -> int:
        """How many values were seen; the count stops at a thousand."""
        return len(self.values)


@dataclass
class Replay:
    """Runs ``log`` through each of ``variants``, settings by name; the first is what is set now."""

    log: AccessLog
    variants: Mapping[str, Settings]
    assumptions: Assumptions = field(default_factory=Assumptions)
    purges: Sequence[LoggedPurge] = ()
    max_keys: int = 100_000
    shield: bool = False
    """Whether each of the variants runs once more, with a shield."""

    def __post_init__(self) -> None:
        self.edges = {
            name: Edge(settings, self.assumptions, max_keys=self.max_keys)
            for name, settings in self.variants.items()
        }
        if self.shield:
            assumptions = replace(self.assumptions, shield=True)
            self.edges |= {
                f"{name}, with a shield": Edge(settings, assumptions, max_keys=self.max_keys)
                for name, settings in self.variants.items()
            }
        self.first_ms = 0
        self.last_ms = 0
        self.skipped: Counter[str] = Counter()
        """Lines that can be read but not replayed, by why."""
        self.late = 0
        """Lines that came more than a second after one of a later time."""
        self.lifetimes: dict[str, LifetimeCurve] = {}
        self.parameters: dict[tuple[str, str], Parameter] = {}
        self.memory = MemoryCurve()
        self.has_response_fields = False
        self._targets: dict[str, Target | None] = {}
        self._fields: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self.first.on_answered = self._note
        self.first.on_let_go = self._let_go
        named = {
            name for settings in self.variants.values() for rule in settings.rules for name in rule.fields
        }
        self._left_out = _UNNAMED - named

    def run(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Replay the whole log; ``on_progress`` gets the bytes that were read, and all bytes."""
        purges = iter(sorted(self.purges, key=lambda each: each.at_ms))
        next_purge = next(purges, None)
        now_ms = 0
        for number, exchange in enumerate(self.log):
            if number % _PROGRESS_LINES == 0 and on_progress:
                on_progress(self.log.read_bytes, self.log.size_bytes)
            facts = self._facts(exchange)
            if facts is None:
                continue
            # A log is written at the end of each request, and so a little out of order.
            self.late += exchange.time_ms < now_ms - 1000
            now_ms = max(now_ms, exchange.time_ms)
            self.first_ms = self.first_ms or now_ms
            while next_purge and next_purge.at_ms <= now_ms:
                self._purge(next_purge)
                next_purge = next(purges, None)
            prepared = self._prepared(exchange, facts.target)
            for edge in self.edges.values():
                edge.answer(prepared, facts, now_ms)
        self.last_ms = now_ms
        if not now_ms:
            raise InvalidRequest(f"{self.log.place} has no request that can be replayed{self._why_skipped()}")
        if on_progress:
            on_progress(self.log.size_bytes, self.log.size_bytes)

    def _why_skipped(self) -> str:
        return "".join(f"; {count:,} {why}" for why, count in self.skipped.most_common(3))

    @property
    def first(self) -> Edge:
        """The edge with the first of the settings, those that are set now."""
        return next(iter(self.edges.values()))

    @property
    def seconds(self) -> float:
        """The time that the log spans, one second at least."""
        return max(1.0, (self.last_ms - self.first_ms) / 1000)

    # What is replayed

    def _facts(self, exchange: LoggedRequest) -> RequestFacts | None:
        target = self._target(exchange.target)
        if target is None:
            self.skipped["have no URL that HTTP allows"] += 1
            return None
        if not 200 <= exchange.status <= 599:
            self.skipped["have no final status code (a client that went away, an upgrade)"] += 1
            return None
        fields = exchange.request_fields
        if fields:
            fields = end_to_end({name: value for name, value in fields.items() if name not in self._left_out})
        return RequestFacts(exchange.method, target, fields)

    def _target(self, text: str) -> Target | None:
        if text in self._targets:
            return self._targets[text]
        base = self.assumptions.base_url.rstrip("/")
        url = text
        if text.startswith("//"):
            url = f"{base.partition(':')[0]}:{text}"
        elif text.startswith("/"):
            url = base + text
        try:
            target = parse_target(url)
        except InvalidTarget:
            target = None
        if len(self._targets) >= _REMEMBERED_TARGETS:
            self._targets.clear()
        self._targets[text] = target
        return target

    def _prepared(self, exchange: LoggedRequest, target: Target) -> LoggedRequest:
        """Return the exchange as an origin would have answered it now."""
        logged = exchange.response_fields
        self.has_response_fields = self.has_response_fields or "cache-control" in logged
        given = tuple(
            (each.name, each.value) for each in self.assumptions.responses if each.applies_to(target)
        )
        key = (*logged.items(), ("", ""), *given)
        fields = self._fields.get(key)
        if fields is None:
            if len(self._fields) >= _REMEMBERED_TARGETS:
                self._fields.clear()
            fields = self._fields[key] = {**_as_new(logged), **dict(given)}
        took_ms = self.assumptions.origin_ms if exchange.duration_ms is None else exchange.duration_ms
        return replace(exchange, response_fields=fields, duration_ms=took_ms)

    def _purge(self, logged: LoggedPurge) -> None:
        for edge in self.edges.values():
            edge.purge(logged.purge.marks(edge.settings.rules), logged.at_ms)

    # What is noted for advice

    def _note(self, answered: Answered) -> None:
        lookup, weight, now_ms = answered.lookup, answered.weight, answered.now_ms
        if (curve := self.lifetimes.get(lookup.rule.name)) is None:
            curve = self.lifetimes[lookup.rule.name] = LifetimeCurve()
        curve.add(lookup.key, weight, now_ms)
        # What one isolate would see of it: a part of all that comes.
        isolates = self.assumptions.locations * self.assumptions.isolates
        if isolates == 1 or crc32(f"{now_ms}{lookup.key}".encode()) % isolates == 0:
            self.memory.add(lookup.key, answered.size_bytes * weight, weight)
        if query := lookup.request.target.query:
            self._note_parameters(lookup.rule.name, query, weight)

    def _let_go(self, key: str) -> None:
        for curve in self.lifetimes.values():
            curve.forget(key)

    def _note_parameters(self, rule: str, query: str, weight: float) -> None:
        for part in query.split("&"):
            name, _, value = part.partition("=")
            parameter = self.parameters.get((rule, name))
            if parameter is None:
                if len(self.parameters) >= _PARAMETERS:
                    continue
                parameter = self.parameters[rule, name] = Parameter()
            parameter.requests += weight
            if len(parameter.values) < _REMEMBERED_VALUES:
                parameter.values.add(crc32(value.encode("utf-8", "surrogatepass")))


def _as_new(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Return the fields of a response as if it had just been made: a lifetime, but no age and no date."""
    kept = {name: value for name, value in fields.items() if name not in _OF_ONE_EXCHANGE}
    if "expires" in fields and "max-age" not in kept.get("cache-control", ""):
        date, expires = parse_date(fields.get("date", ""), 0), parse_date(fields["expires"], 0)
        if date is not None and expires is not None:
            lifetime = f"max-age={max(0, expires - date)}"
            kept["cache-control"] = ", ".join(filter(None, (kept.get("cache-control"), lifetime)))
    return kept


def read_purges(path: Path) -> Iterator[LoggedPurge]:
    """Yield the purges of an audit file (``EDGE_CACHE_AUDIT_FILE``); raises :class:`InvalidRequest`."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip() and (purge := _logged_purge(line, f"{path}, line {number}")):
                    yield purge
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} can't be read as an audit file: {error}") from error


def _logged_purge(line: str, where: str) -> LoggedPurge | None:
    try:
        event = json.loads(line)
        if event["action"] != "purge" or event["outcome"] != "done":
            return None
        at_ms = int(datetime.fromisoformat(event["at"]).timestamp() * 1000)
        targets = Targets(everything=bool(event.get("everything")), hard=bool(event.get("hard")))
        purge = Purge.of(**targets, **{name: event.get(name) or () for name in NAMES})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OriginSdkError) as error:
        raise InvalidRequest(f"{where}, isn't a purge of an audit file: {error!r}") from error
    return LoggedPurge(at_ms, purge)
