"""The way to a value: memory, others who load it, Redis, the loader."""

from functools import partial
from typing import TypeVar

from origin_sdk._process.reads import current_reads
from origin_sdk.layers.errors import LoadTimeout
from origin_sdk.layers.process.flights import TRIES, Flight
from origin_sdk.layers.process.load_graph import LoadNode, ended, gave_up, waiting_for
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.rules.claims import Filling
from origin_sdk.layers.rules.judge import opened
from origin_sdk.layers.rules.loads import Loader, fill
from origin_sdk.layers.rules.lookup import look_one
from origin_sdk.layers.rules.patience import Patience, has_timeout, seconds_between
from origin_sdk.layers.rules.ports import Cache
from origin_sdk.layers.rules.steps import PENDING, Await, Follow, FollowAll
from origin_sdk.layers.values.families import AnyKey, Key, no_key
from origin_sdk.layers.values.policy import ANSWERS, Freshness, SingleFlight

__all__ = ["get", "get_or_load", "note", "refresh", "refresh_behind"]

_Value = TypeVar("_Value")


async def get(cache: Cache, key: AnyKey, default: _Value | None) -> _Value | None:
    """Return what may be answered with, else ``default``."""
    judge = cache.judge
    try:
        judge.families.know(key.family)
    except AttributeError as error:
        raise no_key(key) from error
    state, entry = judge.peek(key, judge.clock.monotonic())
    is_hit = state in ANSWERS
    judge.stats.count("memory-hit" if is_hit else "memory-miss", key.family.name, key.name)
    if not is_hit:
        link = _link_for(cache, key)
        entry = None if link is None else (await look_one(judge, link, key))[0]
        if entry is not None and judge.freshness(entry) not in ANSWERS:
            entry = None
    note(cache, key, entry)
    return default if entry is None else opened(entry)


def note(cache: Cache, key: AnyKey, entry: MemoryEntry | None, groups: tuple[str, ...] | None = None) -> None:
    """Note what was read, also that nothing is there, where something is being made of it.

    ``groups`` are those of what is answered, if they aren't the entry's.
    """
    if cache.counts_reads and (reads := current_reads()) is not None:
        written = key.groups if entry is None else entry.written_groups
        is_stale = entry is not None and entry.windows.is_soft
        reads.add(cache, key.family, written if groups is None else groups, is_stale=is_stale)


async def get_or_load(
    cache: Cache, key: Key[_Value], loader: Loader, single_flight: SingleFlight | None = None
) -> _Value:
    """Return what may be answered with, else what the loader returns."""
    entry = await _entry(cache, key, loader, single_flight)
    note(cache, key, entry)
    value: _Value = opened(entry)
    return value


async def refresh(
    cache: Cache, key: Key[_Value], loader: Loader, single_flight: SingleFlight | None = None
) -> _Value:
    """Load now, whatever is stored."""
    cache.listening()
    cache.judge.families.policy(key)
    _, previous = cache.judge.peek(key, cache.judge.clock.monotonic())
    entry = await _alone(cache, Filling(key, previous, is_forced=True, single_flight=single_flight), loader)
    note(cache, key, entry)
    value: _Value = opened(entry)
    return value


async def _entry(
    cache: Cache, key: AnyKey, loader: Loader, single_flight: SingleFlight | None
) -> MemoryEntry:
    judge = cache.judge
    policy = judge.families.policy(key)
    entry: MemoryEntry | None = None
    since = judge.moments.seq
    for _ in range(TRIES):
        began = judge.clock.monotonic()
        state, entry = judge.peek(key, began)
        if entry is not None and state is Freshness.FRESH:
            judge.stats.count("memory-hit", key.family.name, key.name)
            return entry
        filling = Filling(key, entry, single_flight=single_flight)
        if entry is not None and state in ANSWERS:
            judge.stats.count("memory-hit", key.family.name, key.name)
            return _answer(cache, filling, loader, entry, state)
        judge.stats.count("memory-miss", key.family.name, key.name)
        patience = Patience(judge, filling) if has_timeout(policy) else None
        seconds = seconds_between(0.0, patience.until(0.0)) if patience else None
        flight, leads, is_done = await Follow(key, seconds)
        if leads:
            return await _lead(cache, flight, filling, loader, since)
        judge.stats.count("waited", key.family.name, key.name)
        spare = await _follow_on(flight, patience) if patience and not is_done else None
        judge.stats.observe("wait-seconds", judge.clock.monotonic() - began, key.family.name)
        if spare is not None:
            return spare
        if flight.error is not None:
            raise flight.error
        if flight.entry is not None and judge.may_give(key, flight.entry, since):
            return flight.entry
    # Invalidated again and again while others loaded: a load of one's own is new enough.
    return await _alone(cache, Filling(key, entry, single_flight=single_flight), loader)


async def _follow_on(flight: Flight, patience: Patience) -> MemoryEntry | None:
    """Follow a flight that has taken as long as was waited for; return what stands in for it, if need be."""
    try:
        spent = patience.until(0.0)
        while (spare := patience.spare(spent)) is None:
            until = patience.until(spent)
            if await FollowAll([flight], seconds_between(spent, until)):
                return None
            spent = until
    except LoadTimeout:
        gave_up(flight.node)
        raise
    gave_up(flight.node)
    return spare


async def _alone(cache: Cache, filling: Filling, loader: Loader) -> MemoryEntry:
    """Load, whoever else does."""
    node = LoadNode(filling.key.name, cache.flights)
    waiting_for(node)
    try:
        return await fill(cache.judge, filling, loader, node)
    finally:
        ended(node)


def _answer(
    cache: Cache, filling: Filling, loader: Loader, entry: MemoryEntry, state: Freshness
) -> MemoryEntry:
    """Answer with a stored value."""
    if state is not Freshness.FRESH:
        filling.previous = entry
        refresh_behind(cache, filling, loader, entry, state)
    return entry


def refresh_behind(
    cache: Cache, filling: Filling, loader: Loader, entry: MemoryEntry, state: Freshness
) -> None:
    """Load behind the caller's back, who is answered with ``entry``: it is stale, or will be soon."""
    key, stats = filling.key, cache.judge.stats
    filling.is_early = state is Freshness.EARLY
    if not filling.is_early:
        cache.judge.served_stale(key, entry)
    if cache.background.start_if_idle(key, partial(fill, cache.judge, filling, loader)):
        stats.count("early-refresh" if filling.is_early else "stale-refresh", key.family.name, key.name)


async def _lead(cache: Cache, flight: Flight, filling: Filling, loader: Loader, since: int) -> MemoryEntry:
    """Find or load what others follow, and tell them."""
    try:
        entry = await _resolve(cache, flight.node, filling, loader, since)
    except BaseException as error:
        cache.flights.finish(filling.key, flight, None, error)
        raise
    cache.flights.finish(filling.key, flight, entry, None)
    return entry


async def _resolve(cache: Cache, node: LoadNode, filling: Filling, loader: Loader, since: int) -> MemoryEntry:
    """Find the value in Redis, or load it."""
    judge, key = cache.judge, filling.key
    found = None
    if (link := _link_for(cache, key)) is not None:
        found, filling.is_alone = await look_one(judge, link, key)
    if found is not None:
        if (state := judge.freshness(found)) in ANSWERS:
            return _answer(cache, filling, loader, found, state)
        filling.previous = found
    elif (landed := judge.fresh_in_memory(key)) is not None:
        return landed  # someone's load ended just now
    waits = has_timeout(judge.families.policy(key))
    if cache.loads_inline and not waits and key.name not in cache.background:
        return await fill(judge, filling, loader, node)
    return await _wait(cache, node, filling, loader, since)


async def _wait(cache: Cache, node: LoadNode, filling: Filling, loader: Loader, since: int) -> MemoryEntry:
    """Load in the background, and wait as long as the policy says; the load goes on anyway."""
    judge, key = cache.judge, filling.key
    patience, spent = Patience(judge, filling), 0.0
    while True:
        future = cache.background.start(key, partial(fill, judge, filling, loader))
        cache.background.wait_for(future, node)
        until = patience.until(spent)
        entry = await Await(future, seconds_between(spent, until))
        if entry is PENDING:
            spent = until
            if (spare := patience.spare(spent)) is not None:
                return spare
        # A loader of many that runs may leave this key out, and one that began earlier may be outdated.
        elif entry is not None and judge.may_give(key, entry, since):
            return entry


def _link_for(cache: Cache, key: AnyKey) -> Link | None:
    """Return the way to Redis, if a key's values may go there."""
    return cache.listening() if cache.judge.families.reaches_redis(key.family) else None
