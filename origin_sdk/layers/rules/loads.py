"""A load of one key or of many: claim it, call the loader, judge what comes, store it.

The order is the rule. What can be loaded is loaded, and its locks are given back, before the locks of others
are waited for: so callers who want overlapping keys never wait in a circle for each other. ``seq`` is taken
before the loader is called: whatever is invalidated from then on outdates what it returns, even though what
the value belongs to is known only when it lands. It is stored in Redis first, which judges by the birth, and
in memory only if Redis doesn't know it to be outdated. A lock is given back whatever happens.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias, cast

from origin_sdk._process.reads import Reads
from origin_sdk.layers.errors import LoadCycle
from origin_sdk.layers.process.load_graph import LoadNode, ended
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.process.moments import SOFT
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.link import HeldLock, Link
from origin_sdk.layers.redis.lua import Script
from origin_sdk.layers.redis.replies import FAILED, Failed
from origin_sdk.layers.redis.scripts import STORE
from origin_sdk.layers.rules.claims import (
    Filling,
    LoadClaim,
    bids_for,
    claimed,
    find_births,
    give_back,
    holders,
    refuse_circles,
    seconds_to_wait,
)
from origin_sdk.layers.rules.entries import loaded, take_over, wrap
from origin_sdk.layers.rules.judge import CachedError, Judge, opened
from origin_sdk.layers.rules.load_context import AnyContext, LoadContext, NotModified
from origin_sdk.layers.rules.steps import AskMany, Load, Wait
from origin_sdk.layers.values.families import AnyKey
from origin_sdk.layers.values.sizes import weight

__all__ = ["BatchLoader", "Loader", "Settle", "fill", "fill_many"]

Loader: TypeAlias = Callable[[AnyContext], object]
BatchLoader: TypeAlias = Callable[[Sequence[AnyKey]], object]
"""Returns a mapping by key, or an awaitable of one: whoever carries out the flow knows."""
_Contexts: TypeAlias = Mapping[str, AnyContext]
_Call: TypeAlias = Callable[[_Contexts, Reads], Awaitable[Mapping[str, object]]]
"""Calls a loader for keys by name; values by name come back."""

_MOST_STORES = 500
_MOST_BYTES = 4 << 20
"""In one script: Redis serves nobody else meanwhile."""
_STATUS = {"d": "done", "o": "outdated", "s": "superseded", "": "failed"}
"""What STORE replies for a key; nothing where it had no answer."""


class Settle(Protocol):
    """Is told what becomes of a key: an entry, an error, left out, or none of these if the load was ended."""

    def __call__(
        self,
        key: AnyKey,
        /,
        entry: MemoryEntry | None = None,
        error: BaseException | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        """Take it."""
        ...


class _Outcome:
    """What became of one key."""

    __slots__ = ("entry", "error")

    def __init__(self) -> None:
        self.entry: MemoryEntry | None = None
        self.error: BaseException | None = None

    def settle(
        self,
        _: AnyKey,
        /,
        entry: MemoryEntry | None = None,
        error: BaseException | None = None,
        *,
        is_absent: bool = False,  # noqa: ARG002 - a loader of one leaves nothing out
    ) -> None:
        self.entry, self.error = entry, error


@dataclass(slots=True)
class _Loading:
    """A call of a loader, and what isn't settled yet, by name."""

    judge: Judge
    rest: dict[str, Filling]
    call: _Call
    settle: Settle
    node: LoadNode
    caches_errors: bool = False
    """Whether the loader speaks of one key: what one of many raises says nothing of each."""
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

    def failed(self, name: str, error: Exception, landing: "_Landing") -> None:
        """Let an older value stand in, if there is one; else the error, for a while if the policy says so."""
        filling, judge = self.rest[name], self.judge
        policy = judge.families.policy(filling.key)
        judge.stats.count("load-failed", filling.key.family.name, name)
        spare = None if filling.is_forced else judge.spare(filling.key, filling.previous)
        if (
            spare is None
            and self.caches_errors
            and policy.error_lifetime
            and isinstance(error, policy.errors)
        ):
            context, seconds = landing.contexts[name], landing.seconds_by(judge.clock.monotonic())
            entry, record = loaded(judge, filling.key, context, CachedError(error), landing.seq, 0.0, seconds)
            if record is not None:
                _remember(judge, [_Made(filling.key, entry, is_kept=True, store=None)], {})
            spare = entry
        self.settled(name, spare, None if spare else error)


@dataclass(slots=True)
class _Landing:
    """A load that was begun: newer than the invalidation ``seq``."""

    seq: int
    began: float
    contexts: dict[str, AnyContext]
    reads: Reads

    def seconds_by(self, now: float) -> float:
        """Return how long it has taken."""
        return now - self.began


async def fill(judge: Judge, filling: Filling, loader: Loader, node: LoadNode) -> MemoryEntry:
    """Load a key, unless another process has done it; store what comes, and return it."""

    async def call(contexts: _Contexts, reads: Reads) -> Mapping[str, object]:
        ((name, context),) = contexts.items()
        return {name: await Load(loader, context, reads, node)}

    outcome = _Outcome()
    await _fill(_Loading(judge, {filling.key.name: filling}, call, outcome.settle, node, caches_errors=True))
    if outcome.entry is None:
        raise outcome.error or LookupError(f"{filling.key}: its load came to nothing")
    return outcome.entry


async def fill_many(
    judge: Judge, loader: BatchLoader, fillings: Mapping[str, Filling], settle: Settle, node: LoadNode
) -> None:
    """Load keys, unless another process does it; store what comes, and settle each key."""

    async def call(contexts: _Contexts, reads: Reads) -> Mapping[str, object]:
        keys = [context.key for context in contexts.values()]
        values = cast("Mapping[AnyKey, object]", await Load(loader, keys, reads, node))
        return {key.name: values[key] for key in keys if key in values}

    try:
        await _fill(_Loading(judge, dict(fillings), call, settle, node))
    finally:
        ended(node)


async def _fill(loading: _Loading) -> None:
    """Settle each key."""
    judge, rest = loading.judge, loading.rest
    deadline = judge.clock.monotonic() + min(judge.families.policy(each.key).wait for each in rest.values())
    try:
        while rest:
            claims = await _claims(loading, judge.link, deadline)
            if claims:
                await _load(loading, judge.link, claims)
    except LoadCycle as error:
        for name in list(rest):
            loading.settled(name, error=error)
    finally:
        for name in list(rest):
            loading.settled(name)


async def _claims(loading: _Loading, link: Link | None, deadline: float) -> dict[str, LoadClaim]:
    """Settle what other processes have loaded, and return the right to load others."""
    judge, seq, began = loading.judge, loading.judge.moments.seq, loading.judge.clock.monotonic()
    asked = [each for each in loading.rest.values() if link is not None and _asks(judge, link, each)]
    if link is None or not asked:
        return {name: LoadClaim() for name in loading.rest}
    names = [each.key.name for each in asked]
    claims = {name: LoadClaim() for name in loading.rest.keys() - names}
    remaining = deadline - began
    bids = bids_for(judge, link, asked, may_lock=remaining > 0)
    # Who may load others already doesn't wait, nor does a load before it knows that nobody waits for it.
    loading.has_asked = not loading.has_asked and bool(loading.node.tokens_above())
    most = 0.0 if claims or loading.has_asked else remaining
    try:
        replies = await Wait(names, [each.command for each in bids], partial(seconds_to_wait, link, most))
        if loading.has_asked:
            await refuse_circles(link, loading.node, holders(bids, replies))
    except BaseException:
        for lock in [lock for each in bids for lock in each.locks]:
            give_back(link, lock)
        raise
    is_waiting = not claims
    for each, reply in zip(bids, replies, strict=True):
        for filling, lock, answer in each.answers(reply):
            claim = claimed(judge, link, filling, lock, answer, seq)
            is_waiting = is_waiting and claim is None
            if isinstance(claim, MemoryEntry):
                loading.settled(filling.key.name, claim)
            elif claim is not None:
                claims[filling.key.name] = claim
    if is_waiting:
        judge.stats.observe("wait-seconds", judge.clock.monotonic() - began, asked[0].key.family.name)
    return claims


def _asks(judge: Judge, link: Link, filling: Filling) -> bool:
    """Whether Redis is asked for the right to load."""
    key = filling.key
    return not filling.is_alone and judge.families.reaches_redis(key.family) and link.asks(key.name)


@dataclass(slots=True)
class _Made:
    """What became of a value; ``store`` tells Redis, unless it stays out of it."""

    key: AnyKey
    entry: MemoryEntry
    is_kept: bool
    store: "_Store | None"


@dataclass(slots=True)
class _Store:
    """A record on its way to Redis: what STORE is told of it."""

    script: Script
    lock: HeldLock
    keys: tuple[str, ...]
    arguments: tuple[object, ...]
    known: tuple[str, ...]
    size: int


async def _load(loading: _Loading, link: Link | None, claims: Mapping[str, LoadClaim]) -> None:
    """Call the loader for what was claimed, store what it returns, and release what it doesn't."""
    judge, rest = loading.judge, loading.rest
    held = {name: claim.lock for name, claim in claims.items() if claim.lock}
    loading.node.tokens.update(lock.token for lock in held.values())
    # Whatever is invalidated from here on is not to be served with what this load returns.
    landing = _Landing(judge.moments.seq, judge.clock.monotonic(), {}, Reads())
    landing.contexts |= {name: _context(judge, rest[name]) for name in claims}
    try:
        values = await loading.call(landing.contexts, landing.reads)
        seconds = landing.seconds_by(judge.clock.monotonic())
        await find_births(claims.values())
        made: list[_Made] = []
        for name, value in values.items():
            try:
                made.append(_made(judge, link, rest[name], value, claims[name], landing, seconds))
            except Exception as error:  # noqa: BLE001 - who wants this key gets it
                loading.failed(name, error, landing)
        judge.stats.count_many("loaded", [each.key for each in made])
        judge.stats.observe("load-seconds", seconds, next(iter(landing.contexts.values())).key.family.name)
        stores = {each.key.name: each.store for each in made if each.store}
        released = [lock for name, lock in held.items() if name not in stores]
        held = {}
        statuses = await _tell(link, stores, released)
        _remember(judge, made, statuses)
        for each in made:
            loading.settled(each.key.name, each.entry)
        for name in claims.keys() & rest.keys():
            loading.settled(name, is_absent=True)
    except Exception as error:  # noqa: BLE001 - who wants the keys gets it
        for name in claims.keys() & rest.keys():
            loading.failed(name, error, landing)
    finally:
        if held:
            await _tell(link, {}, list(held.values()))


def _context(judge: Judge, filling: Filling) -> AnyContext:
    previous = filling.previous
    if previous is None or type(previous.value) is CachedError or judge.is_outdated(filling.key, previous):
        return LoadContext(filling.key)
    return LoadContext(filling.key, opened(previous))


def _made(
    judge: Judge,
    link: Link | None,
    filling: Filling,
    value: object,
    claim: LoadClaim,
    landing: _Landing,
    seconds: float,
) -> _Made:
    """Make an entry and a record of a value. Raises what speaks against it."""
    key, context = filling.key, landing.contexts[filling.key.name]
    if not landing.reads.is_empty:
        take_over(judge, key, context, landing.reads)
    if filling.previous and type(value) is NotModified:
        context.add_groups(filling.previous.groups)
    entry, record = loaded(judge, key, context, value, landing.seq, claim.birth, seconds)
    store = wrapped = None
    if record is not None and link is not None and claim.birth and claim.lock:
        known = _known_of(judge, record.groups, claim, landing)
        wrapped = None if known is None else wrap(judge, key, record)
        if wrapped is not None and known is not None:
            lock, kept_ms = claim.lock, max(1, round(record.kept_seconds * 1000))
            entry_key = link.layout.entry_prefixes[link.layout.shard(key.name)] + key.name
            keys = (entry_key, lock.key, *judge.families.part_keys(key))
            arguments = (f"{claim.birth:.0f}", lock.token, kept_ms, wrapped, key.name)
            script = judge.families.script_for(STORE, key.family)
            store = _Store(script, lock, keys, arguments, known, len(wrapped))
    # What it takes in memory, as of what comes out of Redis: to weigh it takes longer.
    entry.size += 3 * len(wrapped) if wrapped is not None else weight(entry.value)
    return _Made(key, entry, record is not None, store)


def _known_of(
    judge: Judge, groups: Sequence[str], claim: LoadClaim, landing: _Landing
) -> tuple[str, ...] | None:
    """Return what this process knew of the groups of what the loader read, as STORE takes it.

    That is the generation that it knew, and groups of which it had heard later moments, with these; nothing
    if the loader read no other values. None if a group was invalidated since: what the loader read before
    that is older than what it read after it.
    """
    if landing.reads.is_empty or not landing.reads.groups:
        return ()
    names = (*groups, *(SOFT + group for group in groups)) if judge.moments.has_soft else tuple(groups)
    moments = {name: judge.moments.moment(name) for name in names}
    if judge.moments.covers(names, landing.seq):  # last: nothing that is heard meanwhile passes by
        return None
    later = {name: at for name, at in moments.items() if claim.generation < at < math.inf}
    return (f"{claim.generation:.0f}", *(each for name, at in later.items() for each in (name, f"{at:.0f}")))


async def _tell(
    link: Link | None, stores: Mapping[str, _Store], released: Sequence[HeldLock]
) -> dict[str, str]:
    """Store, which gives locks back, and release others, in one round trip; return each store's status."""
    if link is None or not (stores or released):
        return {}
    for lock in [*(each.lock for each in stores.values()), *released]:
        link.locks.pop(lock.token, None)
    parts = list(_parts(link, stores))
    releases = link.releases(released)
    commands = [command for command, _ in (*parts, *releases)]
    replies: Sequence[bytes | Failed] = [FAILED] * len(commands)
    try:
        replies = await AskMany(commands)
    finally:
        for (_, locks), reply in zip((*parts, *releases), replies, strict=True):
            for lock in locks if reply is FAILED else ():
                give_back(link, lock)
    statuses: dict[str, str] = {}
    for (_, locks), reply in zip(parts, replies, strict=False):
        some = [""] * len(locks) if reply is FAILED else reply.decode()
        statuses |= {lock.name: status for lock, status in zip(locks, some, strict=True)}
    return statuses


def _parts(link: Link, stores: Mapping[str, _Store]) -> Iterable[tuple[Command[bytes], list[HeldLock]]]:
    """Yield commands that store, not too much in each, and the locks that each gives back."""
    alike: dict[tuple[int, Script], list[_Store]] = {}
    for name, each in stores.items():
        alike.setdefault((link.layout.shard(name), each.script), []).append(each)
    for (shard, _), some in alike.items():
        part: list[_Store] = []
        size = 0
        for each in some:
            size += each.size
            if part and (len(part) >= _MOST_STORES or size > _MOST_BYTES):
                yield _store_command(link, shard, part), [store.lock for store in part]
                part, size = [], each.size
            part.append(each)
        yield _store_command(link, shard, part), [store.lock for store in part]


def _store_command(link: Link, shard: int, stores: Sequence[_Store]) -> Command[bytes]:
    # All were read by one load, and claimed at once: what it knew is known of each.
    generation = min((each.known[0] for each in stores if each.known), key=float, default="")
    heard = dict(pair for each in stores for pair in zip(each.known[1::2], each.known[2::2], strict=True))
    pairs = [text for pair in heard.items() for text in pair]
    keys = [*link.layout.keys(shard, "mthg"), *(key for each in stores for key in each.keys)]
    arguments: list[object] = [link.layout.loads, generation, len(heard), *pairs]
    for each in stores:
        arguments += each.arguments
    return Command(stores[0].script, tuple(keys), tuple(arguments))


def _remember(judge: Judge, made: Iterable[_Made], statuses: Mapping[str, str]) -> None:
    """Keep in memory what Redis, if it was asked to store it, doesn't know to be outdated."""
    kept: dict[str, MemoryEntry] = {}
    for each in made:
        key, status = each.key, statuses.get(each.key.name)
        if status is not None:
            judge.audit.note("store", _STATUS[status], key=key.name)
        if status == "o":
            judge.stats.count("invalidated-while-loading", key.family.name, key.name)
        elif each.is_kept and not judge.is_outdated(key, each.entry):
            kept[key.name] = each.entry  # else it might overwrite what was set meanwhile
    judge.memory.put_many(kept)
