"""The layer in this process: a bounded table of objects."""

from collections import deque
from collections.abc import Mapping
from threading import Lock
from typing import Any

import msgspec

from origin_sdk.layers.values.envelope import split_groups
from origin_sdk.layers.values.policy import Windows
from origin_sdk.layers.values.sizes import ENTRY_BYTES

__all__ = ["MOST_BYTES", "MOST_ENTRIES", "MOST_USES", "Memory", "MemoryEntry"]


# A Struct is made in a third of the time that an object with __init__ takes, and the garbage collector
# needn't look at a million of them: no entry refers to another.
class MemoryEntry(msgspec.Struct, eq=False, gc=False):
    """A value in memory.

    Until ``until`` a hit needs no judgement. It is newer than the invalidation ``seq``.

    ``used`` counts how often it was asked for, up to MOST_USES, and less one each time that eviction came by.
    ``size`` is about how many bytes it takes.
    """

    value: Any
    seq: int
    fresh_until: float
    windows: Windows
    written_groups: tuple[str, ...] | bytes
    """As they stand in a record, until somebody asks for ``groups``: most entries go without that."""
    until: float
    used: int = 0
    size: int = ENTRY_BYTES

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that it belongs to."""
        groups = self.written_groups
        if isinstance(groups, bytes):
            self.written_groups = groups = split_groups(groups)
        return groups


MOST_ENTRIES = 100_000
MOST_BYTES = 256 << 20
MOST_USES = 3
"""How many uses are counted: who was used more often stays longer, but not for ever."""
_SMALL_SHARE = 0.03
_GHOST_SHARE = 0.5
_STEPS = 16
"""How many entries an eviction looks at, at most: it never walks through a memory in which all is in use."""
_SPARE_NAMES = 1_000
_ABSENT = object()
_LARGEST_SHARE = 0.25
"""A value that is larger than this part of memory isn't kept there: it would cost all others their places."""


class Memory:
    """At most ``max_entries`` values of about ``max_bytes``, evicted by S3-FIFO (Yang et al., SOSP 2023).

    What is new waits in a small queue; who was used there moves on to the main one, the others leave and are
    remembered by name for a while: if they are loaded again then, they go to the main queue at once. So a
    scan, or what is asked for once, passes by. The main queue gives who was used another turn for each use.

    A hit looks up one dictionary and counts in the entry, whatever the number of entries. What is dropped
    stays in the queues by name until it is its turn.
    """

    def __init__(self, max_entries: int, max_bytes: int = MOST_BYTES) -> None:
        self.entries: dict[str, MemoryEntry] = {}
        self.get = self.entries.get
        self.evictions = 0
        self.bytes = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._largest = max_bytes * _LARGEST_SHARE
        self._small: deque[str] = deque()
        self._main: deque[str] = deque()
        self._ghosts: dict[int, None] = {}
        """Hashes of names that left without having been used; the oldest come first."""
        self._lock = Lock()

    def renew(self) -> None:
        """Start over after a fork, with a free lock."""
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.entries)

    def put(self, name: str, entry: MemoryEntry) -> None:
        """Store, and make room for it."""
        with self._lock:
            self._put(name, entry)

    def put_many(self, found: Mapping[str, MemoryEntry]) -> None:
        """Store each, and make room for all."""
        entries = self.entries
        with self._lock:
            size = sum([entry.size for entry in found.values()])
            has_room = len(entries) + len(found) <= self._max_entries and self.bytes + size <= self._max_bytes
            if has_room and size <= self._largest and not self._ghosts and entries.keys().isdisjoint(found):
                self._small.extend(found)
                entries.update(found)
                self.bytes += size
                self._bound_queues()
                return
            for name, entry in found.items():
                self._put(name, entry)

    def _put(self, name: str, entry: MemoryEntry) -> None:
        entries = self.entries
        known = entries.get(name)
        if entry.size > self._largest:
            self._remove(name)
            return
        if known is not None:
            entry.used = known.used
            self.bytes -= known.size
        else:
            if len(entries) >= self._max_entries:
                self._evict()
            has_been_here = self._ghosts and self._ghosts.pop(hash(name), _ABSENT) is None
            (self._main if has_been_here else self._small).append(name)
            self._bound_queues()
        entries[name] = entry
        self.bytes += entry.size
        while self.bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        has_many_new = len(self._small) >= _SMALL_SHARE * len(self.entries)
        if has_many_new and self._evict_new():
            return
        if not self._evict_old():
            self._evict_new()

    def _evict_new(self) -> bool:
        entries, small = self.entries, self._small
        while small:
            name = small.popleft()
            entry = entries.get(name)
            if entry is None:
                continue
            if entry.used:
                self._main.append(name)
                continue
            self._ghosts[hash(name)] = None
            if len(self._ghosts) > _GHOST_SHARE * len(entries):
                del self._ghosts[next(iter(self._ghosts))]
            return self._remove(name)
        return False

    def _evict_old(self) -> bool:
        entries, main, steps = self.entries, self._main, _STEPS
        while main:
            name = main.popleft()
            entry = entries.get(name)
            if entry is None:
                continue
            if entry.used and steps:
                entry.used -= 1
                steps -= 1
                main.append(name)
                continue
            return self._remove(name)
        return False

    def _remove(self, name: str) -> bool:
        entry = self.entries.pop(name, None)
        if entry is not None:
            self.bytes -= entry.size
            self.evictions += 1
        return entry is not None

    def _bound_queues(self) -> None:
        """Forget names of what was dropped, and repeated names of what was dropped and put again."""
        entries = self.entries
        if len(self._small) + len(self._main) > 2 * len(entries) + _SPARE_NAMES:
            main = dict.fromkeys(name for name in self._main if name in entries)
            small = (name for name in self._small if name in entries and name not in main)
            self._small, self._main = deque(dict.fromkeys(small)), deque(main)

    def drop(self, name: str) -> None:
        """Remove a value if it is there."""
        with self._lock:
            entry = self.entries.pop(name, None)
            if entry is not None:
                self.bytes -= entry.size

    def clear(self) -> None:
        """Remove all."""
        with self._lock:
            self.entries.clear()
            self._small.clear()
            self._main.clear()
            self.bytes = 0
