"""Writes to KV in their order: it takes one a second for each key, refuses more, and charges for each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from origin_sdk_edge.ports import Body, Signal, Store, StoreError, Timing
from origin_sdk_edge.storage.memory import Memory, Table
from origin_sdk_wire.bounds import CLOCK_STEP_MS

__all__ = ["Writes"]

_PAUSE_MS = 1100
_TRIES = 3
_LONGEST_SECONDS = 8.0
"""A write whose request the runtime has ended never says that it is over."""
_AT_ONCE = 5
"""So many writes to one key in a row are only as far apart as KV wants them."""
_REFILL_MS = 10_000
"""Then one in this time: clients that make a key be written again and again cost 6 writes a minute."""

Made: TypeAlias = Callable[[], tuple[Body | str, str | None]]
"""Makes a value and its metadata."""


@dataclass(slots=True, eq=False)
class _Key:
    turn: int = 0
    next_ms: int = 0
    full_ms: int = 0
    """When the allowance of writes at once will be whole again."""
    latest_ms: int = 0
    """When the latest response that is known to belong there came, or the one that ended it."""
    under_way: Signal | None = None
    """Is set when the write that KV was asked for last is over."""


class Writes:
    """Spreads the writes to each key out. Of several that wait for their time only the latest is made.

    None is begun while another is under way: of two KV keeps the one that comes last, which may be the older.
    """

    def __init__(self, store: Store, timing: Timing, memory: Memory) -> None:
        self._store = store
        self._timing = timing
        self._keys: Table[_Key] = memory.table(1 / 32)

    def expect(self, key: str, moment_ms: int) -> None:
        """Let nothing be written to ``key`` from now on that came before ``moment_ms``.

        Who answered first isn't always the first who is ready to write.
        """
        known = self._known(key)
        # A moment ahead, by the clock of another location, would keep out what comes from now on.
        known.latest_ms = max(known.latest_ms, min(moment_ms, self._timing.now_ms()))

    def is_overtaken(self, key: str, moment_ms: int) -> bool:
        """Whether something later than what came at ``moment_ms`` is known to belong to ``key``."""
        return moment_ms < self._known(key).latest_ms

    async def write(
        self,
        key: str,
        value: Body | str,
        metadata: str | None,
        ttl_seconds: int,
        moment_ms: int | None = None,
    ) -> None:
        """Write, unless a later write to ``key`` comes first, or what came at ``moment_ms`` is overtaken.

        Raises :class:`StoreError` if KV goes on refusing.
        """
        if moment_ms is None or not self.is_overtaken(key, moment_ms):
            await self.write_made(key, lambda: (value, metadata), ttl_seconds)

    async def write_made(self, key: str, make: Made, ttl_seconds: int) -> None:
        """Write what ``make`` returns when the time for it has come, at each try."""
        known = self._known(key)
        known.turn += 1
        turn = known.turn
        for attempt in range(1, _TRIES + 1):
            wait_ms = known.next_ms - self._timing.now_ms()
            if wait_ms > 0:
                await self._timing.sleep(wait_ms / 1000)
            if known.under_way:
                await known.under_way.wait(_LONGEST_SECONDS)
            if known.turn != turn:
                return
            self._take_turn(known, attempt)
            known.under_way = ended = self._timing.signal()
            try:
                await self._store.write(key, *make(), ttl_seconds)
            except StoreError:
                if attempt == _TRIES:
                    raise
            else:
                return
            finally:
                ended.set()
                if known.under_way is ended:
                    known.under_way = None

    def _take_turn(self, known: _Key, attempt: int) -> None:
        now_ms = self._timing.now_ms()
        known.full_ms = max(known.full_ms, now_ms) + _REFILL_MS
        spent_ms = known.full_ms - now_ms - _AT_ONCE * _REFILL_MS
        known.next_ms = now_ms + max(_PAUSE_MS * attempt, spent_ms)

    def _known(self, key: str) -> _Key:
        known = self._keys.get(key)
        if known is None or max(known.next_ms, known.latest_ms) > self._timing.now_ms() + CLOCK_STEP_MS:
            known = _Key()
        self._keys.set(key, known)
        return known
