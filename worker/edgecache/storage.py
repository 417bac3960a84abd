"""The tiers of storage: memory before KV, and how records, variants and marks are laid out in both."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cachewire.bounds import CLOCK_TOLERANCE_MS, MARK_SECONDS, MAX_RECORD_SECONDS
from cachewire.directives import response_directives
from cachewire.errors import UnreadableRecord
from cachewire.key import body_key, digest, parse_target, record_key, variant_key
from cachewire.marks import Lane, Mark, mark_key, parse_mark
from cachewire.record import MAX_INDEX_SETS, Index, Record, head_of, metadata_for, parse_head, read_metadata
from cachewire.rules import first_match
from cachewire.settings import Settings
from cachewire.vary import selecting_names, selecting_values
from edgecache.admission import Admission
from edgecache.marktable import MarkTable
from edgecache.memory import Entry, Memory, Table
from edgecache.policy.decision import VALID, Invalidity, Lookup, mark_names
from edgecache.policy.freshness import freshness_of
from edgecache.ports import Bodies, Body, Report, Signal, Store, StoredValue, StoreError, Timing
from edgecache.writes import Writes

__all__ = ["Found", "Storage"]

_MAX_BULK_KEYS = 100
_MIN_TTL_SECONDS = 60
_NONE_NOMINATED = ("",)
_QUIET_MS = 1000
"""A fault of KV is reported once in this time: it mostly concerns every request."""

_TEXT_TYPES = (
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/x-ndjson",
    "image/svg+xml",
)
_TEXT_SUFFIXES = ("+json", "+xml")


@dataclass(frozen=True, slots=True)
class Found:
    """What a look-up met.

    An entry that the request selects, or the knowledge that there are only other variants.
    """

    entry: Entry | None = None
    other_variant: bool = False


@dataclass(frozen=True, slots=True)
class _KnownIndex:
    """An index, and until when it is sure to be in KV, written by this isolate; 0 for unknown."""

    index: Index | None = None
    written_until_ms: int = 0


_UNKNOWN = _KnownIndex()


class _Reading:
    """A bulk get of marks that is under way."""

    def __init__(self, began_ms: int) -> None:
        self.began_ms = began_ms
        self._ended: Signal | None = None

    async def wait(self, timing: Timing, seconds: float) -> None:
        """Wait until it has ended."""
        if self._ended is None:
            self._ended = timing.signal()
        await self._ended.wait(seconds)

    def end(self) -> None:
        """Let all that wait go on."""
        if self._ended:
            self._ended.set()


class Storage:
    """Finds and keeps stored responses. A store that fails counts as empty, and is reported."""

    def __init__(
        self, store: Store, bodies: Bodies, timing: Timing, settings: Settings, report: Report
    ) -> None:
        self.memory = Memory(settings.memory_bytes, settings.max_body_bytes)
        self.marks = MarkTable(int(settings.mark_interval * 1000), self.memory)
        self._store = store
        self._bodies = bodies
        self._timing = timing
        self._settings = settings
        self._report = report
        self._quiet_until_ms = 0
        self._writes = Writes(store, timing, self.memory)
        self._indexes: Table[_KnownIndex] = self.memory.table(1 / 32)
        self._admission = Admission(settings, self.memory)
        self._unwritten: dict[str, Entry] = {}
        self._readings: dict[str, _Reading] = {}

    # Looking

    def find_in_memory(self, lookup: Lookup) -> Found:
        """Look in memory alone."""
        item = self._at_hand(_variant(lookup, ()))
        if not isinstance(item, Index):
            return Found(item)
        return Found(_selected(item, [self._at_hand(_variant(lookup, names)) for names in item.sets]))

    def _at_hand(self, key: str) -> Entry | Index | None:
        return self.memory.get(key) or self._unwritten.get(key)

    async def find_in_store(self, lookup: Lookup) -> Found:
        """Look in KV, and hold in memory what was found."""
        item = await self._read(_variant(lookup, ()))
        if not isinstance(item, Index):
            return Found(item)
        item = self._with_unwritten(_variant(lookup, ()), item)
        variants = (self._read(_variant(lookup, names)) for names in item.sets)
        return Found(_selected(item, await asyncio.gather(*variants)), other_variant=bool(item.sets))

    async def _read(self, key: str) -> Entry | Index | None:
        try:
            value = await self._store.read(key)
            item = self._decoded(key, value) if value else None
            if (
                isinstance(item, Entry)
                and self.marks.invalidity((_ending(key),), item.record.birth_ms).hard_ms
            ):
                item = None  # KV shows what was ended here for a while
        except (StoreError, UnreadableRecord) as error:
            self._note(error)
            item = None
        # While KV was being read, a newer response may have come from the origin.
        newer = self._at_hand(key)
        if newer and not (isinstance(newer, Entry) and _replaces(item, newer)):
            return newer
        if isinstance(item, Index) or (item and self._fits_memory(item)):
            self.memory.put(key, item)
        return item

    def _note(self, error: Exception) -> None:
        now_ms = self._timing.now_ms()
        if now_ms >= self._quiet_until_ms:
            self._quiet_until_ms = now_ms + _QUIET_MS
            self._report("store", error)

    def _decoded(self, key: str, value: StoredValue) -> Entry | Index:
        content = read_metadata(value.metadata)
        if isinstance(content, Index):
            return content
        if isinstance(content, str):
            record, body = parse_head(content), value.body
        else:
            record, body = self._split(value.body, content)
        if record.body_key:
            return Entry(key, record, None, record.body_bytes)
        size = self._bodies.size(body)
        if not record.coding and size != record.body_bytes:
            raise UnreadableRecord(f"{size} bytes where the record says {record.body_bytes}")
        return Entry(key, record, body, size)

    def _split(self, value: Body, head_bytes: int) -> tuple[Record, Body]:
        try:
            head = self._bodies.text(self._bodies.part(value, 0, head_bytes))
        except ValueError as error:
            raise UnreadableRecord(f"the head isn't text: {error}") from error
        return parse_head(head), self._bodies.part(value, head_bytes, self._bodies.size(value))

    def _fits_memory(self, entry: Entry) -> bool:
        return entry.body is not None and entry.size_bytes <= self._settings.memory_item_bytes

    async def body_of(self, entry: Entry) -> Body | None:
        """Return the body as it is stored, from KV if it lies apart; ``None`` if it is gone or cut short."""
        if entry.body is not None or not entry.record.body_key:
            return entry.body
        try:
            value = await self._store.read(entry.record.body_key)
        except StoreError as error:
            self._note(error)
            return None
        if value is None or (
            not entry.record.coding and self._bodies.size(value.body) != entry.record.body_bytes
        ):
            return None
        return value.body

    async def stream_of(self, entry: Entry) -> Any | None:
        """Return a body that lies apart as a stream, so that it needs no memory; ``None`` if it is gone."""
        if not entry.record.body_key:
            return None
        try:
            stream = await self._store.read_stream(entry.record.body_key)
        except StoreError as error:
            self._note(error)
            return None
        if stream is None or entry.record.coding:
            return stream
        return self._bodies.measured(stream, entry.record.body_bytes)

    async def decoded_body_of(self, entry: Entry) -> Body | None:
        """Return the body without the cache's own coding; ``None`` if it is gone or broken."""
        if entry.decoded is not None or not entry.record.coding:
            return entry.decoded if entry.record.coding else await self.body_of(entry)
        body = await self.body_of(entry)
        try:
            decoded = None if body is None else await self._bodies.gunzip(body)
        except ValueError:
            return None
        if decoded is None or self._bodies.size(decoded) != entry.record.body_bytes:
            return None
        if entry.record.body_bytes <= self._settings.memory_item_bytes // 4:
            self._remember_decoded(entry, decoded)
        return decoded

    def _remember_decoded(self, entry: Entry, decoded: Body) -> None:
        if entry.decoded is None:
            entry.decoded = decoded
            self.memory.charge(entry, entry.record.body_bytes)

    def is_selected(self, lookup: Lookup, entry: Entry) -> bool:
        """Whether ``lookup`` selects this very response."""
        index = self._index_at(_variant(lookup, ()))
        return entry.key == _variant(lookup, self._names(entry.record, index))

    def expected_key(self, lookup: Lookup) -> str:
        """Return the key of the response that ``lookup`` most likely gets, by what earlier ones varied by."""
        base = _variant(lookup, ())
        index = self._index_at(base)
        return _variant(lookup, index.sets[0]) if index else base

    def _index_at(self, key: str) -> Index | None:
        item = self.memory.get(key)
        index = item if isinstance(item, Index) else (self._indexes.get(key) or _UNKNOWN).index
        return index if index and index.sets else None

    def _names(self, record: Record, index: Index | None) -> tuple[str, ...]:
        """Return the selecting header fields of a response; where it nominates none, what others did counts.

        RFC 9111 section 4.1: some resources mistakenly omit Vary from their default response. In the safe
        profile it answers only requests like its own; by the RFC all whom no other response fits.
        """
        names = _selecting(record)
        if names or index is None:
            return names
        return index.names if self._settings.is_safe else _NONE_NOMINATED

    # Keeping

    def coming(self, lookup: Lookup, record: Record) -> Entry:
        """Return the entry of a new response whose body isn't there yet."""
        names = self._names(record, self._index_at(_variant(lookup, ())))
        return Entry(_variant(lookup, names), record, None, 0)

    def hold(self, lookup: Lookup, record: Record, body: Body) -> Entry:
        """Hold a new response in memory, if it fits, and return its entry."""
        base = _variant(lookup, ())
        known = self._index_at(base)
        names = self._names(record, known)
        entry = Entry(_variant(lookup, names), record, body, self._bodies.size(body))
        if names:
            index = known.including(names) if known else Index((names,))
            entry.names = index.names
            self._learn_index(base, index)
            self.memory.put(base, index)
            if index != known:
                self.marks.generation += 1  # what was decided by fewer names may not be repeated
        if self._fits_memory(entry):
            self.memory.put(entry.key, entry)
        return entry

    def _learn_index(self, key: str, index: Index) -> None:
        """Remember an index apart from memory, which may let go of it while its responses are in use."""
        known = self._indexes.get(key) or _UNKNOWN
        self._indexes.set(key, known if known.index == index else _KnownIndex(index))

    def _with_unwritten(self, key: str, read: Index) -> Index:
        """Return an index as it was read, with what this isolate knows and KV doesn't show yet."""
        known = (self._indexes.get(key) or _UNKNOWN).index or Index(())
        others = (names for names in read.sets if names not in known.sets)
        index = Index((*known.sets, *others)[:MAX_INDEX_SETS])
        self._learn_index(key, index)
        return index

    async def keep(self, lookup: Lookup, entry: Entry) -> None:
        """Write an entry to KV, compressed where that pays; raises :class:`StoreError`.

        Until it is there, one that memory doesn't hold is still found. What is more than clients may cause
        isn't written.
        """
        if not self._admission.admits(lookup, entry.key, entry.size_bytes, self._timing.now_ms()):
            return
        with self.memory.used(entry) as has_room:
            if not has_room:
                raise StoreError(f"MEMORY_BYTES has no room for {entry.key} beside what is being written")
            if not entry.is_held and entry.body is not None:
                self._unwritten[entry.key] = entry
            try:
                await self._keep(lookup, entry)
            finally:
                if self._unwritten.get(entry.key) is entry:
                    del self._unwritten[entry.key]

    async def _keep(self, lookup: Lookup, entry: Entry) -> None:
        entry = await self._compressed(entry)
        ttl_seconds = self._ttl_seconds(lookup, entry)
        if entry.names:
            await self._keep_index(_variant(lookup, ()), ttl_seconds, renew=bool(_selecting(entry.record)))
        await self._write_record(entry, ttl_seconds)

    async def _keep_index(self, key: str, ttl_seconds: int, *, renew: bool) -> None:
        """Write an index that isn't in KV yet, or, to ``renew`` it, may not outlive what it leads to.

        It goes by itself once no response has varied for long.
        """
        known, now_ms = (self._indexes.get(key) or _UNKNOWN), self._timing.now_ms()
        if known.index is None or known.written_until_ms > (now_ms if renew else 0):
            return
        index_seconds = min(2 * ttl_seconds, MAX_RECORD_SECONDS)
        await self._writes.write(key, self._bodies.empty(), known.index.metadata(), index_seconds)
        if self._indexes.get(key) is known:
            until_ms = now_ms + (index_seconds - ttl_seconds) * 1000
            self._indexes.set(key, replace(known, written_until_ms=max(1, until_ms)))

    async def _compressed(self, entry: Entry) -> Entry:
        if not self._is_worth_compressing(entry):
            return entry
        body = await self._bodies.gzip(entry.body)
        size = self._bodies.size(body)
        if size * 10 > entry.size_bytes * 9:
            return entry
        compressed = Entry(entry.key, replace(entry.record, coding="gzip"), body, size, names=entry.names)
        if entry.is_held:
            self.memory.put(entry.key, compressed)
        return compressed

    def _is_worth_compressing(self, entry: Entry) -> bool:
        least = self._settings.compress_min_bytes
        if (
            not least
            or entry.body is None
            or entry.size_bytes < least
            or entry.record.coding
            or entry.record.status != 200
        ):
            return False
        # RFC 9111 section 5.2.2.6
        if "content-encoding" in entry.fields or "no-transform" in response_directives(entry.fields):
            return False
        media_type = entry.fields.get("content-type", "").partition(";")[0].strip().lower()
        return media_type.startswith(_TEXT_TYPES) or media_type.endswith(_TEXT_SUFFIXES)

    def _ttl_seconds(self, lookup: Lookup, entry: Entry) -> int:
        freshness = freshness_of(entry.record, entry.fields, lookup.rule, self._settings)
        windows_ms = max(freshness.stale_while_revalidate_ms, freshness.stale_if_error_ms)
        seconds = (freshness.lifetime_ms + windows_ms) // 1000 + self._settings.retention
        return max(_MIN_TTL_SECONDS, min(seconds, MAX_RECORD_SECONDS))

    async def _write_record(self, entry: Entry, ttl_seconds: int) -> None:
        record, body = entry.record, entry.body
        if body is None:
            body = self._bodies.empty()
        elif entry.size_bytes > self._settings.memory_item_bytes:
            # A name that no other response has: a record must never meet the body of a later one.
            record = replace(record, body_key=body_key(digest("body", entry.key, record.birth_ms)))
            await self._writes.write(
                record.body_key, body, None, min(ttl_seconds + _MIN_TTL_SECONDS, MAX_RECORD_SECONDS)
            )
            body = self._bodies.empty()
        head = head_of(record)
        metadata, is_in_front = metadata_for(head)
        await self._writes.write(
            entry.key, self._bodies.prefixed(head, body) if is_in_front else body, metadata, ttl_seconds
        )

    # Ending

    def end_here(self, entry: Entry) -> None:
        """Let a stored response be used no more in this isolate, and none older under its key."""
        self.memory.drop(entry.key)
        self.marks.write(_ending(entry.key), Lane.HARD, entry.record.birth_ms)

    async def end(self, key: str) -> None:
        """Overwrite what is stored under ``key`` in KV with nothing; raises :class:`StoreError`."""
        await self._writes.write(key, self._bodies.empty(), Index(()).metadata(), _MIN_TTL_SECONDS)

    def is_ended(self, lookup: Lookup, key: str, record: Record) -> bool:
        """Whether a stored response is known to be gone, as it may be since it was found."""
        by_itself = self.marks.invalidity((_ending(key),), record.birth_ms)
        return bool(by_itself.hard_ms or self.marks.verdict(lookup, record).hard_ms)

    # Marks

    def known_invalidity(self, lookup: Lookup, record: Record, now_ms: int) -> Invalidity | None:
        """Return what the purge marks say of a stored response; ``None`` if they have to be read first."""
        names, oldest_ms = mark_names(lookup, record), now_ms - self.marks.interval_ms
        if self.marks.known_at(names, record.birth_ms) < oldest_ms:
            return None
        invalidity = self.marks.invalidity(names, record.birth_ms)
        if invalidity is VALID:
            return invalidity
        if self.marks.known_until(lookup, record) < oldest_ms:
            return None
        return self.marks.verdict(lookup, record)

    async def invalidity(self, lookup: Lookup, record: Record) -> Invalidity:
        """Return what the purge marks say of a stored response, reading those that are not known."""
        if not await self.read_marks(mark_names(lookup, record)):
            return Invalidity(is_unknown=True)
        # An index may have shown that there is more to read, or to read again.
        names, moved_ms = self.marks.deciding(lookup, record), self.marks.moved_at(lookup, record)
        if not await self.read_marks(names, since_ms=moved_ms):
            return Invalidity(is_unknown=True)
        return self.marks.verdict(lookup, record)

    async def read_marks(self, names: Sequence[str], share: float = 1.0, *, since_ms: int = 0) -> bool:
        """Read the marks that were read longer than ``share`` of the interval ago, or before ``since_ms``.

        Return whether all are known now.
        """
        names = self.marks.outdated(names, self._timing.now_ms(), share, since_ms)
        others = {reading for name in names if (reading := self._reading_of(name))}
        for reading in others:
            await reading.wait(self._timing, self._settings.kv_timeout)
        if others:
            names = self.marks.outdated(names, self._timing.now_ms(), share, since_ms)
        return not names or await self._read_now(names)

    def _reading_of(self, name: str) -> "_Reading | None":
        reading = self._readings.get(name)
        if reading and self._timing.now_ms() - reading.began_ms > self._settings.kv_timeout * 1000:
            return None  # lost together with its request
        return reading

    async def _read_now(self, names: Sequence[str]) -> bool:
        now_ms = self._timing.now_ms()
        reading = _Reading(now_ms)
        self._readings.update(dict.fromkeys(names, reading))
        try:
            return await self._read_at(names, now_ms)
        finally:
            for name in names:
                if self._readings.get(name) is reading:
                    del self._readings[name]
            reading.end()

    async def _read_at(self, names: Sequence[str], now_ms: int) -> bool:
        keys = [mark_key(name, lane) for name in names for lane in Lane]
        texts: dict[str, str] = {}
        try:
            for at in range(0, len(keys), _MAX_BULK_KEYS):
                texts.update(await self._store.read_texts(keys[at : at + _MAX_BULK_KEYS]))
        except StoreError as error:
            self._note(error)
            return False
        for name in names:
            moments = [_moment(texts.get(mark_key(name, lane)), now_ms) for lane in (Lane.SOFT, Lane.HARD)]
            self.marks.learn(name, moments[0], moments[1], now_ms)
        return True

    def mark_here(
        self, names: Sequence[str], lane: Lane, moment_ms: int, *, must_validate: bool = False
    ) -> None:
        """Let an invalidation take effect in this isolate, at once."""
        for name in names:
            self.marks.write(name, lane, moment_ms, must_validate=must_validate)

    async def may_hold(self, location: str) -> bool:
        """Whether anything may be stored for a URL, given as its mark names it: without its scheme."""
        for scheme in ("https", "http"):
            target = parse_target(f"{scheme}://{location}")
            rule = first_match(self._settings.rules, "GET", target)
            if rule and rule.declares_identity:
                return True  # under keys that nobody can list
            key = record_key(target)
            if self._at_hand(key):
                return True
            try:
                if await self._store.read(key):
                    return True
            except StoreError as error:
                self._note(error)
                return True
        return False

    async def mark_everywhere(self, names: Sequence[str], lane: Lane, purge_id: str) -> None:
        """Write the marks of an invalidation to KV; raises :class:`StoreError`."""

        def value() -> str:
            # The moment of the write, which may have waited, or been tried before: the last write wins in KV,
            # and must not take back a later purge. Ahead, because another location's clock may be.
            return str(Mark(self._timing.now_ms() + CLOCK_TOLERANCE_MS, purge_id))

        keys = [mark_key(name, lane) for name in names]
        writes = (self._writes.write_made(key, value, None, MARK_SECONDS) for key in keys)
        await asyncio.gather(*writes)


def _variant(lookup: Lookup, names: tuple[str, ...]) -> str:
    if not (names or lookup.parts):
        return lookup.key
    return variant_key(lookup.key, [*lookup.parts, *selecting_values(names, lookup.selecting_fields)])


def _replaces(read: Entry | Index | None, held: Entry) -> bool:
    """Whether what was read from KV is to be used rather than what memory holds under that key."""
    # An index shows that what is held answers fewer requests than it seems to.
    return isinstance(read, Index) or (read is not None and _latest(held) < _latest(read))


def _selected(index: Index, items: Sequence[Entry | Index | None]) -> Entry | None:
    """Return which of the responses that match is used (RFC 9111 section 4.1)."""
    found = max((item for item in items if isinstance(item, Entry)), key=_preference, default=None)
    if found:
        found.names = index.names
    return found


def _preference(entry: Entry) -> tuple[bool, int]:
    # "the cache SHOULD choose the most recent stored response with a valid Vary field value"
    return bool(_selecting(entry.record)), _latest(entry)


def _latest(entry: Entry) -> int:
    return entry.record.response_ms


def _ending(key: str) -> str:
    return f"ended/{key}"


def _selecting(record: Record) -> tuple[str, ...]:
    fields = dict(record.fields)
    names = selecting_names(fields)
    # A coded response is only for clients that accept the coding, even where the origin forgot to say so.
    return tuple(sorted({*names, "accept-encoding"})) if "content-encoding" in fields else names


def _moment(text: str | None, now_ms: int) -> int:
    if not text:
        return 0
    try:
        return parse_mark(text).moment_ms
    except ValueError:
        return now_ms  # it can't be told what was purged, so that everything older counts as purged
