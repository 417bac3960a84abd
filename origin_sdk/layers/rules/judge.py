"""What is in memory, and what may be made of it: nothing here waits.

An entry holds for the ``seq`` that it bears, what this process had heard of when its load began. As long as
nothing has been heard since, a hit compares two numbers; else the entry is judged once by what has been, with
all its groups, and bears the later ``seq`` from then on. docs/layers-theory.md says why that is enough.
"""

import logging
from dataclasses import dataclass
from typing import Any

from origin_sdk._process.clock import Clock
from origin_sdk.layers.process.audit import Auditing
from origin_sdk.layers.process.memory import MOST_USES, Memory, MemoryEntry
from origin_sdk.layers.process.moments import Moments
from origin_sdk.layers.process.stats import Stats
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.rules.known_families import KnownFamilies
from origin_sdk.layers.values.copies import Original
from origin_sdk.layers.values.envelope import Wrapping
from origin_sdk.layers.values.families import AnyKey
from origin_sdk.layers.values.policy import ANSWERS, Freshness, Policy

__all__ = ["SPECIAL", "CachedError", "Judge", "opened"]

_log = logging.getLogger("origin_sdk.layers")


@dataclass(frozen=True, slots=True)
class CachedError:
    """In place of a value: what the loader raised."""

    error: Exception


SPECIAL = frozenset({CachedError, Original})
"""What stands for a value in memory, and has to be opened."""


def opened(entry: MemoryEntry) -> Any:
    """Return an entry's value, or raise the error that it stands for."""
    value = entry.value
    kind = type(value)
    if kind is CachedError:
        raise value.error.with_traceback(None)
    return value.copy() if kind is Original else value


class Judge:
    """Says what an entry may be used for now, by what this process has heard and by the time."""

    def __init__(
        self,
        memory: Memory,
        moments: Moments,
        clock: Clock,
        stats: Stats,
        wrapping: Wrapping,
        policy: Policy,
        link: Link | None,
        audit: Auditing,
    ) -> None:
        self.memory = memory
        self.moments = moments
        self.clock = clock
        self.stats = stats
        self.wrapping = wrapping
        self.link = link
        self.families = KnownFamilies(policy, wrapping, link)
        self.audit = audit
        self._warned: set[str] = set()

    def peek(self, key: AnyKey, now: float) -> tuple[Freshness, MemoryEntry | None]:
        """Look into memory."""
        entry = self.memory.get(key.name)
        if entry is None:
            return Freshness.GONE, None
        if entry.seq != self.moments.seq and not self._still_holds(key.name, entry):
            self.memory.drop(key.name)
            self.stats.count("memory-invalidated", key.family.name, key.name)
            return Freshness.GONE, None
        if entry.used < MOST_USES:
            entry.used += 1
        if now < entry.until:
            return Freshness.FRESH, entry
        state = entry.windows.state(entry.fresh_until, now, self.clock.fraction())
        if state is Freshness.GONE:
            self.stats.count("memory-expired", key.family.name, key.name)
        return state, entry

    def freshness(self, entry: MemoryEntry) -> Freshness:
        """Return what may be done with an entry now."""
        now = self.clock.monotonic()
        if now < entry.until:
            return Freshness.FRESH
        return entry.windows.state(entry.fresh_until, now, self.clock.fraction())

    def fresh_in_memory(self, key: AnyKey) -> MemoryEntry | None:
        """Return a value in memory that needs no judgement."""
        entry = self.memory.get(key.name)
        is_fresh = entry and entry.seq == self.moments.seq and self.clock.monotonic() < entry.until
        return entry if is_fresh else None

    def _still_holds(self, name: str, entry: MemoryEntry) -> bool:
        seq = self.moments.seq
        if self.moments.covers((name, *entry.groups), entry.seq):
            return False
        self._soften(entry)
        entry.seq = seq  # last: who finds it there asks no more
        return True

    def _soften(self, entry: MemoryEntry) -> None:
        """End the freshness of what was invalidated softly since it was judged last."""
        if not self.moments.has_soft:
            return
        at = self.moments.softened_at(entry.groups, entry.seq, self.clock.monotonic())
        if at is not None:
            self.end_freshness(entry, at)

    @staticmethod
    def end_freshness(entry: MemoryEntry, at: float) -> None:
        """Let an entry count as stale from a time on, for a soft invalidation."""
        entry.windows = entry.windows.softened()
        entry.fresh_until = min(entry.fresh_until, at)
        entry.until = min(entry.until, entry.fresh_until)

    def is_outdated(self, key: AnyKey, entry: MemoryEntry) -> bool:
        """Whether what was loaded has been invalidated since its load began."""
        return self.moments.covers((key.name, *entry.groups), entry.seq)

    def may_give(self, key: AnyKey, entry: MemoryEntry, since: int) -> bool:
        """Whether a caller who came at ``since`` may have what another's load returned.

        Only the load itself told all that its value belongs to: so who joined one is judged when it lands.
        """
        if entry.seq >= since:
            return True
        if self.is_outdated(key, entry):
            return False
        self._soften(entry)
        now = self.clock.monotonic()
        return not entry.windows.is_soft or entry.windows.state(entry.fresh_until, now, 0.0) in ANSWERS

    def spare(self, key: AnyKey, entry: MemoryEntry | None) -> MemoryEntry | None:
        """Return a stored value that may stand in for a loader that fails, and arm it for the throttle."""
        if entry is None or self.is_outdated(key, entry) or type(entry.value) is CachedError:
            return None
        if (landed := self.fresh_in_memory(key)) is not None:
            return landed  # another load was luckier meanwhile
        policy, now = self.families.policy(key), self.clock.monotonic()
        end = entry.fresh_until + max(entry.windows.stale, entry.windows.fail_safe)
        if now >= end:
            return None
        entry.until = min(now + policy.throttle, end)
        self.memory.put(key.name, entry)
        self.stats.count("fail-safe", key.family.name, key.name)
        self.stats.observe("stale-age", max(0.0, now - entry.fresh_until), key.family.name)
        return entry

    def served_stale(self, key: AnyKey, entry: MemoryEntry) -> None:
        """Count that a stale value is answered with while it is loaded again."""
        self.stats.count("stale-served", key.family.name, key.name)
        self.stats.observe("stale-age", self.clock.monotonic() - entry.fresh_until, key.family.name)

    def warn(self, what: str, message: str) -> None:
        """Log what is to be said once of ``what``."""
        if what not in self._warned:
            self._warned.add(what)
            _log.warning("%s; said once", message)
