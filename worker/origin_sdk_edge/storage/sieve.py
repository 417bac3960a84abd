"""SIEVE: what is used again stays, and what is used once goes soon, however much of it comes.

A queue by age, and a hand that goes from the oldest to the newest. It passes over what was used since it came
by last, and stops at what wasn't: that goes first. What is used isn't moved, so that a use costs next to
nothing; and what comes once, a scan of a whole catalogue say, doesn't push out what is asked for all the
time, as it would with "least recently used". (Zhang et al., SIEVE is Simpler than LRU, NSDI 2024.)
"""

from typing import Generic, TypeVar

__all__ = ["Sieve"]

_Item = TypeVar("_Item")


class _Node(Generic[_Item]):
    __slots__ = ("is_used", "item", "key", "newer", "older")

    def __init__(self, key: str, item: _Item, older: "_Node[_Item] | None") -> None:
        self.key = key
        self.item = item
        self.is_used = False
        self.older = older
        self.newer: _Node[_Item] | None = None


class Sieve(Generic[_Item]):
    """Items by key, and which of them is to go next."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node[_Item]] = {}
        self._oldest: _Node[_Item] | None = None
        self._newest: _Node[_Item] | None = None
        self._hand: _Node[_Item] | None = None

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, key: str) -> _Item | None:
        """Return the item of ``key``, and count it as used."""
        node = self._nodes.get(key)
        if node is None:
            return None
        node.is_used = True
        return node.item

    def is_used(self, key: str) -> bool:
        """Whether there is such an item, and it was used since the hand passed it."""
        node = self._nodes.get(key)
        return node is not None and node.is_used

    def put(self, key: str, item: _Item, *, is_used: bool = False) -> None:
        """Add an item as the newest. What takes another's place counts as used if that did."""
        is_used = is_used or self.is_used(key)
        self.pop(key)
        node = self._nodes[key] = _Node(key, item, self._newest)
        node.is_used = is_used
        if self._newest is None:
            self._oldest = node
        else:
            self._newest.newer = node
        self._newest = node

    def pop(self, key: str) -> _Item | None:
        """Take an item out."""
        node = self._nodes.pop(key, None)
        if node is None:
            return None
        if self._hand is node:
            self._hand = node.newer
        if node.older is None:
            self._oldest = node.newer
        else:
            node.older.newer = node.newer
        if node.newer is None:
            self._newest = node.older
        else:
            node.newer.older = node.older
        return node.item

    def next_to_go(self) -> tuple[str, _Item] | None:
        """Return what is to go next, with its key; ``None`` if there is nothing."""
        node = self._hand or self._oldest
        while node is not None and node.is_used:
            node.is_used = False
            node = node.newer or self._oldest
        self._hand = node
        return None if node is None else (node.key, node.item)
