"""What the one place of a purge log holds: numbered entries, who has read how far, and nonces that were used.

It decides by the times and lists that it is given, and keeps what has to outlive it in a database. Who
reads is forgotten when the runtime evicts it, and learnt again within the seconds in which all that read ask.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from origin_sdk_wire.errors import BrokenSeal, UnreadableEntry
from origin_sdk_wire.purge_log.entries import LogEntry, Switch, id_of, listing_prefixes, minute_end_ms
from origin_sdk_wire.purge_log.messages import LogState, Page, Visibility
from origin_sdk_wire.purge_log.metadata import MAX_ENTRIES_PAGE, metadata_text, parse_entry
from origin_sdk_wire.purge_log.shards import Shard, shards_of
from origin_sdk_wire.seals import StoreKey, verified

__all__ = ["BACKLOG", "Database", "Ledger", "Limits"]

BACKLOG = 4 * MAX_ENTRIES_PAGE
"""So many entries somebody who begins to read is told of at most; the marks tell of the rest."""

_LATE_MS = 120_000
"""So long after its moment an entry may first be listed: KV's 60 s, and what moments lie ahead, with room."""
_LIST_MS = 2000
"""How often KV's log is listed while somebody reads. A list costs ten reads."""
_STUCK_MS = 10_000
"""A listing that hasn't ended after this is taken for lost."""
_PRUNE_MS = 10_000
_KEEP_MS = 60_000
_MAX_VARIABLES = 50
"""Of a statement; Cloudflare takes 100."""
_HISTORY = 32
"""Of a location's answers: how often it has to be remembered when it was told of which number."""
_MAX_READERS = 1000
_WHOLE = Shard()


class Database(Protocol):
    """SQLite."""

    def run(self, statement: str, *values: str | int) -> list[list[str | int]]:
        """Run one statement, and return its rows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept and answered."""

    window_ms: int
    """How far back purges are known."""
    reader_ms: int
    """Who hasn't asked for so long relies on nothing that was answered.

    And so long after its location was told of an entry, each isolate there honours it.
    """
    entries: int = 50_000
    questions_a_second: int = 500
    keys: tuple[StoreKey, ...] = ()
    """By which what is listed has to be authenticated; without any nothing has to."""


@dataclass(slots=True)
class _Reader:
    asked_ms: int
    told: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    """When it was first told of all entries before which number."""

    def knew_at(self, number: int) -> int | None:
        """Return when it was told of an entry of this number, if it was."""
        return next((at_ms for at_ms, following in self.told if following > number), None)


class Ledger:
    """The entries of one log, or of a ``shard`` of it. ``log_id`` names its history if there is none yet."""

    def __init__(
        self, database: Database, limits: Limits, now_ms: int, log_id: str, shard: Shard = _WHOLE
    ) -> None:
        self._shard = shard
        self._database = database
        self._limits = limits
        self._began_ms = now_ms
        self._readers: dict[str, _Reader] = {}
        self._listing_ms = 0
        self._is_listing = False
        self._pruned_ms = 0
        self.broken = 0
        """How many entries of the last listing nobody wrote who has the keys."""
        self._second, self._questions = 0, 0
        for statement in _SCHEMA:
            database.run(statement)
        database.run("INSERT OR IGNORE INTO facts VALUES ('log', ?)", log_id)
        self.log = str(self._fact("log"))
        # Nothing is known before KV was first listed.
        self._covers_from_ms = int(self._fact("covers_from_ms") or 0)
        self._known_ms = self._kept_known_ms = int(self._fact("known_ms") or 0)

    # Questions

    def may_ask(self, now_ms: int) -> bool:
        """Count a question; whether it is to be answered. What isn't has its asker go by the marks."""
        if now_ms // 1000 != self._second:
            self._second, self._questions = now_ms // 1000, 0
        self._questions += 1
        return self._questions <= self._limits.questions_a_second

    def page(self, since: int, location: str, now_ms: int) -> Page:
        """Return what is new since the number ``since``, and take note of who asks: 0 is for who begins."""
        last = self._last()
        since = since if since <= last else 0  # it is of a history that was lost
        covers_from_ms = max(self._covers_from_ms, now_ms - self._limits.window_ms)
        after = since
        if since == 0 and last > BACKLOG:
            after = last - BACKLOG
            skipped = self._database.run("SELECT max(moment_ms) FROM entries WHERE number <= ?", after)
            covers_from_ms = max(covers_from_ms, int(skipped[0][0] or 0) + 1)
        rows = self._database.run(
            "SELECT number, id, metadata FROM entries WHERE number > ? ORDER BY number LIMIT ?",
            after,
            MAX_ENTRIES_PAGE + 1,
        )
        more, rows = len(rows) > MAX_ENTRIES_PAGE, rows[:MAX_ENTRIES_PAGE]
        following = int(rows[-1][0]) if more else last
        entries = tuple(_entry(str(entry_id), str(metadata)) for _, entry_id, metadata in rows)
        self._note_reader(location, following, now_ms)
        return Page(self.log, since, following, covers_from_ms, self._known_ms, entries, more)

    def _note_reader(self, location: str, following: int, now_ms: int) -> None:
        reader = self._readers.get(location)
        if reader is None:
            if len(self._readers) >= _MAX_READERS:
                self._readers.pop(min(self._readers, key=lambda name: self._readers[name].asked_ms))
            reader = self._readers[location] = _Reader(now_ms)
        reader.asked_ms = max(reader.asked_ms, now_ms)
        if not reader.told or following + 1 > reader.told[-1][1]:
            reader.told.append((now_ms, following + 1))

    def visibility(self, ids: Sequence[str], now_ms: int) -> Visibility:
        """Say whether all that read honour these entries."""
        numbers = self._numbers(ids)
        unknown = tuple(entry_id for entry_id in ids if entry_id not in numbers)
        readers = self._active(now_ms)
        last = max(numbers.values(), default=0)
        behind = [name for name, reader in sorted(readers.items()) if not self._honours(reader, last, now_ms)]
        if now_ms < self._began_ms + self._limits.reader_ms:
            behind.append("*")  # who reads isn't known yet
        return Visibility(unknown, tuple(behind), len(readers), self._everywhere(numbers))

    def _everywhere(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Return which of the known ids belong to all shards."""
        if self._shard.of == 1:
            return ()
        found: list[str] = []
        for entry_id in ids:
            rows = self._database.run("SELECT metadata FROM entries WHERE id = ?", entry_id)
            entry = _entry(entry_id, str(rows[0][0]))
            found += [entry_id] if len(shards_of(entry, self._shard.of)) == self._shard.of else []
        return tuple(found)

    def _numbers(self, ids: Sequence[str]) -> dict[str, int]:
        numbers: dict[str, int] = {}
        for at in range(0, len(ids), _MAX_VARIABLES):
            part = ids[at : at + _MAX_VARIABLES]
            asked = ",".join("?" * len(part))
            rows = self._database.run(f"SELECT id, number FROM entries WHERE id IN ({asked})", *part)  # noqa: S608 - question marks
            numbers |= {str(entry_id): int(number) for entry_id, number in rows}
        return numbers

    def _honours(self, reader: _Reader, number: int, now_ms: int) -> bool:
        knew_ms = reader.knew_at(number)
        return knew_ms is not None and now_ms >= knew_ms + self._limits.reader_ms

    def state(self, now_ms: int) -> LogState:
        """Say how the log is."""
        return LogState(
            self.log,
            self._last(),
            max(self._covers_from_ms, now_ms - self._limits.window_ms),
            self._known_ms,
            int(self._database.run("SELECT count(*) FROM entries")[0][0]),
            {name: max(0, now_ms - reader.asked_ms) for name, reader in self._active(now_ms).items()},
            tuple(switch for switch in self.switches() if switch.is_on(now_ms)),
        )

    def switches(self) -> list[Switch]:
        """Return the switches that count, be they over or not."""
        rows = self._database.run(
            "SELECT id, metadata FROM entries WHERE until_ms > 0 ORDER BY moment_ms, id"
        )
        entries = [_entry(str(entry_id), str(metadata)) for entry_id, metadata in rows]
        return list({entry.place: entry for entry in entries if isinstance(entry, Switch)}.values())

    def _active(self, now_ms: int) -> dict[str, _Reader]:
        oldest_ms = now_ms - self._limits.reader_ms
        self._readers = {name: each for name, each in self._readers.items() if each.asked_ms >= oldest_ms}
        return self._readers

    # What is learnt

    def is_fresh_nonce(self, nonce: str, until_ms: int, now_ms: int) -> bool:
        """Whether a nonce wasn't used before; it is now, until the request that has it is too old anyway."""
        self._database.run("DELETE FROM nonces WHERE until_ms < ?", now_ms)
        added = "INSERT INTO nonces VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING nonce"
        return bool(self._database.run(added, nonce, until_ms))

    def tell(self, entries: Iterable[LogEntry], now_ms: int) -> int:
        """Take in entries; return the number before which all of them lie."""
        for entry in entries:
            self._add(entry)
        self._prune(now_ms)
        return self._last()

    def _add(self, entry: LogEntry) -> None:
        """Add an entry of this shard, or the later of two of the same id.

        That as a new one, since readers know the earlier.
        """
        if not self._shard.holds(entry):
            return
        known = self._database.run("SELECT moment_ms FROM entries WHERE id = ?", entry.id)
        if known and int(known[0][0]) >= entry.moment_ms:
            return
        until_ms = entry.until_ms if isinstance(entry, Switch) else 0
        self._database.run(
            "INSERT OR REPLACE INTO entries (id, moment_ms, until_ms, metadata) VALUES (?, ?, ?, ?)",
            entry.id,
            entry.moment_ms,
            until_ms,
            metadata_text(entry),
        )

    # KV's log

    def listing(self, now_ms: int) -> tuple[str, ...]:
        """Return the prefixes of KV's log that are to be listed now, if any, and claim that."""
        is_under_way = self._is_listing and now_ms < self._listing_ms + _STUCK_MS
        if is_under_way or now_ms < self._listing_ms + _LIST_MS:
            return ()
        self._listing_ms, self._is_listing = now_ms, True
        # What came while nobody asked is in the lists, and what may have come late since the last one.
        since_ms = max(now_ms - self._limits.window_ms, self._known_ms - _LATE_MS)
        return tuple(listing_prefixes(since_ms, now_ms + _LATE_MS))

    def unlisted(self) -> None:
        """Take note that a listing failed: what is known stays what it was."""
        self._is_listing = False

    def listed(self, listed: Mapping[str, object], began_ms: int, now_ms: int) -> None:
        """Take in all that was listed, metadata by key: what KV showed at ``began_ms`` is known."""
        self._is_listing = False
        covers_from_ms = self._covers_from_ms
        if not self._known_ms:
            # What was purged before there was a log has no entry in it.
            covers_from_ms = began_ms
        elif self._known_ms < began_ms - self._limits.window_ms:
            covers_from_ms = began_ms - self._limits.window_ms
        self.broken = 0
        for key, metadata in listed.items():
            try:
                self._add(parse_entry(id_of(key), self._opened(key, metadata)))
            except BrokenSeal:
                # Not as what can't be read: whoever writes to KV could have nothing vouched for by that.
                self.broken += 1
            except UnreadableEntry:
                covers_from_ms = max(covers_from_ms, minute_end_ms(key))
        self._remember(covers_from_ms, max(self._known_ms, began_ms))
        self._prune(now_ms)

    def _opened(self, key: str, metadata: object) -> object:
        keys = self._limits.keys
        return verified(keys, key, metadata) if keys else metadata

    def _remember(self, covers_from_ms: int, known_ms: int) -> None:
        """Keep what is vouched for; as of when, once a minute alone, since a row written costs."""
        if covers_from_ms > self._covers_from_ms:
            self._keep("covers_from_ms", covers_from_ms)
        self._covers_from_ms = max(self._covers_from_ms, covers_from_ms)
        if known_ms >= self._kept_known_ms + _KEEP_MS:
            self._keep("known_ms", known_ms)
            self._kept_known_ms = known_ms
        self._known_ms = known_ms

    def _prune(self, now_ms: int) -> None:
        """Drop what no reader may ask about any more, and the oldest where there is too much."""
        if now_ms < self._pruned_ms + _PRUNE_MS:
            return
        self._pruned_ms = now_ms
        oldest_ms = now_ms - self._limits.window_ms - _LATE_MS
        self._database.run("DELETE FROM entries WHERE moment_ms < ? AND until_ms < ?", oldest_ms, now_ms)
        first = self._database.run("SELECT min(number) FROM entries")[0][0]
        excess = self._last() + 1 - int(first or 0) - self._limits.entries  # at most: there are gaps
        if first and excess > 0:
            dropped = "DELETE FROM entries WHERE until_ms = 0 AND number < ? RETURNING moment_ms"
            rows = self._database.run(dropped, int(first) + excess)
            self._remember(max((int(row[0]) + 1 for row in rows), default=0), self._known_ms)

    # The database

    def _last(self) -> int:
        rows = self._database.run("SELECT seq FROM sqlite_sequence WHERE name = 'entries'")
        return int(rows[0][0]) if rows else 0

    def _fact(self, name: str) -> str | int | None:
        rows = self._database.run("SELECT value FROM facts WHERE name = ?", name)
        return rows[0][0] if rows else None

    def _keep(self, name: str, value: int) -> None:
        self._database.run("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, value)


_SCHEMA = (
    # Numbers are never used twice, since readers remember them.
    """CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL,
    moment_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL, metadata TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS entries_by_moment ON entries (moment_ms)",
    "CREATE INDEX IF NOT EXISTS switches ON entries (until_ms) WHERE until_ms > 0",
    "CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, until_ms INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
)


def _entry(entry_id: str, metadata: str) -> LogEntry:
    return parse_entry(entry_id, json.loads(metadata))
