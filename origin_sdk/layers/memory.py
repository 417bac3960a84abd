"""The layer in this process: a bounded table of objects, and the invalidations that it has heard of."""

import math
from collections import deque
from collections.abc import Mapping
from threading import Lock
from typing import Any

import msgspec

from origin_sdk.layers.policy import Windows

__all__ = ["Entry", "Memory", "Moments", "split_groups"]


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


class Moments:
    """When each group, and each key written to, was last invalidated.

    In two measures: ``seq`` counts what this process has heard of, and orders it with this process's loads;
    Redis's clock orders it with what Redis holds. Holds the newest ``bound`` names at least; who is older
    than what was dropped counts as invalidated.
    """

    def __init__(self, bound: int = 100_000) -> None:
        self.seq = 1
        self.floor = 0
        self.redis_floor = 0.0
        self.newest = 0.0
        """No name was invalidated later by Redis's clock; infinity if it hasn't heard of one."""
        self._bound = bound
        self._young: dict[str, tuple[int, float]] = {}
        self._old: dict[str, tuple[int, float]] = {}
        self._young_from = 1
        self._redis_young_from = 0.0
        self._lock = Lock()

    def renew(self) -> None:
        """Begin anew after a fork, with a lock that is free."""
        self._lock = Lock()

    def add(self, names: tuple[str, ...], moment: float) -> int:
        """Invalidate ``names`` as of Redis's ``moment`` in microseconds; return the new ``seq``."""
        with self._lock:
            seq = self.seq + 1
            for name in names:
                known = self.moment(name)
                if name not in self._young and len(self._young) >= self._bound:
                    self._forget_old(seq)
                self._young[name] = (seq, moment if known == math.inf else max(moment, known))
            self.newest = max(self.newest, moment)
            self.seq = seq
            return seq

    def settle(self, names: tuple[str, ...], moment: float) -> None:
        """Give ``names`` whose moment wasn't known, Redis being away, the ``moment`` they now have."""
        with self._lock:
            for name in names:
                self._young[name] = (self.seq, moment)
            self.newest = max(known for _, known in (*self._old.values(), *self._young.values(), (0, moment)))

    def _forget_old(self, seq: int) -> None:
        if self._old:
            self.floor = self._young_from
            self.redis_floor = max([self.redis_floor, *(m for _, m in self._old.values() if m < math.inf)])
        pending = {name: known for name, known in self._old.items() if known[1] == math.inf}
        self._old, self._young, self._young_from = self._young, pending, seq

    def distrust_all(self) -> None:
        """Count everything stored before as invalidated: something may have been missed."""
        with self._lock:
            self.seq += 1
            self.floor = self.seq

    def moment(self, name: str) -> float:
        """Return when ``name`` was invalidated by Redis's clock: 0 if never, infinity if it hasn't heard."""
        return (self._young.get(name) or self._old.get(name) or (0, 0.0))[1]

    def covers(self, names: tuple[str, ...], seq: int) -> bool:
        """Whether one of ``names`` was invalidated after ``seq``."""
        young, old = self._young, self._old
        for name in names:
            known = young.get(name) or old.get(name)
            if known and known[0] > seq:
                return True
        # Last: the floor rises before names are dropped, so that what was missed above is seen here.
        return seq < self.floor

    def covers_birth(self, names: tuple[str, ...], birth: float) -> bool:
        """Whether one of ``names`` was invalidated at or after ``birth`` by Redis's clock."""
        young, old = self._young, self._old
        for name in names:
            known = young.get(name) or old.get(name)
            if known and known[1] >= birth:
                return True
        return False


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
