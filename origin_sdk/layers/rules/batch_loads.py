"""One call of a loader for many keys, among processes. As loads.py has it for one key, and with its rules."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

from origin_sdk._process.reads import Reads
from origin_sdk.layers.errors import LoadCycle
from origin_sdk.layers.process.load_graph import LoadNode, ended
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.link import HeldLock, Link
from origin_sdk.layers.redis.replies import FAILED
from origin_sdk.layers.rules.claims import (
    Filling,
    LoadClaim,
    claim_command,
    claimed,
    find_births,
    give_back,
    refuse_circles,
    release_command,
    seconds_to_wait,
)
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.rules.load_context import LoadContext
from origin_sdk.layers.rules.loads import remember, store_command
from origin_sdk.layers.rules.steps import AskMany, Flow, Load, Wait
from origin_sdk.layers.values.families import Key

__all__ = ["BatchLoader", "fill_many"]

BatchLoader: TypeAlias = Callable[[Sequence[Key[Any]]], Any]
"""Returns a mapping by key, or an awaitable of one: whoever carries out the flow knows."""


class Settle(Protocol):
    """Is told what becomes of a key: an entry, an error, left out, or none of these if the load was ended."""

    def __call__(
        self,
        key: Key[Any],
        /,
        entry: MemoryEntry | None = None,
        error: BaseException | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        """Take it."""
        ...


@dataclass(slots=True)
class _Batch:
    """What isn't settled yet, by name."""

    judge: Judge
    rest: dict[str, Filling]
    settle: Settle
    node: LoadNode
    has_asked: bool = False
    """Whether the last claims didn't wait, so that it could be found out who waits for whom."""

    def settled(
        self,
        name: str,
        entry: MemoryEntry | None = None,
        error: BaseException | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        """Tell what became of a key."""
        self.settle(self.rest.pop(name).key, entry, error, is_absent=is_absent)

    def failed(self, name: str, error: Exception) -> None:
        """Let an older value stand in, if there is one."""
        filling = self.rest[name]
        spare = self.judge.spare(filling.key, filling.previous, self.judge.clock.monotonic())
        self.settled(name, spare, None if spare else error)


def fill_many(
    judge: Judge, loader: BatchLoader, fillings: Mapping[str, Filling], settle: Settle, node: LoadNode
) -> Flow[None]:
    """Load keys, unless another process does it; store what comes, and settle each key.

    What can be loaded is loaded, and its locks are released, before the locks of others are waited for: so
    that callers who want overlapping keys never wait in a circle.
    """
    batch, link = _Batch(judge, dict(fillings), settle, node), judge.link
    local = {name: LoadClaim() for name, each in fillings.items() if not judge.reaches_redis(each.key.family)}
    deadline = judge.clock.monotonic() + min(judge.policy(each.key).wait for each in fillings.values())
    try:
        while batch.rest:
            claims = local
            if not local:
                claims = yield from _claims(batch, link, deadline)
            local = {}
            if claims:
                yield from _load(batch, link, loader, claims)
    except LoadCycle as error:
        for name in list(batch.rest):
            batch.failed(name, error)
    finally:
        for name in list(batch.rest):
            batch.settled(name)
        ended(node)


def _claims(batch: _Batch, link: Link | None, deadline: float) -> Flow[dict[str, LoadClaim]]:
    """Settle what other processes have loaded, and return the right to load others."""
    judge, seq = batch.judge, batch.judge.moments.seq
    names = [name for name, each in batch.rest.items() if link and link.asks(name) and not each.is_alone]
    claims = {name: LoadClaim() for name in batch.rest if name not in names}
    if link is None or not names:
        return claims
    remaining = deadline - judge.clock.monotonic()
    asked = [claim_command(judge, link, batch.rest[name], may_lock=remaining > 0) for name in names]
    # Who may load others already doesn't wait, nor does a load before it knows that nobody waits for it.
    is_nested = bool(batch.node.tokens_above())
    batch.has_asked = is_nested and not batch.has_asked
    most = 0.0 if claims or batch.has_asked else remaining
    try:
        replies = yield Wait(names, [command for command, _ in asked], partial(seconds_to_wait, link, most))
        if batch.has_asked and all(reply is not FAILED and reply[2] == -1 for reply in replies):
            holders = {name: reply[4].decode() for name, reply in zip(names, replies, strict=True)}
            yield from refuse_circles(link, batch.node, holders)
    except BaseException:
        for _, lock in asked:
            give_back(link, lock)
        raise
    for name, (_, lock), reply in zip(names, asked, replies, strict=True):
        claim = claimed(judge, link, batch.rest[name], lock, reply, seq)
        if isinstance(claim, MemoryEntry):
            batch.settled(name, claim)
        elif claim is not None:
            claims[name] = claim
    return claims


@dataclass(slots=True)
class _Loaded:
    """What the loader returned: newer than the invalidation ``seq``, after ``seconds``."""

    values: Mapping[Key[Any], Any]
    seq: int
    seconds: float
    reads: Reads


@dataclass(slots=True)
class _Made:
    """What became of a value; ``store`` tells Redis, unless it stays out of it."""

    entry: MemoryEntry
    is_kept: bool
    store: Command | None


def _load(batch: _Batch, link: Link | None, loader: BatchLoader, claims: dict[str, LoadClaim]) -> Flow[None]:
    """Call the loader for what was claimed, store what it returns, and release what it doesn't."""
    judge, keys = batch.judge, {name: batch.rest[name].key for name in claims}
    held = {name: claim.lock for name, claim in claims.items() if claim.lock}
    batch.node.tokens.update(lock.token for lock in held.values())
    # Whatever is invalidated from here on is not to be served with what this load returns.
    seq, began, reads = judge.moments.seq, judge.clock.monotonic(), Reads()
    try:
        values = yield Load(loader, list(keys.values()), reads, batch.node)
        seconds = judge.clock.monotonic() - began
        yield from find_births(claims.values())
        loaded = _Loaded(values, seq, seconds, reads)
        made = {
            name: each for name, claim in claims.items() if (each := _made(batch, link, name, loaded, claim))
        }
        judge.stats.count_many("loaded", [keys[name] for name in made])
        judge.stats.observe("load-seconds", loaded.seconds, next(iter(keys.values())).family.name)
        stores = {name: each.store for name, each in made.items() if each.store}
        released = [lock for name, lock in held.items() if name not in stores]
        stored = [held.get(name) for name in stores]
        held = {}
        statuses = yield from _tell(link, [*stores.values()], stored, released)
        for name, each in made.items():
            if each.is_kept:
                remember(judge, keys[name], each.entry, statuses.pop(0) if each.store else None)
            batch.settled(name, each.entry)
        for name in keys.keys() & batch.rest.keys():
            batch.settled(name, is_absent=True)
    except Exception as error:  # noqa: BLE001 - who wants the keys gets it
        judge.stats.count_many("load-failed", [keys[name] for name in keys if name in batch.rest])
        for name in keys.keys() & batch.rest.keys():
            batch.failed(name, error)
    finally:
        if held:
            yield from _tell(link, [], [], [*held.values()])


def _tell(
    link: Link | None,
    stores: Sequence[Command],
    locks: Sequence[HeldLock | None],
    released: Sequence[HeldLock],
) -> Flow[list[Any]]:
    """Store, which gives ``locks`` back, and release, in one round trip; return what came of the former."""
    if link is None or not (stores or released):
        return []
    releases = [release_command(link, lock) for lock in released]
    try:
        replies = yield AskMany([*stores, *releases])
    except BaseException:
        replies = [FAILED] * (len(stores) + len(releases))
        raise
    finally:
        for lock, reply in zip([*locks, *released], replies, strict=True):
            if reply is FAILED:
                give_back(link, lock)
    return list(replies[: len(stores)])


def _made(batch: _Batch, link: Link | None, name: str, loaded: _Loaded, claim: LoadClaim) -> _Made | None:
    """Make an entry and a record of a value; None if there is none, or none can be made."""
    judge, key = batch.judge, batch.rest[name].key
    if key not in loaded.values:
        return None
    try:
        context: LoadContext[Any] = LoadContext(key)
        judge.take_over(key, context, loaded.reads)
        value = loaded.values[key]
        entry, record = judge.loaded(key, context, value, loaded.seq, claim.birth, loaded.seconds)
        store = None
        if record is not None and link is not None and claim.birth:
            read_since = loaded.seq if loaded.reads.groups else None
            store = store_command(judge, link, key, record, claim, read_since)
    except Exception as error:  # noqa: BLE001 - who wants this key gets it
        batch.failed(name, error)
        return None
    return _Made(entry, record is not None, store)
