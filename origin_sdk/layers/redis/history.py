"""What this process has heard of each shard, and how either learns what only the other knows.

A shard counts its invalidations by *generations*, and remembers the last of them in its history. This process
has heard of all up to ``generations``, and remembers in ``_told`` which ones Redis told it of. So three
questions have an answer at any time, with one command:

- Was a message missed? The message's own "one before" isn't the generation that is known here.
- Has Redis lost something? Its history lacks a generation that it told this process of: it has *parted*.
- Since when? Since the latest generation that both know, ``common``: what this process heard after that it
  tells again, and if it doesn't know all of that, the shard drops what it holds.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice
from threading import Lock

from origin_sdk._process.clock import Clock
from origin_sdk.layers.process.moments import Moments
from origin_sdk.layers.process.stats import Stats
from origin_sdk.layers.redis.change_commands import ChangeCommands
from origin_sdk.layers.redis.commands import AnyCommand, Command, Layout
from origin_sdk.layers.redis.lua import LAST_MOMENT
from origin_sdk.layers.redis.scripts import SINCE
from origin_sdk.layers.redis.shard_clocks import ShardClocks

__all__ = ["History", "Inquiry"]

_MOST_NAMES = 10_000
_GENERATIONS = 256
"""How many generations are shown to a Redis that has lost the last one, to find where its history parted."""


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


class History:
    """Of all shards."""

    def __init__(
        self, layout: Layout, moments: Moments, clock: Clock, stats: Stats, commands: ChangeCommands
    ) -> None:
        shards = layout.shards
        self.generations = [0.0] * shards
        """The moment up to which every invalidation of a shard is known here; 0 if that isn't so."""
        self.floors = [0.0] * shards
        """Records born up to this moment are judged by Redis alone."""
        self.clocks = ShardClocks(clock, shards)
        self._layout = layout
        self._moments = moments
        self._clock = clock
        self._stats = stats
        self._commands = commands
        self._known_from = [0.0] * shards
        """The moment from which on this process knows of every invalidation of a shard."""
        self._told: list[deque[float]] = [deque(maxlen=_GENERATIONS) for _ in range(shards)]
        """Generations of which Redis told this process: its history has them, or has lost something."""
        self._lock = Lock()

    def renew(self) -> None:
        """Start over after a fork, with a free lock: what the parent heard still holds."""
        self._lock = Lock()

    def told(self, shard: int, moment: float) -> None:
        """Remember that a shard's history has this moment, or is another one."""
        with self._lock:
            told = self._told[shard]
            if not told or moment > told[0]:
                told.appendleft(moment)

    def known_from(self, shard: int) -> str:
        """Return the moment after which this process knows of every invalidation that it has heard of."""
        return f"{max(self._moments.redis_floor, self.floors[shard]):.0f}"

    def knowledge_of(self, shard: int) -> tuple[str, str]:
        """Return the generation that is known here, and after which moment all up to that is known."""
        return f"{self.generations[shard]:.0f}", self.known_from(shard)

    def told_of(self, shard: int) -> str:
        """Return the generations that a history has to have, of which this process was told last."""
        told = self._told[shard]
        return f"{self.generations[shard]:.0f} {told[0] if told else 0.0:.0f}"

    def since(self, shard: int, *, shows_all: bool = False) -> Inquiry:
        """Return the question what happened in a shard; ``shows_all`` if its history has parted."""
        with self._lock:
            told = tuple(islice(self._told[shard], None if shows_all else 1))
        known = (f"{each:.0f}" for each in (self.generations[shard], *told))
        keys = self._layout.keys(shard, "mtgfh", "")
        arguments = (f"{self._moments.latest:.0f}", _MOST_NAMES, *known)
        return Inquiry(shard, told, self._clock.monotonic(), Command(SINCE, keys, arguments))

    def hear(self, message: str) -> int | None:
        """Take a message about invalidations; return the shard of which an earlier one was missed."""
        sender, shard_text, last, told, *names = message.split("\n")
        moment, _, as_of = told.partition(" ")
        shard, now = int(shard_text), float(moment)
        invalid_from = float(as_of or now)
        if not (0 < now <= LAST_MOMENT and invalid_from <= LAST_MOMENT):  # all is invalid; or it is garbage
            self._moments.distrust_all()
            return shard
        if sender != self._commands.sender:
            self._stats.lag((self.clocks.now(shard) - now) / 1e6)
        else:  # whose reply may come later than this: until then Redis may have answered with older values
            names = [name for name in names if self._moments.moment(name) < invalid_from]
        if names:
            self._moments.add(names, invalid_from, self._clock.monotonic())
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
        self.clocks.learn(shard, time, asked_at)
        for name, moment in zip(reply[6::2], reply[7::2], strict=True):
            if name:
                heard = float(moment)
                self._moments.add((name.decode(),), heard, heard / 1e6 - time / 1e6 + asked_at)
        lost = self._lost(inquiry, groups_floor, common) if self.has_parted(inquiry, reply) else []
        is_contiguous = known and is_whole and floor <= known and (common or not inquiry.told)
        if not is_contiguous:
            # What is in memory may have been invalidated without a trace.
            self._moments.distrust_all()
            self._known_from[shard] = floor if is_whole else generation
        # What was written too early or too late isn't in Redis: of records, groups alone tell.
        self.floors[shard] = max(self.floors[shard], groups_floor if is_whole else generation)
        if lost:
            return lost
        if inquiry.told and generation < inquiry.told[0]:
            self._agree(inquiry, min(common, generation))
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
        names = self._moments.after(since)
        if since < max(self._known_from[shard], self._moments.redis_floor) or len(names) > _MOST_NAMES:
            return [self._commands.drop(shard)]
        return list(self._commands.repetitions(shard, names))

    def agree(self, inquiry: Inquiry, reply: list[bytes]) -> None:
        """Forget generations that a shard lacks by its reply: it was told what it had lost with them."""
        self._agree(inquiry, float(reply[4]))

    def _agree(self, inquiry: Inquiry, common: float) -> None:
        """Forget the generations after ``common`` that a shard was asked about.

        Those up to it are common to whatever has parted from there: the next takeover may be by another such
        replica. What this process has been told of meanwhile, the shard has yet to be asked about.
        """
        with self._lock:
            told = self._told[inquiry.shard]
            if inquiry.told:
                latest = inquiry.told[0]
                kept = [each for each in told if each > latest or each <= common]
                told.clear()
                told.extend(kept)
