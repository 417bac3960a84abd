"""Stored responses: found in memory before KV, and read as they lie there."""

from collections.abc import Sequence
from dataclasses import dataclass

from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.selection import preference
from origin_sdk_edge.ports import Bodies, Body, Read, StoredValue, StoreError
from origin_sdk_edge.storage.marks import Marks
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_edge.storage.tiers import Tiers
from origin_sdk_edge.storage.variants import Variants, variant
from origin_sdk_wire.disguise import applied_rule
from origin_sdk_wire.errors import BrokenSeal, UnreadableRecord
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import Target, parse_target, record_key
from origin_sdk_wire.record import (
    Index,
    Record,
    head_of,
    metadata_for,
    parse_head,
    prepared_in,
    read_metadata,
)
from origin_sdk_wire.rules import FURTHER_METHODS
from origin_sdk_wire.settings import Rule, Settings

__all__ = ["Found", "Records", "laid_out"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a look-up met.

    An entry that the request selects, or why there is none.
    """

    entry: Entry | None = None
    missing: Reason = Reason.ABSENT


def laid_out(
    record: Record, body: Body, contents: Bodies, prepared: str = "", *, reserved_bytes: int = 0
) -> tuple[str, Body]:
    """Return metadata and value of a record, as :meth:`Records.response` reads them."""
    head = head_of(record)
    metadata, is_in_front = metadata_for(head, prepared, reserved_bytes=reserved_bytes)
    return metadata, contents.prefixed(head, body) if is_in_front else body


class Records:
    """Finds stored responses."""

    def __init__(self, tiers: Tiers, variants: Variants, marks: Marks) -> None:
        self._tiers = tiers
        self._variants = variants
        self._marks = marks

    def find_in_memory(self, lookup: Lookup) -> Found:
        """Look without KV: in memory, and among what is being written to KV."""
        at_hand = self._tiers.at_hand
        item = at_hand(variant(lookup, ()))
        if not isinstance(item, Index):
            return Found(item)
        return Found(_selected(item, [at_hand(variant(lookup, names)) for names in item.sets]))

    def is_at_hand(self, key: str) -> bool:
        """Whether anything is found under ``key`` without KV."""
        return self._tiers.at_hand(key) is not None

    async def find_in_store(self, lookup: Lookup, read: Read | None = None) -> Found:
        """Look in KV, and hold in memory what was found; ``read`` is what was read there already."""
        base = variant(lookup, ())
        if read is None or read.key != base:
            read = await self.read(base, lookup.rule)
        item = self._settled(read)
        if not isinstance(item, Index):
            return Found(item, _missing(read))
        item = self._variants.with_unwritten(base, item)
        reading = [self.read(variant(lookup, names), lookup.rule) for names in item.sets]
        reads = [await reading[0]] if len(reading) == 1 else await self._tiers.timing.together(*reading)
        found = [self._settled(each) for each in reads]
        return Found(_selected(item, found), _missing(*reads, has_others=bool(item.sets)))

    async def read(self, key: str, rule: Rule) -> Read:
        """Read what lies under ``key`` in KV, and open it as far as it is sealed."""
        seals = self._tiers.seals
        try:
            value = await self._tiers.store.read(key)
            if value is not None and seals.is_on:
                value = await seals.opened(key, value, is_needed=seals.is_needed(rule))
        except (StoreError, UnreadableRecord) as error:
            return Read(key, fault=error)
        return Read(key, value)

    def _settled(self, read: Read) -> Entry | Index | None:
        """Return what is to be used by what was read, and hold it in memory."""
        key = read.key
        try:
            item = self._found(read)
        except (StoreError, UnreadableRecord) as error:
            if not _is_broken(read):  # which is told of where it is opened
                self._tiers.note(error)
            item = None
        # While KV was being read, a newer response may have come from the origin.
        newer = self._tiers.at_hand(key)
        if newer and not (isinstance(newer, Entry) and _replaces(item, newer)):
            return newer
        if isinstance(item, Index):
            self._tiers.memory.put(key, item)
        elif item:
            self.hold(item)
        return item

    def hold(self, entry: Entry) -> None:
        """Hold in memory what was found in KV, if it fits."""
        if self._tiers.fits_memory(entry):
            self._tiers.memory.put(entry.key, entry)

    def plain(self, read: Read) -> Entry | None:
        """Return the response that was read, if nothing is at hand in its place, and its body is there."""
        if read.value is None or self.is_at_hand(read.key):
            return None
        try:
            item = self._found(read)
        except UnreadableRecord:
            return None
        return item if isinstance(item, Entry) and item.body is not None else None

    def _found(self, read: Read) -> Entry | Index | None:
        """Return what was read; raises :class:`StoreError` and :class:`UnreadableRecord`."""
        if read.fault:
            raise read.fault
        if read.item is None and read.value:
            read.item = self._decoded(read.key, read.value)
        item: Entry | Index | None = read.item
        if isinstance(item, Entry) and self._marks.has_ended(read.key, item.record):
            return None  # KV shows what was ended here for a while
        return item

    def response(self, key: str, value: StoredValue) -> Entry:
        """Return a response as it lies in KV; raises :class:`UnreadableRecord`."""
        item = self._decoded(key, value)
        if isinstance(item, Index):
            raise UnreadableRecord("an index where a response was expected")
        return item

    def _decoded(self, key: str, value: StoredValue) -> Entry | Index:
        content, prepared = read_metadata(value.metadata), prepared_in(value.metadata)
        if isinstance(content, Index):
            return content
        if isinstance(content, str):
            record, body = parse_head(content), value.body
        else:
            record, body = self._split(value.body, content)
        if record.body_key:
            return Entry(key, record, None, record.body_bytes, prepared=prepared)
        size = self._tiers.contents.size(body)
        if not record.coding and size != record.body_bytes:
            raise UnreadableRecord(f"{size} bytes, but the record says {record.body_bytes}")
        return Entry(key, record, body, size, prepared=prepared)

    def _split(self, value: Body, head_bytes: int) -> tuple[Record, Body]:
        contents, size = self._tiers.contents, self._tiers.contents.size(value)
        if head_bytes > size:
            # Also before JavaScript sees a number that is too large for it.
            raise UnreadableRecord(f"a head of {head_bytes} bytes in {size}")
        try:
            head = contents.text(contents.part(value, 0, head_bytes))
        except ValueError as error:
            raise UnreadableRecord(f"the head isn't text: {error}") from error
        return parse_head(head), contents.part(value, head_bytes, size)

    async def may_hold(self, location: str) -> bool:
        """Whether anything may be stored for a URL, given as its mark names it: without its scheme."""
        for scheme in ("https", "http"):
            target = parse_target(f"{scheme}://{location}")
            if any(_hides(self._tiers.settings, method, target) for method in ("GET", *FURTHER_METHODS)):
                return True  # under keys that nobody can list
            key = record_key(target)
            if self._tiers.at_hand(key):
                return True
            try:
                if await self._tiers.store.read(key):
                    return True
            except StoreError as error:
                self._tiers.note(error)
                return True
        return False


def _missing(*reads: Read, has_others: bool = False) -> Reason:
    """Return why nothing is used of what was read, if nothing is."""
    if any(map(_is_broken, reads)):
        return Reason.BROKEN_SEAL
    return Reason.OTHER_VARIANT if has_others else Reason.ABSENT


def _is_broken(read: Read) -> bool:
    return isinstance(read.fault, BrokenSeal)


def _hides(settings: Settings, method: str, target: Target) -> bool:
    """Whether what answers ``method`` lies under a key that doesn't follow from ``target``."""
    if settings.key_version:
        return True
    rule = applied_rule(method, target, settings)
    return rule is not None and (
        rule.declares_identity or rule.no_vary_search or rule.looks_up_further(method)
    )


def _replaces(read: Entry | Index | None, held: Entry) -> bool:
    """Whether what was read from KV is to be used rather than what memory holds under that key."""
    # An index shows that what is held answers fewer requests than it seems to.
    return isinstance(read, Index) or (read is not None and held.record.response_ms < read.record.response_ms)


def _selected(index: Index, items: Sequence[Entry | Index | None]) -> Entry | None:
    """Return which of the responses that match is used."""
    entries = (item for item in items if isinstance(item, Entry))
    found = max(entries, key=lambda entry: preference(entry.record), default=None)
    if found:
        found.names = index.names
    return found
