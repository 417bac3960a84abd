"""A plain cache of keys and bytes over the layers, with atomic verbs: flows of steps, as in rules/.

Redis is the authority: it is asked at each reading, unless ``memory_seconds`` lets this process answer for so
long, and as long as it hears of no change. Without Redis, memory is the authority.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from origin_sdk.layers.base_cache import BaseCache
from origin_sdk.layers.errors import UnreadableRecord
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.commands import ChangeReply, Command
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.lua import Script
from origin_sdk.layers.redis.replies import FAILED, Failed
from origin_sdk.layers.redis.scripts import ADD, PEEK, PUT, SWAP, TOUCH
from origin_sdk.layers.rules import retrieval
from origin_sdk.layers.rules.entries import checked_groups, wrap
from origin_sdk.layers.rules.load_context import AnyContext
from origin_sdk.layers.rules.loads import Loader
from origin_sdk.layers.rules.steps import Ask, AskMany
from origin_sdk.layers.rules.writes import (
    TOO_OLD,
    as_of,
    changing,
    note_invalidation,
    reservation,
)
from origin_sdk.layers.values.envelope import Record
from origin_sdk.layers.values.families import Family, Key
from origin_sdk.layers.values.policy import Freshness, Policy, Windows
from origin_sdk.layers.values.sizes import ENTRY_BYTES

__all__ = ["FOREVER_SECONDS", "KeyValue"]

FOREVER_SECONDS = 100 * 366 * 86_400.0
_ALL = "*"
"""The group of every value."""
_ASKED_AGAIN = 8
"""How often a reply may be older than what was heard meanwhile: then Redis itself is behind."""

_SWAP_SECONDS = 1.0
"""How long to try to change a value that others keep changing."""
_BOUNDLESS = Windows()


@dataclass(slots=True)
class _Held:
    """What Redis holds for a key."""

    record: Record
    stored: bytes


class KeyValue:
    """The verbs. Each returns a flow, which whoever made the cache runs."""

    def __init__(self, cache: BaseCache, memory_seconds: float = 0.0) -> None:
        self._cache = cache
        cache.counts_reads = False
        self._judge = cache.judge
        self._memory_seconds = memory_seconds
        self._uses_memory = cache.link is None or memory_seconds > 0
        policy = Policy(jitter=0.0, memory_lifetime=memory_seconds or None)
        self._family = Family("kv", "{key}", bytes, groups=(_ALL,), policy=policy)

    def key(self, text: str) -> Key[bytes]:
        """Return the key of a text."""
        shown = (
            text
            if text.isprintable() and not text.startswith("'")
            else f"'{quote(text, errors='surrogatepass')}"
        )
        return Key(self._family.prefix + shown, self._family, (_ALL,))

    async def get_many(self, keys: Sequence[Key[bytes]]) -> dict[Key[bytes], bytes]:
        """Return what is there."""
        now = self._judge.clock.monotonic()
        found: dict[Key[bytes], bytes] = {}
        if self._uses_memory:
            peeked = ((key, self._fresh(key, now)) for key in keys)
            found = {key: entry.value for key, entry in peeked if entry}
            self._judge.stats.count_many("memory-hit", list(found))
        missing = [key for key in keys if key not in found]
        if self._uses_memory:
            self._judge.stats.count_many("memory-miss", missing)
        if missing and self._cache.listening() is not None:
            held = await self._held(missing)
            found |= {key: each.record.value for key, each in held.items()}
        return found

    def _fresh(self, key: Key[bytes], now: float) -> MemoryEntry | None:
        state, entry = self._judge.peek(key, now)
        return entry if state is Freshness.FRESH else None

    async def _held(self, keys: Sequence[Key[bytes]]) -> dict[Key[bytes], _Held]:
        """Ask Redis; what may be answered with again goes into memory.

        Where a write by another process was heard of before the reply to the question came, what the reply
        tells is older than that write, and Redis has the newer: it is asked again, and not taken for empty.
        """
        found: dict[Key[bytes], _Held] = {}
        asked = list(keys)
        for _ in range(_ASKED_AGAIN):
            asked = await self._peek(asked, found)
            if not asked:
                break
        stats = self._judge.stats
        stats.count_many("redis-hit", list(found))
        stats.count_many("redis-miss", [key for key in keys if key not in found])
        return found

    async def _peek(self, keys: Sequence[Key[bytes]], found: dict[Key[bytes], _Held]) -> list[Key[bytes]]:
        """Add what Redis holds to ``found``; return the keys of which its reply was outdated."""
        judge, link = self._judge, self._link
        seq, layout = judge.moments.seq, link.layout
        shards: dict[int, list[Key[bytes]]] = {}
        for key in keys:
            shards.setdefault(layout.shard(key.name), []).append(key)
        commands: list[Command[list[bytes]]] = [
            Command(
                PEEK, (layout.key(shard, "m"), *(layout.entry_prefixes[shard] + key.name for key in some))
            )
            for shard, some in shards.items()
        ]
        replies = await AskMany(commands)
        outdated: list[Key[bytes]] = []
        for some, reply in zip(shards.values(), replies, strict=True):
            if reply is FAILED:
                continue
            for key, stored, kept_ms in zip(some, reply[::2], reply[1::2], strict=True):
                record = self._read(key, stored) if stored else None
                if record is None:
                    continue
                if judge.moments.covers_birth((key.name, *record.groups), record.birth, seq):
                    outdated.append(key)
                    continue
                found[key] = _Held(record, stored)
                if self._uses_memory:
                    self._remember(key, record, seq, int(kept_ms) / 1000)
        return outdated

    def _read(self, key: Key[bytes], stored: bytes) -> Record | None:
        try:
            return self._judge.wrapping.unwrap(key, stored)
        except UnreadableRecord:
            self._judge.stats.count("redis-unreadable", self._family.name, key.name)
            return None

    @property
    def _link(self) -> Link:
        link = self._cache.listening()
        if link is None:
            raise LookupError("no Redis")
        return link

    def _remember(self, key: Key[bytes], record: Record, seq: int, seconds: float) -> None:
        most = self._memory_seconds if self._cache.link else FOREVER_SECONDS
        until = self._judge.clock.monotonic() + min(seconds, most)
        size = len(record.value) + ENTRY_BYTES
        entry = MemoryEntry(record.value, seq, until, _BOUNDLESS, record.groups, until, 0, size)
        self._judge.memory.put(key.name, entry)

    async def set_many(
        self, values: Mapping[Key[bytes], bytes], seconds: float, groups: Sequence[str] = ()
    ) -> list[Key[bytes]]:
        """Store; return the keys for which that failed, in which case what was there counts as gone."""
        if seconds <= 0:
            await self.delete_many(list(values))
            return []
        names = checked_groups((_ALL, *groups))
        records = {key: _record(value, seconds, names) for key, value in values.items()}
        replies = await self._written(PUT, records, seconds)
        return [key for key, reply in replies.items() if reply is FAILED]

    async def delete_many(self, keys: Sequence[Key[bytes]]) -> bool:
        """Forget; return whether one of the keys was there."""
        replies = await self._written(PUT, dict.fromkeys(keys), 0.0)
        return any(reply is not FAILED and reply[1] for reply in replies.values())

    async def _written(
        self, script: Script, records: Mapping[Key[bytes], Record | None], seconds: float
    ) -> dict[Key[bytes], ChangeReply | Failed]:
        """Write records, or delete where there is None."""
        if self._cache.link is None:
            return self._written_here(records, seconds)
        judge, link = self._judge, self._link
        self._forget(list(records))
        await self._reserve(records)
        wrapped = {key: wrap(judge, key, record) if record else None for key, record in records.items()}
        commands = [
            link.commands.change(
                script, key.name, each, seconds, birth=_birth(records[key] if each else None)
            )
            for key, each in wrapped.items()
        ]
        by_key: dict[Key[bytes], ChangeReply | Failed] = {}
        for (key, record), reply in zip(records.items(), await AskMany(commands), strict=True):
            if reply is not FAILED and reply[0] == TOO_OLD:
                reply = await changing(judge, link, key, script, record, seconds)  # noqa: PLW2901 - again
            by_key[key] = reply
            if reply is FAILED:
                link.owe((key.name,), (link.layout.shard(key.name),))
            else:
                self._heard(key, float(reply[0]), record, seconds, is_kept=wrapped[key] is not None)
            judge.audit.note(
                "set" if record else "delete", "owed" if reply is FAILED else "done", key=key.name
            )
        return by_key

    async def _reserve(self, records: Mapping[Key[bytes], Record | None]) -> None:
        """Ask for the births of records that are sealed, in one round trip."""
        layout = self._link.layout
        sealed = {
            key: record
            for key, record in records.items()
            if record and self._judge.families.seals(key.family)
        }
        shards = list({layout.shard(key.name) for key in sealed})
        if not shards:
            return
        replies = await AskMany([reservation(self._link, shard) for shard in shards])
        births = dict(zip(shards, replies, strict=True))
        for key, record in sealed.items():
            birth = births[layout.shard(key.name)]
            # Without one the record is too old for any key, and is rewritten.
            record.birth = 1.0 if birth is FAILED else float(birth)

    def _forget(self, keys: Sequence[Key[bytes]]) -> None:
        self._judge.moments.add(tuple(key.name for key in keys), 0.0)
        for key in keys:
            self._judge.memory.drop(key.name)

    def _heard(
        self, key: Key[bytes], moment: float, record: Record | None, seconds: float, *, is_kept: bool = True
    ) -> None:
        if link := self._cache.link:
            link.history.told(link.layout.shard(key.name), moment)
            moment = as_of(self._judge, key, moment, record)
        seq = self._judge.moments.add((key.name,), moment)
        # A write that came after this one, from another process, has the later moment.
        if record and is_kept and self._uses_memory and self._judge.moments.moment(key.name) <= moment:
            self._remember(key, record, seq, seconds)

    def _written_here(
        self, records: Mapping[Key[bytes], Record | None], seconds: float
    ) -> dict[Key[bytes], ChangeReply | Failed]:
        with self._cache.memory_lock:
            now = self._judge.clock.monotonic()
            had: dict[Key[bytes], ChangeReply | Failed] = {
                key: [b"", b"1" if self._fresh(key, now) else b""] for key in records
            }
            self._forget(list(records))
            for key, record in records.items():
                self._heard(key, 0.0, record, seconds)
                self._judge.audit.note("set" if record else "delete", "memory", key=key.name)
        return had

    async def add(
        self, key: Key[bytes], value: bytes, seconds: float, groups: Sequence[str] = ()
    ) -> bool | None:
        """Store if there is nothing; return whether that was so, None where Redis can't say."""
        if seconds <= 0:  # nothing is stored, whether it could be or not
            found = await self.get_many([key])
            return None if self._cache.link and not self._cache.link.is_up else key not in found
        record = _record(value, seconds, checked_groups((_ALL, *groups)))
        if self._cache.link is None:
            with self._cache.memory_lock:
                is_absent = self._fresh(key, self._judge.clock.monotonic()) is None
                if is_absent:
                    self._written_here({key: record}, seconds)
                return is_absent
        if (reply := (await self._changed(key, ADD, record, seconds))) is FAILED:
            return None
        if reply[0] == b"0":
            return False
        self._heard(key, float(reply[0]), record, seconds)
        return True

    async def touch(self, key: Key[bytes], seconds: float) -> bool:
        """Keep a value for so long from now; return whether it was there."""
        if seconds <= 0:
            return await self.delete_many([key])
        if self._cache.link is None:
            with self._cache.memory_lock:
                entry = self._fresh(key, self._judge.clock.monotonic())
                if entry:
                    entry.fresh_until = entry.until = self._judge.clock.monotonic() + seconds
                return entry is not None
        if self._judge.families.seals(key.family):
            return (await self.change(key, lambda value: value, seconds)) is not None
        self._forget([key])
        reply = await Ask(self._link.commands.change(TOUCH, key.name, b"", seconds))
        if reply is FAILED or reply[0] == b"0":
            return False
        self._heard(key, float(reply[0]), None, seconds)
        return True

    async def change(
        self, key: Key[bytes], changed: Callable[[bytes], bytes], seconds: float = 0.0
    ) -> bytes | None:
        """Replace a value by what is made of it, with no other write in between; None if it isn't there.

        It is kept for ``seconds`` from now, or as long as it was.
        """
        if self._cache.link is None:
            with self._cache.memory_lock:
                entry = self._fresh(key, self._judge.clock.monotonic())
                if entry is None:
                    return None
                value = entry.value = changed(entry.value)
                return value
        held = (await self._held([key])).get(key)
        stored = held.stored if held else None
        deadline = self._judge.clock.monotonic() + _SWAP_SECONDS
        while stored and self._judge.clock.monotonic() < deadline:
            record = self._read(key, stored)
            if record is None:
                return None
            record = replace(record, value=changed(record.value))
            reply = await self._changed(key, SWAP, record, seconds, stored)
            if reply is FAILED:
                return None
            if reply[0] != b"0":
                new: bytes = record.value
                return new
            stored = reply[1]
        return None

    async def _changed(
        self, key: Key[bytes], script: Script, record: Record, seconds: float, *more: bytes
    ) -> ChangeReply | Failed:
        self._forget([key])
        reply = await changing(self._judge, self._link, key, script, record, seconds, *more)
        if reply is not FAILED and reply[0] != b"0":
            self._judge.moments.add((key.name,), as_of(self._judge, key, float(reply[0]), record))
        return reply

    async def get_or_load(
        self, key: Key[bytes], load: Loader, seconds: float, groups: Sequence[str] = ()
    ) -> bytes:
        """Return what is there, else what ``load`` returns, which is stored: one load among all processes."""
        found = await self.get_many([key])
        if key in found:
            return found[key]

        def loading(context: AnyContext) -> object:
            context.lifetime = max(seconds, 0.0)
            context.add_groups(groups)
            return load(context)

        value = await retrieval.get_or_load(self._cache, key, loading)
        if not self._uses_memory:
            self._judge.memory.drop(key.name)
        return value

    async def clear(self) -> bool:
        """Make every value invalid, at the cost of one write a shard; return whether Redis knows."""
        self._cache.listening()
        noted = await note_invalidation(self._judge, (_ALL,))
        return noted.in_redis


def _birth(record: Record | None) -> float:
    return record.birth if record else 0.0


def _record(value: bytes, seconds: float, groups: tuple[str, ...]) -> Record:
    return Record(value, 0.0, seconds, 0.0, 0.0, 0.0, groups)
