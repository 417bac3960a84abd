"""The way to many values at once: memory, one round trip to Redis, one call of the loader."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from origin_sdk.layers.base import Base
from origin_sdk.layers.batch_loads import BatchLoader, fill_many
from origin_sdk.layers.circles import LoadNode, waiting_for
from origin_sdk.layers.core import SPECIAL, Core, opened
from origin_sdk.layers.families import Key
from origin_sdk.layers.flights import TRIES, Flight
from origin_sdk.layers.flows import AskMany, Filling, Flow, FollowAll, by_shard, look_surely
from origin_sdk.layers.link import Link
from origin_sdk.layers.memory import MOST_USES, Entry
from origin_sdk.layers.obtaining import too_long
from origin_sdk.layers.policy import ANSWERS, SingleFlight, State
from origin_sdk.layers.replies import FAILED
from origin_sdk.layers.scripts import Command
from origin_sdk.reading import current_reads

__all__ = ["getting_many"]

_Value = TypeVar("_Value")
_until_of = attrgetter("until")


@dataclass(slots=True)
class _Call:
    """What a caller wants and has got, by name."""

    cache: Base
    loader: BatchLoader
    single_flight: SingleFlight | None
    wanted: dict[str, Key[Any]]
    since: int
    """The invalidation that it came after."""
    found: dict[str, Entry] = field(default_factory=dict)
    previous: dict[str, Entry] = field(default_factory=dict)
    """Too old to answer with, but they may stand in for a load that fails."""
    due: dict[str, Filling] = field(default_factory=dict)
    """Answered with, and to be refreshed behind the caller's back."""
    unanswered: set[str] = field(default_factory=set)
    """For these Redis had no answer."""

    def filling(self, key: Key[Any], *, is_early: bool = False) -> Filling:
        """Return the load of a key."""
        previous = self.previous.get(key.name)
        filling = Filling(key, self.loader, previous, is_early=is_early, single_flight=self.single_flight)
        filling.is_alone = key.name in self.unanswered
        return filling

    def take(self, key: Key[Any], entry: Entry | None, state: State) -> bool:
        """Take what is stored; say whether it may be answered with."""
        if entry is None:
            return False
        if state is not State.FRESH:
            self.previous[key.name] = entry
        if state not in ANSWERS:
            return False
        if state is not State.FRESH:
            self.due[key.name] = self.filling(key, is_early=state is State.EARLY)
        self.found[key.name] = entry
        return True


def getting_many(
    cache: Base, keys: Iterable[Key[_Value]], loader: BatchLoader, single_flight: SingleFlight | None = None
) -> Flow[dict[Key[_Value], _Value]]:
    """Return values by key: from memory, one round trip to Redis, and one call of the loader."""
    core = cache.core
    call = _Call(cache, loader, single_flight, {key.name: key for key in keys}, core.moments.seq)
    wanted, found = call.wanted, call.found
    families = {key.family: core.policy(key) for key in {key.family: key for key in wanted.values()}.values()}
    missing = _recall(call)
    if missing and (link := cache.listening()):
        shared = {family for family in families if core.reaches_redis(family)}
        asked = missing if len(shared) == len(families) else [key for key in missing if key.family in shared]
        entries, call.unanswered = yield from look_many(core, link, asked)
        missing = _sift(call, missing, entries)
    if call.due:
        _refresh(call)
    if missing:
        yield from _load_missing(call, missing)
    if (reads := current_reads()) is not None:
        for name, key in wanted.items():
            reads.add(cache, key.family, found[name].groups if name in found else key.groups)
    return {
        key: opened(entry) if type(entry.value) in SPECIAL else entry.value
        for name, key in wanted.items()
        if (entry := found.get(name)) is not None
    }


def _recall(call: _Call) -> list[Key[Any]]:
    """Take what is in memory; return the other keys."""
    core, found = call.cache.core, call.found
    get, seq, now = core.memory.get, core.moments.seq, core.clock.monotonic()
    missing = [key for name, key in call.wanted.items() if name not in core.memory.entries]
    if len(missing) == len(call.wanted):
        return missing
    missing.clear()  # the loader is to be asked in the caller's order
    for name, key in call.wanted.items():
        entry = get(name)
        if entry is None:
            missing.append(key)
        elif entry.seq == seq and now < entry.until:  # what Core.peek says of a fresh value, without a call
            if entry.used < MOST_USES:
                entry.used += 1
            found[name] = entry
        else:
            state, entry = core.peek(key, now)
            if not call.take(key, entry, state):
                missing.append(key)
    if found:
        core.stats.count_many("memory-hit", [call.wanted[name] for name in found])
    core.stats.count_many("memory-miss", missing)
    return missing


def _sift(call: _Call, keys: Sequence[Key[Any]], entries: Mapping[str, Entry]) -> list[Key[Any]]:
    """Take what was found in Redis; return the other keys."""
    clock, found = call.cache.core.clock, call.found
    now = clock.monotonic()
    if len(entries) == len(keys) and now < min(map(_until_of, entries.values())):
        found.update(entries)
        return []
    missing: list[Key[Any]] = []
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
    cache, core = call.cache, call.cache.core
    now = core.clock.monotonic()
    for each in call.due.values():
        if not each.is_early:
            core.stats.count("stale-served", each.key.family.name, each.key.name)
            core.stats.observe("stale-age", now - call.found[each.key.name].fresh_until, each.key.family.name)
    node = _node(cache, call.due)
    futures = cache.reserve((each.key for each in call.due.values()), node)
    if not futures:
        return

    def settle(
        key: Key[Any],
        entry: Entry | None = None,
        error: BaseException | None = None,
        *,
        is_absent: bool = False,  # noqa: ARG001 - nothing is delivered, then
    ) -> None:
        cache.deliver(key, futures[key.name], entry, error)

    due = {name: call.due[name] for name in futures}
    try:
        cache.start_flow(fill_many(core, call.loader, due, settle, node))
    except BaseException:
        for name, each in due.items():
            cache.deliver(each.key, futures[name], None, None)
        raise
    for is_early, event in ((True, "early-refresh"), (False, "stale-refresh")):
        core.stats.count_many(event, [each.key for each in due.values() if each.is_early is is_early])


def _node(cache: Base, names: Iterable[str]) -> LoadNode:
    """Return what a load of many stands for."""
    return LoadNode(", ".join(names), cache.flights)


def _load_missing(call: _Call, missing: Sequence[Key[Any]]) -> Flow[None]:
    """Load what nobody loads, and wait for who loads the rest."""
    core, flights = call.cache.core, call.cache.flights
    fillings = {key.name: call.filling(key) for key in missing}
    for tries in range(TRIES + 1):
        led, followed = flights.join_all(each.key for each in fillings.values())
        if tries == TRIES:
            # Invalidated again and again while others loaded: loads of one's own are new enough.
            led |= {name: flights.new_flight(fillings[name].key) for name in followed}
            followed = {}
        core.stats.count_many("waited", [fillings[name].key for name in followed])
        try:
            yield from _lead(call, {name: fillings[name] for name in led}, led, joins=tries < TRIES)
        except BaseException:
            for name in led:
                flights.finish(fillings[name].key, led[name])
            raise
        fillings = yield from _land(call, fillings, {**led, **followed})
        if not fillings:
            return


def _lead(
    call: _Call, fillings: dict[str, Filling], flights: Mapping[str, Flight], *, joins: bool
) -> Flow[None]:
    """Load, here or in the background, and end the flights; with ``joins``, also by loads that run."""
    cache, core = call.cache, call.cache.core
    for name, each in list(fillings.items()):
        if (entry := core.fresh_in_memory(each.key)) is not None:
            cache.flights.finish(each.key, flights[name], entry)  # someone's load ended just now
        elif joins and (running := cache.running_load(each.key)) is not None:
            cache.await_running(running, flights[name].node)
            running.add_done_callback(partial(_ended, cache, each.key, flights[name]))
        else:
            continue
        del fillings[name]
    if not fillings:
        return

    def settle(
        key: Key[Any],
        entry: Entry | None = None,
        error: BaseException | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        cache.flights.finish(key, flights[key.name], entry, error, is_absent=is_absent)

    node = _node(cache, fillings)
    for name in fillings:
        waiting_for(node, flights[name].node)
    flow = fill_many(core, call.loader, fillings, settle, node)
    policies = [core.policy(each.key) for each in fillings.values()]
    has_timeout = any(each.soft_timeout is not None or each.hard_timeout is not None for each in policies)
    if cache.loads_inline and not has_timeout:
        yield from flow
    else:
        cache.start_flow(flow)


def _ended(cache: Base, key: Key[Any], flight: Flight, future: Any) -> None:
    """End a flight as a load in the background ended."""
    error = None if future.cancelled() else future.exception()
    entry = None if error or future.cancelled() else future.result()
    cache.flights.finish(key, flight, entry, error)


def _land(
    call: _Call, fillings: dict[str, Filling], flights: Mapping[str, Flight]
) -> Flow[dict[str, Filling]]:
    """Wait, take what was loaded, and return what has to be tried again."""
    core = call.cache.core
    yield from _wait(call, fillings, flights)
    again: dict[str, Filling] = {}
    for name, filling in fillings.items():
        flight = flights[name]
        if name in call.found:
            continue
        if flight.error is not None:
            raise flight.error
        entry = flight.entry
        if entry is not None and core.may_give(filling.key, entry, call.since):
            call.found[name] = entry
        elif not flight.is_absent:
            again[name] = filling
    return again


def _wait(call: _Call, fillings: Mapping[str, Filling], flights: Mapping[str, Flight]) -> Flow[None]:
    """Wait for the ends of flights, as long as the policies say; older values stand in for what is late."""
    core = call.cache.core
    policies = [core.policy(each.key) for each in fillings.values()]
    soft = min((each.soft_timeout for each in policies if each.soft_timeout is not None), default=None)
    hard = min((each.hard_timeout for each in policies if each.hard_timeout is not None), default=None)
    has_spare = any(each.previous is not None for each in fillings.values())
    waits = [soft, hard] if soft is not None and has_spare and (hard is None or soft < hard) else [hard]
    spent = 0.0
    for seconds in waits:
        late = {name: each for name, each in flights.items() if not each.is_done and name not in call.found}
        left = None if seconds is None else seconds - spent
        if not late or (yield FollowAll([*late.values()], left)):
            return
        spent = seconds or 0.0
        for name in [name for name in late if not flights[name].is_done]:
            filling = fillings[name]
            spare = core.spare(filling.key, filling.previous, core.clock.monotonic())
            if spare is not None:
                core.stats.count("soft-timeout", filling.key.family.name, name)
                call.found[name] = spare
            elif seconds == hard:
                raise too_long(filling.key, core.policy(filling.key))


def look_many(core: Core, link: Link, keys: Sequence[Key[Any]]) -> Flow[tuple[dict[str, Entry], set[str]]]:
    """Look into Redis for many keys; return entries by name, and the names for which it had no answer."""
    seq, layout = core.moments.seq, link.layout
    shards, known = by_shard(link, keys), link.generations.copy()
    commands = []
    for shard, some in shards.items():
        prefix = layout.entry_prefixes[shard]
        names = [prefix + key.name for key in some]
        commands.append(Command(None, (*names, layout.generations[shard]), ("MGET",)))
    replies = yield AskMany(commands)
    found: dict[str, Entry] = {}
    unsure: list[Key[Any]] = []
    unanswered: set[str] = set()
    for (shard, some), reply in zip(shards.items(), replies, strict=True):
        if reply is FAILED:
            unanswered.update(key.name for key in some)
        else:
            entries, doubtful = core.admit_read(link, shard, some, reply, seq, known[shard])
            found |= entries
            unsure += doubtful
    if unsure:
        judged, lost = yield from look_surely(core, link, unsure, seq)
        found |= judged
        unanswered |= lost
    if len(found) == len(keys):
        core.stats.count_many("redis-hit", keys)
    else:
        core.stats.count_many("redis-hit", [key for key in keys if key.name in found])
        core.stats.count_many("redis-miss", [key for key in keys if key.name not in found])
    return found, unanswered
