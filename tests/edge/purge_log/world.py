"""A purge log with its reader, over a KV that shows what is written at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from origin_sdk_edge.policy.decision import Invalidity, Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.ports import StoredValue, StoreError
from origin_sdk_edge.purge_log.isolate import IsolateLog
from origin_sdk_edge.purge_log.ledger import Ledger, Limits
from origin_sdk_edge.purge_log.switches import Switches
from origin_sdk_edge.storage import Storage
from origin_sdk_wire.choices import PurgeMode
from origin_sdk_wire.key import parse_target, record_key
from origin_sdk_wire.marks import Lane, Mark, value_of, written_keys
from origin_sdk_wire.purge_log.entries import LogEntry, Purged, entry_key
from origin_sdk_wire.purge_log.messages import all_visible, parse_question, parse_told, state_of_all
from origin_sdk_wire.purge_log.metadata import metadata_of, purged
from origin_sdk_wire.purge_log.shards import Shard, shards_of
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import DEFAULT_RULE, Settings
from tests.edge.fakes import FakeBodies, FakeStore, FakeTiming
from tests.edge.purge_log.sqlite import Sqlite

LIMITS = Limits(window_ms=600_000, reader_ms=6000, entries=12)
_Result = TypeVar("_Result")


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run what never waits for anything."""
    return asyncio.run(work)


class CountingStore(FakeStore):
    def __init__(self) -> None:
        super().__init__()
        self.read_keys: list[str] = []

    async def read_texts(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.read_keys += keys
        return await super().read_texts(keys)


class World:
    """One object, one isolate, one KV; `is_away` cuts the isolate off from the object."""

    def __init__(self, mode: PurgeMode = PurgeMode.FAST, limits: Limits = LIMITS, shards: int = 1) -> None:
        self.timing = FakeTiming()
        self.store = CountingStore()
        self.settings = Settings(purge=mode, purge_log_shards=shards)
        self.is_away = False
        self.asked: list[int] = []
        self.faults: list[str] = []
        self._limits = limits
        self._histories = 0
        self.lose()
        self.restart()

    # What happens

    def lose(self) -> None:
        """Have the object lose all that it holds."""
        self._histories += 1
        self._databases = [Sqlite() for _ in range(self.settings.purge_log_shards)]
        self.evict()

    def evict(self) -> None:
        """Have the object forget what isn't in its database."""
        self.ledgers = [
            Ledger(
                database,
                self._limits,
                self.timing.ms,
                f"history-{self._histories}-{number}",
                Shard(number, len(self._databases)),
            )
            for number, database in enumerate(self._databases)
        ]
        self.ledger = self.ledgers[0]

    def restart(self) -> None:
        """Begin with an isolate that knows nothing."""
        self.storage = Storage(self.store, FakeBodies(), self.timing, self.settings, self._note)
        self.switches = Switches()
        self.log = IsolateLog(
            self, self.storage, self.switches, self.settings, self.timing, self._note, "isolate"
        )

    def purge(self, *names: str, hard: bool = False, is_told: bool = True) -> list[Purged]:
        """Purge as the SDK does: marks and entries into KV, and then, perhaps, the log is told."""
        lane, moment_ms = Lane.HARD if hard else Lane.SOFT, self.timing.ms
        entries = purged(f"purge-{moment_ms}-{len(self.store.values)}", moment_ms, names, hard=hard)
        for key in written_keys(names, lane):
            self.store.values[key] = StoredValue(None, value_of(key, Mark(moment_ms, "x")))
        for entry in entries:
            self.store.values[entry_key(entry)] = StoredValue(metadata_of(entry), "")
        if is_told:
            self._tell(entries)
        return entries

    def _tell(self, entries: Sequence[LogEntry]) -> int:
        concerned = {shard for entry in entries for shard in shards_of(entry, len(self.ledgers))}
        return sum(self.ledgers[shard].tell(entries, self.timing.ms) for shard in concerned)

    def look(self, url: str, record: Record) -> Invalidity:
        """Judge a stored response as a request for it does."""
        target = parse_target(url)
        request = RequestFacts("GET", target, {})
        lookup = Lookup(request, request, DEFAULT_RULE, record_key(target), ())
        marks, now_ms = self.storage.marks, self.timing.ms
        if marks.follow:
            marks.follow(target.host)
        known = marks.known(lookup, record, now_ms)
        found = run(marks.invalidity(lookup, record)) if known is None else known
        if self.log.reader.is_due(now_ms):
            run(self.log.reader.ask())
        return found

    def _note(self, where: str, _: Exception) -> None:
        self.faults.append(where)

    # The object, as the isolate reaches it

    async def ask(self, log: str, since: int, *, is_news: bool, shard: int = 0) -> str:
        del log, is_news
        ledger = self.ledgers[shard]
        self._reach()
        self.asked.append(self.timing.ms)
        now_ms = self.timing.ms
        if prefixes := ledger.listing(now_ms):
            values = self.store.values
            listed = {key: values[key].metadata for key in values if key.startswith(tuple(prefixes))}
            ledger.listed(listed, now_ms, now_ms)
        return str(ledger.page(since, "here", now_ms))

    async def tell(self, entries: Sequence[LogEntry]) -> None:
        self._reach()
        self._tell(entries)

    async def told(self, nonce: str, until_ms: int, body: str) -> str:
        self._reach()
        if not self.ledger.is_fresh_nonce(nonce, until_ms, self.timing.ms):
            return ""
        return str(self._tell(parse_told(body.encode())))

    async def visible(self, body: str) -> str:
        self._reach()
        ids = parse_question(body.encode())
        return str(all_visible([ledger.visibility(ids, self.timing.ms) for ledger in self.ledgers]))

    async def state(self) -> str:
        self._reach()
        return str(state_of_all([ledger.state(self.timing.ms) for ledger in self.ledgers]))

    def _reach(self) -> None:
        if self.is_away:
            raise StoreError("cut off")
