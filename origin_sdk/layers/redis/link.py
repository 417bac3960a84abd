"""What this process knows of Redis: is it up, which invalidations are heard of, who waits, what is owed."""

import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from threading import Lock

from origin_sdk._process.clock import Clock
from origin_sdk.layers.process.flights import after
from origin_sdk.layers.process.moments import PARTS, Moments
from origin_sdk.layers.process.stats import Stats
from origin_sdk.layers.redis.commands import AnyCommand, ChangeReply, Command, Layout
from origin_sdk.layers.redis.lua import Script
from origin_sdk.layers.redis.options import RedisOptions
from origin_sdk.layers.redis.remedies import remedy_for
from origin_sdk.layers.redis.scripts import DROP, INVALIDATE, PUT, RELEASE, REPEAT, SINCE

__all__ = ["RENEWALS", "HeldLock", "Inquiry", "Link"]

_log = logging.getLogger("origin_sdk.layers")
_MOST_OWED = 100_000
_MOST_NAMES = 10_000
_NAMES_AT_ONCE = 500
"""This many take Redis about a millisecond."""
_GENERATIONS = 256
"""How many generations are shown to a Redis that has lost the last one, to find where its history parted."""
_WRITES_SECONDS = 3600.0
"""How long Redis remembers that a key was written: the result of a load that takes longer isn't stored."""
_SLOW_LOG_SECONDS = 10.0
_LATEST = 9e18
"""Later than any moment."""
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


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What happened in a shard: the question, and what this process had been told of when it asked.

    The reply speaks of that alone. Callers are told of more while it is on its way.
    """

    shard: int
    told: tuple[float, ...]
    """Generations of which it is asked whether its history has them, the newest first."""
    asked_at: float
    command: Command[list[bytes]]


class Link:
    """The state between the callers, which use Redis, and the listener, which hears of others and heals.

    Everything about Redis is known by shard; there is one but in a cluster.
    """

    def __init__(self, options: RedisOptions, moments: Moments, clock: Clock, stats: Stats) -> None:
        self.options = options
        self.layout = Layout(options.prefix, options.shard_count)
        self.moments = moments
        self.clock = clock
        self.stats = stats
        self.sender = clock.token()
        shards = self.layout.shards
        self.up = [True] * shards
        """Which shards are asked."""
        self.hears = False
        """Whether messages of other processes come in."""
        self.generations = [0.0] * shards
        """The moment up to which every invalidation of a shard is known here; 0 if that isn't so."""
        self.floors = [0.0] * shards
        """Records born up to this moment are judged by Redis alone."""
        self._known_from = [0.0] * shards
        """The moment from which on this process knows of every invalidation of a shard."""
        self._told: list[deque[float]] = [deque(maxlen=_GENERATIONS) for _ in range(shards)]
        """Generations of which Redis told this process: its history has them, or has lost something."""
        self._offsets: list[float | None] = [None] * shards
        """A shard's clock less this machine's, in seconds."""
        self.owed: dict[int, set[str]] = {}
        """By shard, groups and keys whose invalidation Redis hasn't taken yet."""
        self._owes_all: set[int] = set()
        """The shards that are owed too many to remember: then all that they hold is invalid."""
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
        self._waiters: dict[str, list[Callable[[], None]]] = {}
        self._lock = Lock()

    def renew(self) -> None:
        """Start over after a fork: as another sender, which holds no lock and waits for nothing."""
        self.sender = self.clock.token()
        self._lock = Lock()
        self.hears = False
        self.locks.clear()
        self.returns.clear()
        self._waiters.clear()

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
        self.wake_all()

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
        with self._lock:
            if now < self._slow_at + _SLOW_LOG_SECONDS:
                return
            self._slow_at = now
        _log.warning("no answer of Redis in time to %s: %s: %s", what, type(error).__name__, error)

    def restore(self, shard: int) -> bool:
        """Use a shard, unless it is owed something: it would answer with what is invalid."""
        with self._lock:
            if self.owed.get(shard) or shard in self._owes_all:
                return False
            self._is_proven = True
            was_up, self.up[shard] = self.up[shard], True
        if not was_up and self.is_up:
            _log.warning("Redis is back")
        return True

    def found_primary(self, address: tuple[str, int]) -> None:
        """Take what sentinels name as the primary: connections to another server are let go."""
        before, self._primary = self._primary, address
        if before not in {None, address}:
            self.epoch += 1

    def new_token(self) -> str:
        """Return a name for a load, by which Redis knows who holds a lock."""
        return f"{self.sender}.{next(self._tokens)}"

    # The time there

    def redis_now(self, shard: int) -> float:
        """Return the time of a shard's clock in microseconds, as far as it is known."""
        offset = self._offsets[shard]
        return self.clock.now() * 1e6 if offset is None else (self.clock.monotonic() + offset) * 1e6

    def learn_time(self, shard: int, moment: float) -> None:
        """Take a moment that a shard gave out just now for what its clock shows."""
        self._offsets[shard] = moment / 1e6 - self.clock.monotonic()

    def deadline(self, shard: int) -> str:
        """Return the moment at which a caller that asks now gives up; 0 where the time isn't known."""
        if self._offsets[shard] is None:
            return "0"
        return f"{self.redis_now(shard) + self.options.timeout * 1e6:.0f}"

    # What is owed

    def owe(self, names: Iterable[str], shards: Collection[int]) -> None:
        """Remember an invalidation that shards have to be told of.

        Until then this process knows better than they. A shard that is owed too much to remember isn't used.
        """
        names = tuple(names)
        with self._lock:
            for shard in shards:
                owed = self.owed.setdefault(shard, set())
                if len(owed) + len(names) > _MOST_OWED:
                    self._owes_all.add(shard)
                else:
                    owed.update(names)
            forgotten = self._owes_all.intersection(shards)
        if len(forgotten) < len(shards):
            self.moments.add(names, math.inf)
        if forgotten:
            self.trip(RuntimeError("it is owed too many invalidations"), forgotten)
        self.doubt(shards)

    def debts(self) -> list[int]:
        """Return the shards that are owed something."""
        with self._lock:
            return sorted(self.owed.keys() | self._owes_all)

    def payment(self, shard: int) -> tuple[AnyCommand, tuple[str, ...]]:
        """Return what pays some of a debt, and the names that it pays."""
        with self._lock:
            names = tuple(islice(self.owed.get(shard, ()), _NAMES_AT_ONCE))
            if shard in self._owes_all:
                return self.drop(shard), tuple(self.owed.get(shard, ()))
        return self.invalidation(shard, names), names

    def pay(self, shard: int, names: tuple[str, ...], moment: float, *, is_all: bool) -> None:
        """A shard knows of these now; or ``is_all`` that it held is invalid."""
        with self._lock:
            if is_all:
                self._owes_all.discard(shard)
            owed = self.owed.get(shard, set())
            owed.difference_update(names)
            if not owed:
                self.owed.pop(shard, None)
            settled = [name for name in names if not any(name in owed for owed in self.owed.values())]
        self.moments.settle(settled, moment)
        self.told(shard, moment)

    # What was heard

    def told(self, shard: int, moment: float) -> None:
        """Remember that a shard's history has this moment, or is another one."""
        with self._lock:
            told = self._told[shard]
            if not told or moment > told[0]:
                told.appendleft(moment)

    def invalidation(self, shard: int, names: tuple[str, ...]) -> Command[list[bytes]]:
        """Return the command that invalidates names in a shard."""
        keys = self.layout.keys(shard, "mgfh", "")
        return Command(INVALIDATE, keys, (*self.head(shard), *names))

    def head(self, shard: int, *, parts: bool = False) -> tuple[object, ...]:
        """Return how the arguments of scripts that tell others begin; of writes to ``parts`` less is kept."""
        horizon = min(self.options.horizon, _WRITES_SECONDS) if parts else self.options.horizon
        return (round(horizon * 1e6), self.layout.changes, self.sender, shard)

    def known_from(self, shard: int) -> str:
        """Return the moment after which this process knows of every invalidation that it has heard of."""
        return f"{max(self.moments.redis_floor, self.floors[shard]):.0f}"

    def knowledge_of(self, shard: int) -> tuple[str, str]:
        """Return the generation that is known here, and after which moment all up to that is known."""
        return f"{self.generations[shard]:.0f}", self.known_from(shard)

    def told_of(self, shard: int) -> str:
        """Return the generations that a history has to have, of which this process was told last."""
        told = self._told[shard]
        return f"{self.generations[shard]:.0f} {told[0] if told else 0.0:.0f}"

    def change(
        self,
        script: Script,
        name: str,
        record: bytes | None,
        seconds: float,
        *more: object,
        birth: float = 0.0,
    ) -> Command[ChangeReply]:
        """Return the command that changes one key: PUT, or one of those like it."""
        shard = self.layout.shard(name)
        horizon = round(min(self.options.horizon, _WRITES_SECONDS) * 1e6)
        head = (record or b"", max(1, round(seconds * 1000)), horizon, self.layout.changes, self.sender)
        keys = self.layout.keys(shard, "emtgfh", name)
        # A deletion that comes late does no harm.
        expires = script is not PUT or record is not None
        arguments = (*head, shard, name, f"{birth:.0f}", *more)
        return Command(script, keys, arguments if expires else (*arguments, "0"), expires=expires)

    def drop(self, shard: int) -> Command[bytes]:
        """Return the command that makes all of a shard invalid."""
        return Command(DROP, self.layout.keys(shard, "mtgfh", ""), (self.layout.changes, self.sender, shard))

    def since(self, shard: int, *, shows_all: bool = False) -> Inquiry:
        """Return the question what happened in a shard; ``shows_all`` if its history has parted."""
        with self._lock:
            told = tuple(islice(self._told[shard], None if shows_all else 1))
        known = (f"{each:.0f}" for each in (self.generations[shard], *told))
        keys = self.layout.keys(shard, "mtgfh", "")
        arguments = (f"{self.moments.latest:.0f}", _MOST_NAMES, *known)
        return Inquiry(shard, told, self.clock.monotonic(), Command(SINCE, keys, arguments))

    def hear(self, message: str) -> int | None:
        """Take a message about invalidations; return the shard of which an earlier one was missed."""
        sender, shard_text, last, told, *names = message.split("\n")
        moment, _, as_of = told.partition(" ")
        shard, now = int(shard_text), float(moment)
        if not now:
            self.moments.distrust_all()
            return shard
        invalid_from = float(as_of or now)
        if sender != self.sender:
            self.stats.lag((self.redis_now(shard) - now) / 1e6)
        else:  # whose reply may come later than this: until then Redis may have answered with older values
            names = [name for name in names if self.moments.moment(name) < invalid_from]
        if names:
            self.moments.add(names, invalid_from, self.clock.monotonic())
        if now <= self.generations[shard]:
            return None
        if self.generations[shard] != float(last):
            return shard
        self.generations[shard] = now
        self.told(shard, now)
        return None

    @staticmethod
    def has_parted(inquiry: Inquiry, reply: list[bytes]) -> bool:
        """Whether a shard's history lacks the last generation that this process had been told of."""
        common = float(reply[4])
        return bool(inquiry.told) and common >= 0 and common != inquiry.told[0]

    def catch_up(self, inquiry: Inquiry, reply: list[bytes]) -> list[AnyCommand]:
        """Take what happened in a shard; return what it has to be told, having lost it.

        It has to be asked again after that.
        """
        shard, asked_at = inquiry.shard, inquiry.asked_at
        generation, time, floor, groups_floor, common = (float(each) for each in reply[:5])
        is_whole, known = int(reply[5]), self.generations[shard]
        # The time was asked for earlier than it is now: at the latest, what is said here is so.
        self._offsets[shard] = time / 1e6 - asked_at
        for name, moment in zip(reply[6::2], reply[7::2], strict=True):
            if name:
                heard = float(moment)
                self.moments.add((name.decode(),), heard, heard / 1e6 - time / 1e6 + asked_at)
        lost = self._lost(inquiry, groups_floor, common) if self.has_parted(inquiry, reply) else []
        is_contiguous = known and is_whole and floor <= known and (common or not inquiry.told)
        if not is_contiguous:
            # What is in memory may have been invalidated without a trace.
            self.moments.distrust_all()
            self._known_from[shard] = floor if is_whole else generation
        # What was written too early or too late isn't in Redis: of records, groups alone tell.
        self.floors[shard] = max(self.floors[shard], groups_floor if is_whole else generation)
        if lost:
            return lost
        if inquiry.told and generation < inquiry.told[0]:
            self.agree(inquiry)
        self.generations[shard] = generation
        self.told(shard, generation)
        return []

    def _lost(self, inquiry: Inquiry, floor: float, common: float) -> list[AnyCommand]:
        """Return what tells a shard of what it has lost since ``common``; or that all is lost.

        What was born up to the floor is invalid in any case.
        """
        shard = inquiry.shard
        if floor >= inquiry.told[0]:
            return []
        since = max(common, floor)
        names = self.moments.after(since)
        if since < max(self._known_from[shard], self.moments.redis_floor) or len(names) > _MOST_NAMES:
            return [self.drop(shard)]
        return list(self._repetitions(shard, names))

    def _repetitions(self, shard: int, names: dict[str, float]) -> Iterator[Command[int]]:
        pairs, keys = list(names.items()), self.layout.keys(shard, "mtgfh", "")
        for start in range(0, len(pairs), _NAMES_AT_ONCE):
            some = pairs[start : start + _NAMES_AT_ONCE]
            # Of parts that were written Redis may have lost one and have another: the whole is invalid.
            told = ((name.removesuffix(PARTS), _LATEST if name.endswith(PARTS) else at) for name, at in some)
            flat = (each for name, moment in told for each in (name, f"{moment:.0f}"))
            yield Command(REPEAT, keys, (*self.head(shard), *flat))

    def agree(self, inquiry: Inquiry) -> None:
        """Forget generations that a shard was asked about: it was told what it had lost of them.

        What this process has been told of meanwhile, the shard has yet to be asked about.
        """
        with self._lock:
            told = self._told[inquiry.shard]
            while told and inquiry.told and told[-1] <= inquiry.told[0]:
                told.pop()

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

    # Who waits

    @contextmanager
    def expecting(self, names: Sequence[str], told: Callable[[], None]) -> Iterator[None]:
        """Within the ``with`` block, call ``told`` once other processes have ended the loads of all names."""
        tell = after(len(names), told)
        for name in names:
            self.expect(name, tell)
        try:
            yield
        finally:
            for name in names:
                self.forget(name, tell)

    def expect(self, name: str, told: Callable[[], None]) -> None:
        """Call ``told`` when another process has loaded ``name``, or given up, or that can't be heard."""
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

    def loaded(self, names: str) -> None:
        """Tell who waits for one of the names, a line each."""
        with self._lock:
            waiting = [told for name in names.split("\n") for told in self._waiters.pop(name, ())]
        for told in waiting:
            told()

    def wake_all(self) -> None:
        """Tell all who wait to ask again: what they wait for may have been said meanwhile."""
        with self._lock:
            waiting = [told for each in self._waiters.values() for told in each]
            self._waiters.clear()
        for told in waiting:
            told()
