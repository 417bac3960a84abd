"""What is kept, for how long, and how it ends."""

from dataclasses import replace

from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.selection import nominated
from origin_sdk_edge.ports import Body, StoreError
from origin_sdk_edge.storage.admission import Admission
from origin_sdk_edge.storage.marks import Marks
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_edge.storage.records import laid_out
from origin_sdk_edge.storage.tiers import Tiers
from origin_sdk_edge.storage.variants import Variants, variant
from origin_sdk_edge.storage.writes import Writes
from origin_sdk_wire.layout import (
    MIN_TTL_SECONDS,
    apart_key,
    apart_seconds,
    index_seconds,
    is_apart,
    is_compressible,
    is_smaller,
    record_seconds,
)
from origin_sdk_wire.prepared import prepared_for
from origin_sdk_wire.record import Index, Record
from origin_sdk_wire.seals import SEAL_BYTES, Seal

__all__ = ["Retention"]


class Retention:
    """Holds new responses in memory, writes them to KV, and ends them."""

    def __init__(self, tiers: Tiers, variants: Variants, marks: Marks, writes: Writes) -> None:
        self._tiers = tiers
        self._variants = variants
        self._marks = marks
        self._writes = writes
        self._admission = Admission(tiers.settings, tiers.memory)

    def coming(self, lookup: Lookup, record: Record) -> Entry:
        """Return the entry of a new response whose body isn't there yet."""
        names = self._variants.names(record, self._variants.index_at(variant(lookup, ())))
        return Entry(variant(lookup, names), record, None, 0)

    def hold(self, lookup: Lookup, record: Record, body: Body) -> Entry:
        """Hold a new response in memory, if it fits, and return its entry."""
        base = variant(lookup, ())
        known = self._variants.index_at(base)
        names = self._variants.names(record, known)
        entry = Entry(variant(lookup, names), record, body, self._tiers.contents.size(body))
        if names:
            index = known.including(names) if known else Index((names,))
            entry.names = index.names
            self._variants.learn(base, index)
            self._tiers.memory.put(base, index)
            self._writes.expect(base, record.response_ms)
            if index != known:
                self._marks.table.generation += 1  # what was decided by fewer names may not be repeated
        self.take(entry)
        return entry

    def take(self, entry: Entry) -> None:
        """Hold an entry in memory, if it fits and nothing newer has come meanwhile, while its body did."""
        response_ms = entry.record.response_ms
        if self._writes.is_overtaken(entry.key, response_ms):
            return
        self._writes.expect(entry.key, response_ms)
        if self._tiers.fits_memory(entry):
            self._tiers.memory.put(entry.key, entry)

    async def keep(self, lookup: Lookup, entry: Entry, why: str = "") -> None:
        """Write an entry to KV, compressed where that pays, unless a newer one has come.

        Until it is there, one that memory doesn't hold is still found. What is more than clients may cause
        isn't written. ``why`` is for whoever audits that. Raises :class:`StoreError`.
        """
        if self._writes.is_overtaken(entry.key, entry.record.response_ms):
            return
        if not self._admission.admits(lookup, entry.key, entry.size_bytes, self._tiers.timing.now_ms()):
            return
        unwritten = self._tiers.unwritten
        with self._tiers.memory.used(entry) as has_room:
            if not has_room:
                raise StoreError(f"MEMORY_BYTES has no room for {entry.key} next to what is being written")
            if not entry.is_held and entry.body is not None:
                unwritten[entry.key] = entry
            try:
                await self._keep(lookup, entry, why)
            finally:
                if unwritten.get(entry.key) is entry:
                    del unwritten[entry.key]

    async def _keep(self, lookup: Lookup, entry: Entry, why: str) -> None:
        entry = await self._compressed(entry)
        settings = self._tiers.settings
        freshness, seal = entry.freshness(lookup.rule, settings), settings.seal_of(lookup.rule)
        ttl_seconds = record_seconds(freshness, settings)
        if entry.names:
            renew = bool(nominated(entry.record))
            await self._keep_index(variant(lookup, ()), ttl_seconds, seal, renew=renew)
        await self._write_record(entry, ttl_seconds, seal, prepared_for(freshness, lookup.rule, settings))
        told = {"rule": lookup.rule.name, "why": why, "bytes": entry.size_bytes, "seconds": ttl_seconds}
        self._tiers.wrote("store", entry.key, told)

    async def _keep_index(self, key: str, ttl_seconds: int, seal: Seal, *, renew: bool) -> None:
        """Write an index that isn't in KV yet, or, to ``renew`` it, may not outlive what it leads to.

        It goes by itself once no response has varied for long.
        """
        now_ms = self._tiers.timing.now_ms()
        index = self._variants.unwritten(key, now_ms if renew else 0)
        if index is None:
            return
        seconds = index_seconds(ttl_seconds)
        await self._write_index(key, index, seconds, seal)
        self._variants.note_written(key, index, now_ms + (seconds - ttl_seconds) * 1000)

    async def _write_index(
        self, key: str, index: Index, seconds: int, seal: Seal, moment_ms: int | None = None
    ) -> None:
        """Write an index."""
        seals, empty = self._tiers.seals, self._tiers.contents.empty()
        metadata, value = await seals.closed(seal.of_index, key, index.metadata(), empty)
        await self._writes.write(key, value, metadata, seconds, moment_ms)

    async def _compressed(self, entry: Entry) -> Entry:
        settings, contents = self._tiers.settings, self._tiers.contents
        if entry.body is None or entry.record.coding:
            return entry
        if not is_compressible(entry.record.status, entry.fields, entry.size_bytes, settings):
            return entry
        body = await contents.gzip(entry.body)
        size = contents.size(body)
        if not is_smaller(size, entry.size_bytes):
            return entry
        compressed = Entry(entry.key, replace(entry.record, coding="gzip"), body, size, names=entry.names)
        if entry.is_held:
            self._tiers.memory.put(entry.key, compressed)
        return compressed

    async def _write_record(self, entry: Entry, ttl_seconds: int, seal: Seal, prepared: str) -> None:
        record, body, contents, seals = entry.record, entry.body, self._tiers.contents, self._tiers.seals
        is_sealed = seal is not Seal.NONE
        if body is None:
            body = contents.empty()
        elif is_apart(entry.size_bytes, self._tiers.settings):
            record = replace(record, body_key=apart_key(entry.key, record, is_sealed=is_sealed))
            if is_sealed:
                body = await seals.closed_body(seal, record.body_key, body)
            await self._writes.write(record.body_key, body, None, apart_seconds(ttl_seconds))
            body = contents.empty()
        reserved_bytes = SEAL_BYTES if is_sealed else 0
        metadata, value = laid_out(record, body, contents, prepared, reserved_bytes=reserved_bytes)
        metadata, value = await seals.closed(seal, entry.key, metadata, value)
        await self._writes.write(entry.key, value, metadata, ttl_seconds, record.response_ms)

    # Ending

    def end_here(self, entry: Entry, moment_ms: int) -> None:
        """Let a stored response be used no more in this isolate, and none older under its key.

        Nothing that came before ``moment_ms`` is written there either.
        """
        self._writes.expect(entry.key, moment_ms)
        self._tiers.memory.drop(entry.key)
        self._marks.end(entry.key, entry.record)

    async def end(self, key: str, moment_ms: int) -> None:
        """Overwrite what is stored under ``key`` in KV with nothing, unless it came after ``moment_ms``.

        Raises :class:`StoreError`.
        """
        await self._write_index(key, Index(()), MIN_TTL_SECONDS, Seal.AUTHENTICATE, moment_ms)
        self._tiers.wrote("end", key, {"why": "withdrawn"})
