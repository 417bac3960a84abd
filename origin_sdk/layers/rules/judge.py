"""The cache without its drivers: what is in memory, and what may be made of what Redis says.

The theory, told in full in docs/layers-theory.md. A value is outdated when its key or a group of it was
invalidated after its load began, and is never given to who asks after that. Two measures order loads with
invalidations, and neither is a time of day. ``seq`` counts what this process has heard of: an entry in
memory holds for the ``seq`` that it bears, and is judged again when that has grown. *Moments* are numbers
that a shard of Redis gives out, each once and only upwards: a record bears the moment at which its load was
claimed, its *birth*, and holds if no name that it belongs to has a later one.

What a value belongs to is known when its load lands, so it is judged there, with all its groups; whoever
joined the load brings the ``seq`` at which they asked. What Redis says is held against what this process
knows itself: Redis may have lost an invalidation, or not have been told of it yet. Where this process may
have missed one, Redis is asked to judge.
"""

import logging
import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, TypeAlias

from origin_sdk._process.clock import Clock
from origin_sdk._process.reads import MOST_GROUPS, Reads
from origin_sdk._values.errors import DataClassViolation, InvalidRequest
from origin_sdk.layers.errors import InvalidFamily, UnreadableRecord, UnsupportedValue
from origin_sdk.layers.process.audit import Auditing
from origin_sdk.layers.process.memory import MOST_USES, Memory, MemoryEntry
from origin_sdk.layers.process.moments import Moments
from origin_sdk.layers.process.stats import Stats
from origin_sdk.layers.redis.commands import Command, Reply
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.lua import Script
from origin_sdk.layers.redis.structure_scripts import OF_STRUCTURES
from origin_sdk.layers.rules.load_context import AnyContext, refuse_one_use
from origin_sdk.layers.values.copies import Original, kept
from origin_sdk.layers.values.envelope import HEADER, Record, Wrapping, split_groups
from origin_sdk.layers.values.families import AnyFamily, AnyKey, DataClass
from origin_sdk.layers.values.keys import group_name
from origin_sdk.layers.values.messagepack import READ_ERRORS
from origin_sdk.layers.values.policy import ANSWERS, Freshness, Policy, Windows
from origin_sdk.layers.values.sizes import ENTRY_BYTES, weight

__all__ = ["SPECIAL", "CachedError", "Judge", "checked_groups", "opened"]

_log = logging.getLogger("origin_sdk.layers")
_header_of = HEADER.unpack_from
_HEADER_BYTES = HEADER.size
_Reading: TypeAlias = tuple[bytes, Callable[[bytes], Any], Windows | None]
"""The head of plain records, what decodes those, and the windows where all of a family have the same."""
_NO_READING: Final[_Reading] = (b"", bytes, None)
_MOST_READINGS = 1024
_AT_ONCE = -1.0
"""An ``until`` that lets every hit be judged."""


class Unsure(Enum):
    """A record about which only Redis itself can say whether it was invalidated."""

    RECORD = "record"


UNSURE: Final = Unsure.RECORD


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
    """Holds no rule of a driver: nothing here waits."""

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
        self.default_policy = policy
        self.link = link
        self.audit = audit
        self._warned: set[str] = set()
        self._readings: dict[AnyFamily, _Reading] = {}
        self.families: dict[str, AnyFamily] = {}
        """By the beginning of their keys."""
        self.has_structures = False
        """Whether any of these is kept as a structure."""

    def policy(self, key: AnyKey) -> Policy:
        """Return the policy that applies. Raises DataClassViolation for what must never be cached."""
        self.know(key.family)
        if key.family.data_class is DataClass.NEVER:
            raise DataClassViolation(f"family {key.family.name}: its data class says that it is never cached")
        return key.family.policy or self.default_policy

    def know(self, family: AnyFamily) -> None:
        """Raise InvalidFamily if another family has the name of this one, and means something else."""
        known = self.families.get(family.prefix)
        if known is family:
            return
        if known is None:
            if (family.policy or self.default_policy).values == "frozen":
                family.typed.require_unchangeable(family.name)
            self.has_structures = self.has_structures or family.shape is not None
            self.families[family.prefix] = family
        elif not known.agrees_with(family):
            raise InvalidFamily(
                f"two families are called {family.name!r} and differ in {_difference(known, family)}: "
                "give one of them another name=…, or another schema=…"
            )

    def reaches_redis(self, family: AnyFamily) -> bool:
        """Whether a family's values may go to Redis at all."""
        if self.link is None:
            return False
        seal = self.wrapping.seal
        return family.data_class is not DataClass.RESTRICTED or (seal is not None and seal.hides)

    def keeps_parts(self, family: AnyFamily) -> bool:
        """Whether Redis keeps a family's values so that their parts can be asked for."""
        return family.shape is not None and self.wrapping.seal is None and self.reaches_redis(family)

    def shaped(self, key: AnyKey, command: Command[Reply]) -> Command[Reply]:
        """Return a command of a whole value as it is for a key's family: structures lie otherwise."""
        if command.script is None or not (part_keys := self.part_keys(key)):
            return command
        script = self.script_for(command.script, key.family)
        return replace(command, script=script, keys=(*command.keys, *part_keys))

    def script_for(self, script: Script, family: AnyFamily) -> Script:
        """Return a script of whole values as it is for a family."""
        return OF_STRUCTURES[script] if self.keeps_parts(family) else script

    def part_keys(self, key: AnyKey) -> tuple[str, ...]:
        """Return the keys of Redis that a value lies in besides its record."""
        if self.link is None or not self.keeps_parts(key.family):
            return ()
        layout = self.link.layout
        return layout.keys(layout.shard(key.name), "s", key.name)

    def seals(self, family: AnyFamily) -> bool:
        """Whether a family's records in Redis are sealed, and so have to have their births before."""
        return self.wrapping.seal is not None and self.reaches_redis(family)

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
            self._end(entry, at)

    @staticmethod
    def _end(entry: MemoryEntry, at: float) -> None:
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

    def admit_read(
        self,
        link: Link,
        shard: int,
        keys: Sequence[AnyKey],
        reply: list[bytes | None],
        seq: int,
        known: float,
    ) -> tuple[dict[str, MemoryEntry], list[AnyKey]]:
        """Take a plain read of records of a shard, and of its generation.

        ``seq`` and ``known`` are what was known when it was asked. Return entries by name, and those keys
        about which only Redis can say whether their records hold.
        """
        generation = reply.pop()
        if generation is None or not known or not link.hears or float(generation) > link.generations[shard]:
            return {}, [key for key, stored in zip(keys, reply, strict=True) if stored is not None]
        if float(generation) < known:
            # It has lost what this process knows of: until it is told again it is no judge.
            link.doubt((shard,))
            return {}, []
        return self.admit(link, shard, keys, reply, seq, max(self.moments.redis_floor, link.floors[shard]))

    def admit(
        self,
        link: Link,
        shard: int,
        keys: Sequence[AnyKey],
        records: Sequence[bytes | None],
        seq: int,
        floor: float = -1.0,
    ) -> tuple[dict[str, MemoryEntry], list[AnyKey]]:
        """Bring records of a shard into memory that hold against all that this process knows.

        What was born up to ``floor`` Redis alone can judge; if it has, there is none. Returns as admit_read.
        """
        now, redis_now = self.clock.monotonic(), link.redis_now(shard)
        newest = max(self.moments.newest, floor)
        # A reply that Redis has judged is held against what was known when it was asked; a plain one, which
        # this process judges instead, against all that it knows by now.
        as_of: float = seq if floor < 0 else math.inf
        shift = now - redis_now * 1e-6
        found: dict[str, MemoryEntry] = {}
        unsure: list[AnyKey] = []
        gone: list[str] = []
        family: AnyFamily | None = None
        plain, decode, windows = _NO_READING
        # A hundred keys pass here in a tenth of a millisecond: what may be said once is not said for each.
        for key, stored in zip(keys, records, strict=True):
            if stored is None:
                continue
            if key.family is not family:
                family = key.family
                plain, decode, windows = self._reading(family)
            try:
                birth, head, lifetime, length = _header_of(stored)
                start = _HEADER_BYTES + length
                groups = stored[_HEADER_BYTES:start]
                if birth <= newest and (doubt := self._doubt(key, birth, groups, as_of, floor)):
                    if doubt is UNSURE:
                        unsure.append(key)
                    continue
                is_plain = head == plain
                value = decode(stored[start:]) if is_plain else self.wrapping.value(key, stored, head, start)
            except (UnreadableRecord, struct.error, *READ_ERRORS) as error:
                self.unreadable(key, error)
                continue
            if birth > redis_now:  # noqa: PLR1730 - a call of min() costs as much as the slice above
                birth = redis_now  # by clocks that differ
            fresh_until = birth * 1e-6 + shift + lifetime * 1e-3
            soft_at = self._softened(birth, groups, now, shift) if birth <= newest else None
            if windows and soft_at is None and fresh_until > now:
                found[key.name] = MemoryEntry(
                    value, seq, fresh_until, windows, groups, fresh_until, 0, 3 * len(stored) + ENTRY_BYTES
                )
                continue
            seconds = self.wrapping.load_seconds(stored)
            record = Record(value, birth, lifetime * 1e-3, 0.0, 0.0, seconds, split_groups(groups))
            found[key.name] = entry = self._entry(key, record, seq, fresh_until, soft_at=soft_at)
            if entry.windows.state(entry.fresh_until, now, 0.0) is Freshness.GONE:
                gone.append(key.name)
        kept = {name: entry for name, entry in found.items() if name not in gone} if gone else found
        self.memory.put_many(kept)
        return found, unsure

    def _doubt(self, key: AnyKey, birth: float, groups: bytes, as_of: float, floor: float) -> Unsure | bool:
        """Say whether a record was invalidated, as far as this process can."""
        if not self.moments.covers_birth((key.name, *split_groups(groups)), birth, as_of):
            return UNSURE if birth <= floor else False
        self.stats.count("redis-invalidated", key.family.name, key.name)
        return True

    def _softened(self, birth: float, groups: bytes, now: float, shift: float) -> float | None:
        """Return when a record was invalidated softly, as far as this process knows."""
        if not self.moments.has_soft:
            return None
        return self.moments.softened_since(split_groups(groups), birth, now, shift)

    def unreadable(self, key: AnyKey, error: Exception) -> None:
        """Note that what Redis holds can't be read."""
        self.stats.count("redis-unreadable", key.family.name, key.name)
        self._warn("unreadable", f"{key}: {error}")

    def _reading(self, family: AnyFamily) -> _Reading:
        """Return what reading has to know of a family."""
        reading = self._readings.get(family)
        if reading is None:
            policy = family.policy or self.default_policy
            if len(self._readings) >= _MOST_READINGS:
                self._readings.clear()
            # What is handed out as copies is made ready for that, which takes the longer way.
            windows = None if policy.values == "copied" else policy.windows_of_all
            reading = self._readings[family] = (*self.wrapping.plain(family), windows)
        return reading

    def _entry(
        self,
        key: AnyKey,
        record: Record,
        seq: int,
        fresh_until: float,
        *,
        soft_at: float | None = None,
        size: int | None = None,
    ) -> MemoryEntry:
        policy = self.policy(key)
        windows = policy.windows(record.lifetime, record.load_seconds)
        bound = self.clock.monotonic() + (policy.memory_lifetime or record.lifetime)
        if policy.memory_lifetime is not None and bound < fresh_until:
            # After that Redis is asked; if it can't answer, the value is as good as it says there.
            windows = Windows(fail_safe=fresh_until - bound + max(policy.stale, policy.fail_safe))
            fresh_until = bound
        until = fresh_until - windows.unquestioned_seconds
        if type(record.value) is CachedError:
            until = _AT_ONCE
        value = record.value
        if size is None:
            size = weight(value) + ENTRY_BYTES
        if policy.values == "copied" and type(value) is not CachedError:
            value = kept(value, key.family.typed)
        entry = MemoryEntry(value, seq, fresh_until, windows, record.groups, until, 0, size)
        if soft_at is not None:
            self._end(entry, soft_at)
        return entry

    def loaded(
        self, key: AnyKey, context: AnyContext, value: object, seq: int, birth: float, seconds: float
    ) -> tuple[MemoryEntry, Record | None]:
        """Make an entry of what a loader returned, and a record for Redis; None if it isn't stored at all.

        The entry isn't weighed yet: what it takes in Redis tells for less.
        """
        policy = self.policy(key)
        value = context.result(value)
        refuse_one_use(key, value)
        if key.family.shape is not None:
            value = key.family.shape.normal(value)
        lifetime = policy.lifetime_of(value, context.lifetime, self.clock.fraction())
        if isinstance(value, CachedError):
            lifetime = policy.error_lifetime
        groups = self.usable_groups(key, context.groups)
        record = Record(value, birth, lifetime, policy.stale, policy.fail_safe, seconds, groups)
        fresh_until = self.clock.monotonic() - seconds + lifetime
        entry = self._entry(key, record, seq, fresh_until, size=ENTRY_BYTES)
        if not context.is_stored or lifetime <= 0:
            return entry, None
        return entry, record

    def usable_groups(self, key: AnyKey, groups: Iterable[str]) -> tuple[str, ...]:
        """Return the groups of a value, its key's and others; what can't be one is left out and told of."""
        usable = []
        for group in (*key.groups, *groups):
            try:
                usable.append(group_name(group))
            except InvalidRequest as error:
                self._warn(
                    f"group {key.family.name}",
                    f"{key}: {error}; it is left out, so that no invalidation by it reaches the value",
                )
        return tuple(dict.fromkeys(usable))

    def take_over(self, key: AnyKey, context: AnyContext, reads: Reads) -> None:
        """Let a value belong to the groups of what its loader read.

        Raises DataClassViolation if it would go further than that may.
        """
        family = key.family
        if hidden := reads.above(family.strictness):
            names = ", ".join(f"{each.name} ({each.data_class.name})" for each in hidden)
            self.audit.note("expose", "refused", family=family.name, made_of=[each.name for each in hidden])
            raise DataClassViolation(
                f"family {family.name} is {family.data_class.name}, and its loader reads {names}: give it "
                "the stricter class, or let it not read that"
            )
        groups = reads.groups
        context.add_groups(groups)
        if reads.is_stale:  # it would count as fresh
            context.do_not_store()
        if len(groups) >= MOST_GROUPS:
            self._warn(
                f"groups {family.name}",
                f"{key}: its loader read values of {MOST_GROUPS} groups or more, and only the first of them "
                "invalidate it: give the family a group that stands for all",
            )

    def entry_of(self, key: AnyKey, record: Record, seq: int) -> MemoryEntry:
        """Make an entry of a value that is stored now."""
        refuse_one_use(key, record.value)
        return self._entry(key, record, seq, self.clock.monotonic() + record.lifetime)

    def wrap(self, key: AnyKey, record: Record) -> bytes | None:
        """Return a record as Redis gets it, or None if it may or can not go there."""
        if not self.reaches_redis(key.family) or isinstance(record.value, CachedError):
            return None
        try:
            wrapped = self.wrapping.wrap(key, record)
        except (UnsupportedValue, struct.error) as error:
            # What a value is like never fails a request, and least of all where Redis is there alone.
            self.unsupported(key, error)
            return None
        if wrapped is None:
            self.too_large(key)
        else:
            self.stats.observe("stored-bytes", len(wrapped), key.family.name)
        return wrapped

    def unsupported(self, key: AnyKey, error: Exception) -> None:
        """Note that a value isn't written to Redis."""
        self.stats.count("redis-unsupported", key.family.name, key.name)
        self._warn(f"unsupported {key.family.name}", f"{key}: {error}; kept in memory alone")

    def too_large(self, key: AnyKey) -> None:
        """Note that a value is larger than Redis is given."""
        self._warn(f"large {key.family.name}", f"{key}: too large for Redis, kept in memory alone")

    def spare(self, key: AnyKey, entry: MemoryEntry | None) -> MemoryEntry | None:
        """Return a stored value that may stand in for a loader that fails, and arm it for the throttle."""
        if entry is None or self.is_outdated(key, entry) or type(entry.value) is CachedError:
            return None
        policy, now = self.policy(key), self.clock.monotonic()
        end = entry.fresh_until + max(entry.windows.stale, entry.windows.fail_safe)
        if now >= end:
            return None
        entry.until = min(now + policy.throttle, end)
        self.memory.put(key.name, entry)
        self.stats.count("fail-safe", key.family.name, key.name)
        self.stats.observe("stale-age", max(0.0, now - entry.fresh_until), key.family.name)
        return entry

    def _warn(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            _log.warning("%s; said once", message)


def _difference(one: AnyFamily, other: AnyFamily) -> str:
    names = ("maker", "template", "type", "identity", "data_class", "kept_as")
    differing = [name for name in names if getattr(one, name) != getattr(other, name)]
    return ", ".join(f"{name} ({getattr(one, name)!r}, {getattr(other, name)!r})" for name in differing)


def checked_groups(groups: Iterable[str]) -> tuple[str, ...]:
    """Return groups as they are stored, without repetition. Raises InvalidRequest for an invalid one."""
    return tuple(dict.fromkeys(map(group_name, groups)))
