"""What the two caches share: how they are made, what they know, and the decorator's half of a call."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, TypedDict, cast

from origin_sdk._process.audit import AuditEvent
from origin_sdk._process.clock import Clock, SystemClock
from origin_sdk._process.forks import renew_after_fork
from origin_sdk._process.reads import HasClass
from origin_sdk._values.errors import InvalidSettings
from origin_sdk.layers.cached_functions import Function
from origin_sdk.layers.edge import AsyncPurger, Purger
from origin_sdk.layers.errors import InvalidFamily
from origin_sdk.layers.process.audit import Auditing
from origin_sdk.layers.process.background import MOST_LOADS, BackgroundLoad, BackgroundLoads
from origin_sdk.layers.process.flights import Flights
from origin_sdk.layers.process.memory import MOST_BYTES, MOST_ENTRIES, Memory, MemoryEntry
from origin_sdk.layers.process.moments import Moments
from origin_sdk.layers.process.stats import Detected, Stats
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.options import RedisOptions
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.rules.steps import Flow
from origin_sdk.layers.values.envelope import Wrapping, split_groups
from origin_sdk.layers.values.families import AnyFamily, Family, FamilyDetails
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
        if not isinstance(redis, RedisOptions | str | None):
            raise InvalidSettings(f"redis is {redis!r}: a URL or RedisOptions is needed, or None for memory")
        if not isinstance(options.get("policy"), Policy | None):
            raise InvalidFamily(f"policy is {options.get('policy')!r}: Policy(lifetime=…) is needed")
        clock = options.get("clock") or SystemClock()
        self.stats = Stats()
        self.moments = Moments()
        self.memory = Memory(options.get("max_entries", MOST_ENTRIES), options.get("max_bytes", MOST_BYTES))
        self.redis_options = RedisOptions(url=redis) if isinstance(redis, str) else redis
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
        self.background = BackgroundLoads(
            self, self.flights, self.moments, self.stats, options.get("background", MOST_LOADS)
        )
        self.memory_lock = RLock()
        """Where memory is all there is, it makes looking and writing one."""
        self._listener: Listener | None = None
        self._listening_in = 0
        self._start_lock = Lock()
        renew_after_fork(self)

    def renew(self) -> None:
        """Start over after a fork: with free locks, and none of the parent's threads and loads."""
        self.moments.renew()
        self.memory.renew()
        self.flights.renew()
        self.background.renew()
        self.memory_lock = RLock()
        self._listener, self._listening_in = None, 0
        self._start_lock = Lock()
        if self.link:
            self.link.renew()

    def listening(self) -> Link | None:
        """Return the link to Redis, with its listener running in this process."""
        if self.link is not None and self._listening_in != os.getpid():
            self._start_listening(self.link)
        return self.link

    def _start_listening(self, link: Link) -> None:
        with self._start_lock:  # of a crowd of first callers one starts it
            if self._listening_in == os.getpid():
                return
            from origin_sdk.layers.redis.listener import Listener  # noqa: PLC0415 - imports redis, an extra

            self._listener = Listener(link)
            self._listener.start()
            self._listening_in = os.getpid()

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

    def spawn(self, flow: Flow[MemoryEntry | None]) -> BackgroundLoad:
        """Run a flow behind the caller's back; return a future."""
        raise NotImplementedError

    def new_future(self) -> BackgroundLoad:
        """Return a future to be set by hand."""
        raise NotImplementedError

    def is_lost(self, future: BackgroundLoad) -> bool:  # noqa: ARG002 - threads end what they began
        """Whether a future will never end, since what was to end it is gone."""
        return False

    def detect(self) -> AbstractContextManager[Detected]:
        """Note, within a ``with`` block, what each layer does for this thread or task."""
        return self.stats.detect()

    groups_in = staticmethod(split_groups)
    """As :class:`origin_sdk._process.reads.Reads` asks for them."""

    def refused(self, family: HasClass, what: str) -> None:
        """Audit that ``what`` was made of a family and isn't let out."""
        self.judge.audit.note("expose", "refused", family=family.name, what=what)

    def warn_of_kept(self, function: Function, family: AnyFamily, ignore: Iterable[str]) -> None:
        """Warn of arguments outside of the key that loads in the background would keep from their callers."""
        names = sorted(ignore)
        if names and self.judge.families.policy_of(family).outlives_callers:
            warnings.warn(
                f"{function.full_name}: ignore={names} with a policy that loads in the background (stale, "
                "refresh_ahead, xfetch, soft_timeout, hard_timeout): the load keeps what its caller gave, "
                "a session for example, after that caller has ended. Let the function open its own",
                stacklevel=4,
            )

    def register(self, family: AnyFamily) -> None:
        """Know a family. Raises InvalidFamily if another has its name and means something else."""
        self.judge.families.know(family)

    @property
    def families(self) -> Mapping[str, AnyFamily]:
        """The families that were used or declared."""
        return self.judge.families.by_prefix

    def family_for(self, function: Function, family: AnyFamily | str, options: FamilyOptions) -> AnyFamily:
        """Return the family that a decorated function belongs to."""
        if isinstance(family, str):
            details = {option: value for option, value in options.items() if option != "name"}
            name = options.get("name", function.name)
            family = Family(name, family, function.returns, **cast("FamilyDetails", details))
            family.maker = function.full_name
        elif options:
            raise InvalidFamily(
                f"{function.full_name}: {', '.join(options)} beside a family: say so where it is declared"
            )
        self.register(family)
        return family
