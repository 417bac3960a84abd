"""The isolate's memory: the first tier, bounded in bytes. What isn't used again goes first."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from origin_sdk_edge.ports import Body
from origin_sdk_edge.storage.sieve import Sieve
from origin_sdk_wire.fields import combined
from origin_sdk_wire.freshness import Freshness, freshness_of
from origin_sdk_wire.prepared import read_prepared
from origin_sdk_wire.record import Index, Record
from origin_sdk_wire.settings import Rule, Settings

__all__ = ["Entry", "Memory", "Table"]

_ENTRY_OVERHEAD_BYTES = 2048
"""What an entry costs beside its body: measured in Pyodide, with a dozen header fields."""
_TABLE_ITEM_BYTES = 512
"""What an item of a table costs beside its key."""
_LEAST_TABLE_BYTES = 32 * 1024
_SHARE_ON_THEIR_WAY = 0.75

_Value = TypeVar("_Value")


@dataclass(slots=True, eq=False)
class Entry:
    """A stored response at hand.

    ``body`` is ``None`` while it lies only in KV, under the record's ``body_key``.
    """

    key: str
    record: Record
    body: Body | None
    size_bytes: int
    fields: Mapping[str, str] = field(default_factory=dict)
    decoded: Body | None = None
    """The body without the cache's own coding, once somebody needed it."""
    prepared: str = ""
    """For how long it may be used, as it was worked out when it was stored."""
    names: tuple[str, ...] = ()
    """The request fields that select among the responses of its URL, beside the rule's."""
    hits: int = 0
    held_ms: int = 0
    """When memory began to hold it."""
    has_expired: bool = False
    """Whether it was counted as found past its lifetime."""
    fields_bytes: int = 0
    further_bytes: int = 0
    """What is held because of it beside the body: its decoded body, decisions."""
    is_held: bool = False
    """Whether memory holds it: false again once it was evicted or replaced."""
    is_counted: bool = False
    """Whether its body is counted by whoever read it from the origin."""
    in_use: int = 0
    """How many hold its body for so long that the bytes count although memory lets go of it."""
    _freshness: tuple[Rule, Settings, Freshness] | None = None

    def __post_init__(self) -> None:
        self.fields = combined(self.record.fields)
        self.fields_bytes = sum(map(len, self.fields.values()))

    def freshness(self, rule: Rule, settings: Settings) -> Freshness:
        """Return for how long it may be used, worked out once by the same rules."""
        known = self._freshness
        if known is not None and known[0] is rule and known[1] is settings:
            return known[2]
        found = read_prepared(self.prepared, rule, settings) if self.prepared else None
        found = found or freshness_of(self.record, self.fields, rule, settings)
        self._freshness = rule, settings, found
        return found

    @property
    def cost_bytes(self) -> int:
        """What the entry takes of the memory's budget."""
        body_bytes = self.size_bytes if self.body is not None else 0
        return _ENTRY_OVERHEAD_BYTES + self.fields_bytes + body_bytes + self.further_bytes


class Memory:
    """Owns the budget of all that an isolate holds: stored responses and indexes, tables, bytes on their way.

    What is stored gives way to the rest, as :mod:`.sieve` says. ``on_drop`` is called with each entry
    that memory lets go of, and ``on_evict`` with the bytes of one that had to give way, and for how many
    milliseconds it had been held.
    """

    def __init__(self, max_bytes: int, largest_bytes: int = 0, now_ms: Callable[[], int] = lambda: 0) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self.on_drop: Callable[[Entry], None] = _nothing_to_drop
        self.on_evict: Callable[[int, int], None] = _nothing_to_evict
        self._now_ms = now_ms
        self._items: Sieve[Entry | Index] = Sieve()
        self._on_their_way_bytes = 0
        # Without memory for what is stored, one body of the largest size may still be on its way.
        self._most_on_their_way_bytes = max(int(max_bytes * _SHARE_ON_THEIR_WAY), largest_bytes)

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> Entry | Index | None:
        """Return what is held under ``key`` and count it as used."""
        return self._items.get(key)

    def touch(self, entry: Entry) -> None:
        """Count an entry that is held as used."""
        self._items.get(entry.key)

    def put(self, key: str, item: Entry | Index) -> None:
        """Hold ``item``, in place of what was there; drop others until the budget holds."""
        # Before the new item is there, so that it isn't dropped to make room for itself; and after the old
        # one has gone, which would else be given back twice if it were the next to go.
        was_used = self._items.is_used(key)
        self.drop(key)
        is_counted = isinstance(item, Entry) and bool(item.in_use)
        if not is_counted:
            self.take(_cost(item))
        self._items.put(key, item, is_used=was_used)
        if isinstance(item, Entry):
            item.is_held, item.held_ms = True, self._now_ms()
        self.take(0)

    def drop(self, key: str) -> None:
        """Forget what is held under ``key``."""
        item = self._items.pop(key)
        if item is None:
            return
        if not isinstance(item, Entry):
            self.give_back(_cost(item))
            return
        item.is_held = False
        self.on_drop(item)
        if not item.in_use:
            self.give_back(item.cost_bytes)

    def charge(self, entry: Entry, more_bytes: int) -> None:
        """Count what is held, or no longer held, because of an entry."""
        entry.further_bytes += more_bytes
        if entry.is_held or entry.in_use:
            self.take(more_bytes)

    # What is held beside stored responses

    def take(self, size_bytes: int) -> None:
        """Count bytes; drop stored responses until the budget holds."""
        self.used_bytes += size_bytes
        while self.used_bytes > self.max_bytes and (going := self._items.next_to_go()):
            key, item = going
            if isinstance(item, Entry):
                self.on_evict(item.cost_bytes, self._now_ms() - item.held_ms)
            self.drop(key)

    def give_back(self, size_bytes: int) -> None:
        """Count bytes no more."""
        self.used_bytes -= size_bytes

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether that many more bytes may be in flight, for which nothing can be dropped."""
        return self._on_their_way_bytes + size_bytes <= self._most_on_their_way_bytes

    def take_on_their_way(self, size_bytes: int) -> None:
        """Count bytes of a body that is on its way to or from the store."""
        self._on_their_way_bytes += size_bytes
        self.take(size_bytes)

    def arrived(self, size_bytes: int) -> None:
        """Count bytes of a body on its way no more."""
        self._on_their_way_bytes -= size_bytes
        self.give_back(size_bytes)

    @contextmanager
    def used(self, entry: Entry) -> Iterator[bool]:
        """Count an entry while it is in use, also if memory lets go of it; tell whether there is room."""
        cost_bytes = entry.cost_bytes
        if entry.in_use or entry.is_counted or not self.has_room_for(cost_bytes):
            yield bool(entry.in_use or entry.is_counted)
            return
        entry.in_use += 1
        self._on_their_way_bytes += cost_bytes
        if not entry.is_held:
            self.take(cost_bytes)
        try:
            yield True
        finally:
            entry.in_use -= 1
            self._on_their_way_bytes -= cost_bytes
            if not entry.is_held:
                self.give_back(entry.cost_bytes)

    def table(self, share: float, least_bytes: int = _LEAST_TABLE_BYTES) -> "Table[Any]":
        """Make a table that takes at most ``share`` of the budget, or ``least_bytes`` if that is more."""
        return Table(self, max(int(self.max_bytes * share), least_bytes))


class Table(Generic[_Value]):
    """Small values by short texts. The least recently set give way to the latest."""

    def __init__(self, memory: Memory, max_bytes: int) -> None:
        self.on_forget: Callable[[_Value], None] = _nothing_to_forget
        self._memory = memory
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._items: OrderedDict[str, _Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> _Value | None:
        """Return the value of ``key``; ``None`` if there is none, or it was forgotten."""
        return self._items.get(key)

    def set(self, key: str, value: _Value) -> None:
        """Remember a value as the latest."""
        if self._items.pop(key, None) is None:
            self._take(_TABLE_ITEM_BYTES + len(key))
        self._items[key] = value
        while self._used_bytes > self._max_bytes and len(self._items) > 1:
            forgotten, dropped = self._items.popitem(last=False)
            self._take(-_TABLE_ITEM_BYTES - len(forgotten))
            self.on_forget(dropped)

    def drop(self, key: str) -> None:
        """Forget ``key``."""
        if self._items.pop(key, None) is not None:
            self._take(-_TABLE_ITEM_BYTES - len(key))

    def _take(self, size_bytes: int) -> None:
        self._used_bytes += size_bytes
        self._memory.take(size_bytes)


def _nothing_to_drop(_: Entry) -> None:
    """Nobody holds anything because of an entry."""


def _nothing_to_evict(_size_bytes: int, _held_ms: int) -> None:
    """Nobody wants to know."""


def _nothing_to_forget(_: object) -> None:
    """Nobody minds."""


def _cost(item: Entry | Index) -> int:
    return item.cost_bytes if isinstance(item, Entry) else _ENTRY_OVERHEAD_BYTES
