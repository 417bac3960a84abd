"""An isolate's side of the purge log: asks what is new, once a second, and tells the table of marks.

Where the log has several shards it asks those of the hosts that it has had requests for. What it relies on is
what all of them vouch for; while one that has only just become of interest has still to be read, that is
nothing, and marks are read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from origin_sdk_edge.ports import Report, Signal, StoreError, Timing
from origin_sdk_edge.purge_log.switches import Switches
from origin_sdk_edge.storage.log_knowledge import LogKnowledge
from origin_sdk_edge.storage.mark_table import MarkTable
from origin_sdk_wire.choices import PurgeMode
from origin_sdk_wire.errors import UnreadableEntry
from origin_sdk_wire.purge_log.entries import Purged, Switch
from origin_sdk_wire.purge_log.messages import Page, parse_page
from origin_sdk_wire.purge_log.shards import shard_of
from origin_sdk_wire.settings import Settings

__all__ = ["ASK_MS", "Following", "LogSource", "Readers", "honoured_ms"]

ASK_MS = 1000
"""How often an isolate asks while it has requests."""
STRICT_MS = 2000
"""With ``PURGE = "strict"`` nothing is served by what was asked longer ago than this."""
_LEAST_BOUND_MS = 5000
"""The log knows of what it wasn't told some seconds late: a shorter ``MARK_INTERVAL`` asks too much of it."""
_BLOCK = 64
"""Isolates of a location ask about the same number, to share an answer; a few entries come twice."""
_MAX_PAGES = 64
_QUIET_MS = 1000
"""After the log failed, the time in which nobody waits for it."""


class LogSource(Protocol):
    """Where an isolate asks what is new."""

    async def ask(self, log: str, since: int, *, is_news: bool, shard: int = 0) -> str:
        """Return a page of a shard as text, not what it was a second ago if there ``is_news``.

        Raises :class:`StoreError`.
        """


def honoured_ms(settings: Settings) -> int:
    """Return how long after its location was told of an entry every isolate there honours it.

    An isolate relies on an answer for so long, which may have lain in the location's cache before.
    """
    relied_ms = _relied_ms(settings)
    return (min(STRICT_MS, relied_ms) if settings.purge is PurgeMode.STRICT else relied_ms) + ASK_MS


def _relied_ms(settings: Settings) -> int:
    return max(int(settings.mark_interval * 1000), _LEAST_BOUND_MS)


@dataclass(frozen=True, slots=True)
class Following:
    """What following the log takes: where it is asked, and what is told of the answers."""

    source: LogSource
    table: MarkTable
    switches: Switches
    timing: Timing
    settings: Settings
    report: Report


class Readers:
    """Reads the log: all shards that matter here."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._table = following.table
        self._switches = following.switches
        self._timing = following.timing
        self._shards = following.settings.purge_log_shards
        self._by_shard: dict[int, _ShardReader] = {}
        self._table.log.due_ms = 0
        self._switches.on_change = self._note_switch
        if self._shards == 1:
            self._follow(0)

    # Whom to ask

    def follow(self, host: str) -> None:
        """Read the shard of a host from now on."""
        shard = shard_of(host, self._shards)
        if shard not in self._by_shard:
            self._follow(shard)

    def _follow(self, shard: int) -> None:
        self._by_shard[shard] = _ShardReader(self._following, shard, self._combine)
        self._table.log.due_ms = 0
        self._combine()

    def _combine(self) -> None:
        """Rely on what all shards vouch for."""
        knowledge, parts = self._table.log, [each.knowledge for each in self._by_shard.values()]
        since_ms = max(each.since_ms for each in parts)
        knowledge.since_ms = max(since_ms, self._table.forgotten_ms + 1)
        knowledge.good_until_ms = min(each.good_until_ms for each in parts)
        knowledge.as_of_ms = min(each.as_of_ms for each in parts)

    # Asking

    def is_due(self, now_ms: int) -> bool:
        """Whether to ask behind this request; whoever is told so must."""
        knowledge = self._table.log
        if now_ms < knowledge.due_ms:
            return False
        knowledge.due_ms = now_ms + ASK_MS
        return True

    async def catch_up(self, birth_ms: int) -> bool:
        """See :class:`origin_sdk_edge.storage.marks.LogReader`."""
        readers = list(self._by_shard.values())
        return bool(readers) and all([await each.catch_up(birth_ms) for each in readers])

    async def ask(self, *, is_news: bool = False) -> bool:
        """Ask what is new, and take it in; return whether that went well.

        ``is_news`` says that there is something: this isolate has just told the log of it.
        """
        self._pause(self._timing.now_ms())
        readers = list(self._by_shard.values())
        if len(readers) == 1:
            return await readers[0].ask(is_news=is_news)
        return all(await self._timing.together(*(each.ask(is_news=is_news) for each in readers)))

    def _note_switch(self, _: Switch) -> None:
        self._table.generation += 1  # what was decided before may not be repeated
        self._pause(self._timing.now_ms())

    def _pause(self, now_ms: int) -> None:
        """Have purges count from now on, or not."""
        paused_ms = self._switches.paused_ms(now_ms)
        if paused_ms != self._table.paused_ms:
            self._table.paused_ms = paused_ms
            self._table.generation += 1


class _ShardReader:
    """What has been read of one shard, and when. ``combine`` is called with each change of ``knowledge``."""

    def __init__(self, following: Following, shard: int, combine: Callable[[], None]) -> None:
        self.knowledge = LogKnowledge()
        self._shard = shard
        self._combine = combine
        self._source = following.source
        self._table = following.table
        self._switches = following.switches
        self._timing = following.timing
        self._report = following.report
        self._relied_ms = _relied_ms(following.settings)
        self._is_strict = following.settings.purge is PurgeMode.STRICT
        self._log = ""
        self._next = 0
        self._covers_from_ms = 0
        self._has_caught_up = False
        self._asking: Signal | None = None
        self._asking_ms = 0
        self._failed_ms = -_QUIET_MS

    async def catch_up(self, birth_ms: int) -> bool:
        """Ask if that can tell of a response of this birth; return whether it did."""
        knowledge, now_ms = self._table.log, self._timing.now_ms()
        if now_ms < self._failed_ms + _QUIET_MS:
            return False
        # What is older than it vouches for may have been purged, too, and it hears of that first.
        if self._has_caught_up and birth_ms < knowledge.since_ms and now_ms < self._asking_ms + ASK_MS:
            return False
        if self._asking and now_ms < self._asking_ms + ASK_MS:
            return await self._asking.wait(ASK_MS / 1000)
        knowledge.due_ms = now_ms + ASK_MS
        return await self.ask()

    async def ask(self, *, is_news: bool = False) -> bool:
        """See :meth:`Readers.ask`."""
        began_ms, own = self._timing.now_ms(), self._timing.signal()
        self._asking, self._asking_ms = own, began_ms
        try:
            await self._read_on(began_ms, is_news=is_news)
        except (StoreError, UnreadableEntry) as error:
            self._failed_ms = self._timing.now_ms()
            self._report("log", error)
            return False
        else:
            return True
        finally:
            if self._asking is own:
                self._asking = None
            own.set()

    async def _read_on(self, began_ms: int, *, is_news: bool) -> None:
        for _ in range(_MAX_PAGES):
            since = self._next - self._next % _BLOCK
            asked = self._source.ask(self._log, since, is_news=is_news, shard=self._shard)
            page = parse_page(await asked)
            if page.log != self._log:
                self._begin(page.log)
                if page.since:
                    continue  # by a number of the history before, it left out how this one began
            self._take(page)
            if not page.more:
                self._rely_on(page, began_ms)
                return
        raise UnreadableEntry("the purge log has still more pages; the next request reads on")

    def _begin(self, log: str) -> None:
        """Read another history from its beginning: what is new in it can't be told from what is known."""
        self._log, self._next, self._has_caught_up = log, 0, False
        self._covers_from_ms = 0
        self.knowledge.since_ms = inf
        self._combine()

    def _take(self, page: Page) -> None:
        for entry in page.entries:
            if isinstance(entry, Purged):
                self._table.learn_purged(entry, page.known_ms, is_news=self._has_caught_up)
            elif isinstance(entry, Switch):
                self._switches.learn(entry)
        self._next = page.next
        # Who began late in the log wasn't told of all that later pages speak of.
        self._covers_from_ms = max(self._covers_from_ms, page.covers_from_ms)

    def _rely_on(self, page: Page, began_ms: int) -> None:
        knowledge, table = self.knowledge, self._table
        if not self._has_caught_up:
            self._has_caught_up = True
            knowledge.since_ms = 0
        knowledge.since_ms = max(knowledge.since_ms, self._covers_from_ms)
        good_until_ms = page.known_ms + self._relied_ms
        if self._is_strict:
            good_until_ms = min(good_until_ms, began_ms + STRICT_MS)
        knowledge.good_until_ms = good_until_ms
        knowledge.as_of_ms = good_until_ms - table.interval_ms
        self._combine()
