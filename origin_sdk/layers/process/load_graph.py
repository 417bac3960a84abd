"""Loads that wait for loads: who waits for whom, so that a circle is an error at once and not a silence.

What a loader asks a cache for, its load waits for. That is noted before anyone waits, and whoever would close
a circle is told instead. Among processes it is noted in Redis, by the tokens of the loads' locks: see
:func:`origin_sdk.layers.rules.claims.refuse_circles`.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock

from origin_sdk.layers.errors import LoadCycle

__all__ = ["LoadNode", "cycle", "ended", "gave_up", "loading", "waiting_for"]


class LoadNode:
    """A load that others may wait for, and which may wait for others."""

    __slots__ = ("awaited_by", "name", "owner", "tokens", "waits_for")

    def __init__(self, name: str, owner: object) -> None:
        self.name = name
        self.owner = owner
        """The cache that it is of: another's key of this name is another key."""
        self.tokens: set[str] = set()
        """The locks that it holds in Redis."""
        self.waits_for: list[LoadNode] = []
        self.awaited_by: list[LoadNode] = []

    def above(self) -> "list[LoadNode]":
        """Return the loads that wait for this one, directly or not."""
        with _lock:
            return list(_closure(self))

    def tokens_above(self) -> dict[str, str]:
        """Return the locks of those, each with the name of what its load is for."""
        if not self.awaited_by:
            return {}
        return {token: node.name for node in self.above() for token in list(node.tokens)}


_lock = Lock()
# A fork waits until it is free: else it would be held for ever in the child, which lacks who holds it.
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_current: ContextVar[LoadNode | None] = ContextVar("origin_sdk_layers_load", default=None)


def _closure(node: LoadNode) -> Iterator[LoadNode]:
    seen, rest = {id(node)}, [node]
    while rest:
        for each in rest.pop().awaited_by:
            if id(each) not in seen:
                seen.add(id(each))
                rest.append(each)
                yield each


def _path(start: LoadNode, end: LoadNode) -> list[LoadNode]:
    """Return the loads from one to another along who waits for whom; nothing if there is no way."""
    seen, rest = {id(start)}, [[start]]
    while rest:
        path = rest.pop()
        if path[-1] is end:
            return path
        for each in path[-1].waits_for:
            if id(each) not in seen:
                seen.add(id(each))
                rest.append([*path, each])
    return []


@contextmanager
def loading(node: LoadNode | None) -> Iterator[None]:
    """Let what is asked for in a ``with`` block count as asked by a load."""
    token = _current.set(node)
    try:
        yield
    finally:
        _current.reset(token)


def waiting_for(node: LoadNode, waiter: LoadNode | None = None) -> None:
    """Note that a load, or else the one that this is asked by, waits for ``node`` until that ends.

    Raises LoadCycle if they would wait for each other.
    """
    asker = waiter or _current.get()
    if asker is None:
        return
    with _lock:
        is_free = not node.waits_for and node is not asker  # as most are: no way leads anywhere
        names = [] if is_free else [each.name for each in _path(node, asker)]
        if not names and waiter is None:
            names = _same_above(node, asker)
        if names:
            raise cycle(names)
        asker.waits_for.append(node)
        node.awaited_by.append(asker)


def _same_above(node: LoadNode, asker: LoadNode) -> list[str]:
    """Return the loads from one of the same key to the asker; nothing if none of that key waits for it."""
    for each in (asker, *_closure(asker)):
        if each.name == node.name and each.owner is node.owner:
            return [step.name for step in _path(each, asker)]
    return []


def ended(node: LoadNode) -> None:
    """Note that nobody waits for a load any more."""
    if not node.awaited_by:
        return
    with _lock:
        for asker in node.awaited_by:
            asker.waits_for.remove(node)
        node.awaited_by.clear()


def gave_up(node: LoadNode) -> None:
    """Note that the load by which this is asked doesn't wait for ``node`` any more."""
    asker = _current.get()
    if asker is not None:
        with _lock:
            if node in asker.waits_for:
                asker.waits_for.remove(node)
                node.awaited_by.remove(asker)


def cycle(names: Iterable[str]) -> LoadCycle:
    """Return the error of loads each of which waits for the next, and the last for the first."""
    path = list(dict.fromkeys(names))
    return LoadCycle(
        f"loaders wait for each other: {' → '.join([*path, path[0]])}; let one of them read from the source "
        "what it takes from the cache"
    )
