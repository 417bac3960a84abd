"""Writing parts of a structure through: what was read before is outdated, whatever becomes of the write."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from origin_sdk.layers.errors import InvalidFamily, UnreadableRecord, UnsupportedValue
from origin_sdk.layers.process.moments import PARTS
from origin_sdk.layers.redis.commands import ChangeReply, Command
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.lua import Script
from origin_sdk.layers.redis.replies import FAILED, Failed
from origin_sdk.layers.redis.scripts import READ
from origin_sdk.layers.redis.structure_scripts import REPLACE, WRITE
from origin_sdk.layers.rules.entries import too_large, unsupported, wrap
from origin_sdk.layers.rules.judge import CachedError, Judge, opened
from origin_sdk.layers.rules.ports import Cache
from origin_sdk.layers.rules.steps import Ask, AskMany
from origin_sdk.layers.rules.writes import put
from origin_sdk.layers.values.copies import kept
from origin_sdk.layers.values.families import AnyKey
from origin_sdk.layers.values.policy import ANSWERS
from origin_sdk.layers.values.serialization import FORMATS
from origin_sdk.layers.values.shapes import AnyShape
from origin_sdk.layers.values.sizes import ENTRY_BYTES, weight

__all__ = ["writing"]

_REPLACEMENTS: Final = 8
"""How often to replace a sealed structure that others keep writing to."""


async def writing(
    cache: Cache, key: AnyKey, parts: Mapping[object, object], removed: Sequence[object] = ()
) -> None:
    """Write parts of what is stored, in all layers; where nothing is, the next load has them.

    Raises UnstableKey for what isn't a member. A value that Redis can't hold ends the whole there, so that
    the next one who asks loads it.
    """
    judge = cache.judge
    judge.families.know(key.family)
    judge.families.policy(key)
    shape: AnyShape = key.family.shape  # type: ignore[assignment]  # who writes parts has looked
    if not shape.takes_parts:
        raise InvalidFamily(f"family {key.family.name}: a list is written as a whole: set() the key")
    for each in (*parts, *removed):
        shape.member(each)
    link = cache.listening()
    if link is None:
        _write_here(cache, key, parts, removed)
        return
    if judge.families.keeps_parts(key.family):
        await _write(judge, link, key, parts, removed)
    elif judge.families.reaches_redis(key.family):
        await _replace(judge, link, key, parts, removed)
    else:  # in memory alone, of other processes too: they hear that it has changed
        await put(judge, key, None)


def _write_here(cache: Cache, key: AnyKey, parts: Mapping[object, object], removed: Sequence[object]) -> None:
    """Write to what is in memory, where that is all there is."""
    judge, shape = cache.judge, key.family.shape
    with cache.memory_lock:
        seq = judge.moments.seq
        state, entry = judge.peek(key, judge.clock.monotonic())
        written = judge.moments.add((key.name + PARTS,), 0.0)
        judge.audit.note("set", "memory", key=key.name)
        # An invalidation that came between may be of what was looked at.
        if entry is None or shape is None or written != seq + 1 or state not in ANSWERS:
            return
        if type(entry.value) is CachedError or (whole := opened(entry)) is None:
            return
        try:
            value = shape.changed(whole, parts, removed)
        except (TypeError, ValueError, AttributeError):  # what the loader returned isn't what is declared
            return
        size = weight(value) + ENTRY_BYTES
        if judge.families.policy_of(key.family).values == "copied":
            value = kept(value, key.family.typed)
        judge.memory.put(key.name, msgspec.structs.replace(entry, value=value, seq=written, size=size))


def _forget(judge: Judge, key: AnyKey) -> None:
    """Outdate loads that are under way here, and what is in memory."""
    judge.moments.add((key.name + PARTS,), 0.0)
    judge.memory.drop(key.name)


def _settle(judge: Judge, link: Link, key: AnyKey, reply: ChangeReply | Failed) -> None:
    """Note what became of a write: an unknown one ends the whole, as soon as Redis can be told."""
    shard = link.layout.shard(key.name)
    if reply is FAILED:
        link.owe((key.name,), (shard,))
    else:
        moment = float(reply[0])
        link.history.told(shard, moment)
        judge.moments.add((key.name + PARTS,), moment)
    judge.audit.note("set", "owed" if reply is FAILED else "done", key=key.name)


async def _write(
    judge: Judge, link: Link, key: AnyKey, parts: Mapping[object, object], removed: Sequence[object]
) -> None:
    """Write to what Redis keeps, in one round trip."""
    shape: AnyShape = key.family.shape  # type: ignore[assignment]  # see above
    preferred = FORMATS[judge.wrapping.format]
    try:
        pairs = [shape.part(member, value, judge.wrapping, preferred) for member, value in parts.items()]
    except UnsupportedValue as error:
        unsupported(judge, key, error)
        await put(judge, key, None)
        return
    if sum(len(value) for _, value in pairs) > judge.wrapping.max_bytes:
        too_large(judge, key)
        await put(judge, key, None)
        return
    _forget(judge, key)
    flat = [each for pair in pairs for each in pair]
    names = [shape.member(each) for each in removed]
    arguments = (
        *link.commands.head(link.layout.shard(key.name), parts=True),
        key.name,
        shape.letter,
        len(pairs),
    )
    command = _command(link, key, WRITE, "emtgfhs", (*arguments, *flat, *names))
    _settle(judge, link, key, (await Ask(command)))


def _command(
    link: Link, key: AnyKey, script: Script, kinds: str, arguments: tuple[object, ...]
) -> Command[ChangeReply]:
    keys = link.layout.keys(link.layout.shard(key.name), kinds, key.name)
    return Command(script, keys, arguments, expires=True)


async def _replace(
    judge: Judge, link: Link, key: AnyKey, parts: Mapping[object, object], removed: Sequence[object]
) -> None:
    """Write to a structure that is sealed: read it, and put another one of the same birth in its place."""
    shape: AnyShape = key.family.shape  # type: ignore[assignment]  # see above
    layout = link.layout
    _forget(judge, key)
    shard = layout.shard(key.name)
    read: Command[bytes | None] = Command(
        READ, layout.keys(shard, "emh", key.name), (f"{link.generations[shard]:.0f}", "")
    )
    head = (*link.commands.head(layout.shard(key.name), parts=True), key.name)
    for _ in range(_REPLACEMENTS):
        (stored,) = await AskMany([read])
        if stored is FAILED:
            break
        new = b""
        if stored:
            try:
                record = judge.wrapping.unwrap(key, stored)
                changed = None if record.value is None else shape.changed(record.value, parts, removed)
                wrapped = None if changed is None else wrap(judge, key, replace(record, value=changed))
            except (UnreadableRecord, TypeError, ValueError, AttributeError):
                wrapped = None
            if wrapped is None:
                await put(judge, key, None)
                return
            new = stored[:8] + wrapped
        reply = await Ask(_command(link, key, REPLACE, "emtgfh", (*head, stored or b"", new)))
        if reply is FAILED or reply[0] != b"0":
            _settle(judge, link, key, reply)
            return
    await put(judge, key, None)
