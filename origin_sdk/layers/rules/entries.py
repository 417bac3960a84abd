"""What becomes of a value: its entry in memory, and its record for Redis."""

import struct
from collections.abc import Iterable

from origin_sdk._process.reads import MOST_GROUPS, Reads
from origin_sdk._values.errors import DataClassViolation, InvalidRequest
from origin_sdk.layers.errors import UnsupportedValue
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.rules.judge import CachedError, Judge
from origin_sdk.layers.rules.load_context import AnyContext, refuse_one_use
from origin_sdk.layers.values.copies import kept
from origin_sdk.layers.values.envelope import Record
from origin_sdk.layers.values.families import AnyKey
from origin_sdk.layers.values.keys import group_name
from origin_sdk.layers.values.policy import Windows
from origin_sdk.layers.values.sizes import ENTRY_BYTES, weight

__all__ = [
    "checked_groups",
    "entry_of",
    "loaded",
    "made_entry",
    "take_over",
    "too_large",
    "unsupported",
    "usable_groups",
    "wrap",
]

_AT_ONCE = -1.0
"""An ``until`` that lets every hit be judged."""


def loaded(
    judge: Judge, key: AnyKey, context: AnyContext, value: object, seq: int, birth: float, seconds: float
) -> tuple[MemoryEntry, Record | None]:
    """Make an entry of what a loader returned, and a record for Redis; None if it isn't stored at all.

    The entry isn't weighed yet: what it takes in Redis tells for less.
    """
    policy = judge.families.policy(key)
    value = context.result(value)
    refuse_one_use(key, value)
    if key.family.shape is not None:
        value = key.family.shape.normal(value)
    lifetime = policy.lifetime_of(value, context.lifetime, judge.clock.fraction())
    if isinstance(value, CachedError):
        lifetime = policy.error_lifetime
    groups = usable_groups(judge, key, context.groups)
    record = Record(value, birth, lifetime, policy.stale, policy.fail_safe, seconds, groups)
    fresh_until = judge.clock.monotonic() - seconds + lifetime
    entry = made_entry(judge, key, record, seq, fresh_until, size=ENTRY_BYTES)
    if not context.is_stored or lifetime <= 0:
        return entry, None
    return entry, record


def entry_of(judge: Judge, key: AnyKey, record: Record, seq: int) -> MemoryEntry:
    """Make an entry of a value that is stored now."""
    refuse_one_use(key, record.value)
    return made_entry(judge, key, record, seq, judge.clock.monotonic() + record.lifetime)


def made_entry(
    judge: Judge,
    key: AnyKey,
    record: Record,
    seq: int,
    fresh_until: float,
    *,
    soft_at: float | None = None,
    size: int | None = None,
) -> MemoryEntry:
    policy = judge.families.policy(key)
    windows = policy.windows(record.lifetime, record.load_seconds)
    bound = judge.clock.monotonic() + (policy.memory_lifetime or record.lifetime)
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
        judge.end_freshness(entry, soft_at)
    return entry


def usable_groups(judge: Judge, key: AnyKey, groups: Iterable[str]) -> tuple[str, ...]:
    """Return the groups of a value, its key's and others; what can't be one is left out and told of."""
    usable = []
    for group in (*key.groups, *groups):
        try:
            usable.append(group_name(group))
        except InvalidRequest as error:
            judge.warn(
                f"group {key.family.name}",
                f"{key}: {error}; it is left out, so that no invalidation by it reaches the value",
            )
    return tuple(dict.fromkeys(usable))


def take_over(judge: Judge, key: AnyKey, context: AnyContext, reads: Reads) -> None:
    """Let a value belong to the groups of what its loader read.

    Raises DataClassViolation if it would go further than that may.
    """
    family = key.family
    if hidden := reads.above(family.strictness):
        names = ", ".join(f"{each.name} ({each.data_class.name})" for each in hidden)
        judge.audit.note("expose", "refused", family=family.name, made_of=[each.name for each in hidden])
        raise DataClassViolation(
            f"family {family.name} is {family.data_class.name}, and its loader reads {names}: give it "
            "the stricter class, or let it not read that"
        )
    groups = reads.groups
    context.add_groups(groups)
    if reads.is_stale:  # it would count as fresh
        context.do_not_store()
    if len(groups) >= MOST_GROUPS:
        judge.warn(
            f"groups {family.name}",
            f"{key}: its loader read values of {MOST_GROUPS} groups or more, and only the first of them "
            "invalidate it: give the family a group that stands for all",
        )


def wrap(judge: Judge, key: AnyKey, record: Record) -> bytes | None:
    """Return a record as Redis gets it, or None if it may or can not go there."""
    if not judge.families.reaches_redis(key.family) or isinstance(record.value, CachedError):
        return None
    try:
        wrapped = judge.wrapping.wrap(key, record)
    except (UnsupportedValue, struct.error) as error:
        # What a value is like never fails a request, and least of all where Redis is there alone.
        unsupported(judge, key, error)
        return None
    if wrapped is None:
        too_large(judge, key)
    else:
        judge.stats.observe("stored-bytes", len(wrapped), key.family.name)
    return wrapped


def unsupported(judge: Judge, key: AnyKey, error: Exception) -> None:
    """Note that a value isn't written to Redis."""
    judge.stats.count("redis-unsupported", key.family.name, key.name)
    judge.warn(f"unsupported {key.family.name}", f"{key}: {error}; kept in memory alone")


def too_large(judge: Judge, key: AnyKey) -> None:
    """Note that a value is larger than Redis is given."""
    judge.warn(f"large {key.family.name}", f"{key}: too large for Redis, kept in memory alone")


def checked_groups(groups: Iterable[str]) -> tuple[str, ...]:
    """Return groups as they are stored, without repetition. Raises InvalidRequest for an invalid one."""
    return tuple(dict.fromkeys(map(group_name, groups)))
