"""The way to a value: memory, others who load it, Redis, the loader. Without input or output, as flows.py."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

from origin_sdk.layers.base import Base, Invalidation
from origin_sdk.layers.circles import LoadNode, ended, gave_up, waiting_for
from origin_sdk.layers.core import checked_groups, opened
from origin_sdk.layers.envelope import Record
from origin_sdk.layers.errors import LoadTimeout
from origin_sdk.layers.families import Key, as_texts
from origin_sdk.layers.flights import TRIES, Flight
from origin_sdk.layers.flows import (
    PENDING,
    Await,
    Filling,
    Flow,
    Follow,
    Purge,
    fill,
    invalidate,
    look,
    put,
)
from origin_sdk.layers.memory import Entry
from origin_sdk.layers.policy import ANSWERS, Policy, SingleFlight, State
from origin_sdk.layers.replies import Failed
from origin_sdk.reading import current_reads

__all__ = ["deleting", "getting", "invalidating", "obtaining", "refreshing", "setting"]

_Value = TypeVar("_Value")
Loader: TypeAlias = Callable[[Any], Any]


def getting(cache: Base, key: Key[Any], default: _Value | None) -> Flow[_Value | None]:
    """Return what may be answered with, else ``default``."""
    cache.core.know(key.family)
    state, entry = cache.core.peek(key, cache.core.clock.monotonic())
    is_hit = state in ANSWERS
    cache.core.stats.count("memory-hit" if is_hit else "memory-miss", key.family.name, key.name)
    if not is_hit:
        found = yield from _looking(cache, key)
        entry = found if isinstance(found, Entry) else None
        if entry is not None and _state(cache, entry) not in ANSWERS:
            entry = None
    _note(cache, key, entry)
    return default if entry is None else opened(entry)


def _note(cache: Base, key: Key[Any], entry: Entry | None) -> None:
    """Note what was read, also that nothing is there, where something is being made of it."""
    if cache.counts_reads and (reads := current_reads()) is not None:
        reads.add(cache, key.family, key.groups if entry is None else entry.written_groups)


def obtaining(
    cache: Base, key: Key[_Value], loader: Loader, single_flight: SingleFlight | None = None
) -> Flow[_Value]:
    """Return what may be answered with, else what the loader returns."""
    entry = yield from _entry(cache, key, loader, single_flight)
    _note(cache, key, entry)
    value: _Value = opened(entry)
    return value


def _entry(cache: Base, key: Key[Any], loader: Loader, single_flight: SingleFlight | None) -> Flow[Entry]:
    core = cache.core
    policy = core.policy(key)
    entry: Entry | None = None
    since = core.moments.seq
    for _ in range(TRIES):
        began = core.clock.monotonic()
        state, entry = core.peek(key, began)
        if entry is not None and state in ANSWERS:
            core.stats.count("memory-hit", key.family.name, key.name)
            return _answer(cache, Filling(key, loader, entry, single_flight=single_flight), entry, state)
        core.stats.count("memory-miss", key.family.name, key.name)
        flight, leads, is_done = yield Follow(key, policy.hard_timeout)
        if leads:
            filling = Filling(key, loader, entry, single_flight=single_flight, node=flight.node)
            return (yield from _leading(cache, flight, filling, policy, since))
        core.stats.count("waited", key.family.name, key.name)
        core.stats.observe("wait-seconds", core.clock.monotonic() - began, key.family.name)
        if not is_done:
            gave_up(flight.node)
            raise too_long(key, policy)
        if flight.error is not None:
            raise flight.error
        if flight.entry is not None and core.may_give(key, flight.entry, since):
            return flight.entry  # type: ignore[no-any-return]  # a step's answer has no type
    # Invalidated again and again while others loaded: a load of one's own is new enough.
    return (yield from _alone(cache, Filling(key, loader, entry, single_flight=single_flight)))


def _alone(cache: Base, filling: Filling) -> Flow[Entry]:
    """Load, whoever else does."""
    filling.node = LoadNode(filling.key.name, cache.flights)
    waiting_for(filling.node)
    try:
        return (yield from fill(cache.core, filling))
    finally:
        ended(filling.node)


def _answer(cache: Base, filling: Filling, entry: Entry, state: State) -> Entry:
    """Answer with a stored value, and refresh it behind the caller's back if it is time."""
    key, stats = filling.key, cache.core.stats
    if state is State.FRESH:
        return entry
    if state is State.STALE:
        stats.count("stale-served", key.family.name, key.name)
        stats.observe("stale-age", cache.core.clock.monotonic() - entry.fresh_until, key.family.name)
    filling.previous, filling.is_early = entry, state is State.EARLY
    if cache.start(filling, may_skip=True):
        stats.count("early-refresh" if filling.is_early else "stale-refresh", key.family.name, key.name)
    return entry


def _leading(cache: Base, flight: Flight, filling: Filling, policy: Policy, since: int) -> Flow[Entry]:
    try:
        entry = yield from _resolving(cache, filling, policy, since)
    except BaseException as error:
        cache.flights.finish(filling.key, flight, None, error)
        raise
    cache.flights.finish(filling.key, flight, entry, None)
    return entry


def _resolving(cache: Base, filling: Filling, policy: Policy, since: int) -> Flow[Entry]:
    """Find the value in Redis, or load it."""
    found = yield from _looking(cache, filling.key)
    if isinstance(found, Failed):
        filling.is_alone, found = True, None
    if found is not None:
        if (state := _state(cache, found)) in ANSWERS:
            return _answer(cache, filling, found, state)
        filling.previous = found
    if found is None and (found := cache.core.fresh_in_memory(filling.key)) is not None:
        return found  # someone's load ended just now
    has_timeout = policy.soft_timeout is not None or policy.hard_timeout is not None
    if cache.loads_inline and not has_timeout and filling.key.name not in cache.running:
        return (yield from fill(cache.core, filling))
    return (yield from _awaiting(cache, filling, policy, since))


def _awaiting(cache: Base, filling: Filling, policy: Policy, since: int) -> Flow[Entry]:
    """Load in the background, and wait as long as the policy says; the load goes on anyway."""
    core, key, previous = cache.core, filling.key, filling.previous
    soft, hard = policy.soft_timeout, policy.hard_timeout
    has_spare = previous is not None and _state(cache, previous) is not State.GONE
    seconds = soft if soft is not None and has_spare and (hard is None or soft < hard) else hard
    entry = None
    # A loader of many that runs may leave this key out, and one that began earlier may be outdated.
    while entry is None or (entry is not PENDING and not core.may_give(key, entry, since)):
        future = cache.start(filling)
        cache.await_running(future, filling.node)
        entry = yield Await(future, seconds)
    if entry is not PENDING:
        return entry  # type: ignore[no-any-return]  # see above
    spare = core.spare(key, previous, core.clock.monotonic())
    if spare is None:
        raise too_long(key, policy)
    core.stats.count("soft-timeout", key.family.name, key.name)
    return spare


def _state(cache: Base, entry: Entry) -> State:
    now = cache.core.clock.monotonic()
    if now < entry.until:
        return State.FRESH
    return entry.windows.state(entry.fresh_until, now, cache.core.clock.fraction())


def _looking(cache: Base, key: Key[Any]) -> Flow[Entry | Failed | None]:
    if not cache.core.reaches_redis(key.family) or (link := cache.listening()) is None:
        return None
    return (yield from look(cache.core, link, key))


def too_long(key: Key[Any], policy: Policy) -> LoadTimeout:
    """Return the error of a load that is waited for no longer."""
    return LoadTimeout(
        f"{key}: the loader takes longer than {policy.hard_timeout} s; its result will be kept"
    )


def setting(
    cache: Base, key: Key[Any], value: object, lifetime: float | None, groups: Iterable[str]
) -> Flow[None]:
    """Write a value through all layers."""
    policy, fraction = cache.core.policy(key), cache.core.clock.fraction()
    seconds = policy.lifetime_of(value, lifetime, fraction)
    all_groups = cache.core.usable_groups(key, as_texts(groups))
    cache.listening()
    record = Record(value, 0.0, seconds, policy.stale, policy.fail_safe, 0.0, all_groups)
    yield from put(cache.core, key, record)


def deleting(cache: Base, key: Key[Any]) -> Flow[None]:
    """Forget a value in all layers."""
    cache.listening()
    yield from put(cache.core, key, None)


def invalidating(
    cache: Base, groups: Iterable[str], urls: Iterable[str], *, at_edge: bool = True
) -> Flow[Invalidation]:
    """Invalidate groups in all layers.

    The edge comes last: it asks the service at once, which must not answer with what is invalid.
    """
    cache.listening()
    names = checked_groups(as_texts(groups))
    noted = yield from invalidate(cache.core, names)
    try:
        edge = (yield Purge(list(names), list(as_texts(urls)))) if at_edge else None
    except Exception as error:
        cache.core.audit.note("invalidate", type(error).__name__, groups=list(names))
        raise
    cache.core.audit.note("invalidate", "done" if noted.in_redis else "owed", groups=list(names))
    return Invalidation(names, noted.in_redis, edge, noted.in_replicas)


def refreshing(
    cache: Base, key: Key[_Value], loader: Loader, single_flight: SingleFlight | None = None
) -> Flow[_Value]:
    """Load now, whatever is stored."""
    cache.listening()
    cache.core.policy(key)
    _, previous = cache.core.peek(key, cache.core.clock.monotonic())
    filling = Filling(key, loader, previous, is_forced=True, single_flight=single_flight)
    entry = yield from _alone(cache, filling)
    _note(cache, key, entry)
    value: _Value = opened(entry)
    return value
