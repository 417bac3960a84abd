"""Writes to KV in their order: it takes one a second for each key, and refuses more."""

from collections import OrderedDict
from dataclasses import dataclass

from edgecache.ports import Body, Store, StoreError, Timing

__all__ = ["Writes"]

_PAUSE_MS = 1100
_TRIES = 3
_MAX_REMEMBERED = 4096


@dataclass(slots=True, eq=False)
class _Key:
    turn: int = 0
    next_ms: int = 0


class Writes:
    """Spreads the writes to each key out. Of several that wait for their time only the latest is made."""

    def __init__(self, store: Store, timing: Timing) -> None:
        self._store = store
        self._timing = timing
        self._keys: OrderedDict[str, _Key] = OrderedDict()

    async def write(self, key: str, value: Body | str, metadata: str | None, ttl_seconds: int) -> None:
        """Write, unless a later write to ``key`` comes first.

        Raises :class:`StoreError` if KV goes on refusing.
        """
        known = self._known(key)
        known.turn += 1
        turn = known.turn
        for attempt in range(1, _TRIES + 1):
            wait_ms = known.next_ms - self._timing.now_ms()
            if wait_ms > 0:
                await self._timing.sleep(wait_ms / 1000)
            if known.turn != turn:
                return
            known.next_ms = self._timing.now_ms() + _PAUSE_MS * attempt
            try:
                await self._store.write(key, value, metadata, ttl_seconds)
            except StoreError:
                if attempt == _TRIES:
                    raise
            else:
                return

    def _known(self, key: str) -> _Key:
        known = self._keys.setdefault(key, _Key())
        self._keys.move_to_end(key)
        if len(self._keys) > _MAX_REMEMBERED:
            self._keys.popitem(last=False)
        return known
