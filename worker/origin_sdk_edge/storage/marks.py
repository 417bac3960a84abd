"""Purge marks: what is known of them, read where it isn't, and written."""

from collections.abc import Callable, Sequence
from typing import Protocol

from origin_sdk_edge.policy.decision import Invalidity, Lookup
from origin_sdk_edge.ports import Background, StoreError
from origin_sdk_edge.storage.mark_table import MarkTable, Wanted, group_lane
from origin_sdk_edge.storage.memory import Table
from origin_sdk_edge.storage.reading import Reading
from origin_sdk_edge.storage.tiers import Tiers
from origin_sdk_edge.storage.writes import Writes
from origin_sdk_wire.bounds import CLOCK_TOLERANCE_MS, MARK_SECONDS, MARKS_AHEAD
from origin_sdk_wire.marks import (
    BY_EDGE,
    SHARED,
    SHARED_RENEWAL_MS,
    Lane,
    Mark,
    lane_key,
    lane_name,
    parse_mark,
    value_of,
    written_keys,
)
from origin_sdk_wire.record import Record

__all__ = ["LogReader", "LogWriter", "Marks"]

_MAX_BULK_KEYS = 100
_NO_MARK = Mark(0)
_MAX_ROUNDS = 8
"""The shared mark tells of an index, that of a prefix, its soft lane of the hard one; some may move again."""
_SHARED = lane_name(SHARED, Lane.SOFT)
_SHARED_KEY = lane_key(_SHARED)


class LogReader(Protocol):
    """Asks the purge log what is new, for the table of marks."""

    async def catch_up(self, birth_ms: int) -> bool:
        """Ask if that can tell of a response of this birth; return whether it did."""


class LogWriter(Protocol):
    """Writes this isolate's purges into the purge log."""

    async def write(self, names: Sequence[str], lane: Lane, why: str, moment_ms: int | None = None) -> None:
        """Write the entries of a purge; raises :class:`StoreError`."""


class Marks:
    """The purge marks in KV, through the ``table`` of those that are known."""

    def __init__(self, tiers: Tiers, writes: Writes) -> None:
        self.table = MarkTable(int(tiers.settings.mark_interval * 1000), tiers.memory)
        self._ahead_ms = int(self.table.interval_ms * MARKS_AHEAD)
        self._tiers = tiers
        self._writes = writes
        self.log_reader: LogReader | None = None
        self.log_writer: LogWriter | None = None
        self.follow: Callable[[str], None] | None = None
        """Has the purges of a host be known by the log, where not those of all hosts are."""
        self._readings: dict[str, Reading] = {}
        self._shared_written_ms = 0
        self._ended: Table[int] = tiers.memory.table(1 / 64)
        self._groups: Table[tuple[str, ...]] = tiers.memory.table(1 / 64)

    # What they say of a stored response

    def known(self, lookup: Lookup, record: Record, now_ms: int) -> Invalidity | None:
        """Return what the purge marks say of a stored response; ``None`` if they have to be read first."""
        return self.table.verdict_as_of(lookup, record, now_ms - self.table.interval_ms)

    def is_known_valid(self, record: Record, now_ms: int) -> bool:
        """Whether nothing of a response was purged, and nothing is to be read ahead: mostly so."""
        return self.table.is_untouched(record.groups, record.birth_ms, now_ms - self._ahead_ms)

    async def invalidity(self, lookup: Lookup, record: Record) -> Invalidity:
        """Return what the purge marks say of a stored response, reading those that are not known."""
        if (told := await self._by_log(lookup, record)) is not None:
            return told
        now_ms, target = self._tiers.timing.now_ms(), lookup.request.target
        self._groups.set(lookup.key, record.groups)
        # What is read may show that there is more to read, or to read again.
        for _ in range(_MAX_ROUNDS):
            wanted = self.table.deciding(target, record)
            if not self.table.outdated(wanted, now_ms):
                return self.table.verdict(lookup, record)
            if not await self.read(wanted, now_ms):
                break
        return Invalidity(is_unknown=True)

    async def _by_log(self, lookup: Lookup, record: Record) -> Invalidity | None:
        """Ask the purge log, if it may know of the response; return what that comes to, if it is enough."""
        if self.log_reader is None or not await self.log_reader.catch_up(record.birth_ms):
            return None
        return self.known(lookup, record, self._tiers.timing.now_ms())

    async def is_purged(self, groups: Sequence[str], birth_ms: int) -> bool | None:
        """Whether any of ``groups`` was purged at ``birth_ms`` or since; ``None`` if that can't be had.

        A switch that has purges wait has no say in it.
        """
        now_ms = self._tiers.timing.now_ms()
        oldest_ms = now_ms - self.table.interval_ms
        known = self.table.is_purged(groups, birth_ms, oldest_ms)
        if known is None and self.log_reader and await self.log_reader.catch_up(birth_ms):
            known = self.table.is_purged(groups, birth_ms, oldest_ms)
        if known is None and await self.read([(group_lane(group), 0) for group in groups], now_ms):
            known = self.table.is_purged(groups, birth_ms, oldest_ms)
        return known

    def expected(self, lookup: Lookup, now_ms: int) -> list[Wanted]:
        """Return what will most likely have to be known of a response that isn't there yet.

        That is what the last one under its key fell under, were it born now. It most likely was since the
        purge log vouches for all.
        """
        if self.table.log.vouches(now_ms, now_ms - self.table.interval_ms):
            return []
        groups = self._groups.get(lookup.key) or ()
        return self.table.deciding(lookup.request.target, Record(200, now_ms, now_ms, 0, (), groups))

    def is_without_log(self) -> bool:
        """Whether there is a purge log, and it can't be had."""
        return self.table.log.is_unavailable(self._tiers.timing.now_ms())

    def is_gone(self, lookup: Lookup, key: str, record: Record) -> bool:
        """Whether a stored response is known to be gone, as it may be since it was found."""
        return self.has_ended(key, record) or bool(self.table.verdict(lookup, record).hard_ms)

    # Reading

    async def read(self, wanted: Sequence[Wanted], now_ms: int) -> bool:
        """Read what isn't known as of ``now_ms``; return whether it is then."""
        outdated = self.table.outdated(wanted, now_ms)
        others = {reading for lane in outdated if (reading := self._reading_of(lane))}
        for reading in others:
            await reading.wait(self._tiers.timing, self._tiers.settings.kv_timeout)
        if others:
            outdated = self.table.outdated(wanted, now_ms)
        return not outdated or await self.read_now(outdated)

    def _reading_of(self, lane: str) -> Reading | None:
        reading, timeout_ms = self._readings.get(lane), self._tiers.settings.kv_timeout * 1000
        if reading and self._tiers.timing.now_ms() - reading.began_ms > timeout_ms:
            return None  # lost together with its request
        return reading

    async def read_now(self, lanes: Sequence[str]) -> bool:
        """Read these lanes, and let whoever needs one of them wait for that; return whether it went well."""
        now_ms = self._tiers.timing.now_ms()
        reading = Reading(now_ms)
        self._readings.update(dict.fromkeys(lanes, reading))
        try:
            return await self._read_at(lanes, now_ms)
        finally:
            for lane in lanes:
                if self._readings.get(lane) is reading:
                    del self._readings[lane]
            reading.end()

    async def _read_at(self, lanes: Sequence[str], now_ms: int) -> bool:
        keys = [lane_key(lane) for lane in lanes]
        texts: dict[str, str] = {}
        try:
            for at in range(0, len(keys), _MAX_BULK_KEYS):
                texts.update(await self._tiers.store.read_texts(keys[at : at + _MAX_BULK_KEYS]))
        except StoreError as error:
            self._tiers.note(error, "marks")
            return False
        for lane, key in zip(lanes, keys, strict=True):
            mark = self._mark(key, texts.get(key), now_ms)
            self.table.learn(lane, mark.moment_ms, now_ms, mark.purge_id)
        return True

    def _mark(self, key: str, text: str | None, now_ms: int) -> Mark:
        """Read a mark: nobody's who hasn't the keys counts, where there are some."""
        text = text and self._tiers.seals.opened_text(key, text)
        if not text:
            return _NO_MARK
        try:
            return parse_mark(text)
        except ValueError:
            return Mark(now_ms)  # it can't be told what was purged: everything older counts as purged

    def due_ahead(self, lookup: Lookup, record: Record) -> list[str]:
        """Return the lanes of a response in use that are to be read ahead, and claim them."""
        table, now_ms = self.table, self._tiers.timing.now_ms()
        if table.log.vouches(record.birth_ms, now_ms - table.interval_ms):
            return []  # it is asked what is new anyway
        due = table.due_ahead(lookup.request.target, record, now_ms, MARKS_AHEAD)
        return table.claim(due, now_ms) if due else due

    def read_ahead(self, lookup: Lookup, record: Record, background: Background) -> None:
        """Read behind a response what will soon be outdated of what it fell under."""
        if lanes := self.due_ahead(lookup, record):
            background.run(self.read_now(lanes))

    # Writing

    def mark_here(
        self, names: Sequence[str], lane: Lane, moment_ms: int, *, must_validate: bool = False
    ) -> None:
        """Let an invalidation take effect in this isolate, at once."""
        for name in names:
            self.table.write(name, lane, moment_ms, must_validate=must_validate)
        if _SHARED_KEY in written_keys(names, lane):
            self.table.write(SHARED, Lane.SOFT, moment_ms)

    async def mark_everywhere(
        self, names: Sequence[str], lane: Lane, purge_id: str, moment_ms: int | None = None
    ) -> None:
        """Write the marks of an invalidation to KV; raises :class:`StoreError`.

        Without a moment it is that of each write, ahead by as much as the clock of another location may be.
        """
        keys = list(written_keys(names, lane))
        if _SHARED_KEY in keys and await self._is_shared_ahead():
            keys.remove(_SHARED_KEY)
        logged = [self.log_writer.write(names, lane, purge_id, moment_ms)] if self.log_writer else []
        writes = (self._write(key, lane, purge_id, moment_ms) for key in keys)
        await self._tiers.timing.together(*logged, *writes)

    async def _write(self, key: str, lane: Lane, purge_id: str, exact_ms: int | None) -> None:
        moment_ms, seals = 0, self._tiers.seals
        told = {"id": purge_id, "by": BY_EDGE, **({"hard": True} if lane is Lane.HARD else {})}

        def made() -> tuple[str, str]:
            # The moment of the write, which may have waited, or been tried before: the last write wins in KV,
            # and must not take back a later purge. Ahead, because another location's clock may be.
            nonlocal moment_ms
            moment_ms = self._tiers.timing.now_ms() + CLOCK_TOLERANCE_MS if exact_ms is None else exact_ms
            value = seals.closed_text(key, value_of(key, Mark(moment_ms, purge_id)))
            return value, seals.closed_metadata(key, {"at": moment_ms, **told}, value)

        await self._writes.write_made(key, made, MARK_SECONDS)
        self._tiers.wrote("purge", key, {"why": purge_id})
        if key == _SHARED_KEY and moment_ms:
            # Not for the table: what this isolate purged it knows, and needn't read again because of it.
            self._shared_written_ms = parse_mark(value_of(key, Mark(moment_ms))).moment_ms

    async def _is_shared_ahead(self) -> bool:
        """Whether the shared mark lies so far ahead that it needn't be written. That may cost a read."""
        now_ms = self._tiers.timing.now_ms()
        await self.read([(_SHARED, 0)], now_ms)
        shared_ms = max(self._shared_written_ms, self.table.shared_moment_ms())
        return shared_ms >= now_ms + SHARED_RENEWAL_MS

    # Stored responses that have ended

    def end(self, key: str, record: Record) -> None:
        """Let no response under ``key`` be used in this isolate that isn't younger than ``record``."""
        self._ended.set(key, max(record.birth_ms, self._ended.get(key) or 0))
        self.table.generation += 1

    def has_ended(self, key: str, record: Record) -> bool:
        """Whether a response was ended in this isolate."""
        return (self._ended.get(key) or -1) >= record.birth_ms
