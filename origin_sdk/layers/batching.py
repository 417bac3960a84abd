"""The way to many values at once: memory, one round trip to Redis, one call of the loader."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from origin_sdk.layers.asking import FAILED
from origin_sdk.layers.base import Base
from origin_sdk.layers.core import CachedError, Core, opened
from origin_sdk.layers.families import Key
from origin_sdk.layers.flows import AskMany, Flow, Load, look_surely, store_command
from origin_sdk.layers.link import Link
from origin_sdk.layers.loading import LoadContext
from origin_sdk.layers.memory import Entry
from origin_sdk.layers.policy import State
from origin_sdk.layers.scripts import CLAIM, Command
from origin_sdk.reading import Reads, current_reads

__all__ = ["getting_many"]

_Value = TypeVar("_Value")
_ANSWERS = frozenset({State.FRESH, State.EARLY, State.STALE})
BatchLoader: TypeAlias = Callable[[Sequence[Key[Any]]], Any]
"""Returns a mapping by key, or an awaitable of one: whoever carries out the flow knows."""


def getting_many(
    cache: Base, keys: Iterable[Key[_Value]], loader: BatchLoader
) -> Flow[dict[Key[_Value], _Value]]:
    """Return values by key: from memory, one round trip to Redis, and one call of the loader."""
    core, wanted = cache.core, {key.name: key for key in keys}
    families = {key.family: core.policy(key) for key in {key.family: key for key in wanted.values()}.values()}
    found: dict[str, Entry] = {}
    missing = _recall(core, wanted, found)
    if missing and (link := cache.listening()):
        shared = {family for family in families if core.reaches_redis(family)}
        asked = missing if len(shared) == len(families) else [key for key in missing if key.family in shared]
        entries = yield from look_many(core, link, asked)
        missing = _sift(core, missing, entries, found)
    if missing:
        found |= yield from fill_many(core, missing, loader)
    if (reads := current_reads()) is not None:
        for name, key in wanted.items():
            reads.add(cache, key.family, found[name].groups if name in found else key.groups)
    return {
        key: opened(found[name]) if type(found[name].value) is CachedError else found[name].value
        for name, key in wanted.items()
        if name in found
    }


def _recall(core: Core, wanted: Mapping[str, Key[Any]], found: dict[str, Entry]) -> list[Key[Any]]:
    """Add to ``found`` what is in memory; return the other keys."""
    get, seq, now = core.memory.get, core.moments.seq, core.clock.monotonic()
    missing: list[Key[Any]] = []
    for name, key in wanted.items():
        entry = get(name)
        # What Core.peek says of a fresh value, without a call.
        if entry is not None and (entry.seq != seq or now >= entry.until):
            state, entry = core.peek(key, now)
            if state not in _ANSWERS:
                entry = None
        if entry is None:
            missing.append(key)
        else:
            entry.used = True
            found[name] = entry
    if found:
        core.stats.count_many("memory-hit", [wanted[name] for name in found])
    core.stats.count_many("memory-miss", missing)
    return missing


def _sift(
    core: Core, keys: Sequence[Key[Any]], entries: Mapping[str, Entry], found: dict[str, Entry]
) -> list[Key[Any]]:
    """Add to ``found`` what may be answered with; return the other keys."""
    now = core.clock.monotonic()
    missing: list[Key[Any]] = []
    for key in keys:
        entry = entries.get(key.name)
        if entry is None:
            missing.append(key)
        elif (
            now < entry.until
            or entry.windows.state(entry.fresh_until, now, core.clock.fraction()) in _ANSWERS
        ):
            found[key.name] = entry
        else:
            missing.append(key)
    return missing


def look_many(core: Core, link: Link, keys: Sequence[Key[Any]]) -> Flow[dict[str, Entry]]:
    """Look into Redis for many keys; return entries by name."""
    seq, layout = core.moments.seq, link.layout
    shards = _by_shard(link, keys)
    commands = []
    for shard, some in shards.items():
        prefix = layout.entry_prefixes[shard]
        names = [prefix + key.name for key in some]
        commands.append(Command(None, (*names, layout.generations[shard]), ("MGET",)))
    replies = yield AskMany(commands)
    found: dict[str, Entry] = {}
    unsure: list[Key[Any]] = []
    for (shard, some), reply in zip(shards.items(), replies, strict=True):
        if reply is not FAILED:
            entries, doubtful = core.admit_read(link, shard, some, reply, seq)
            found |= entries
            unsure += doubtful
    if unsure:
        found |= yield from look_surely(core, link, unsure, seq)
    core.stats.count_many("redis-hit", [key for key in keys if key.name in found])
    core.stats.count_many("redis-miss", [key for key in keys if key.name not in found])
    return found


def _by_shard(link: Link, keys: Sequence[Key[Any]]) -> dict[int, Sequence[Key[Any]]]:
    if link.layout.shards == 1:
        return {0: keys}
    shards: dict[int, list[Key[Any]]] = {}
    for key in keys:
        shards.setdefault(link.layout.shard(key.name), []).append(key)
    return dict(shards)


def fill_many(
    core: Core, keys: Sequence[Key[Any]], loader: Callable[[Sequence[Key[Any]]], Mapping[Key[Any], Any]]
) -> Flow[dict[str, Entry]]:
    """Load many keys by one call of the loader; those that it leaves out aren't stored."""
    link = core.link
    births: dict[str, float] = {}
    if link is not None and link.is_up:
        births = yield from _births(core, link, keys)
    seq, began, reads = core.moments.seq, core.clock.monotonic(), Reads()
    values = yield Load(loader, keys, reads)
    seconds = core.clock.monotonic() - began
    entries: dict[str, Entry] = {}
    commands: list[tuple[Key[Any], Command]] = []
    for key in keys:
        if key not in values:
            continue
        birth, context = births.get(key.name, 0.0), LoadContext(key)
        core.take_over(key, context, reads)
        entry, record = core.loaded(key, context, values[key], seq, birth, seconds)
        entries[key.name] = entry
        if record is None:
            continue
        core.memory.put(key.name, entry)
        command = store_command(core, link, key, record, 0) if link and birth else None
        if command:
            commands.append((key, command))
    core.stats.count_many("loaded", [key for key in keys if key.name in entries])
    if commands:
        statuses = yield AskMany([command for _, command in commands])
        for (key, _), status in zip(commands, statuses, strict=True):
            if status == 0:
                core.memory.drop(key.name)
    return entries


def _births(core: Core, link: Link, keys: Sequence[Key[Any]]) -> Flow[dict[str, float]]:
    """Return when the load begins by the clock of each key's shard."""
    layout = link.layout
    by_shard: dict[int, list[Key[Any]]] = {}
    for key in keys:
        if core.reaches_redis(key.family):
            by_shard.setdefault(layout.shard(key.name), []).append(key)
    commands = [Command(CLAIM, layout.keys(shard, "emtglf", ""), (link.sender, 0, "0")) for shard in by_shard]
    if not commands:
        return {}
    replies = yield AskMany(commands)
    return {
        key.name: float(reply[1])
        for (_, some), reply in zip(by_shard.items(), replies, strict=True)
        if reply is not FAILED
        for key in some
    }
