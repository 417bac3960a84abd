"""The right to load among processes: births, locks, and who waits for whom.

Before a loader is called, Redis is asked for the load's *birth*: the moment from which on an invalidation
outdates what it returns. The claim takes a lock with it, which others see and wait for; a load that may run
beside others takes one that nobody sees, by which Redis knows its birth all the same. All that is claimed at
once in one shard is one script, whether that is one key or a hundred.

A claim whose reply is lost may have been granted. So its lock counts as held until the load has ended, when
Redis is asked for the birth by the lock's token; without an answer the result isn't stored, and the listener
gives the lock back as soon as it can.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from origin_sdk.layers.process.load_graph import LoadNode, cycle
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.link import RENEWALS, HeldLock, Link
from origin_sdk.layers.redis.replies import FAILED, Failed
from origin_sdk.layers.redis.scripts import CLAIM, HELD, NOTE
from origin_sdk.layers.rules.admission import admit
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.rules.steps import Ask, AskMany
from origin_sdk.layers.values.families import AnyKey
from origin_sdk.layers.values.policy import SingleFlight

__all__ = [
    "Bids",
    "Filling",
    "LoadClaim",
    "bids_for",
    "claimed",
    "find_births",
    "give_back",
    "holders",
    "refuse_circles",
    "seconds_to_wait",
]

_FORCED = 1e18
"""More freshness, in microseconds, than any record has."""
_CIRCLE_MS = 5000
"""How long it is known whom a load waits for, unless it is said again."""
_MOST_IN_CIRCLE = 32
_UNTOLD_SECONDS = 0.1
"""How long to wait for another process's load when nothing can be heard of it."""
_MOST_BIDS = 500
"""In one script: Redis serves nobody else meanwhile, for about a millisecond."""

_Answer: TypeAlias = tuple[bytes, bytes | None]
"""To each bid: ``V`` and a record; ``L`` and the birth; ``H``, milliseconds and token of who holds the lock;
``T`` and the time, where the claim came too late."""


@dataclass(slots=True)
class LoadClaim:
    """The right to load: the load's birth, 0 if it isn't known, and its lock, if it has or may have one.

    ``generation`` is what this process knew of the shard then: what the loader finds in memory may be as old.
    """

    birth: float = 0.0
    lock: HeldLock | None = None
    generation: float = 0.0


@dataclass(slots=True)
class Filling:
    """What a load is to fill: the key, and what is known so far."""

    key: AnyKey
    previous: MemoryEntry | None = None
    is_forced: bool = False
    is_early: bool = False
    single_flight: SingleFlight | None = None
    """What the caller chose instead of the policy."""
    is_alone: bool = False
    """Whether Redis had no answer for this caller already: it isn't waited for a second time."""
    refuses_stored: bool = False
    """Whether what Redis holds is of no use here."""
    fresh_until: float = 0.0
    """When what a caller was answered with ends to be fresh, if that is but a part of the value."""

    def ends(self) -> float:
        """Return when what is stored ends to be fresh, as far as that is known; else 0."""
        return self.fresh_until or (self.previous.fresh_until if self.previous else 0.0)


@dataclass(slots=True)
class Bids:
    """One CLAIM of loads in one shard, and the lock that each takes if it can."""

    shard: int
    fillings: Sequence[Filling]
    locks: list[HeldLock]
    command: Command[list[bytes]]

    def answers(self, reply: list[bytes] | Failed) -> Iterator[tuple[Filling, HeldLock, _Answer | Failed]]:
        """Yield what came of each."""
        if reply is FAILED:
            yield from (
                (filling, lock, FAILED) for filling, lock in zip(self.fillings, self.locks, strict=True)
            )
            return
        records = iter(reply[1:])
        for filling, lock, line in zip(self.fillings, self.locks, reply[0].split(b"\n"), strict=True):
            yield filling, lock, (line, next(records) if line == b"V" else None)


def bids_for(judge: Judge, link: Link, fillings: Iterable[Filling], *, may_lock: bool) -> list[Bids]:
    """Return the commands that claim the right to load."""
    alike: dict[tuple[int, bool], list[Filling]] = {}
    for each in fillings:
        place = link.layout.shard(each.key.name), judge.families.keeps_parts(each.key.family)
        alike.setdefault(place, []).append(each)
    return [
        _bids(judge, link, shard, some[start : start + _MOST_BIDS], may_lock=may_lock)
        for (shard, _), some in alike.items()
        for start in range(0, len(some), _MOST_BIDS)
    ]


def _bids(judge: Judge, link: Link, shard: int, fillings: Sequence[Filling], *, may_lock: bool) -> Bids:
    layout, now = link.layout, judge.clock.monotonic()
    keys = list(layout.keys(shard, "mtgfh"))
    arguments: list[object] = [f"{link.generations[shard]:.0f}"]
    locks: list[HeldLock] = []
    entry_prefix, lock_prefix = layout.entry_prefixes[shard], layout.key(shard, "l:")
    for filling in fillings:
        policy, name, token = judge.families.policy(filling.key), filling.key.name, link.new_token()
        excludes = may_lock and (filling.single_flight or policy.single_flight) == "processes"
        lock_key = lock_prefix + name if excludes else layout.key(shard, "c:", token)
        locks.append(HeldLock(name, lock_key, token, policy.lock, now + policy.lock / RENEWALS))
        keys += (entry_prefix + name, lock_key, *judge.families.part_keys(filling.key))
        arguments += (token, round(policy.lock * 1000), f"{_needed_freshness(filling, now):.0f}")
    script = judge.families.script_for(CLAIM, fillings[0].key.family)
    return Bids(shard, fillings, locks, Command(script, tuple(keys), tuple(arguments), expires=True))


def _needed_freshness(filling: Filling, now: float) -> float:
    """Return how many microseconds a record has to be fresh to be of use."""
    if filling.is_forced or filling.refuses_stored:
        return _FORCED
    if filling.is_early and (fresh_until := filling.ends()):
        return (fresh_until - now) * 1e6 + 1000
    return 0.0


def claimed(
    judge: Judge, link: Link, filling: Filling, lock: HeldLock, answer: _Answer | Failed, seq: int
) -> MemoryEntry | LoadClaim | None:
    """Return what a claim came to: another process's value, the right to load, None to claim again."""
    key = filling.key
    shard = link.layout.shard(key.name)
    if answer is FAILED:  # the lock may be ours: whoever holds it will be asked when the load has ended
        link.locks[lock.token] = lock
        return LoadClaim(0.0, lock, link.generations[shard])
    line, record = answer
    match line[:1]:
        case b"L":
            link.locks[lock.token] = lock
            return LoadClaim(float(line[1:]), lock, link.generations[shard])
        case b"V":
            found, _ = admit(judge, link, shard, (key,), (record,), seq)
            if found:
                judge.stats.count("redis-hit", key.family.name, key.name)
                return found[key.name]
            # Unreadable here, or known to be invalid: its loader won't be of help either.
            filling.refuses_stored = True
        case b"H":
            judge.stats.count("waited-for-process", key.family.name, key.name)
        case _:
            # Too late there, though the reply came in time: that clock has been stepped.
            link.clocks.learn(shard, float(line[1:]))
    return None


def _busy(replies: Sequence[list[bytes] | Failed]) -> list[tuple[int, str]]:
    """Return milliseconds and token of each lock that another load holds; nothing unless all are so."""
    busy: list[tuple[int, str]] = []
    for reply in replies:
        for line in [b""] if reply is FAILED else reply[0].split(b"\n"):
            if not line.startswith(b"H"):
                return []
            milliseconds, _, token = line[1:].partition(b" ")
            busy.append((int(milliseconds), token.decode()))
    return busy


def holders(bids: Sequence[Bids], replies: Sequence[list[bytes] | Failed]) -> dict[str, str]:
    """Return the token of who holds each lock, by the key's name; nothing unless all are held by others."""
    names = [filling.key.name for each in bids for filling in each.fillings]
    return {name: token for name, (_, token) in zip(names, _busy(replies), strict=False)}


def seconds_to_wait(link: Link, most: float, replies: Sequence[list[bytes] | Failed]) -> float:
    """Return for how long to wait for others, after claims' replies: until a lock may be over, at most."""
    if most <= 0 or not (busy := _busy(replies)):
        return 0.0
    if not link.can_hear:
        return min(_UNTOLD_SECONDS, most)
    return min(max(min(milliseconds for milliseconds, _ in busy), 1) / 1000, most)


async def refuse_circles(link: Link, node: LoadNode, tokens: Mapping[str, str]) -> None:
    """Raise LoadCycle if loads of other processes wait for what this one holds up.

    ``tokens`` are those of who loads what this load is to wait for, by name. Each process notes in Redis whom
    its locks wait for *before* it looks for a circle, so that the last of them finds it: of two that note and
    look at the same time, at least one sees the other's note.
    """
    above, layout = node.tokens_above(), link.layout
    for name, holder in tokens.items():
        await AskMany(
            [
                Command[bytes](NOTE, (layout.waits(token),), (f"{holder}\n{name}", _CIRCLE_MS))
                for token in above
                if token != holder
            ]
        )
        names, token = [name], holder
        while token not in above and len(names) < _MOST_IN_CIRCLE:
            reply = await Ask(Command[bytes | None](None, (layout.waits(token),), ("GET",)))
            if reply is FAILED or reply is None:
                break
            token, _, next_name = reply.decode().partition("\n")
            names.append(next_name)
        else:
            if token in above:
                raise cycle(names)


async def find_births(claims: Iterable[LoadClaim]) -> None:
    """Ask for the births of loads whose claims had no reply: they may hold their locks all the same."""
    lost = [(claim, claim.lock) for claim in claims if claim.lock and not claim.birth]
    if not lost:
        return
    replies = await AskMany([Command[bytes | None](HELD, (lock.key,), (lock.token,)) for _, lock in lost])
    for (claim, _), reply in zip(lost, replies, strict=True):
        claim.birth = 0.0 if reply is FAILED or reply is None else float(reply)


def give_back(link: Link, lock: HeldLock) -> None:
    """Let the listener give a lock back as soon as Redis answers."""
    link.locks.pop(lock.token, None)
    link.returns[lock.token] = lock
