"""Looking into Redis: a plain read that this process judges, or Redis's own judgement.

A plain read fetches records and the shard's generation with one command. If this process has heard of all up
to that generation, it knows all that may speak against a record, and judges by itself. Where it may have
missed something, or records were born before its knowledge begins, Redis is asked again, to judge.
"""

from collections.abc import Sequence

from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.replies import FAILED
from origin_sdk.layers.redis.scripts import READ
from origin_sdk.layers.rules.admission import admit, admit_read
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.rules.steps import Ask, AskMany
from origin_sdk.layers.values.families import AnyKey

__all__ = ["by_shard", "look", "look_one"]


async def look(
    judge: Judge, link: Link, keys: Sequence[AnyKey]
) -> tuple[dict[str, MemoryEntry], set[AnyKey]]:
    """Look into Redis for keys; return entries by name, and the keys for which it had no answer."""
    seq, layout = judge.moments.seq, link.layout
    # What a structure consists of is no part of its record: Redis puts it together as it judges.
    unsure = (
        [key for key in keys if judge.families.keeps_parts(key.family)]
        if judge.families.has_structures
        else []
    )
    plain = [key for key in keys if key not in unsure] if unsure else keys
    shards, known = by_shard(link, plain), link.generations.copy()
    commands: list[Command[list[bytes | None]]] = []
    for shard, some in shards.items():
        prefix = layout.entry_prefixes[shard]
        names = [prefix + key.name for key in some]
        commands.append(Command(None, (*names, layout.generations[shard]), ("MGET",)))
    replies = await AskMany(commands)
    found: dict[str, MemoryEntry] = {}
    unanswered: set[AnyKey] = set()
    for (shard, some), reply in zip(shards.items(), replies, strict=True):
        if reply is FAILED:
            unanswered.update(some)
        else:
            entries, doubtful = admit_read(judge, link, shard, some, reply, seq, known[shard])
            found |= entries
            unsure += doubtful
    if unsure:
        judged, lost = await _look_surely(judge, link, unsure, seq)
        found |= judged
        unanswered |= lost
    if len(found) == len(keys):
        judge.stats.count_many("redis-hit", keys)
    else:
        judge.stats.count_many("redis-hit", [key for key in keys if key.name in found])
        missed = [key for key in keys if key.name not in found and key not in unanswered]
        judge.stats.count_many("redis-miss", missed)
    return found, unanswered


async def look_one(judge: Judge, link: Link, key: AnyKey) -> tuple[MemoryEntry | None, bool]:
    """Look into Redis for one key; return its entry, and whether there was no answer.

    As :func:`look` does for many, without what many need: that is an eighth of a hit's time.
    """
    seq, name, layout = judge.moments.seq, key.name, link.layout
    if key.family.shape is not None:
        some, lost = await look(judge, link, (key,))
        return some.get(name), bool(lost)
    shard = layout.shard(name)
    known = link.generations[shard]
    keys = (layout.entry_prefixes[shard] + name, layout.generations[shard])
    plain: Command[list[bytes | None]] = Command(None, keys, ("MGET",))
    reply = await Ask(plain)
    if reply is FAILED:
        return None, True
    found, unsure = admit_read(judge, link, shard, (key,), reply, seq, known)
    if unsure:
        found, unanswered = await _look_surely(judge, link, unsure, seq)
        if unanswered:
            return None, True
    judge.stats.count("redis-hit" if found else "redis-miss", key.family.name, name)
    return found.get(name), False


async def _look_surely(
    judge: Judge, link: Link, keys: Sequence[AnyKey], seq: int
) -> tuple[dict[str, MemoryEntry], set[AnyKey]]:
    """Look, and let Redis itself judge; return entries by name, and the keys for which it had no answer."""
    found: dict[str, MemoryEntry] = {}
    layout = link.layout
    ordered = [(shard, key) for shard, some in by_shard(link, keys).items() for key in some]
    commands: list[Command[bytes | None]] = [
        judge.families.shaped(
            key, Command(READ, layout.keys(shard, "emh", key.name), link.history.knowledge_of(shard))
        )
        for shard, key in ordered
    ]
    unanswered: set[AnyKey] = set()
    records: dict[int, tuple[list[AnyKey], list[bytes | None]]] = {}
    for (shard, key), reply in zip(ordered, await AskMany(commands), strict=True):
        if reply is FAILED:
            unanswered.add(key)
        else:
            some, stored = records.setdefault(shard, ([], []))
            some.append(key)
            stored.append(reply)
    for shard, (some, stored) in records.items():
        found |= admit(judge, link, shard, some, stored, seq)[0]
    return found, unanswered


def by_shard(link: Link, keys: Sequence[AnyKey]) -> dict[int, Sequence[AnyKey]]:
    """Return the keys of each shard."""
    if link.layout.shards == 1:
        return {0: keys} if keys else {}
    shards: dict[int, list[AnyKey]] = {}
    for key in keys:
        shards.setdefault(link.layout.shard(key.name), []).append(key)
    return dict(shards)
