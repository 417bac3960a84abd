"""Loads behind callers' backs: one a key at a time, not too many, and found by who comes later."""

from collections.abc import Callable, Iterable
from functools import partial
from threading import RLock
from typing import Protocol

from origin_sdk._flow import Flow
from origin_sdk.layers.process.flights import Flights
from origin_sdk.layers.process.load_graph import LoadNode, ended, waiting_for
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.process.moments import Moments
from origin_sdk.layers.process.stats import Stats
from origin_sdk.layers.values.families import AnyKey

__all__ = ["MOST_LOADS", "BackgroundLoad", "BackgroundLoads", "Runner"]

MOST_LOADS = 32
"""In the background of a cache at a time, unless it is told otherwise."""


class BackgroundLoad(Protocol):
    """The future of a load, of a thread's or a loop's making. Its result is an entry, or None."""

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def cancelled(self) -> bool:
        """Whether it was ended from outside."""
        ...

    def result(self) -> MemoryEntry | None:
        """Return what it came to, or raise."""
        ...

    def exception(self) -> BaseException | None:
        """Return what it raised."""
        ...

    def set_result(self, result: MemoryEntry | None, /) -> None:
        """End it."""
        ...

    def set_exception(self, exception: Exception, /) -> None:
        """Let it fail."""
        ...

    def add_done_callback(self, ended: Callable[[object], object], /) -> object:
        """Call ``ended`` with it at its end."""
        ...


class Runner(Protocol):
    """Runs flows elsewhere: the cache for threads in its pool, that for a loop in tasks."""

    def spawn(self, flow: Flow[MemoryEntry | None]) -> BackgroundLoad:
        """Run a flow behind the caller's back; return a future."""
        ...

    def new_future(self) -> BackgroundLoad:
        """Return a future to be set by hand."""
        ...

    def is_lost(self, future: BackgroundLoad) -> bool:
        """Whether a future will never end, since what was to end it is gone."""
        ...


class BackgroundLoads:
    """What a cache loads in the background, ``most`` at a time besides what callers wait for."""

    def __init__(self, runner: Runner, flights: Flights, moments: Moments, stats: Stats, most: int) -> None:
        self.under_way: set[BackgroundLoad] = set()
        """The futures of all that runs."""
        self._runner = runner
        self._flights = flights
        self._moments = moments
        self._stats = stats
        self.most = most
        self._by_name: dict[str, tuple[int, BackgroundLoad]] = {}
        """Of each key that is loaded, the invalidation that the load is newer than, and its future."""
        self._nodes: dict[BackgroundLoad, LoadNode] = {}
        """What those futures stand for."""
        self._lock = RLock()

    def renew(self) -> None:
        """Start over after a fork: the parent's loads don't run here."""
        self._lock = RLock()
        self._by_name.clear()
        self._nodes.clear()
        self.under_way.clear()

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __len__(self) -> int:
        return len(self._by_name)

    def start(self, key: AnyKey, load: Callable[[LoadNode], Flow[MemoryEntry]]) -> BackgroundLoad:
        """Load a key, unless that is under way; return the load's future."""
        with self._lock:
            return self.of(key) or self._started(key, load)

    def start_if_idle(self, key: AnyKey, load: Callable[[LoadNode], Flow[MemoryEntry]]) -> bool:
        """Load a key, unless that is under way or there are too many loads; return whether it began."""
        with self._lock:
            if self.of(key) is not None:
                return False
            if self._is_full:
                self._stats.count("refresh-skipped", key.family.name, key.name)
                return False
            self._started(key, load)
            return True

    @property
    def _is_full(self) -> bool:
        return len(self.under_way) >= self.most

    def _started(self, key: AnyKey, load: Callable[[LoadNode], Flow[MemoryEntry]]) -> BackgroundLoad:
        seq, node = self._moments.seq, LoadNode(key.name, self._flights)
        future = self.run(load(node))
        self._by_name[key.name] = (seq, future)
        self._nodes[future] = node
        # Outside of what is noted above, since a load that has ended by now is forgotten at once.
        future.add_done_callback(partial(self._ended, key))
        return future

    def reserve(self, keys: Iterable[AnyKey], node: LoadNode) -> dict[str, BackgroundLoad]:
        """Note that those of the keys that nobody loads in the background are loaded there from now on.

        Return by name futures that ``deliver`` ends; none if there are too many loads.
        """
        with self._lock:
            free = [key for key in keys if self.of(key) is None]
            if free and self._is_full:
                self._stats.count_many("refresh-skipped", free)
                return {}
            futures = {key.name: self._runner.new_future() for key in free}
            self._by_name |= {name: (self._moments.seq, future) for name, future in futures.items()}
            self._nodes |= dict.fromkeys(futures.values(), node)
        return futures

    def deliver(
        self, key: AnyKey, future: BackgroundLoad, entry: MemoryEntry | None, error: BaseException | None
    ) -> None:
        """End the load of a reserved key; without entry and error it came to nothing."""
        self._forget(key, future)
        if isinstance(error, Exception):
            self._stats.count("background-failed", key.family.name, key.name)
            future.set_exception(error)
            future.exception()  # who doesn't wait isn't to be warned of it
        else:
            future.set_result(entry)

    def run(self, flow: Flow[MemoryEntry | None]) -> BackgroundLoad:
        """Run a flow, which the cache's ``close`` waits for; return its future."""
        future = self._runner.spawn(flow)
        self.under_way.add(future)
        future.add_done_callback(self.under_way.discard)
        return future

    def of(self, key: AnyKey) -> BackgroundLoad | None:
        """Return the future of a load that goes on and isn't known to be outdated."""
        found = self._by_name.get(key.name)
        if found is None or found[1].done() or self._runner.is_lost(found[1]):
            return None
        return None if self._moments.covers((key.name, *key.groups), found[0]) else found[1]

    def wait_for(self, future: BackgroundLoad, waiter: LoadNode) -> None:
        """Note that a load waits for one in the background. Raises LoadCycle."""
        if (node := self._nodes.get(future)) is not None:
            waiting_for(node, waiter)

    def _forget(self, key: AnyKey, future: BackgroundLoad) -> None:
        with self._lock:
            node = self._nodes.pop(future, None)
            found = self._by_name.get(key.name)
            if found is not None and found[1] is future:
                del self._by_name[key.name]
        if node is not None:
            ended(node)

    def _ended(self, key: AnyKey, future: BackgroundLoad) -> None:
        self._forget(key, future)
        if not future.cancelled() and future.exception():
            self._stats.count("background-failed", key.family.name, key.name)
