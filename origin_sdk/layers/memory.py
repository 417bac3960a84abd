"""The layer in this process: a bounded table of objects."""

from collections import deque
from collections.abc import Mapping
from threading import Lock
from typing import Any

import msgspec

from origin_sdk.layers.policy import Windows

__all__ = ["Entry", "Memory", "split_groups"]


# A Struct is made in a third of the time that an object with __init__ takes, and the garbage collector
# needn't look at a million of them: no entry refers to another.
class Entry(msgspec.Struct, eq=False, gc=False):
    """A value in memory.

    Until ``until`` a hit needs no judgement. It is newer than the invalidation ``seq``.

    ``used`` tells whether it was asked for since eviction last came by.
    """

    value: Any
    seq: int
    fresh_until: float
    windows: Windows
    written_groups: tuple[str, ...] | bytes
    """As they stand in a record, until somebody asks for ``groups``: most entries go without that."""
    until: float
    used: bool = False

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that it belongs to."""
        groups = self.written_groups
        if isinstance(groups, bytes):
            self.written_groups = groups = split_groups(groups)
        return groups


def split_groups(written: bytes) -> tuple[str, ...]:
    """Return groups as they stand in a record."""
    return tuple(written.decode(errors="replace").split("\n")) if written else ()


class Memory:
    """At most ``max_entries`` values; what wasn't asked for since its last turn goes first (CLOCK).

    A hit looks up one dictionary and sets one flag, whatever the number of entries.
    """

    def __init__(self, max_entries: int) -> None:
        self.entries: dict[str, Entry] = {}
        self.get = self.entries.get
        self.evictions = 0
        self._max_entries = max_entries
        self._queue: deque[str] = deque()
        self._lock = Lock()

    def renew(self) -> None:
        """Begin anew after a fork, with a lock that is free."""
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.entries)

    def put(self, name: str, entry: Entry) -> None:
        """Store, and make room for it."""
        with self._lock:
            self._put(name, entry)

    def put_many(self, found: Mapping[str, Entry]) -> None:
        """Store each, and make room for all."""
        entries = self.entries
        with self._lock:
            new = [name for name in found if name not in entries]
            room = self._max_entries - len(new)
            if len(entries) <= room and len(self._queue) <= self._max_entries + room:
                self._queue.extend(new)
                entries.update(found)
            else:
                for name, entry in found.items():
                    self._put(name, entry)

    def _put(self, name: str, entry: Entry) -> None:
        entries = self.entries
        if name not in entries:
            if len(entries) >= self._max_entries:
                self._evict()
            if len(self._queue) > 2 * self._max_entries:
                self._queue = deque(entries)
            self._queue.append(name)
        entries[name] = entry

    def _evict(self) -> None:
        entries, queue = self.entries, self._queue
        while len(entries) >= self._max_entries:
            name = queue.popleft()
            entry = entries.get(name)
            if entry is None:
                continue
            if entry.used:
                entry.used = False
                queue.append(name)
            else:
                del entries[name]
                self.evictions += 1

    def drop(self, name: str) -> None:
        """Remove a value if it is there."""
        with self._lock:
            self.entries.pop(name, None)

    def clear(self) -> None:
        """Remove all."""
        with self._lock:
            self.entries.clear()
            self._queue.clear()
