"""What callers, which use Redis, and the listener, which heals, know of Redis in common.

Which shards are asked is decided here. What was heard of them is in :mod:`.history`, what they are owed in
:mod:`.debts`, who waits for other processes in :mod:`.waiters`.
"""

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from threading import Lock

from origin_sdk._process.clock import Clock
from origin_sdk.layers.process.moments import Moments
from origin_sdk.layers.process.stats import Stats
from origin_sdk.layers.redis.change_commands import ChangeCommands
from origin_sdk.layers.redis.commands import AnyCommand, Command, Layout
from origin_sdk.layers.redis.debts import Debts, Payment
from origin_sdk.layers.redis.history import History
from origin_sdk.layers.redis.options import RedisOptions
from origin_sdk.layers.redis.remedies import remedy_for
from origin_sdk.layers.redis.scripts import RELEASE
from origin_sdk.layers.redis.waiters import Waiters

__all__ = ["RENEWALS", "HeldLock", "Link"]

_log = logging.getLogger("origin_sdk.layers")
_SLOW_LOG_SECONDS = 10.0
RENEWALS = 4
"""How often a lock is renewed in its time."""


@dataclass(slots=True)
class HeldLock:
    """A lock that a load of this process holds, or may hold: Redis knows by the load's token."""

    name: str
    key: str
    token: str
    seconds: float
    renew_at: float


class Link:
    """Everything about Redis is known by shard; there is one but in a cluster."""

    def __init__(self, options: RedisOptions, moments: Moments, clock: Clock, stats: Stats) -> None:
        self.options = options
        self.layout = Layout(options.prefix, options.shard_count)
        self.moments = moments
        self.clock = clock
        self.stats = stats
        shards = self.layout.shards
        self.commands = ChangeCommands(self.layout, options.horizon, clock.token())
        self.history = History(self.layout, moments, clock, stats, self.commands)
        self.clocks = self.history.clocks
        self.generations = self.history.generations
        self.debts = Debts(moments)
        self.waiters = Waiters()
        self.up = [True] * shards
        """Which shards are asked."""
        self.hears = False
        """Whether messages of other processes come in."""
        self.epoch = 0
        """Rises when a connection broke: others of that time may lead to what is no primary any more."""
        self._primary: tuple[str, int] | None = None
        self.doubted: set[int] = set()
        """Shards of which the listener is to find out at once whether they answer."""
        self.locks: dict[str, HeldLock] = {}
        """By token, the locks of loads under way, which are renewed."""
        self.returns: dict[str, HeldLock] = {}
        """By token, the locks that are to be given back."""
        self._tokens = count()
        self._explained: set[str] = set()
        self._slow_at = -math.inf
        self._is_proven = False
        """Whether Redis has ever been used with these options."""
        self._log_lock = Lock()

    def renew(self) -> None:
        """Start over after a fork: as another sender, which holds no lock and waits for nothing."""
        self.commands.sender = self.clock.token()
        self._log_lock = Lock()
        self.hears = False
        self.locks.clear()
        self.returns.clear()
        for each in (self.history, self.debts, self.waiters):
            each.renew()

    # What is asked

    @property
    def is_up(self) -> bool:
        """Whether all of Redis is used."""
        return all(self.up)

    def asks(self, name: str) -> bool:
        """Whether Redis is used for a key."""
        return self.up[self.layout.shard(name)]

    def asks_any(self, commands: Iterable[AnyCommand]) -> bool:
        """Whether Redis is used for any of these."""
        if self.layout.shards == 1:
            return self.up[0]
        return any(self.up[self.layout.shard_of(command)] for command in commands)

    @property
    def can_hear(self) -> bool:
        """Whether messages of other processes come in, and all of them are known."""
        return self.hears and all(self.generations)

    def doubt(self, shards: Iterable[int]) -> None:
        """Let the listener find out whether these answer: one call that fails says little of Redis."""
        self.doubted.update(shards)

    def trip(self, error: BaseException, shards: Collection[int] = ()) -> None:
        """Leave shards out from now on, or all of them; the listener finds out when they are back."""
        lost = [shard for shard in shards or range(self.layout.shards) if self.up[shard]]
        for shard in lost:
            self.up[shard] = False
        if lost:
            self.stats.breaker_openings += 1
            _log.warning("%s left out: %s: %s", self._named(lost), type(error).__name__, error)
        self.explain(error)
        self.waiters.tell_all()

    def _named(self, shards: Sequence[int]) -> str:
        if len(shards) == self.layout.shards:
            return "Redis is"
        return f"Redis's shards {', '.join(map(str, shards))} are"

    def explain(self, error: BaseException) -> None:
        """Say what to do about an error, once for each remedy."""
        wants_nothing = self._is_proven or not self.options.lacks_certificate
        remedy = remedy_for(error, may_want_certificate=not wants_nothing)
        if remedy and remedy not in self._explained:
            self._explained.add(remedy)
            _log.warning("Redis is not fully usable: %s (%s); said once", remedy, error)

    def say_slow(self, what: str, error: BaseException) -> None:
        """Say which command had no answer in time, not too often."""
        now = self.clock.monotonic()
        with self._log_lock:
            if now < self._slow_at + _SLOW_LOG_SECONDS:
                return
            self._slow_at = now
        _log.warning("no answer of Redis in time to %s: %s: %s", what, type(error).__name__, error)

    def found_primary(self, address: tuple[str, int]) -> None:
        """Take what sentinels name as the primary: connections to another server are let go."""
        before, self._primary = self._primary, address
        if before not in {None, address}:
            self.epoch += 1

    def new_token(self) -> str:
        """Return a name for a load, by which Redis knows who holds a lock."""
        return f"{self.commands.sender}.{next(self._tokens)}"

    def deadline(self, shard: int) -> str:
        """Return the moment at which a caller that asks now gives up; 0 where the time isn't known."""
        return self.clocks.deadline(shard, self.options.timeout)

    # What is owed

    @property
    def owed(self) -> Mapping[int, Collection[str]]:
        """By shard, the groups and keys whose invalidation Redis hasn't confirmed yet."""
        return self.debts.owed

    def owe(self, names: Iterable[str], shards: Collection[int]) -> None:
        """Remember an invalidation that shards have to be told of.

        A shard that is owed too much to remember isn't used.
        """
        if forgotten := self.debts.add(tuple(names), shards):
            self.trip(RuntimeError("it is owed too many invalidations"), forgotten)
        self.doubt(shards)

    def command_of(self, payment: Payment) -> AnyCommand:
        """Return the command that pays."""
        shard = payment.shard
        return (
            self.commands.drop(shard) if payment.is_all else self.commands.invalidation(shard, payment.names)
        )

    def paid(self, payment: Payment, moment: float, *, is_all: bool) -> None:
        """A shard knows of a payment's names now; or ``is_all`` that it held is invalid."""
        self.debts.paid(payment, moment, is_all=is_all)
        self.history.told(payment.shard, moment)

    def restore(self, shard: int) -> bool:
        """Use a shard, unless it is owed something: it would answer with what is invalid."""
        with self.debts.lock:  # so that what is owed from here on finds it in use, and can leave it out
            if self.debts.is_owed(shard):
                return False
            self._is_proven = True
            was_up, self.up[shard] = self.up[shard], True
        if not was_up and self.is_up:
            _log.warning("Redis is back")
        return True

    # What is held

    def releases(self, locks: Iterable[HeldLock]) -> list[tuple[Command[bytes], list[HeldLock]]]:
        """Return commands that give locks back, one for each shard, and which each does."""
        shards: dict[int, list[HeldLock]] = {}
        for lock in locks:
            shards.setdefault(self.layout.shard(lock.name), []).append(lock)
        return [(self._release(some), some) for some in shards.values()]

    def _release(self, locks: Sequence[HeldLock]) -> Command[bytes]:
        owners = (each for lock in locks for each in (lock.token, lock.name))
        return Command(RELEASE, tuple(lock.key for lock in locks), (self.layout.loads, *owners))
