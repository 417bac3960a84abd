"""Purge marks: what is known of them, read where it isn't, and written."""

from collections.abc import Sequence

from cachewire.bounds import CLOCK_TOLERANCE_MS, MARK_SECONDS
from cachewire.marks import Lane, Mark, mark_key, parse_mark
from cachewire.record import Record
from edgecache.policy.decision import VALID, Invalidity, Lookup, mark_names
from edgecache.ports import Signal, StoreError, Timing
from edgecache.storage.mark_table import MarkTable
from edgecache.storage.tiers import Tiers
from edgecache.storage.writes import Writes

__all__ = ["MARKS_AHEAD", "Marks"]

MARKS_AHEAD = 0.7
"""The share of the interval after which the marks of a response in use are read again, in the background."""
_MAX_BULK_KEYS = 100


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


class Marks:
    """The purge marks in KV, through the ``table`` of those that are known."""

    def __init__(self, tiers: Tiers, writes: Writes) -> None:
        self.table = MarkTable(int(tiers.settings.mark_interval * 1000), tiers.memory)
        self._tiers = tiers
        self._writes = writes
        self._readings: dict[str, _Reading] = {}

    def known(self, lookup: Lookup, record: Record, now_ms: int) -> Invalidity | None:
        """Return what the purge marks say of a stored response; ``None`` if they have to be read first."""
        names, oldest_ms = mark_names(lookup, record), now_ms - self.table.interval_ms
        if self.table.known_at(names, record.birth_ms) < oldest_ms:
            return None
        invalidity = self.table.invalidity(names, record.birth_ms)
        if invalidity is VALID:
            return invalidity
        if self.table.known_until(lookup, record) < oldest_ms:
            return None
        return self.table.verdict(lookup, record)

    async def invalidity(self, lookup: Lookup, record: Record) -> Invalidity:
        """Return what the purge marks say of a stored response, reading those that are not known."""
        if not await self.read(mark_names(lookup, record)):
            return Invalidity(is_unknown=True)
        # An index may have shown that there is more to read, or to read again.
        names, moved_ms = self.table.deciding(lookup, record), self.table.moved_at(lookup, record)
        if not await self.read(names, since_ms=moved_ms):
            return Invalidity(is_unknown=True)
        return self.table.verdict(lookup, record)

    async def read(self, names: Sequence[str], share: float = 1.0, *, since_ms: int = 0) -> bool:
        """Read the marks that were read longer than ``share`` of the interval ago, or before ``since_ms``.

        Return whether all are known now.
        """
        names = self.table.outdated(names, self._tiers.timing.now_ms(), share, since_ms)
        others = {reading for name in names if (reading := self._reading_of(name))}
        for reading in others:
            await reading.wait(self._tiers.timing, self._tiers.settings.kv_timeout)
        if others:
            names = self.table.outdated(names, self._tiers.timing.now_ms(), share, since_ms)
        return not names or await self._read_now(names)

    def _reading_of(self, name: str) -> "_Reading | None":
        reading = self._readings.get(name)
        if (
            reading
            and self._tiers.timing.now_ms() - reading.began_ms > self._tiers.settings.kv_timeout * 1000
        ):
            return None  # lost together with its request
        return reading

    async def _read_now(self, names: Sequence[str]) -> bool:
        now_ms = self._tiers.timing.now_ms()
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
                texts.update(await self._tiers.store.read_texts(keys[at : at + _MAX_BULK_KEYS]))
        except StoreError as error:
            self._tiers.note(error, "marks")
            return False
        for name in names:
            moments = [_moment(texts.get(mark_key(name, lane)), now_ms) for lane in (Lane.SOFT, Lane.HARD)]
            self.table.learn(name, moments[0], moments[1], now_ms)
        return True

    def mark_here(
        self, names: Sequence[str], lane: Lane, moment_ms: int, *, must_validate: bool = False
    ) -> None:
        """Let an invalidation take effect in this isolate, at once."""
        for name in names:
            self.table.write(name, lane, moment_ms, must_validate=must_validate)

    async def mark_everywhere(self, names: Sequence[str], lane: Lane, purge_id: str) -> None:
        """Write the marks of an invalidation to KV; raises :class:`StoreError`."""

        def value() -> str:
            # The moment of the write, which may have waited, or been tried before: the last write wins in KV,
            # and must not take back a later purge. Ahead, because another location's clock may be.
            return str(Mark(self._tiers.timing.now_ms() + CLOCK_TOLERANCE_MS, purge_id))

        keys = [mark_key(name, lane) for name in names]
        writes = (self._writes.write_made(key, value, None, MARK_SECONDS) for key in keys)
        await self._tiers.timing.together(*writes)

    # Stored responses that have ended

    def end(self, key: str, record: Record) -> None:
        """Let no response under ``key`` be used in this isolate that isn't younger than ``record``."""
        self.table.write(_ending(key), Lane.HARD, record.birth_ms)

    def has_ended(self, key: str, record: Record) -> bool:
        """Whether a response was ended in this isolate."""
        return bool(self.table.invalidity((_ending(key),), record.birth_ms).hard_ms)

    def is_gone(self, lookup: Lookup, key: str, record: Record) -> bool:
        """Whether a stored response is known to be gone, as it may be since it was found."""
        return self.has_ended(key, record) or bool(self.table.verdict(lookup, record).hard_ms)

    def due_ahead(self, lookup: Lookup, record: Record) -> list[str]:
        """Return the names of a response in use whose marks are to be read ahead, and claim them."""
        table, now_ms = self.table, self._tiers.timing.now_ms()
        if table.known_until(lookup, record) >= now_ms - table.interval_ms * MARKS_AHEAD:
            return []
        return table.claim(table.outdated(table.deciding(lookup, record), now_ms, MARKS_AHEAD / 2), now_ms)

    async def read_ahead(self, names: Sequence[str]) -> None:
        """Read what :meth:`due_ahead` returned."""
        await self.read(names, MARKS_AHEAD / 2)


def _ending(key: str) -> str:
    return f"ended/{key}"


def _moment(text: str | None, now_ms: int) -> int:
    if not text:
        return 0
    try:
        return parse_mark(text).moment_ms
    except ValueError:
        return now_ms  # it can't be told what was purged, so that everything older counts as purged
