"""What this process knows of Redis: is it up, which invalidations are heard of, who waits, what is owed."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from threading import Event, Lock
from typing import Any

from origin_sdk.clock import Clock
from origin_sdk.layers.connecting import RedisOptions
from origin_sdk.layers.memory import Moments
from origin_sdk.layers.remedies import remedy_for
from origin_sdk.layers.scripts import DROP, INVALIDATE, REPEAT, Command, Layout, Script
from origin_sdk.layers.stats import Stats

__all__ = ["HeldLock", "Link"]

_log = logging.getLogger("origin_sdk.layers")
_UNKNOWN = float("inf")
_MOST_OWED = 100_000
_MOST_TOLD, _TOLD_SECONDS = 10_000, 60.0
_WRITES_SECONDS = 3600.0
"""How long Redis remembers that a key was written: the result of a load that takes longer isn't stored."""


@dataclass(slots=True)
class HeldLock:
    """A lock that this process holds and renews."""

    key: str
    fence: int
    seconds: float
    renew_at: float


class Link:
    """The state between the callers, which use Redis, and the listener, which hears of others and heals."""

    def __init__(self, options: RedisOptions, moments: Moments, clock: Clock, stats: Stats) -> None:
        self.options = options
        self.layout = Layout(options.prefix, options.shard_count)
        self.moments = moments
        self.clock = clock
        self.stats = stats
        self.sender = clock.token()
        self.is_up = True
        self.offset_seconds = 0.0
        """Redis's clock less this machine's."""
        self.generations = [0.0] * self.layout.shards
        """The moment up to which every invalidation of a shard is known here; 0 if that isn't so."""
        self.owed: set[str] = set()
        """Groups and keys whose invalidation Redis hasn't taken yet."""
        self.owes_all = False
        """Whether there are too many of them to remember: then all that Redis holds is invalid."""
        self._told: dict[tuple[int, str], tuple[float, float]] = {}
        """What Redis was told of lately, by shard and name: the moment that it had, and when that was."""
        self.wake = Event()
        self.is_doubted = False
        """Whether the listener is to find out at once if Redis answers."""
        self.locks: dict[str, HeldLock] = {}
        self._explained: set[str] = set()
        self._is_proven = False
        """Whether Redis has ever been used with these options."""
        self._waiters: dict[str, list[Callable[[], None]]] = {}
        self._lock = Lock()

    def renew(self) -> None:
        """Begin anew after a fork: as another sender, which holds no lock, nor waits."""
        self.sender = self.clock.token()
        self.wake, self._lock = Event(), Lock()
        self.locks.clear()
        self._waiters.clear()

    @property
    def can_hear(self) -> bool:
        """Whether messages of other processes come in."""
        return self.is_up and self.generations[0] > 0

    def redis_now(self) -> float:
        """Return Redis's time in microseconds, as far as it is known."""
        return (self.clock.now() + self.offset_seconds) * 1e6

    def set_redis_time(self, microseconds: float) -> None:
        """Take the time from a reply."""
        self.offset_seconds = microseconds / 1e6 - self.clock.now()

    def trip(self, error: BaseException) -> None:
        """Leave Redis out from now on; the listener finds out when it is back."""
        if self.is_up:
            self.is_up = False
            self.stats.breaker_openings += 1
            _log.warning("Redis is left out: %s: %s", type(error).__name__, error)
        self.explain(error)
        self.wake.set()

    def explain(self, error: BaseException) -> None:
        """Say what to do about an error, once for each remedy."""
        wants_nothing = self._is_proven or not self.options.lacks_certificate
        remedy = remedy_for(error, may_want_certificate=not wants_nothing)
        if remedy and remedy not in self._explained:
            self._explained.add(remedy)
            _log.warning("Redis can't be used as it should: %s (%s); said once", remedy, error)

    def restore(self) -> None:
        """Use Redis again."""
        self._is_proven = True
        if not self.is_up:
            self.is_up = True
            _log.warning("Redis is back")

    def owe(self, names: tuple[str, ...]) -> None:
        """Remember an invalidation that Redis has to be told of before it is used again."""
        with self._lock:
            if len(self.owed) + len(names) > _MOST_OWED:
                self.owes_all = True
                return
            self.owed.update(names)
        self.moments.add(names, _UNKNOWN)

    def some_owed(self, most: int) -> tuple[str, ...]:
        """Return names that Redis has to be told of."""
        with self._lock:
            return tuple(islice(self.owed, most))

    def pay(self, names: tuple[str, ...], moment: float) -> None:
        """Redis knows of these now."""
        with self._lock:
            self.owed.difference_update(names)
        self.moments.settle(names, moment)

    def told(self, shard: int, names: Iterable[str], moment: float) -> None:
        """Remember for a while what Redis has noted: a failover could lose it."""
        now = self.clock.monotonic()
        with self._lock:
            for name in names:
                self._told.pop((shard, name), None)
                self._told[shard, name] = (moment, now)
            excess = len(self._told) - _MOST_TOLD
            for place, (oldest, (_, at)) in enumerate(list(islice(self._told.items(), max(2, excess)))):
                if place < excess or at < now - _TOLD_SECONDS:
                    del self._told[oldest]

    def repetitions(self, most: int) -> Iterator[Command]:
        """Yield the commands that repeat what Redis was told of lately, and may have lost."""
        with self._lock:
            told = dict(self._told)
        for shard in range(self.layout.shards):
            pairs = [(name, f"{moment:.0f}") for (of, name), (moment, _) in told.items() if of == shard]
            head = (round(self.options.horizon * 1e6), self.layout.changes, self.sender, shard)
            for start in range(0, len(pairs), most):
                some = (each for pair in pairs[start : start + most] for each in pair)
                yield Command(REPEAT, self.layout.keys(shard, "mtg", ""), (*head, *some))

    def invalidation(self, shard: int, names: tuple[str, ...]) -> Command:
        """Return the command that invalidates names in a shard."""
        keys = self.layout.keys(shard, "mg", "")
        head = (round(self.options.horizon * 1e6), self.layout.changes, self.sender, shard)
        return Command(INVALIDATE, keys, (*head, *names))

    def change(self, script: Script, name: str, record: bytes | None, seconds: float, *more: Any) -> Command:
        """Return the command that changes one key: PUT, or one of those like it."""
        shard = self.layout.shard(name)
        horizon = round(min(self.options.horizon, _WRITES_SECONDS) * 1e6)
        head = (record or b"", max(1, round(seconds * 1000)), horizon, self.layout.changes, self.sender)
        return Command(script, self.layout.keys(shard, "emtg", name), (*head, shard, name, *more))

    def drop(self, shard: int) -> Command:
        """Return the command that makes all of a shard invalid."""
        return Command(DROP, self.layout.keys(shard, "mtg", ""), (self.layout.changes, self.sender, shard))

    def hear(self, message: str) -> int | None:
        """Take a message about invalidations; return the shard of which an earlier one was missed."""
        sender, shard_text, last, moment, *names = message.split("\n")
        shard, now = int(shard_text), float(moment)
        if not now:
            self.moments.distrust_all()
            return shard
        if sender != self.sender:
            self.moments.add(tuple(names), now)
            self.stats.lag((self.redis_now() - now) / 1e6)
        if now <= self.generations[shard]:
            return None
        if self.generations[shard] != float(last):
            return shard
        self.generations[shard] = now
        return None

    def catch_up(self, shard: int, reply: list[Any]) -> None:
        """Take what happened in a shard while this process wasn't listening."""
        generation, floor, groups_floor, is_whole = *(float(each) for each in reply[:3]), int(reply[3])
        known = self.generations[shard]
        if not known or not is_whole or generation < known or floor > known:
            # What is in memory may have been invalidated without a trace.
            self.moments.distrust_all()
        for name, moment in zip(reply[4::2], reply[5::2], strict=True):
            if name:
                self.moments.add((name.decode(),), float(moment))
        # What was written too early or too late isn't in Redis: of records, groups alone tell.
        unjudged = groups_floor if is_whole else generation
        self.moments.redis_floor = max(self.moments.redis_floor, unjudged)
        self.generations[shard] = generation

    def expect(self, name: str, told: Callable[[], None]) -> None:
        """Call ``told`` when another process has loaded ``name``, or given up."""
        with self._lock:
            self._waiters.setdefault(name, []).append(told)

    def forget(self, name: str, told: Callable[[], None]) -> None:
        """Don't call any more."""
        with self._lock:
            waiting = self._waiters.get(name, [])
            if told in waiting:
                waiting.remove(told)
            if not waiting:
                self._waiters.pop(name, None)

    def loaded(self, name: str) -> None:
        """Tell who waits for ``name``."""
        with self._lock:
            waiting = self._waiters.pop(name, [])
        for told in waiting:
            told()
