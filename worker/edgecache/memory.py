"""The isolate's memory: the first tier, bounded in bytes, the least recently used goes first."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from cachewire.fields import combined
from cachewire.record import Index, Record
from edgecache.ports import Body

__all__ = ["Entry", "Memory"]

_ENTRY_OVERHEAD_BYTES = 2048
"""What an entry costs beside its body: measured in Pyodide, with a dozen header fields."""


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
    hits: int = 0
    fields_bytes: int = 0
    is_held: bool = False
    """Whether memory holds it: false again once it was evicted or replaced."""

    def __post_init__(self) -> None:
        self.fields = combined(self.record.fields)
        self.fields_bytes = sum(map(len, self.fields.values()))

    @property
    def cost_bytes(self) -> int:
        """What the entry takes of the memory's budget."""
        return _ENTRY_OVERHEAD_BYTES + self.fields_bytes + (self.size_bytes if self.body is not None else 0)


class Memory:
    """Entries and variant indexes by key."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self._items: OrderedDict[str, Entry | Index] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> Entry | Index | None:
        """Return what is held under ``key`` and count it as used."""
        item = self._items.get(key)
        if item is not None:
            self._items.move_to_end(key)
        return item

    def put(self, key: str, item: Entry | Index) -> None:
        """Hold ``item``, in place of what was there; drop others until the budget holds."""
        self.drop(key)
        self._items[key] = item
        self.used_bytes += _cost(item)
        if isinstance(item, Entry):
            item.is_held = True
        while self.used_bytes > self.max_bytes and self._items:
            self.drop(next(iter(self._items)))

    def drop(self, key: str) -> None:
        """Forget what is held under ``key``."""
        item = self._items.pop(key, None)
        if item is not None:
            self.used_bytes -= _cost(item)
            if isinstance(item, Entry):
                item.is_held = False


def _cost(item: Entry | Index) -> int:
    return item.cost_bytes if isinstance(item, Entry) else _ENTRY_OVERHEAD_BYTES
