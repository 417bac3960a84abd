"""What the two caches share: how they are made, what they know, and the decorator's half of a call."""

import functools
import os
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from threading import RLock
from typing import TYPE_CHECKING, Any, TypedDict

from origin_sdk._process.audit import AuditEvent
from origin_sdk._process.clock import Clock, SystemClock
from origin_sdk._process.forks import renew_after_fork
from origin_sdk._process.reads import HasClass
from origin_sdk.layers.cached_functions import Function
from origin_sdk.layers.edge import AsyncPurger, Purger
from origin_sdk.layers.errors import InvalidFamily
from origin_sdk.layers.process.audit import Auditing
from origin_sdk.layers.process.flights import Flights
from origin_sdk.layers.process.load_graph import LoadNode, ended, waiting_for
from origin_sdk.layers.process.memory import MOST_BYTES, MOST_ENTRIES, Memory, MemoryEntry
from origin_sdk.layers.process.moments import Moments
from origin_sdk.layers.process.stats import Detected, Stats
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.options import RedisOptions
from origin_sdk.layers.rules.claims import Filling
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.rules.loads import fill
from origin_sdk.layers.rules.steps import Flow
from origin_sdk.layers.values.envelope import Wrapping, split_groups
from origin_sdk.layers.values.families import Family, FamilyDetails, Key
from origin_sdk.layers.values.policy import Policy

__all__ = ["AsyncPurger", "BaseCache", "CacheOptions", "FamilyOptions", "Invalidation", "Purger"]

if TYPE_CHECKING:
    from origin_sdk.layers.redis.listener import Listener


@dataclass(frozen=True, slots=True)
class Invalidation:
    """Proof of an invalidation.

    If Redis doesn't know of it yet (``in_redis`` is False) this process tells it before it reads there again;
    other processes hear of it then. ``edge`` is the purger's receipt; None of an outbox. ``in_replicas`` is
    how many replicas of each primary at least had it in time, if the options say to wait for them.
    """

    groups: tuple[str, ...]
    in_redis: bool
    edge: Any = None
    in_replicas: int | None = None


class CacheOptions(TypedDict, total=False):
    """What a cache is made of besides Redis and the edge.

    ``max_entries`` and ``max_bytes`` (an estimate) bound memory, ``policy`` is that of families without one,
    ``wrapping`` says how values are stored in Redis, ``audit`` is told of writes and invalidations with
    ``actor`` as their doer, and ``background`` bounds the loads that run behind callers' backs. Unless
    ``passes_groups`` is False, the groups of a value belong to responses and values that are made of it, too.
    """

    max_entries: int
    max_bytes: int
    policy: Policy
    wrapping: Wrapping
    audit: Callable[[AuditEvent], None]
    actor: str
    background: int
    clock: Clock
    passes_groups: bool


class FamilyOptions(FamilyDetails, total=False):
    """What a decorator makes a family of: without a ``name``, it has the function's."""

    name: str


class BaseCache:
    """A cache without its verbs."""

    def __init__(self, redis: RedisOptions | str | None, options: CacheOptions) -> None:
        clock = options.get("clock") or SystemClock()
        self.stats = Stats()
        self.moments = Moments()
        self.memory = Memory(options.get("max_entries", MOST_ENTRIES), options.get("max_bytes", MOST_BYTES))
        self.redis_options = RedisOptions(url=redis) if isinstance(redis, str) else redis
        self.background = options.get("background", 32)
        self.link = Link(self.redis_options, self.moments, clock, self.stats) if self.redis_options else None
        self.judge = Judge(
            self.memory,
            self.moments,
            clock,
            self.stats,
            replace(
                options.get("wrapping") or Wrapping(),
                scope=self.redis_options.prefix if self.redis_options else "",
            ),
            options.get("policy") or Policy(),
            self.link,
            Auditing(options.get("audit"), options.get("actor", ""), clock),
        )
        self.flights = Flights(self.moments)
        self.passes_groups = options.get("passes_groups", True)
        self.running: dict[str, tuple[int, Any]] = {}
        """Keys being loaded in the background: the invalidation that each is newer than, and its future."""
        self.loads: set[Any] = set()
        """The futures of what runs in the background."""
        self.nodes: dict[Any, LoadNode] = {}
        """What the futures of ``running`` stand for."""
        self._running_lock = RLock()
        self.parts_lock = RLock()
        """Where memory is all there is, it makes looking at a structure and writing to it one."""
        self._listener: Listener | None = None
        self._listening_in = 0
        renew_after_fork(self)

    def renew(self) -> None:
        """Begin anew after a fork: with locks that are free, and none of the parent's threads and loads."""
        self.moments.renew()
        self.memory.renew()
        self.flights.renew()
        self._running_lock, self.parts_lock = RLock(), RLock()
        self.running.clear()
        self.nodes.clear()
        self.loads.clear()
        self._listener, self._listening_in = None, 0
        if self.link:
            self.link.renew()

    def listening(self) -> Link | None:
        """Return the link to Redis, with its listener running in this process."""
        if self.link is not None and self._listening_in != os.getpid():
            self._listening_in = os.getpid()
            from origin_sdk.layers.redis.listener import Listener  # noqa: PLC0415 - imports redis, an extra

            self._listener = Listener(self.link)
            self._listener.start()
        return self.link

    def wait_until_synced(self, seconds: float = 5.0) -> bool:
        """Wait until this process hears of the others' invalidations; say whether it does."""
        self.listening()
        return self._listener is not None and self._listener.is_synced.wait(seconds)

    def _stop_listening(self) -> None:
        if self._listener is not None and self._listening_in == os.getpid():
            self._listener.stop()

    counts_reads = True
    """Whether what it answers counts for what is made of it; not where values have no class."""

    loads_inline: bool
    """Whether the caller itself may run a loader; else a task of its own does, which no caller ends."""

    def spawn(self, flow: Flow[Any]) -> Any:
        """Run a flow behind the caller's back; return a future."""
        raise NotImplementedError

    def new_future(self) -> Any:
        """Return a future to be set by hand."""
        raise NotImplementedError

    @typing.overload
    def start(self, filling: Filling) -> Any: ...
    @typing.overload
    def start(self, filling: Filling, *, may_skip: bool) -> Any | None: ...
    def start(self, filling: Filling, *, may_skip: bool = False) -> Any | None:
        """Load in the background, once for a key at a time; return the future.

        With ``may_skip``, None where nothing was started: the load is under way, or there are too many.
        """
        key = filling.key
        with self._running_lock:
            if (running := self.running_load(key)) is not None:
                return None if may_skip else running
            if may_skip and len(self.loads) >= self.background:
                self.stats.count("refresh-skipped", key.family.name, key.name)
                return None
            seq = self.moments.seq
            node = LoadNode(key.name, self.flights)
            future = self.start_flow(fill(self.judge, replace(filling, node=node)))
            self.running[key.name] = (seq, future)
            self.nodes[future] = node
        future.add_done_callback(functools.partial(self._ended, key))
        return future

    def reserve(self, keys: Iterable[Key[Any]], node: LoadNode) -> dict[str, Any]:
        """Note that those of the keys that nobody loads in the background are loaded there from now on.

        Return by name futures that ``deliver`` ends; none if there are too many loads.
        """
        with self._running_lock:
            free = [key for key in keys if self.running_load(key) is None]
            if free and len(self.loads) >= self.background:
                self.stats.count_many("refresh-skipped", free)
                return {}
            futures = {key.name: self.new_future() for key in free}
            self.running |= {name: (self.moments.seq, future) for name, future in futures.items()}
            self.nodes |= dict.fromkeys(futures.values(), node)
        return futures

    def deliver(
        self, key: Key[Any], future: Any, entry: MemoryEntry | None, error: BaseException | None
    ) -> None:
        """End the load of a reserved key; without entry and error it came to nothing."""
        self._forget_running(key, future)
        if isinstance(error, Exception):
            self.stats.count("background-failed", key.family.name, key.name)
            future.set_exception(error)
            future.exception()  # who doesn't wait isn't to be warned of it
        else:
            future.set_result(entry)

    def start_flow(self, flow: Flow[Any]) -> Any:
        """Run a flow in the background, which ``close`` waits for; return its future."""
        future = self.spawn(flow)
        self.loads.add(future)
        future.add_done_callback(self.loads.discard)
        return future

    def running_load(self, key: Key[Any]) -> Any | None:
        """Return the future of a load in the background that goes on and isn't known to be outdated."""
        seq, running = self.running.get(key.name, (0, None))
        if running is None or running.done() or self.moments.covers((key.name, *key.groups), seq):
            return None
        return running

    def await_running(self, future: Any, waiter: LoadNode | None) -> None:
        """Note that a load waits for one in the background. Raises LoadCycle."""
        if (node := self.nodes.get(future)) is not None:
            waiting_for(node, waiter)

    def _forget_running(self, key: Key[Any], future: Any) -> None:
        with self._running_lock:
            node = self.nodes.pop(future, None)
            if self.running.get(key.name, (0, None))[1] is future:
                del self.running[key.name]
        if node is not None:
            ended(node)

    def _ended(self, key: Key[Any], future: Any) -> None:
        self._forget_running(key, future)
        if not future.cancelled() and future.exception():
            self.stats.count("background-failed", key.family.name, key.name)

    def detect(self) -> AbstractContextManager[Detected]:
        """Note, within a ``with`` block, what each layer does for this thread or task."""
        return self.stats.detect()

    groups_in = staticmethod(split_groups)
    """As :class:`origin_sdk._process.reads.Reads` asks for them."""

    def refused(self, family: HasClass, what: str) -> None:
        """Audit that ``what`` was made of a family and isn't let out."""
        self.judge.audit.note("expose", "refused", family=family.name, what=what)

    def warn_of_kept(self, function: Function, family: Family[Any], ignore: Iterable[str]) -> None:
        """Warn of arguments outside of the key that loads in the background would keep from their callers."""
        names = sorted(ignore)
        if names and (family.policy or self.judge.default_policy).outlives_callers:
            warnings.warn(
                f"{function.full_name}: ignore={names} with a policy that loads in the background (stale, "
                "refresh_ahead, xfetch, soft_timeout, hard_timeout): the load keeps what its caller gave, "
                "a session for example, after that caller has ended. Let the function open its own",
                stacklevel=4,
            )

    def register(self, family: Family[Any]) -> None:
        """Know a family. Raises InvalidFamily if another has its name and means something else."""
        self.judge.know(family)

    @property
    def families(self) -> Mapping[str, Family[Any]]:
        """The families that were used or declared."""
        return self.judge.families

    def family_for(
        self, function: Function, family: Family[Any] | str, options: FamilyOptions
    ) -> Family[Any]:
        """Return the family that a decorated function belongs to."""
        if isinstance(family, str):
            arguments: dict[str, Any] = {"name": function.name, **options}
            family = Family(arguments.pop("name"), family, function.returns, **arguments)
            family.maker = function.full_name
        elif options:
            raise InvalidFamily(
                f"{function.full_name}: {', '.join(options)} beside a family: say so where it is declared"
            )
        self.register(family)
        return family
