"""The rules of the cache, without input or output: each flow yields a step and is sent what came of it.

:mod:`origin_sdk.layers.cache` carries the steps out in threads, :mod:`origin_sdk.layers.async_cache` in an
event loop.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from origin_sdk.layers.circles import LoadNode, cycle
from origin_sdk.layers.core import CachedError, Core, opened
from origin_sdk.layers.envelope import Record
from origin_sdk.layers.families import Key
from origin_sdk.layers.flights import Flight
from origin_sdk.layers.link import RENEWALS, HeldLock, Link
from origin_sdk.layers.loading import LoadContext, NotModified
from origin_sdk.layers.memory import Entry
from origin_sdk.layers.policy import SingleFlight
from origin_sdk.layers.replies import FAILED, Failed
from origin_sdk.layers.scripts import CLAIM, HELD, NOTE, PUT, READ, RELEASE, RESERVE, STORE, Command, Script
from origin_sdk.reading import Reads

__all__ = [
    "PENDING",
    "Ask",
    "AskMany",
    "Await",
    "Claim",
    "Filling",
    "Flow",
    "Follow",
    "FollowAll",
    "Load",
    "Noted",
    "Purge",
    "Replicate",
    "Step",
    "Wait",
]

_FORCED = 1e18
"""More freshness, in microseconds, than any record has."""
_CIRCLE_MS = 5000
"""How long it is known whom a load waits for, unless it is said again."""
_MOST_IN_CIRCLE = 32
_UNTOLD_SECONDS = 0.1
"""How long to wait for another process's load when nothing can be heard of it."""


@dataclass(slots=True)
class Ask:
    """Ask Redis. Sent back: the reply, or FAILED."""

    command: Command


@dataclass(slots=True)
class AskMany:
    """Ask Redis, in one round trip where it can be. Sent back: the replies."""

    commands: Sequence[Command]


@dataclass(slots=True)
class Load:
    """Call the loader, which notes in ``reads`` what it reads from caches.

    Sent back: what it returns; thrown in: what it raises.
    """

    loader: Callable[[Any], Any]
    argument: Any
    reads: Reads
    node: LoadNode | None


@dataclass(slots=True)
class Wait:
    """Wait until other processes have loaded keys.

    The commands are asked once the driver listens, so that no message is missed. Their replies are sent back
    when there was a message of each key, or the seconds that they tell to wait are over.
    """

    names: Sequence[str]
    commands: Sequence[Command]
    seconds_of: Callable[[Sequence[Any]], float]
    """For how long to wait after these replies; 0 if there is something to be done."""


@dataclass(slots=True)
class Follow:
    """Join who loads a key. Sent back: the flight, whether the caller leads it, whether it ended in time."""

    key: Key[Any]
    seconds: float | None


@dataclass(slots=True)
class FollowAll:
    """Wait for loads of this process. Sent back: whether all ended in time."""

    flights: Sequence[Flight]
    seconds: float | None


@dataclass(slots=True)
class Await:
    """Wait for a load in the background. Sent back: its entry, or PENDING."""

    future: Any
    seconds: float | None


@dataclass(slots=True)
class Purge:
    """Purge at the edge. Sent back: the receipt, None without an edge."""

    groups: list[str]
    urls: list[str]


@dataclass(slots=True)
class Replicate:
    """Ask Redis, and wait for replicas. Sent back: the replies, and how many replicas at least had it."""

    commands: Sequence[Command]


@dataclass(frozen=True, slots=True)
class Noted:
    """Whether Redis knows of an invalidation, and how many replicas, if they were asked."""

    in_redis: bool
    in_replicas: int | None = None


PENDING: Final = object()
"""What is waited for isn't there yet."""

Step: TypeAlias = Ask | AskMany | Await | Follow | FollowAll | Load | Purge | Replicate | Wait
_Result = TypeVar("_Result")
Flow: TypeAlias = Generator[Step, Any, _Result]


def look(core: Core, link: Link, key: Key[Any]) -> Flow[Entry | Failed | None]:
    """Look into Redis; FAILED without an answer."""
    seq, name, layout = core.moments.seq, key.name, link.layout
    shard = layout.shard(name)
    known = link.generations[shard]
    plain = Command(None, (layout.entry_prefixes[shard] + name, layout.generations[shard]), ("MGET",))
    reply = yield Ask(plain)
    if isinstance(reply, Failed):
        return reply
    found, unsure = core.admit_read(link, shard, (key,), reply, seq, known)
    if unsure:
        found, unanswered = yield from look_surely(core, link, unsure, seq)
        if unanswered:
            return FAILED
    core.stats.count("redis-hit" if found else "redis-miss", key.family.name, name)
    return found.get(name)


def look_surely(
    core: Core, link: Link, keys: Sequence[Key[Any]], seq: int
) -> Flow[tuple[dict[str, Entry], set[str]]]:
    """Look, and let Redis itself judge; return entries by name, and names for which it had no answer."""
    found: dict[str, Entry] = {}
    shards = by_shard(link, keys)
    ordered = [(shard, key) for shard, some in shards.items() for key in some]
    commands = [Command(READ, link.layout.keys(shard, "em", key.name)) for shard, key in ordered]
    replies = yield AskMany(commands)
    unanswered = {key.name for (_, key), reply in zip(ordered, replies, strict=True) if reply is FAILED}
    records = iter([None if reply is FAILED else reply for reply in replies])
    for shard, some in shards.items():
        found |= core.admit(link, shard, some, [next(records) for _ in some], seq)[0]
    return found, unanswered


def by_shard(link: Link, keys: Sequence[Key[Any]]) -> dict[int, Sequence[Key[Any]]]:
    """Return the keys of each shard."""
    if link.layout.shards == 1:
        return {0: keys}
    shards: dict[int, list[Key[Any]]] = {}
    for key in keys:
        shards.setdefault(link.layout.shard(key.name), []).append(key)
    return dict(shards)


@dataclass(slots=True)
class Claim:
    """The right to load: the load's birth, 0 if it isn't known, and its lock, if it has or may have one."""

    birth: float = 0.0
    lock: HeldLock | None = None


@dataclass(slots=True)
class Filling:
    """A load: the key, the loader, and what is known so far."""

    key: Key[Any]
    loader: Callable[[Any], Any]
    previous: Entry | None = None
    is_forced: bool = False
    is_early: bool = False
    single_flight: SingleFlight | None = None
    """What the caller chose instead of the policy."""
    is_alone: bool = False
    """Whether Redis had no answer for this caller already: it isn't waited for a second time."""
    refuses_stored: bool = False
    """Whether what Redis holds is of no use here."""
    node: LoadNode | None = None
    """What those wait for who wait for this load."""


def fill(core: Core, filling: Filling) -> Flow[Entry]:
    """Load, unless another process has done it; store what comes, and return it."""
    key, link = filling.key, core.link if core.reaches_redis(filling.key.family) else None
    claim = Claim()
    if link is not None and link.asks(key.name) and not filling.is_alone:
        found = yield from _claimed(core, link, filling)
        if isinstance(found, Entry):
            return found
        claim = found
    # Whatever is invalidated from here on is not to be served with what this load returns.
    seq, began = core.moments.seq, core.clock.monotonic()
    previous = filling.previous
    known = (
        previous is not None
        and not core.is_outdated(key, previous)
        and type(previous.value) is not CachedError
    )
    context: LoadContext[Any] = LoadContext(key, opened(previous)) if previous and known else LoadContext(key)
    is_settled, reads = False, Reads()
    try:
        value = yield from _load(core, filling, context, reads)
        yield from find_births([claim])
        if claim.birth and link is not None and (yield from is_behind(core, link, (key,), reads, seq)):
            context.do_not_store()
        if previous and type(value) is NotModified:
            context.add_groups(previous.groups)
        seconds = core.clock.monotonic() - began
        core.stats.observe("load-seconds", seconds, key.family.name)
        entry, record = core.loaded(key, context, value, seq, claim.birth, seconds)
        if record is None:
            return entry
        yield from _keep(core, link, key, entry, record, claim)
        is_settled = True
    except Exception:
        spare = None if filling.is_forced else core.spare(key, previous, core.clock.monotonic())
        if spare is None:
            raise
        return spare
    finally:
        if claim.lock and not is_settled and link is not None:
            yield from _release(link, claim.lock)
    return entry


def is_behind(core: Core, link: Link, keys: Sequence[Key[Any]], reads: Reads, seq: int) -> Flow[bool]:
    """Whether a loader may have read, from this process's memory, what was invalidated before it began.

    Redis would take such a value for a new one. That is so if Redis knows of an invalidation that hasn't come
    here, or if one of what was read has come since ``seq``.
    """
    groups = reads.groups
    if not groups:
        return False
    layout, known = link.layout, link.generations.copy()
    shards = list({layout.shard(key.name) for key in keys})
    replies = yield AskMany([Command(None, (layout.generations[shard],), ("MGET",)) for shard in shards])
    # A smaller generation is of a history that has parted from what this process has heard. Names are noted
    # before their generation is, so they are looked at after it.
    has_missed = not link.hears or any(
        reply is FAILED or not known[shard] <= float(reply[0] or 0) <= link.generations[shard]
        for shard, reply in zip(shards, replies, strict=True)
    )
    return has_missed or core.moments.covers(groups, seq)


def _load(core: Core, filling: Filling, context: LoadContext[Any], reads: Reads) -> Flow[Any]:
    family, name = filling.key.family.name, filling.key.name
    try:
        value = yield Load(filling.loader, context, reads, filling.node)
        core.take_over(filling.key, context, reads)
    except core.policy(filling.key).errors as error:
        core.stats.count("load-failed", family, name)
        if (
            core.policy(filling.key).error_lifetime
            and core.spare(filling.key, filling.previous, core.clock.monotonic()) is None
        ):
            return CachedError(error)
        raise
    except Exception:
        core.stats.count("load-failed", family, name)
        raise
    core.stats.count("loaded", family, name)
    return value


def _claimed(core: Core, link: Link, filling: Filling) -> Flow[Entry | Claim]:
    """Return what another process has loaded meanwhile, or the right to load."""
    name = filling.key.name
    deadline = core.clock.monotonic() + core.policy(filling.key).wait
    has_asked = False
    while True:
        seq = core.moments.seq
        began = core.clock.monotonic()
        remaining = deadline - began
        command, lock = claim_command(core, link, filling, may_lock=remaining > 0)
        # A load for which others wait doesn't wait before it knows that these don't hold it up.
        has_asked = not has_asked and bool(filling.node and filling.node.tokens_above())
        most = 0.0 if has_asked else remaining
        try:
            (reply,) = yield Wait((name,), (command,), partial(seconds_to_wait, link, most))
            if has_asked and filling.node and reply is not FAILED and reply[2] == -1:
                yield from refuse_circles(link, filling.node, {name: reply[4].decode()})
        except BaseException:
            give_back(link, lock)
            raise
        claim = claimed(core, link, filling, lock, reply, seq)
        if claim is not None:
            if filling.node and isinstance(claim, Claim) and claim.lock:
                filling.node.tokens.add(claim.lock.token)
            return claim
        core.stats.observe("wait-seconds", core.clock.monotonic() - began, filling.key.family.name)


def refuse_circles(link: Link, node: LoadNode, holders: Mapping[str, str]) -> Flow[None]:
    """Raise LoadCycle if loads of other processes wait for what this one holds up.

    ``holders`` are the tokens of who loads what this load is to wait for, by name. Each process notes in
    Redis whom its locks wait for before it looks for a circle, so that the last of them finds it.
    """
    above, layout = node.tokens_above(), link.layout
    for name, holder in holders.items():
        yield AskMany(
            [
                Command(NOTE, (layout.waits(token),), (f"{holder}\n{name}", _CIRCLE_MS))
                for token in above
                if token != holder
            ]
        )
        names, token = [name], holder
        while token not in above and len(names) < _MOST_IN_CIRCLE:
            reply = yield Ask(Command(None, (layout.waits(token),), ("GET",)))
            if reply is FAILED or reply is None:
                break
            token, _, next_name = reply.decode().partition("\n")
            names.append(next_name)
        else:
            if token in above:
                raise cycle(names)


def claimed(
    core: Core, link: Link, filling: Filling, lock: HeldLock | None, reply: Any, seq: int
) -> Entry | Claim | None:
    """Return what a claim came to: another process's value, the right to load, None to claim again."""
    key = filling.key
    if reply is FAILED:
        if lock is not None:  # which may be ours: whoever holds it will be asked when the load has ended
            link.locks[lock.token] = lock
        return Claim(0.0, lock)
    stored, birth, state, _, _ = reply
    if stored:
        found, _ = core.admit(link, link.layout.shard(key.name), (key,), (stored,), seq)
        if not found:
            # Unreadable here, or known to be invalid: its loader won't be of help either.
            filling.refuses_stored = True
            return None
        core.stats.count("redis-hit", key.family.name, key.name)
        return found[key.name]
    if state == -1:
        core.stats.count("waited-for-process", key.family.name, key.name)
        return None
    if state == 1 and lock is not None:
        link.locks[lock.token] = lock
        return Claim(float(birth), lock)
    return Claim(float(birth))


def claim_command(
    core: Core, link: Link, filling: Filling, *, may_lock: bool
) -> tuple[Command, HeldLock | None]:
    """Return the command that claims the right to load, and the lock that it takes if it can."""
    layout, name, policy = link.layout, filling.key.name, core.policy(filling.key)
    lock = None
    if may_lock and (filling.single_flight or policy.single_flight) == "processes":
        renew_at = core.clock.monotonic() + policy.lock / RENEWALS
        lock_key = layout.key(layout.shard(name), "l:", name)
        lock = HeldLock(name, lock_key, link.new_token(), policy.lock, renew_at)
    needed = 0.0
    if filling.is_forced or filling.refuses_stored:
        needed = _FORCED
    elif filling.is_early and filling.previous:
        needed = (filling.previous.fresh_until - core.clock.monotonic()) * 1e6 + 1000
    shard = layout.shard(name)
    token, lock_ms = (lock.token, round(lock.seconds * 1000)) if lock else ("", 0)
    arguments = (token, lock_ms, f"{needed:.0f}", f"{link.generations[shard]:.0f}")
    return Command(CLAIM, layout.keys(shard, "emtglfh", name), arguments, expires=True), lock


def find_births(claims: Iterable[Claim]) -> Flow[None]:
    """Ask for the births of loads whose claims had no reply: they may hold their locks all the same."""
    lost = [(claim, claim.lock) for claim in claims if claim.lock and not claim.birth]
    if not lost:
        return
    replies = yield AskMany([Command(HELD, (lock.key,), (lock.token,)) for _, lock in lost])
    for (claim, _), reply in zip(lost, replies, strict=True):
        claim.birth = 0.0 if reply is FAILED or reply is None else float(reply)


def seconds_to_wait(link: Link, most: float, replies: Sequence[Any]) -> float:
    """Return for how long to wait for others, after claims' replies: until a lock may be over, at most."""
    if most <= 0 or any(reply is FAILED or reply[2] != -1 for reply in replies):
        return 0.0
    if not link.can_hear:
        return min(_UNTOLD_SECONDS, most)
    lock_ms: int = min(reply[3] for reply in replies)
    return min(max(lock_ms, 1) / 1000, most)


def _keep(
    core: Core, link: Link | None, key: Key[Any], entry: Entry, record: Record, claim: Claim
) -> Flow[None]:
    """Store in Redis, then in memory."""
    status = None
    if link is not None and claim.birth:
        record.birth = claim.birth
        command = store_command(core, link, key, record, claim.lock)
        if command is not None:
            status = yield Ask(command)
            if status is FAILED:
                give_back(link, claim.lock)
        elif claim.lock:
            yield from _release(link, claim.lock)
    elif link is not None:
        give_back(link, claim.lock)
    remember(core, key, entry, status)


_STATUS = {1: "done", 0: "outdated", -1: "superseded"}


def remember(core: Core, key: Key[Any], entry: Entry, status: Any) -> None:
    """Keep in memory what Redis, if it was asked to store it, doesn't know to be outdated."""
    if status is not None:
        core.audit.note("store", "failed" if status is FAILED else _STATUS[status], key=key.name)
    if status == 0:
        core.stats.count("invalidated-while-loading", key.family.name, key.name)
    elif not core.is_outdated(key, entry):  # else it might overwrite what was set meanwhile
        core.memory.put(key.name, entry)


def store_command(
    core: Core, link: Link, key: Key[Any], record: Record, lock: HeldLock | None
) -> Command | None:
    """Return the command that stores a record, or None if it stays out of Redis."""
    wrapped = core.wrap(key, record)
    if wrapped is None:
        return None
    if lock:
        link.locks.pop(lock.token, None)
    layout = link.layout
    keys = layout.keys(layout.shard(key.name), "emtlf", key.name)
    kept_ms = max(1, round(record.kept_seconds * 1000))
    token = lock.token if lock else ""
    return Command(STORE, keys, (f"{record.birth:.0f}", token, kept_ms, wrapped, layout.loads, key.name))


def _release(link: Link, lock: HeldLock) -> Flow[None]:
    reply = yield Ask(release_command(link, lock))
    if reply is FAILED:
        give_back(link, lock)


def release_command(link: Link, lock: HeldLock) -> Command:
    """Return the command that gives a lock back."""
    link.locks.pop(lock.token, None)
    return Command(RELEASE, (lock.key,), (lock.token, link.layout.loads, lock.name))


def give_back(link: Link, lock: HeldLock | None) -> None:
    """Let the listener give a lock back as soon as Redis answers."""
    if lock is not None:
        link.locks.pop(lock.token, None)
        link.returns[lock.token] = lock


def put(core: Core, key: Key[Any], record: Record | None) -> Flow[None]:
    """Write through: store a record in all layers, or delete the key from them (None)."""
    names = (key.name,)
    core.moments.add(names, 0.0)
    core.memory.drop(key.name)
    link = core.link
    outcome = "memory"
    moment = 0.0
    if link is not None:
        moment = yield from _put_in_redis(core, link, key, record)
        outcome = "done" if moment else "owed"
    seq = core.moments.add(names, moment)
    # A write that came after this one, from another process, has the later moment.
    if record is not None and core.moments.moment(key.name) <= moment:
        entry = core.entry_of(key, record, seq)
        core.memory.put(key.name, entry)
    core.audit.note("set" if record else "delete", outcome, key=key.name)


def _put_in_redis(core: Core, link: Link, key: Key[Any], record: Record | None) -> Flow[float]:
    """Return the moment from which on what was there before is invalid; 0 if Redis isn't told yet."""
    reply = yield from changing(core, link, key, PUT, record, record.kept_seconds if record else 0.0)
    if reply is FAILED:
        link.owe((key.name,), (link.layout.shard(key.name),))
        return 0.0
    return as_of(core, key, float(reply[0]), record)


TOO_OLD: Final = b"-1"
_CHANGES: Final = 8
"""How often to write a sealed record anew because the key was written to between its birth and that."""


def changing(
    core: Core, link: Link, key: Key[Any], script: Script, record: Record | None, seconds: float, *more: bytes
) -> Flow[Any]:
    """Change one key by PUT, or one of those like it. The reply, or FAILED.

    What is sealed has its birth bound in, so that Redis is asked for that first.
    """
    shard = link.layout.shard(key.name)
    reply: Any = FAILED
    for _ in range(_CHANGES):
        birth = 0.0
        if record and core.seals(key.family):
            reserved = yield Ask(reservation(link, shard))
            if reserved is FAILED:
                return FAILED
            birth = record.birth = float(reserved)
        wrapped = core.wrap(key, record) if record else None
        if wrapped is None and script is not PUT:
            return FAILED
        reply = yield Ask(
            link.change(script, key.name, wrapped, seconds, *more, birth=birth if wrapped else 0.0)
        )
        if reply is FAILED or reply[0] != TOO_OLD:
            break
    if reply is FAILED or reply[0] == TOO_OLD:
        return FAILED
    if reply[0] != b"0":
        link.told(shard, float(reply[0]))
    return reply


def reservation(link: Link, shard: int) -> Command:
    """Return the command that asks for the birth of a sealed record."""
    return Command(RESERVE, (link.layout.key(shard, "f"),))


def as_of(core: Core, key: Key[Any], moment: float, record: Record | None) -> float:
    """Return when what was there before became invalid: before the birth of a sealed record, which stays."""
    return record.birth - 1 if record and core.seals(key.family) else moment


def invalidate(core: Core, groups: tuple[str, ...]) -> Flow[Noted]:
    """Invalidate groups in memory and Redis, to which it is owed if it doesn't know of it."""
    core.moments.add(groups, 0.0)
    link = core.link
    if link is None:
        return Noted(in_redis=True)
    shards = range(link.layout.shards)
    commands = [link.invalidation(shard, groups) for shard in shards]
    in_replicas: int | None = None
    if link.options.wait_replicas:
        replies, in_replicas = yield Replicate(commands)
    else:
        replies = yield AskMany(commands)
    moments = {
        shard: float(reply[0]) for shard, reply in zip(shards, replies, strict=True) if reply is not FAILED
    }
    for shard, moment in moments.items():
        link.told(shard, moment)
    if moments:
        core.moments.add(groups, max(moments.values()))
    if len(moments) < len(replies):
        link.owe(groups, [shard for shard in shards if shard not in moments])
        return Noted(in_redis=False, in_replicas=in_replicas)
    return Noted(in_redis=True, in_replicas=in_replicas)
