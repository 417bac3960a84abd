"""The right to load among processes: claims, locks, and who waits for whom."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from origin_sdk.layers.process.load_graph import LoadNode, cycle
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.link import RENEWALS, HeldLock, Link
from origin_sdk.layers.redis.replies import FAILED
from origin_sdk.layers.redis.scripts import CLAIM, HELD, NOTE, RELEASE
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.rules.steps import Ask, AskMany, Flow, Wait
from origin_sdk.layers.values.families import Key
from origin_sdk.layers.values.policy import SingleFlight

__all__ = [
    "Filling",
    "LoadClaim",
    "claim_command",
    "claimed",
    "find_births",
    "give_back",
    "obtain_claim",
    "refuse_circles",
    "release",
    "release_command",
    "seconds_to_wait",
]

_FORCED = 1e18
"""More freshness, in microseconds, than any record has."""


_CIRCLE_MS = 5000
"""How long it is known whom a load waits for, unless it is said again."""


_MOST_IN_CIRCLE = 32


_UNTOLD_SECONDS = 0.1
"""How long to wait for another process's load when nothing can be heard of it."""


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
    """A load: the key, the loader, and what is known so far."""

    key: Key[Any]
    loader: Callable[[Any], Any]
    previous: MemoryEntry | None = None
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
    fresh_until: float = 0.0
    """When what a caller was answered with ends to be fresh, if that is but a part of the value."""

    def ends(self) -> float:
        """Return when what is stored ends to be fresh, as far as that is known; else 0."""
        return self.fresh_until or (self.previous.fresh_until if self.previous else 0.0)


def obtain_claim(judge: Judge, link: Link, filling: Filling) -> Flow[MemoryEntry | LoadClaim]:
    """Return what another process has loaded meanwhile, or the right to load."""
    name = filling.key.name
    deadline = judge.clock.monotonic() + judge.policy(filling.key).wait
    has_asked = False
    while True:
        seq = judge.moments.seq
        began = judge.clock.monotonic()
        remaining = deadline - began
        command, lock = claim_command(judge, link, filling, may_lock=remaining > 0)
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
        claim = claimed(judge, link, filling, lock, reply, seq)
        if claim is not None:
            if filling.node and isinstance(claim, LoadClaim) and claim.lock:
                filling.node.tokens.add(claim.lock.token)
            return claim
        judge.stats.observe("wait-seconds", judge.clock.monotonic() - began, filling.key.family.name)


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
    judge: Judge, link: Link, filling: Filling, lock: HeldLock, reply: Any, seq: int
) -> MemoryEntry | LoadClaim | None:
    """Return what a claim came to: another process's value, the right to load, None to claim again."""
    key = filling.key
    generation = link.generations[link.layout.shard(key.name)]
    if reply is FAILED:  # the lock may be ours: whoever holds it will be asked when the load has ended
        link.locks[lock.token] = lock
        return LoadClaim(0.0, lock, generation)
    stored, birth, state, _, _ = reply
    if stored:
        found, _ = judge.admit(link, link.layout.shard(key.name), (key,), (stored,), seq)
        if not found:
            # Unreadable here, or known to be invalid: its loader won't be of help either.
            filling.refuses_stored = True
            return None
        judge.stats.count("redis-hit", key.family.name, key.name)
        return found[key.name]
    if state == -1:
        judge.stats.count("waited-for-process", key.family.name, key.name)
        return None
    if state == 1:
        link.locks[lock.token] = lock
        return LoadClaim(float(birth), lock, generation)
    # Too late there, though the reply came in time: that clock has been stepped.
    link.learn_time(link.layout.shard(key.name), float(birth))
    return None


def claim_command(judge: Judge, link: Link, filling: Filling, *, may_lock: bool) -> tuple[Command, HeldLock]:
    """Return the command that claims the right to load, and the lock that it takes if it can.

    Without the right to be the only one, a load takes a lock of its own all the same, by which Redis knows
    its birth.
    """
    layout, name, policy = link.layout, filling.key.name, judge.policy(filling.key)
    shard, token = layout.shard(name), link.new_token()
    is_alone = may_lock and (filling.single_flight or policy.single_flight) == "processes"
    kind, locked = ("l", name) if is_alone else ("c", token)
    renew_at = judge.clock.monotonic() + policy.lock / RENEWALS
    lock = HeldLock(name, layout.key(shard, f"{kind}:", locked), token, policy.lock, renew_at)
    needed = 0.0
    if filling.is_forced or filling.refuses_stored:
        needed = _FORCED
    elif filling.is_early and (fresh_until := filling.ends()):
        needed = (fresh_until - judge.clock.monotonic()) * 1e6 + 1000
    keys = (*layout.keys(shard, "emtg", name), lock.key, *layout.keys(shard, "fh", name))
    arguments = (token, round(lock.seconds * 1000), f"{needed:.0f}", f"{link.generations[shard]:.0f}")
    return judge.shaped(filling.key, Command(CLAIM, keys, arguments, expires=True)), lock


def find_births(claims: Iterable[LoadClaim]) -> Flow[None]:
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


def release(link: Link, lock: HeldLock) -> Flow[None]:
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
