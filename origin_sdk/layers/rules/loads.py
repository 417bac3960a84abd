"""One load: claim it, call the loader, judge what comes, store it."""

import math
from collections.abc import Sequence
from typing import Any

from origin_sdk._process.reads import Reads
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.replies import FAILED
from origin_sdk.layers.redis.scripts import STORE
from origin_sdk.layers.rules.claims import Filling, LoadClaim, find_births, give_back, obtain_claim, release
from origin_sdk.layers.rules.judge import CachedError, Judge, opened
from origin_sdk.layers.rules.load_context import LoadContext, NotModified
from origin_sdk.layers.rules.steps import Ask, Flow, Load
from origin_sdk.layers.values.envelope import Record
from origin_sdk.layers.values.families import Key

__all__ = ["fill", "remember", "store_command"]


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
        if previous and type(value) is NotModified:
            context.add_groups(previous.groups)
        seconds = judge.clock.monotonic() - began
        judge.stats.observe("load-seconds", seconds, key.family.name)
        entry, record = judge.loaded(key, context, value, seq, claim.birth, seconds)
        if record is None:
            return entry
        yield from _keep(judge, link, key, entry, record, claim, seq if reads.groups else None)
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
    judge: Judge,
    link: Link | None,
    key: Key[Any],
    entry: MemoryEntry,
    record: Record,
    claim: LoadClaim,
    read_since: int | None,
) -> Flow[None]:
    """Store in Redis, then in memory."""
    status = None
    if link is not None and claim.birth:
        record.birth = claim.birth
        command = store_command(judge, link, key, record, claim, read_since)
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
    judge: Judge, link: Link, key: Key[Any], record: Record, claim: LoadClaim, read_since: int | None
) -> Command | None:
    """Return the command that stores a record, or None if it stays out of Redis.

    ``read_since`` is the ``seq`` since which its loader read other values; None if it read none.
    """
    wrapped = judge.wrap(key, record)
    known = ("",) if read_since is None else _known_of(judge, record.groups, claim, read_since)
    if wrapped is None or claim.lock is None or known is None:
        return None
    link.locks.pop(claim.lock.token, None)
    layout, lock = link.layout, claim.lock
    shard = layout.shard(key.name)
    keys = (*layout.keys(shard, "emt", key.name), lock.key, *layout.keys(shard, "fhg", key.name))
    kept_ms = max(1, round(record.kept_seconds * 1000))
    head = (f"{record.birth:.0f}", lock.token, kept_ms, wrapped, layout.loads, key.name)
    return judge.shaped(key, Command(STORE, keys, (*head, *known)))


def _known_of(judge: Judge, groups: Sequence[str], claim: LoadClaim, seq: int) -> tuple[str, ...] | None:
    """Return what this process knew of groups at ``seq``, as STORE takes it.

    None if it has heard of one since: what a loader read before that is older than what it read after it.
    """
    moments = {group: judge.moments.moment(group) for group in groups}
    if judge.moments.covers(tuple(groups), seq):  # last: nothing that is heard meanwhile passes by
        return None
    later = {name: at for name, at in moments.items() if claim.generation < at < math.inf}
    flat = (each for name, at in later.items() for each in (name, f"{at:.0f}"))
    return (f"{claim.generation:.0f}", *flat)
