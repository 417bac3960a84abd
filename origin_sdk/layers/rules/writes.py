"""Write through, delete, invalidate: in memory, Redis and at the edge."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from origin_sdk._values.texts import texts
from origin_sdk.layers.base_cache import Invalidation
from origin_sdk.layers.process.moments import SOFT
from origin_sdk.layers.redis.commands import ChangeReply, Command
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.lua import Script
from origin_sdk.layers.redis.replies import FAILED, Failed
from origin_sdk.layers.redis.scripts import PUT, RESERVE
from origin_sdk.layers.rules.entries import checked_groups, entry_of, usable_groups, wrap
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.rules.ports import Cache
from origin_sdk.layers.rules.steps import Ask, AskMany, PurgeEdge, Replicate
from origin_sdk.layers.values.envelope import Record
from origin_sdk.layers.values.families import AnyKey, Key, no_key

__all__ = ["TOO_OLD", "as_of", "changing", "note_invalidation", "reservation"]


@dataclass(frozen=True, slots=True)
class Noted:
    """Whether Redis knows of an invalidation, and how many replicas, if they were asked."""

    in_redis: bool
    in_replicas: int | None = None


async def put(judge: Judge, key: AnyKey, record: Record | None) -> None:
    """Write through: store a record in all layers, or delete the key from them (None)."""
    names = (key.name,)
    judge.moments.add(names, 0.0)
    judge.memory.drop(key.name)
    link = judge.link
    outcome = "memory"
    moment = 0.0
    if link is not None:
        moment = await _put_in_redis(judge, link, key, record)
        outcome = "done" if moment else "owed"
    seq = judge.moments.add(names, moment)
    # A write that came after this one, from another process, has the later moment.
    if record is not None and judge.moments.moment(key.name) <= moment:
        entry = entry_of(judge, key, record, seq)
        judge.memory.put(key.name, entry)
    judge.audit.note("set" if record else "delete", outcome, key=key.name)


async def _put_in_redis(judge: Judge, link: Link, key: AnyKey, record: Record | None) -> float:
    """Return the moment from which on what was there before is invalid; 0 if Redis isn't told yet."""
    reply = await changing(judge, link, key, PUT, record, record.kept_seconds if record else 0.0)
    if reply is FAILED:
        link.owe((key.name,), (link.layout.shard(key.name),))
        return 0.0
    return as_of(judge, key, float(reply[0]), record)


TOO_OLD: Final = b"-1"


_CHANGES: Final = 8
"""How often to rewrite a sealed record because the key was written to between its birth and that."""


async def changing(
    judge: Judge,
    link: Link,
    key: AnyKey,
    script: Script,
    record: Record | None,
    seconds: float,
    *more: bytes,
) -> ChangeReply | Failed:
    """Change one key by PUT, or one of those like it. The reply, or FAILED.

    What is sealed has its birth bound in, so that Redis is asked for that first.
    """
    shard = link.layout.shard(key.name)
    reply: ChangeReply | Failed = FAILED
    for _ in range(_CHANGES):
        birth = 0.0
        if record and judge.families.seals(key.family):
            reserved = await Ask(reservation(link, shard))
            if reserved is FAILED:
                return FAILED
            birth = record.birth = float(reserved)
        wrapped = wrap(judge, key, record) if record else None
        if wrapped is None and script is not PUT:
            return FAILED
        command = link.commands.change(
            script, key.name, wrapped, seconds, *more, birth=birth if wrapped else 0.0
        )
        reply = await Ask(judge.families.shaped(key, command))
        if reply is FAILED or reply[0] != TOO_OLD:
            break
    if reply is FAILED or reply[0] == TOO_OLD:
        return FAILED
    if reply[0] != b"0":
        link.history.told(shard, float(reply[0]))
    return reply


def reservation(link: Link, shard: int) -> Command[bytes]:
    """Return the command that asks for the birth of a sealed record."""
    return Command(RESERVE, (link.layout.key(shard, "f"),))


def as_of(judge: Judge, key: AnyKey, moment: float, record: Record | None) -> float:
    """Return when what was there before became invalid: before the birth of a sealed record, which stays."""
    return record.birth - 1 if record and judge.families.seals(key.family) else moment


async def note_invalidation(judge: Judge, groups: tuple[str, ...]) -> Noted:
    """Invalidate groups in memory and Redis, to which it is owed if it doesn't know of it."""
    now = judge.clock.monotonic()
    judge.moments.add(groups, 0.0, now)
    link = judge.link
    if link is None:
        return Noted(in_redis=True)
    shards = range(link.layout.shards)
    commands = [link.commands.invalidation(shard, groups) for shard in shards]
    in_replicas: int | None = None
    if link.options.wait_replicas:
        replies, in_replicas = await Replicate(commands)
    else:
        replies = await AskMany(commands)
    moments = {
        shard: float(reply[0]) for shard, reply in zip(shards, replies, strict=True) if reply is not FAILED
    }
    for shard, moment in moments.items():
        link.history.told(shard, moment)
    if moments:
        judge.moments.add(groups, max(moments.values()), now)
    if len(moments) < len(replies):
        link.owe(groups, [shard for shard in shards if shard not in moments])
        return Noted(in_redis=False, in_replicas=in_replicas)
    return Noted(in_redis=True, in_replicas=in_replicas)


async def set_value(
    cache: Cache, key: AnyKey, value: object, lifetime: float | None, groups: Iterable[str]
) -> None:
    """Write a value through all layers."""
    policy, fraction = cache.judge.families.policy(key), cache.judge.clock.fraction()
    seconds = policy.lifetime_of(value, lifetime, fraction)
    all_groups = usable_groups(cache.judge, key, texts(groups))
    if key.family.shape is not None:
        value = key.family.shape.normal(value)
    cache.listening()
    record = Record(value, 0.0, seconds, policy.stale, policy.fail_safe, 0.0, all_groups)
    await put(cache.judge, key, record)


async def delete(cache: Cache, key: AnyKey) -> None:
    """Forget a value in all layers."""
    if not isinstance(key, Key):
        raise no_key(key)
    cache.listening()
    await put(cache.judge, key, None)


async def invalidate(
    cache: Cache,
    groups: Iterable[str],
    urls: Iterable[str],
    *,
    at_edge: bool = True,
    is_soft: bool = False,
) -> Invalidation:
    """Invalidate groups in all layers.

    The edge comes last: it asks the service at once, which must not answer with what is invalid.
    """
    cache.listening()
    names = checked_groups(texts(groups))
    marked = tuple(SOFT + name for name in names) if is_soft else names
    noted = await note_invalidation(cache.judge, marked)
    try:
        edge = (await PurgeEdge(list(names), list(texts(urls)))) if at_edge else None
    except Exception as error:
        cache.judge.audit.note("invalidate", type(error).__name__, groups=list(names))
        raise
    cache.judge.audit.note("invalidate", "done" if noted.in_redis else "owed", groups=list(names))
    return Invalidation(names, noted.in_redis, edge, noted.in_replicas)
