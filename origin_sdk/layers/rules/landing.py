"""What becomes of what a loader returned: an entry of memory, a record for Redis, and if they may stay.

It is stored in Redis first, which judges by the birth, and in memory only if Redis doesn't know it to be
outdated. A lock is given back whatever happens.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from origin_sdk._process.reads import Reads
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
    give_back,
)
from origin_sdk.layers.rules.entries import loaded, take_over, wrap
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.rules.load_context import AnyContext, NotModified
from origin_sdk.layers.rules.steps import AskMany
from origin_sdk.layers.values.families import AnyKey
from origin_sdk.layers.values.sizes import weight

__all__ = ["Landed", "Landing", "landed", "remember", "tell"]

_MOST_STORES = 500
_MOST_BYTES = 4 << 20
"""In one script: Redis serves nobody else meanwhile."""
_STATUS = {"d": "done", "o": "outdated", "s": "superseded", "": "failed"}
"""What STORE replies for a key; nothing where it had no answer."""


@dataclass(slots=True)
class Landing:
    """A load that was begun: newer than the invalidation ``seq``."""

    seq: int
    began: float
    contexts: dict[str, AnyContext]
    reads: Reads

    def seconds_by(self, now: float) -> float:
        """Return how long it has taken."""
        return now - self.began


@dataclass(slots=True)
class Landed:
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


def landed(
    judge: Judge,
    link: Link | None,
    filling: Filling,
    value: object,
    claim: LoadClaim,
    landing: Landing,
    seconds: float,
) -> Landed:
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
    return Landed(key, entry, record is not None, store)


def _known_of(
    judge: Judge, groups: Sequence[str], claim: LoadClaim, landing: Landing
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


async def tell(
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


def remember(judge: Judge, made: Iterable[Landed], statuses: Mapping[str, str]) -> None:
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
