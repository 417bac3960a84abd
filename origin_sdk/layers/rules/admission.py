"""From what Redis replied into memory: what of it holds against all that this process knows.

Two kinds of replies come here. What Redis has judged itself (READ, CLAIM, PART) is held against what was
known when it was asked: Redis may have lost that, or not have been told of it yet. A plain read (MGET) nobody
has judged. It is held against all that is known by now, and left to Redis after all where this process may
have missed something.
"""

import math
import struct
from collections.abc import Sequence
from enum import Enum
from typing import Final

from origin_sdk.layers.errors import UnreadableRecord
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.rules.entries import made_entry
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.rules.known_families import NO_READING
from origin_sdk.layers.values.envelope import HEADER, NO_BIRTH, Record, split_groups
from origin_sdk.layers.values.families import AnyFamily, AnyKey
from origin_sdk.layers.values.messagepack import READ_ERRORS
from origin_sdk.layers.values.policy import Freshness
from origin_sdk.layers.values.sizes import ENTRY_BYTES

__all__ = ["admit", "admit_read", "unreadable"]

_header_of = HEADER.unpack_from
_HEADER_BYTES = HEADER.size


class Unsure(Enum):
    """A record about which only Redis itself can say whether it was invalidated."""

    RECORD = "record"


UNSURE: Final = Unsure.RECORD


def admit_read(
    judge: Judge,
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
    written = reply.pop()
    try:
        generation = math.inf if written is None else float(written)
    except ValueError:  # nobody's, so that nothing can be said by it
        generation = -math.inf
    if not known or not link.hears or generation > link.generations[shard]:
        return {}, [key for key, stored in zip(keys, reply, strict=True) if stored is not None]
    if not generation >= known:
        # It has lost what this process knows of: until it is told again it is no judge.
        link.doubt((shard,))
        return {}, []
    return admit(
        judge, link, shard, keys, reply, seq, max(judge.moments.redis_floor, link.history.floors[shard])
    )


def admit(  # noqa: C901 - see the comment in its loop
    judge: Judge,
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
    now, redis_now = judge.clock.monotonic(), link.clocks.now(shard)
    newest = max(judge.moments.newest, floor)
    # A reply that Redis has judged is held against what was known when it was asked; a plain one, which
    # this process judges instead, against all that it knows by now.
    as_of: float = seq if floor < 0 else math.inf
    shift = now - redis_now * 1e-6
    found: dict[str, MemoryEntry] = {}
    unsure: list[AnyKey] = []
    gone: list[str] = []
    family: AnyFamily | None = None
    reading, (plain, decode, windows) = judge.families.reading, NO_READING
    # A hundred keys pass here in a tenth of a millisecond: what may be said once is not said for each.
    for key, stored in zip(keys, records, strict=True):
        if stored is None:
            continue
        if key.family is not family:
            family = key.family
            plain, decode, windows = reading(family)
        try:
            birth, head, lifetime, length = _header_of(stored)
            start = _HEADER_BYTES + length
            groups = stored[_HEADER_BYTES:start]
            if birth <= newest and (doubt := _doubt(judge, key, birth, groups, as_of, floor)):
                if doubt is UNSURE:
                    unsure.append(key)
                continue
            is_plain = head == plain
            value = decode(stored[start:]) if is_plain else judge.wrapping.value(key, stored, head, start)
        except (UnreadableRecord, struct.error, *READ_ERRORS) as error:
            unreadable(judge, key, error)
            continue
        if not birth <= redis_now:
            if not birth < NO_BIRTH:  # nor would an invalidation end it
                unreadable(judge, key, UnreadableRecord(f"born at {birth}"))
                continue
            birth = redis_now  # by clocks that differ
        fresh_until = birth * 1e-6 + shift + lifetime * 1e-3
        soft_at = _softened(judge, birth, groups, now, shift) if birth <= newest else None
        if windows and soft_at is None and fresh_until > now:
            found[key.name] = MemoryEntry(
                value, seq, fresh_until, windows, groups, fresh_until, 0, 3 * len(stored) + ENTRY_BYTES
            )
            continue
        seconds = judge.wrapping.load_seconds(stored)
        record = Record(value, birth, lifetime * 1e-3, 0.0, 0.0, seconds, split_groups(groups))
        found[key.name] = entry = made_entry(judge, key, record, seq, fresh_until, soft_at=soft_at)
        if entry.windows.state(entry.fresh_until, now, 0.0) is Freshness.GONE:
            gone.append(key.name)
    kept = {name: entry for name, entry in found.items() if name not in gone} if gone else found
    judge.memory.put_many(kept)
    return found, unsure


def _doubt(
    judge: Judge, key: AnyKey, birth: float, groups: bytes, as_of: float, floor: float
) -> Unsure | bool:
    """Say whether a record was invalidated, as far as this process can."""
    if not judge.moments.covers_birth((key.name, *split_groups(groups)), birth, as_of):
        return UNSURE if birth <= floor else False
    judge.stats.count("redis-invalidated", key.family.name, key.name)
    return True


def _softened(judge: Judge, birth: float, groups: bytes, now: float, shift: float) -> float | None:
    """Return when a record was invalidated softly, as far as this process knows."""
    if not judge.moments.has_soft:
        return None
    return judge.moments.softened_since(split_groups(groups), birth, now, shift)


def unreadable(judge: Judge, key: AnyKey, error: Exception) -> None:
    """Note that what Redis holds can't be read."""
    judge.stats.count("redis-unreadable", key.family.name, key.name)
    judge.warn("unreadable", f"{key}: {error}")
