"""The way to a value: memory, others who load it, Redis, the loader."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from origin_sdk._process.reads import current_reads
from origin_sdk.layers.base_cache import BaseCache
from origin_sdk.layers.errors import LoadTimeout
from origin_sdk.layers.process.flights import TRIES, Flight
from origin_sdk.layers.process.load_graph import LoadNode, ended, gave_up, waiting_for
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.replies import Failed
from origin_sdk.layers.rules.claims import Filling
from origin_sdk.layers.rules.judge import opened
from origin_sdk.layers.rules.loads import fill
from origin_sdk.layers.rules.lookup import look
from origin_sdk.layers.rules.steps import PENDING, Await, Flow, Follow
from origin_sdk.layers.values.families import Key
from origin_sdk.layers.values.policy import ANSWERS, Freshness, Policy, SingleFlight

__all__ = ["too_long"]

_Value = TypeVar("_Value")
Loader: TypeAlias = Callable[[Any], Any]


def get(cache: BaseCache, key: Key[Any], default: _Value | None) -> Flow[_Value | None]:
    """Return what may be answered with, else ``default``."""
    cache.judge.know(key.family)
    state, entry = cache.judge.peek(key, cache.judge.clock.monotonic())
    is_hit = state in ANSWERS
    cache.judge.stats.count("memory-hit" if is_hit else "memory-miss", key.family.name, key.name)
    if not is_hit:
        found = yield from _looking(cache, key)
        entry = found if isinstance(found, MemoryEntry) else None
        if entry is not None and _state(cache, entry) not in ANSWERS:
            entry = None
    _note(cache, key, entry)
    return default if entry is None else opened(entry)


def _note(cache: BaseCache, key: Key[Any], entry: MemoryEntry | None) -> None:
    """Note what was read, also that nothing is there, where something is being made of it."""
    if cache.counts_reads and (reads := current_reads()) is not None:
        reads.add(cache, key.family, key.groups if entry is None else entry.written_groups)


def get_or_load(
    cache: BaseCache, key: Key[_Value], loader: Loader, single_flight: SingleFlight | None = None
) -> Flow[_Value]:
    """Return what may be answered with, else what the loader returns."""
    entry = yield from _entry(cache, key, loader, single_flight)
    _note(cache, key, entry)
    value: _Value = opened(entry)
    return value


def _entry(
    cache: BaseCache, key: Key[Any], loader: Loader, single_flight: SingleFlight | None
) -> Flow[MemoryEntry]:
    judge = cache.judge
    policy = judge.policy(key)
    entry: MemoryEntry | None = None
    since = judge.moments.seq
    for _ in range(TRIES):
        began = judge.clock.monotonic()
        state, entry = judge.peek(key, began)
        if entry is not None and state in ANSWERS:
            judge.stats.count("memory-hit", key.family.name, key.name)
            return _answer(cache, Filling(key, loader, entry, single_flight=single_flight), entry, state)
        judge.stats.count("memory-miss", key.family.name, key.name)
        flight, leads, is_done = yield Follow(key, policy.hard_timeout)
        if leads:
            filling = Filling(key, loader, entry, single_flight=single_flight, node=flight.node)
            return (yield from _leading(cache, flight, filling, policy, since))
        judge.stats.count("waited", key.family.name, key.name)
        judge.stats.observe("wait-seconds", judge.clock.monotonic() - began, key.family.name)
        if not is_done:
            gave_up(flight.node)
            raise too_long(key, policy)
        if flight.error is not None:
            raise flight.error
        if flight.entry is not None and judge.may_give(key, flight.entry, since):
            return flight.entry  # type: ignore[no-any-return]  # a step's answer has no type
    # Invalidated again and again while others loaded: a load of one's own is new enough.
    return (yield from _alone(cache, Filling(key, loader, entry, single_flight=single_flight)))


def _alone(cache: BaseCache, filling: Filling) -> Flow[MemoryEntry]:
    """Load, whoever else does."""
    filling.node = LoadNode(filling.key.name, cache.flights)
    waiting_for(filling.node)
    try:
        return (yield from fill(cache.judge, filling))
    finally:
        ended(filling.node)


def _answer(cache: BaseCache, filling: Filling, entry: MemoryEntry, state: Freshness) -> MemoryEntry:
    """Answer with a stored value, and refresh it behind the caller's back if it is time."""
    key, stats = filling.key, cache.judge.stats
    if state is Freshness.FRESH:
        return entry
    if state is Freshness.STALE:
        stats.count("stale-served", key.family.name, key.name)
        stats.observe("stale-age", cache.judge.clock.monotonic() - entry.fresh_until, key.family.name)
    filling.previous, filling.is_early = entry, state is Freshness.EARLY
    if cache.start(filling, may_skip=True):
        stats.count("early-refresh" if filling.is_early else "stale-refresh", key.family.name, key.name)
    return entry


def _leading(
    cache: BaseCache, flight: Flight, filling: Filling, policy: Policy, since: int
) -> Flow[MemoryEntry]:
    try:
        entry = yield from _resolving(cache, filling, policy, since)
    except BaseException as error:
        cache.flights.finish(filling.key, flight, None, error)
        raise
    cache.flights.finish(filling.key, flight, entry, None)
    return entry


def _resolving(cache: BaseCache, filling: Filling, policy: Policy, since: int) -> Flow[MemoryEntry]:
    """Find the value in Redis, or load it."""
    found = yield from _looking(cache, filling.key)
    if isinstance(found, Failed):
        filling.is_alone, found = True, None
    if found is not None:
        if (state := _state(cache, found)) in ANSWERS:
            return _answer(cache, filling, found, state)
        filling.previous = found
    if found is None and (found := cache.judge.fresh_in_memory(filling.key)) is not None:
        return found  # someone's load ended just now
    has_timeout = policy.soft_timeout is not None or policy.hard_timeout is not None
    if cache.loads_inline and not has_timeout and filling.key.name not in cache.running:
        return (yield from fill(cache.judge, filling))
    return (yield from _awaiting(cache, filling, policy, since))


def _awaiting(cache: BaseCache, filling: Filling, policy: Policy, since: int) -> Flow[MemoryEntry]:
    """Load in the background, and wait as long as the policy says; the load goes on anyway."""
    judge, key, previous = cache.judge, filling.key, filling.previous
    soft, hard = policy.soft_timeout, policy.hard_timeout
    has_spare = previous is not None and _state(cache, previous) is not Freshness.GONE
    seconds = soft if soft is not None and has_spare and (hard is None or soft < hard) else hard
    entry = None
    # A loader of many that runs may leave this key out, and one that began earlier may be outdated.
    while entry is None or (entry is not PENDING and not judge.may_give(key, entry, since)):
        future = cache.start(filling)
        cache.await_running(future, filling.node)
        entry = yield Await(future, seconds)
    if entry is not PENDING:
        return entry  # type: ignore[no-any-return]  # see above
    spare = judge.spare(key, previous, judge.clock.monotonic())
    if spare is None:
        raise too_long(key, policy)
    judge.stats.count("soft-timeout", key.family.name, key.name)
    return spare


def _state(cache: BaseCache, entry: MemoryEntry) -> Freshness:
    now = cache.judge.clock.monotonic()
    if now < entry.until:
        return Freshness.FRESH
    return entry.windows.state(entry.fresh_until, now, cache.judge.clock.fraction())


def _looking(cache: BaseCache, key: Key[Any]) -> Flow[MemoryEntry | Failed | None]:
    if not cache.judge.reaches_redis(key.family) or (link := cache.listening()) is None:
        return None
    return (yield from look(cache.judge, link, key))


def too_long(key: Key[Any], policy: Policy) -> LoadTimeout:
    """Return the error of a load that is waited for no longer."""
    return LoadTimeout(
        f"{key}: the loader takes longer than {policy.hard_timeout} s; its result will be kept"
    )


def refresh(
    cache: BaseCache, key: Key[_Value], loader: Loader, single_flight: SingleFlight | None = None
) -> Flow[_Value]:
    """Load now, whatever is stored."""
    cache.listening()
    cache.judge.policy(key)
    _, previous = cache.judge.peek(key, cache.judge.clock.monotonic())
    filling = Filling(key, loader, previous, is_forced=True, single_flight=single_flight)
    entry = yield from _alone(cache, filling)
    _note(cache, key, entry)
    value: _Value = opened(entry)
    return value
