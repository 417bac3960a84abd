"""One load: claim it, call the loader, judge what comes, store it."""

from collections.abc import Sequence
from typing import Any

from origin_sdk._process.reads import Reads
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.link import HeldLock, Link
from origin_sdk.layers.redis.replies import FAILED
from origin_sdk.layers.redis.scripts import STORE
from origin_sdk.layers.rules.claims import Filling, LoadClaim, find_births, give_back, obtain_claim, release
from origin_sdk.layers.rules.judge import CachedError, Judge, opened
from origin_sdk.layers.rules.load_context import LoadContext, NotModified
from origin_sdk.layers.rules.steps import Ask, AskMany, Flow, Load
from origin_sdk.layers.values.envelope import Record
from origin_sdk.layers.values.families import Key

__all__ = ["fill", "is_behind", "remember", "store_command"]


def fill(judge: Judge, filling: Filling) -> Flow[MemoryEntry]:
    """Load, unless another process has done it; store what comes, and return it."""
    key, link = filling.key, judge.link if judge.reaches_redis(filling.key.family) else None
    claim = LoadClaim()
    if link is not None and link.asks(key.name) and not filling.is_alone:
        found = yield from obtain_claim(judge, link, filling)
        if isinstance(found, MemoryEntry):
            return found
        claim = found
    # Whatever is invalidated from here on is not to be served with what this load returns.
    seq, began = judge.moments.seq, judge.clock.monotonic()
    previous = filling.previous
    known = (
        previous is not None
        and not judge.is_outdated(key, previous)
        and type(previous.value) is not CachedError
    )
    context: LoadContext[Any] = LoadContext(key, opened(previous)) if previous and known else LoadContext(key)
    is_settled, reads = False, Reads()
    try:
        value = yield from _load(judge, filling, context, reads)
        yield from find_births([claim])
        if claim.birth and link is not None and (yield from is_behind(judge, link, (key,), reads, seq)):
            context.do_not_store()
        if previous and type(value) is NotModified:
            context.add_groups(previous.groups)
        seconds = judge.clock.monotonic() - began
        judge.stats.observe("load-seconds", seconds, key.family.name)
        entry, record = judge.loaded(key, context, value, seq, claim.birth, seconds)
        if record is None:
            return entry
        yield from _keep(judge, link, key, entry, record, claim)
        is_settled = True
    except Exception:
        spare = None if filling.is_forced else judge.spare(key, previous, judge.clock.monotonic())
        if spare is None:
            raise
        return spare
    finally:
        if claim.lock and not is_settled and link is not None:
            yield from release(link, claim.lock)
    return entry


def is_behind(judge: Judge, link: Link, keys: Sequence[Key[Any]], reads: Reads, seq: int) -> Flow[bool]:
    """Whether a loader may have read, from this process's memory, what was invalidated before it began.

    Redis would take such a value for a new one. That is so if Redis knows of an invalidation that hasn't come
    here, or if one of what was read has come since ``seq``.
    """
    groups = reads.groups
    if not groups:
        return False
    layout, known = link.layout, link.generations.copy()
    shards = list({layout.shard(key.name) for key in keys})
    replies = yield AskMany([Command(None, (layout.generations[shard],), ("MGET",)) for shard in shards])
    # A smaller generation is of a history that has parted from what this process has heard. Names are noted
    # before their generation is, so they are looked at after it.
    has_missed = not link.hears or any(
        reply is FAILED or not known[shard] <= float(reply[0] or 0) <= link.generations[shard]
        for shard, reply in zip(shards, replies, strict=True)
    )
    return has_missed or judge.moments.covers(groups, seq)


def _load(judge: Judge, filling: Filling, context: LoadContext[Any], reads: Reads) -> Flow[Any]:
    family, name = filling.key.family.name, filling.key.name
    try:
        value = yield Load(filling.loader, context, reads, filling.node)
        judge.take_over(filling.key, context, reads)
    except judge.policy(filling.key).errors as error:
        judge.stats.count("load-failed", family, name)
        if (
            judge.policy(filling.key).error_lifetime
            and judge.spare(filling.key, filling.previous, judge.clock.monotonic()) is None
        ):
            return CachedError(error)
        raise
    except Exception:
        judge.stats.count("load-failed", family, name)
        raise
    judge.stats.count("loaded", family, name)
    return value


def _keep(
    judge: Judge, link: Link | None, key: Key[Any], entry: MemoryEntry, record: Record, claim: LoadClaim
) -> Flow[None]:
    """Store in Redis, then in memory."""
    status = None
    if link is not None and claim.birth:
        record.birth = claim.birth
        command = store_command(judge, link, key, record, claim.lock)
        if command is not None:
            status = yield Ask(command)
            if status is FAILED:
                give_back(link, claim.lock)
        elif claim.lock:
            yield from release(link, claim.lock)
    elif link is not None:
        give_back(link, claim.lock)
    remember(judge, key, entry, status)


_STATUS = {1: "done", 0: "outdated", -1: "superseded"}


def remember(judge: Judge, key: Key[Any], entry: MemoryEntry, status: Any) -> None:
    """Keep in memory what Redis, if it was asked to store it, doesn't know to be outdated."""
    if status is not None:
        judge.audit.note("store", "failed" if status is FAILED else _STATUS[status], key=key.name)
    if status == 0:
        judge.stats.count("invalidated-while-loading", key.family.name, key.name)
    elif not judge.is_outdated(key, entry):  # else it might overwrite what was set meanwhile
        judge.memory.put(key.name, entry)


def store_command(
    judge: Judge, link: Link, key: Key[Any], record: Record, lock: HeldLock | None
) -> Command | None:
    """Return the command that stores a record, or None if it stays out of Redis."""
    wrapped = judge.wrap(key, record)
    if wrapped is None:
        return None
    if lock:
        link.locks.pop(lock.token, None)
    layout = link.layout
    keys = layout.keys(layout.shard(key.name), "emtlf", key.name)
    kept_ms = max(1, round(record.kept_seconds * 1000))
    token = lock.token if lock else ""
    return Command(STORE, keys, (f"{record.birth:.0f}", token, kept_ms, wrapped, layout.loads, key.name))
