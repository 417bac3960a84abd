"""A load of one key or of many: claim it, call the loader, settle what comes.

The order is the rule. What can be loaded is loaded, and its locks are given back, before the locks of others
are waited for: so callers who want overlapping keys never wait in a circle for each other. ``seq`` is taken
before the loader is called: whatever is invalidated from then on outdates what it returns, even though what
the value belongs to is known only when it lands, in :mod:`.landing`. A lock is given back whatever happens.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias, cast

from origin_sdk._process.reads import Reads
from origin_sdk.layers.errors import LoadCycle
from origin_sdk.layers.process.load_graph import LoadNode, ended
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.link import Link
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
from origin_sdk.layers.rules.entries import loaded
from origin_sdk.layers.rules.judge import CachedError, Judge, opened
from origin_sdk.layers.rules.landing import Landed, Landing, landed, remember, tell
from origin_sdk.layers.rules.load_context import AnyContext, LoadContext
from origin_sdk.layers.rules.steps import Load, Wait
from origin_sdk.layers.values.families import AnyKey

__all__ = ["BatchLoader", "Loader", "Settle", "fill", "fill_many"]

Loader: TypeAlias = Callable[[AnyContext], object]
BatchLoader: TypeAlias = Callable[[Sequence[AnyKey]], object]
"""Returns a mapping by key, or an awaitable of one: whoever carries out the flow knows."""
_Contexts: TypeAlias = Mapping[str, AnyContext]
_Call: TypeAlias = Callable[[_Contexts, Reads], Awaitable[Mapping[str, object]]]
"""Calls a loader for keys by name; values by name come back."""


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

    def failed(self, name: str, error: Exception, landing: "Landing") -> None:
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
                remember(judge, [Landed(filling.key, entry, is_kept=True, store=None)], {})
            spare = entry
        self.settled(name, spare, None if spare else error)


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


async def _load(loading: _Loading, link: Link | None, claims: Mapping[str, LoadClaim]) -> None:
    """Call the loader for what was claimed, store what it returns, and release what it doesn't."""
    judge, rest = loading.judge, loading.rest
    held = {name: claim.lock for name, claim in claims.items() if claim.lock}
    loading.node.tokens.update(lock.token for lock in held.values())
    # Whatever is invalidated from here on is not to be served with what this load returns.
    landing = Landing(judge.moments.seq, judge.clock.monotonic(), {}, Reads())
    landing.contexts |= {name: _context(judge, rest[name]) for name in claims}
    try:
        values = await loading.call(landing.contexts, landing.reads)
        seconds = landing.seconds_by(judge.clock.monotonic())
        await find_births(claims.values())
        made: list[Landed] = []
        for name, value in values.items():
            try:
                made.append(landed(judge, link, rest[name], value, claims[name], landing, seconds))
            except Exception as error:  # noqa: BLE001 - who wants this key gets it
                loading.failed(name, error, landing)
        judge.stats.count_many("loaded", [each.key for each in made])
        judge.stats.observe("load-seconds", seconds, next(iter(landing.contexts.values())).key.family.name)
        stores = {each.key.name: each.store for each in made if each.store}
        released = [lock for name, lock in held.items() if name not in stores]
        held = {}
        statuses = await tell(link, stores, released)
        remember(judge, made, statuses)
        for each in made:
            loading.settled(each.key.name, each.entry)
        for name in claims.keys() & rest.keys():
            loading.settled(name, is_absent=True)
    except Exception as error:  # noqa: BLE001 - who wants the keys gets it
        for name in claims.keys() & rest.keys():
            loading.failed(name, error, landing)
    finally:
        if held:
            await tell(link, {}, list(held.values()))


def _context(judge: Judge, filling: Filling) -> AnyContext:
    previous = filling.previous
    if previous is None or type(previous.value) is CachedError or judge.is_outdated(filling.key, previous):
        return LoadContext(filling.key)
    return LoadContext(filling.key, opened(previous))
