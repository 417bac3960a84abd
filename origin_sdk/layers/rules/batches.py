"""The way to many values at once: memory, one round trip to Redis, one call of the loader."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import TypeVar

from origin_sdk._process.reads import current_reads
from origin_sdk.layers.process.background import BackgroundLoad
from origin_sdk.layers.process.flights import TRIES, Flight
from origin_sdk.layers.process.load_graph import LoadNode, gave_up, waiting_for
from origin_sdk.layers.process.memory import MOST_USES, MemoryEntry
from origin_sdk.layers.rules.claims import Filling
from origin_sdk.layers.rules.judge import SPECIAL, opened
from origin_sdk.layers.rules.loads import BatchLoader, Settle, fill_many
from origin_sdk.layers.rules.lookup import look
from origin_sdk.layers.rules.patience import Patience, has_timeout, seconds_between
from origin_sdk.layers.rules.ports import Cache
from origin_sdk.layers.rules.steps import Flow, FollowAll
from origin_sdk.layers.values.families import AnyKey, Key
from origin_sdk.layers.values.policy import ANSWERS, Freshness, SingleFlight

__all__ = ["get_many_or_load"]

_Value = TypeVar("_Value")
_until_of = attrgetter("until")


@dataclass(slots=True)
class _Call:
    """What a caller wants and has got, by name."""

    cache: Cache
    loader: BatchLoader
    single_flight: SingleFlight | None
    wanted: dict[str, AnyKey]
    since: int
    """The invalidation that it came after."""
    found: dict[str, MemoryEntry] = field(default_factory=dict)
    previous: dict[str, MemoryEntry] = field(default_factory=dict)
    """Too old to answer with, but they may stand in for a load that fails."""
    due: dict[str, Filling] = field(default_factory=dict)
    """Answered with, and to be refreshed behind the caller's back."""
    unanswered: set[AnyKey] = field(default_factory=set)
    """For these Redis had no answer."""

    def filling(self, key: AnyKey, *, is_early: bool = False) -> Filling:
        """Return the load of a key."""
        previous = self.previous.get(key.name)
        filling = Filling(key, previous, is_early=is_early, single_flight=self.single_flight)
        filling.is_alone = key in self.unanswered
        return filling

    def take(self, key: AnyKey, entry: MemoryEntry | None, state: Freshness) -> bool:
        """Take what is stored; say whether it may be answered with."""
        if entry is None:
            return False
        if state is not Freshness.FRESH:
            self.previous[key.name] = entry
        if state not in ANSWERS:
            return False
        if state is not Freshness.FRESH:
            self.due[key.name] = self.filling(key, is_early=state is Freshness.EARLY)
        self.found[key.name] = entry
        return True


async def get_many_or_load(
    cache: Cache,
    keys: Iterable[Key[_Value]],
    loader: BatchLoader,
    single_flight: SingleFlight | None = None,
) -> dict[Key[_Value], _Value]:
    """Return values by key: from memory, one round trip to Redis, and one call of the loader."""
    judge = cache.judge
    call = _Call(cache, loader, single_flight, {key.name: key for key in keys}, judge.moments.seq)
    wanted, found = call.wanted, call.found
    families = {
        key.family: judge.families.policy(key)
        for key in {key.family: key for key in wanted.values()}.values()
    }
    missing = _recall(call)
    if missing and (link := cache.listening()):
        shared = {family for family in families if judge.families.reaches_redis(family)}
        asked = missing if len(shared) == len(families) else [key for key in missing if key.family in shared]
        entries, call.unanswered = await look(judge, link, asked)
        missing = _sift(call, missing, entries)
    if call.due:
        _refresh(call)
    if missing:
        await _load_missing(call, missing)
    if cache.counts_reads and (reads := current_reads()) is not None:
        for name, key in wanted.items():
            entry = found.get(name)
            is_stale = entry is not None and entry.windows.is_soft
            reads.add(cache, key.family, entry.groups if entry else key.groups, is_stale=is_stale)
    return {
        key: opened(entry) if type(entry.value) in SPECIAL else entry.value
        for name, key in wanted.items()
        if (entry := found.get(name)) is not None
    }


def _recall(call: _Call) -> list[AnyKey]:
    """Take what is in memory; return the other keys."""
    judge, found = call.cache.judge, call.found
    get, seq, now = judge.memory.get, judge.moments.seq, judge.clock.monotonic()
    missing = [key for name, key in call.wanted.items() if name not in judge.memory.entries]
    if len(missing) == len(call.wanted):
        judge.stats.count_many("memory-miss", missing)
        return missing
    missing.clear()  # the loader is to be asked in the caller's order
    for name, key in call.wanted.items():
        entry = get(name)
        if entry is None:
            missing.append(key)
        elif entry.seq == seq and now < entry.until:  # what Judge.peek says of a fresh value, without a call
            if entry.used < MOST_USES:
                entry.used += 1
            found[name] = entry
        else:
            state, entry = judge.peek(key, now)
            if not call.take(key, entry, state):
                missing.append(key)
    if found:
        judge.stats.count_many("memory-hit", [call.wanted[name] for name in found])
    judge.stats.count_many("memory-miss", missing)
    return missing


def _sift(call: _Call, keys: Sequence[AnyKey], entries: Mapping[str, MemoryEntry]) -> list[AnyKey]:
    """Take what was found in Redis; return the other keys."""
    clock, found = call.cache.judge.clock, call.found
    now = clock.monotonic()
    if len(entries) == len(keys) and now < min(map(_until_of, entries.values())):
        found.update(entries)
        return []
    missing: list[AnyKey] = []
    for key in keys:
        entry = entries.get(key.name)
        if entry is None:
            missing.append(key)
        elif now < entry.until:
            found[key.name] = entry
        elif not call.take(key, entry, entry.windows.state(entry.fresh_until, now, clock.fraction())):
            missing.append(key)
    return missing


def _refresh(call: _Call) -> None:
    """Load behind the caller's back what is due and isn't being loaded."""
    cache, judge = call.cache, call.cache.judge
    for each in call.due.values():
        if not each.is_early:
            judge.served_stale(each.key, call.found[each.key.name])
    node = _node(cache, call.due)
    futures = cache.background.reserve((each.key for each in call.due.values()), node)
    if not futures:
        return

    def settle(
        key: AnyKey,
        entry: MemoryEntry | None = None,
        error: BaseException | None = None,
        *,
        is_absent: bool = False,  # noqa: ARG001 - nothing is delivered, then
    ) -> None:
        cache.background.deliver(key, futures[key.name], entry, error)

    due = {name: call.due[name] for name in futures}
    try:
        flow = fill_many(judge, call.loader, due, settle, node)
        _run_elsewhere(cache, flow, due, settle, lambda name: futures[name].done())
    except BaseException:
        for name, each in due.items():
            cache.background.deliver(each.key, futures[name], None, None)
        raise
    for is_early, event in ((True, "early-refresh"), (False, "stale-refresh")):
        judge.stats.count_many(event, [each.key for each in due.values() if each.is_early is is_early])


def _node(cache: Cache, names: Iterable[str]) -> LoadNode:
    """Return what a load of many stands for."""
    return LoadNode(", ".join(names), cache.flights)


async def _load_missing(call: _Call, missing: Sequence[AnyKey]) -> None:
    """Load what nobody loads, and wait for who loads the rest."""
    judge, flights = call.cache.judge, call.cache.flights
    fillings = {key.name: call.filling(key) for key in missing}
    for tries in range(TRIES + 1):
        led, followed = flights.join_all(each.key for each in fillings.values())
        if tries == TRIES:
            # Invalidated again and again while others loaded: loads of one's own are new enough.
            led |= {name: flights.new_flight(fillings[name].key) for name in followed}
            followed = {}
        judge.stats.count_many("waited", [fillings[name].key for name in followed])
        try:
            await _lead(call, {name: fillings[name] for name in led}, led, joins=tries < TRIES)
        except BaseException:
            for name in led:
                flights.finish(fillings[name].key, led[name])
            raise
        fillings = await _land(call, fillings, {**led, **followed})
        if not fillings:
            return


async def _lead(
    call: _Call, fillings: dict[str, Filling], flights: Mapping[str, Flight], *, joins: bool
) -> None:
    """Load, here or in the background, and end the flights; with ``joins``, also by loads that run."""
    cache, judge = call.cache, call.cache.judge
    for name, each in list(fillings.items()):
        if (entry := judge.fresh_in_memory(each.key)) is not None:
            cache.flights.finish(each.key, flights[name], entry)  # someone's load ended just now
        elif joins and (running := cache.background.of(each.key)) is not None:
            cache.background.wait_for(running, flights[name].node)
            running.add_done_callback(partial(_ended, cache, each.key, flights[name]))
        else:
            continue
        del fillings[name]
    if not fillings:
        return

    def settle(
        key: AnyKey,
        entry: MemoryEntry | None = None,
        error: BaseException | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        cache.flights.finish(key, flights[key.name], entry, error, is_absent=is_absent)

    node = _node(cache, fillings)
    for name in fillings:
        waiting_for(node, flights[name].node)
    flow = fill_many(judge, call.loader, fillings, settle, node)
    if cache.loads_inline and not any(
        has_timeout(judge.families.policy(each.key)) for each in fillings.values()
    ):
        await flow
    else:
        _run_elsewhere(cache, flow, fillings, settle, lambda name: flights[name].is_done)


def _run_elsewhere(
    cache: Cache,
    flow: Flow[None],
    fillings: Mapping[str, Filling],
    settle: Settle,
    is_settled: Callable[[str], bool],
) -> None:
    """Load in the background, and settle each key whatever becomes of that."""
    keys = [each.key for each in fillings.values()]

    def end(_: object) -> None:  # a task that is cancelled before it begins has settled none
        for key in keys:
            if not is_settled(key.name):
                settle(key)

    cache.background.run(flow).add_done_callback(end)


def _ended(cache: Cache, key: AnyKey, flight: Flight, future: BackgroundLoad) -> None:
    """End a flight as a load in the background ended."""
    error = None if future.cancelled() else future.exception()
    entry = None if error or future.cancelled() else future.result()
    cache.flights.finish(key, flight, entry, error)


async def _land(
    call: _Call, fillings: dict[str, Filling], flights: Mapping[str, Flight]
) -> dict[str, Filling]:
    """Wait, take what was loaded, and return what has to be tried again."""
    judge = call.cache.judge
    await _wait(call, fillings, flights)
    again: dict[str, Filling] = {}
    for name, filling in fillings.items():
        flight = flights[name]
        if name in call.found:
            continue
        if flight.error is not None:
            raise flight.error
        entry = flight.entry
        if entry is not None and judge.may_give(filling.key, entry, call.since):
            call.found[name] = entry
        elif not flight.is_absent:
            again[name] = filling
    return again


async def _wait(call: _Call, fillings: Mapping[str, Filling], flights: Mapping[str, Flight]) -> None:
    """Wait for the ends of flights, as long as the policies say; older values stand in for what is late."""
    judge, spent = call.cache.judge, 0.0
    waits = {name: Patience(judge, each) for name, each in fillings.items()}
    try:
        while late := {
            name: each for name, each in flights.items() if not each.is_done and name not in call.found
        }:
            until = min(waits[name].until(spent) for name in late)
            if await FollowAll([*late.values()], seconds_between(spent, until)):
                return
            spent = until
            for name, flight in late.items():
                if not flight.is_done and (spare := waits[name].spare(spent)) is not None:
                    call.found[name] = spare
    finally:
        for flight in flights.values():
            if not flight.is_done:
                gave_up(flight.node)
