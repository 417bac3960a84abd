"""How the origin is doing: which refreshes to hold back, and when to leave it alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from origin_sdk_edge.policy.trouble import Trouble
from origin_sdk_edge.storage.memory import Memory, Table
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.settings import Settings

__all__ = ["Health", "Subject"]

_UNAVAILABLE_URLS = 5
"""So many URLs in a row, at which an origin asks to be left alone, mean all of it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What the origin is asked for, on whose behalf.

    ``voice`` is what only this client sends, empty for nothing: an answer to that speaks for no others.
    ``purged_ms`` is the moment of the soft purge that the stored response is under.
    """

    key: str
    voice: str
    origin: str
    purged_ms: int = 0

    @property
    def name(self) -> str:
        """Under which the answers to such requests are remembered."""
        return self.key + self.voice


@dataclass(slots=True)
class _Rest:
    until_ms: int = 0
    purged_ms: int = 0
    """The last soft purge after which the origin was asked."""


@dataclass(slots=True)
class _OriginState:
    failures: int = 0
    next_try_ms: int = 0
    resting_until_ms: int = 0
    waits: dict[str, int] = field(default_factory=dict)
    """Until when, by key: of what in a row was unavailable, and is to be asked for later."""


class Health:
    """Which URLs err (throttle), and which origins are away (breaker).

    It only ever holds back requests that can be answered from what is stored: a request that needs the
    origin always goes there, and so finds out when it is back. What was purged softly is asked for once
    even so.
    """

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self._settings = settings
        self._rests: Table[_Rest] = memory.table(1 / 32)
        self._origins: Table[_OriginState] = memory.table(1 / 32)
        self._wishes: Table[int] = memory.table(1 / 64)

    def follows_wish(self, key: str, now_ms: int) -> bool:
        """Whether the origin may be asked for what is stored, only because a client wishes it.

        Whatever comes of that, it isn't again for a while.
        """
        if now_ms < (self._wishes.get(key) or 0):
            return False
        if self._settings.is_safe and self._settings.client_refresh_interval:
            self._wishes.set(key, now_ms + int(self._settings.client_refresh_interval * 1000))
        return True

    def rests(self, subject: Subject, now_ms: int) -> Reason | None:
        """Return why the origin isn't to be asked; if it is, count that as the try of an open breaker."""
        rest = self._rests.get(subject.name)
        if subject.purged_ms > (rest.purged_ms if rest else 0):
            return None
        if rest and now_ms < rest.until_ms:
            return Reason.THROTTLED
        return self._origin_rests(subject.origin, now_ms)

    def _origin_rests(self, name: str, now_ms: int) -> Reason | None:
        origin = self._origins.get(name)
        if origin is None:
            return None
        if now_ms < origin.resting_until_ms:
            return Reason.THROTTLED
        if not self._is_open(origin):
            return None
        if now_ms < origin.next_try_ms:
            return Reason.BREAKER_OPEN
        origin.next_try_ms = now_ms + self._pause_ms
        return None

    def _is_open(self, origin: _OriginState) -> bool:
        return 0 < self._settings.breaker_failures <= origin.failures

    @property
    def _pause_ms(self) -> int:
        return int(self._settings.breaker_pause * 1000)

    def note(self, subject: Subject, trouble: Trouble | None, now_ms: int) -> bool:
        """Take note of what came of asking; return whether that opened the breaker."""
        if trouble is None:
            self._rests.drop(subject.name)
            self._origins.drop(subject.origin)
            return False
        asked_ms = trouble.retry_ms or 0 if self._settings.is_safe else 0
        pause_ms = max(int(self._settings.refresh_throttle * 1000), asked_ms)
        # A pause of nothing ends before it begins: the next request may see a clock that is behind this
        # one's.
        until_ms = now_ms + pause_ms if pause_ms else 0
        rest = _remembered(self._rests, subject.name, _Rest)
        rest.until_ms, rest.purged_ms = until_ms, max(rest.purged_ms, subject.purged_ms)
        limit, has_opened = self._settings.breaker_failures, False
        if limit:
            origin = _remembered(self._origins, subject.origin, _OriginState)
            has_opened = self._note_away(origin, trouble, now_ms, limit)
            if trouble.is_unavailable and trouble.retry_ms is not None and not subject.voice:
                _note_wait(origin, subject.key, until_ms)
        return has_opened

    def _note_away(self, origin: _OriginState, trouble: Trouble, now_ms: int, limit: int) -> bool:
        if not trouble.is_away:
            origin.failures = 0  # it answers, though not as it should
            return False
        origin.failures += 1
        if origin.failures == limit:
            origin.next_try_ms = now_ms + self._pause_ms
        return origin.failures == limit


def _note_wait(origin: _OriginState, key: str, until_ms: int) -> None:
    """Leave a whole origin alone that is unavailable at so many URLs in a row, for as long as it asks."""
    origin.waits[key] = until_ms
    if len(origin.waits) >= _UNAVAILABLE_URLS:
        origin.resting_until_ms = min(origin.waits.values())
        origin.waits.clear()


_Value = TypeVar("_Value")


def _remembered(table: Table[_Value], name: str, new: Callable[[], _Value]) -> _Value:
    """Return what is remembered under ``name``, created if need be."""
    value = table.get(name) or new()
    table.set(name, value)
    return value
