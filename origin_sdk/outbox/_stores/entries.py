"""What an outbox holds: purges and republications as values, who recorded them and why."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from origin_sdk._values.arguments import check_type
from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.targets import Purge, parse_url

__all__ = [
    "Claim",
    "End",
    "Entry",
    "Intent",
    "Listed",
    "Republish",
    "Settlement",
    "State",
    "Status",
    "Who",
    "acting",
    "current_who",
    "payload_of",
    "read_payload",
]

_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Republish:
    """Purge a URL, and publish its new response, which ``renderer`` makes from ``arguments``.

    Without a renderer, or where it is unknown, the origin is asked for the URL; if that can't be either, the
    purge alone is done.
    """

    url: str
    renderer: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {"url": self.url, "renderer": self.renderer, "arguments": dict(self.arguments)}


Intent: TypeAlias = Purge | Republish
"""What is to be done at the edge once the change is committed."""


# Made once: `json.dumps` with options of its own makes an encoder for each call.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def payload_of(intent: Intent) -> str:
    """Return an intent as the text that is kept.

    Raises :class:`InvalidRequest` for what no drainer could read: once the change is made, nobody is there to
    correct it.
    """
    check_type("what is recorded", intent, (Purge, Republish), "Purge.of(…) or Republish(…)")
    try:
        if isinstance(intent, Republish):
            _republish(intent.url, intent.renderer, intent.arguments)
            payload = _encode({"republish": intent.as_json()})
        else:
            payload = _encode({"purge": intent.as_json()})
        payload.encode()
    except (TypeError, ValueError, RecursionError) as error:
        shown = intent.url if isinstance(intent, Republish) else intent
        raise InvalidRequest(f"{str(shown)[:_MAX_TEXT]!r} can't be recorded: {error}") from error
    return payload


def read_payload(payload: str) -> Intent:
    """Read what :func:`payload_of` returned, perhaps in another release; raises :class:`InvalidRequest`."""
    try:
        [(kind, values)] = json.loads(payload).items()
        if kind == "purge":
            return Purge.from_json(values)
        if kind == "republish":
            return _republish(**values)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise InvalidRequest(f"not an entry of an outbox: {error}: {payload[:_MAX_TEXT]!r}") from error
    raise InvalidRequest(f"an entry of a kind that this release doesn't know: {kind!r}; update the drainer")


def _republish(url: object, renderer: object = "", arguments: object = None) -> Republish:
    arguments = {} if arguments is None else arguments
    if not (isinstance(url, str) and isinstance(renderer, str) and isinstance(arguments, Mapping)):
        raise TypeError("url and renderer are strings, arguments an object")
    return Republish(str(parse_url(url)), renderer, arguments)


@dataclass(frozen=True, slots=True)
class Who:
    """Who changed something, and why, as the audit is to show it."""

    actor: str = ""
    reason: str = ""


_who: ContextVar[Who | None] = ContextVar("origin_sdk_who", default=None)


@contextmanager
def acting(actor: str = "", reason: str = "") -> Iterator[None]:
    """Name who and why for all that is recorded in the ``with`` block, such as a request or a job."""
    outer = current_who()
    token = _who.set(Who(actor or outer.actor, reason or outer.reason))
    try:
        yield
    finally:
        _who.reset(token)


def current_who() -> Who:
    """Return what :func:`acting` said, else ``EDGE_CACHE_ACTOR``."""
    return _who.get() or Who(os.environ.get("EDGE_CACHE_ACTOR", ""))


class State(StrEnum):
    """Where an entry stands. Only ``waiting`` ones are delivered; ``dead`` ones wait for a decision."""

    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Entry:
    """A claimed entry. ``recorded_at`` is by the store's clock; ``attempts`` counts this one."""

    id: str
    payload: str
    actor: str
    reason: str
    recorded_at: float
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """Entries that one drainer took ``at`` a moment, and holds until ``until``, both by the store's clock.

    After that any drainer may take them.
    """

    token: str
    at: float
    until: float
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class End:
    """What became of an entry; ``delay_seconds`` is how long to wait for the next try, where there is one."""

    state: State
    result: str
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a claim: what most of its entries became, and by id what the others did."""

    rest: End
    others: Mapping[str, End] = field(default_factory=dict)

    @classmethod
    def of(cls, ends: Mapping[str, End]) -> "Settlement":
        """Find the end that most entries share, so that a store can write it in one statement."""
        [(commonest, _)] = Counter(ends.values()).most_common(1)
        return cls(commonest, {id_: end for id_, end in ends.items() if end != commonest})


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry as ``origin-sdk outbox list`` shows it: the audit record of one purge or publish.

    Moments are by the store's clock. ``at`` is when it is tried next, or when it ended; 0 for now.
    """

    id: str
    state: State
    payload: str
    actor: str
    reason: str
    recorded_at: float
    at: float
    attempts: int
    result: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"state": self.state.value, "payload": _loaded(self.payload)}


def _loaded(payload: str) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload


@dataclass(frozen=True, slots=True)
class Status:
    """How an outbox stands. ``lag_seconds`` is how long the oldest entry has waited, 0 if none waits."""

    counts: Mapping[State, int]
    lag_seconds: float
