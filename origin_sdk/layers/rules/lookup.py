"""Looking into Redis: a plain read that this process judges, or Redis's own judgement."""

from collections.abc import Sequence
from typing import Any

from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.replies import FAILED, Failed
from origin_sdk.layers.redis.scripts import READ
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.rules.steps import Ask, AskMany, Flow
from origin_sdk.layers.values.families import Key

__all__ = ["look", "look_many"]


def look(judge: Judge, link: Link, key: Key[Any]) -> Flow[MemoryEntry | Failed | None]:
    """Look into Redis; FAILED without an answer."""
    seq, name, layout = judge.moments.seq, key.name, link.layout
    shard = layout.shard(name)
    if judge.keeps_parts(key.family):
        found, unanswered = yield from look_surely(judge, link, (key,), seq)
        if unanswered:
            return FAILED
        judge.stats.count("redis-hit" if found else "redis-miss", key.family.name, name)
        return found.get(name)
    known = link.generations[shard]
    plain = Command(None, (layout.entry_prefixes[shard] + name, layout.generations[shard]), ("MGET",))
    reply = yield Ask(plain)
    if isinstance(reply, Failed):
        return reply
    found, unsure = judge.admit_read(link, shard, (key,), reply, seq, known)
    if unsure:
        found, unanswered = yield from look_surely(judge, link, unsure, seq)
        if unanswered:
            return FAILED
    judge.stats.count("redis-hit" if found else "redis-miss", key.family.name, name)
    return found.get(name)


def look_surely(
    judge: Judge, link: Link, keys: Sequence[Key[Any]], seq: int
) -> Flow[tuple[dict[str, MemoryEntry], set[str]]]:
    """Look, and let Redis itself judge; return entries by name, and names for which it had no answer."""
    found: dict[str, MemoryEntry] = {}
    shards = by_shard(link, keys)
    ordered = [(shard, key) for shard, some in shards.items() for key in some]
    layout, generations = link.layout, link.generations
    commands = [
        judge.shaped(key, Command(READ, layout.keys(shard, "emh", key.name), (f"{generations[shard]:.0f}",)))
        for shard, key in ordered
    ]
    replies = yield AskMany(commands)
    unanswered = {key.name for (_, key), reply in zip(ordered, replies, strict=True) if reply is FAILED}
    records = iter([None if reply is FAILED else reply for reply in replies])
    for shard, some in shards.items():
        found |= judge.admit(link, shard, some, [next(records) for _ in some], seq)[0]
    return found, unanswered


def by_shard(link: Link, keys: Sequence[Key[Any]]) -> dict[int, Sequence[Key[Any]]]:
    """Return the keys of each shard."""
    if link.layout.shards == 1:
        return {0: keys}
    shards: dict[int, list[Key[Any]]] = {}
    for key in keys:
        shards.setdefault(link.layout.shard(key.name), []).append(key)
    return dict(shards)


def look_many(
    judge: Judge, link: Link, keys: Sequence[Key[Any]]
) -> Flow[tuple[dict[str, MemoryEntry], set[str]]]:
    """Look into Redis for many keys; return entries by name, and the names for which it had no answer."""
    seq, layout = judge.moments.seq, link.layout
    structured = [key for key in keys if judge.keeps_parts(key.family)]
    plain = [key for key in keys if not judge.keeps_parts(key.family)] if structured else keys
    shards, known = by_shard(link, plain) if plain else {}, link.generations.copy()
    commands = []
    for shard, some in shards.items():
        prefix = layout.entry_prefixes[shard]
        names = [prefix + key.name for key in some]
        commands.append(Command(None, (*names, layout.generations[shard]), ("MGET",)))
    replies = yield AskMany(commands)
    found: dict[str, MemoryEntry] = {}
    unsure = structured
    unanswered: set[str] = set()
    for (shard, some), reply in zip(shards.items(), replies, strict=True):
        if reply is FAILED:
            unanswered.update(key.name for key in some)
        else:
            entries, doubtful = judge.admit_read(link, shard, some, reply, seq, known[shard])
            found |= entries
            unsure += doubtful
    if unsure:
        judged, lost = yield from look_surely(judge, link, unsure, seq)
        found |= judged
        unanswered |= lost
    if len(found) == len(keys):
        judge.stats.count_many("redis-hit", keys)
    else:
        judge.stats.count_many("redis-hit", [key for key in keys if key.name in found])
        judge.stats.count_many("redis-miss", [key for key in keys if key.name not in found])
    return found, unanswered
