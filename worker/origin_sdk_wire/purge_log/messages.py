"""What the purge log is told and asked, and what it answers."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from origin_sdk_wire.errors import UnreadableEntry
from origin_sdk_wire.purge_log.entries import LogEntry, Switch
from origin_sdk_wire.purge_log.members import (
    DOES_NOT_FIT,
    ID,
    MAX_MOMENT_MS,
    are_texts,
    as_table,
    number_of,
    read_table,
    text_of,
)
from origin_sdk_wire.purge_log.metadata import MAX_ENTRIES_PAGE, parse_entries, told_of

__all__ = [
    "LogState",
    "Page",
    "Visibility",
    "all_visible",
    "parse_page",
    "parse_question",
    "parse_sealed_by",
    "parse_state",
    "parse_told",
    "parse_visibility",
    "state_of_all",
]


def parse_told(body: bytes) -> list[LogEntry]:
    """Read the body of a request that tells of entries; raises :class:`UnreadableEntry`."""
    return parse_entries(read_table(body).get("entries"))


def parse_sealed_by(body: bytes) -> str | None:
    """Return by which key of the store is sealed what a client tells of, "" for none; ``None`` if unsaid."""
    sealed_by = read_table(body).get("sealed_by")
    return sealed_by if isinstance(sealed_by, str) else None


def parse_question(body: bytes) -> tuple[str, ...]:
    """Read the ids that a request asks about; raises :class:`UnreadableEntry`."""
    ids = read_table(body).get("ids")
    if not (are_texts(ids) and 0 < len(ids) <= MAX_ENTRIES_PAGE and all(map(ID.fullmatch, ids))):
        raise UnreadableEntry(DOES_NOT_FIT.format("ids", ids))
    return tuple(ids)


@dataclass(frozen=True, slots=True)
class Page:
    """What is new in the log since a number.

    ``log`` names the history: numbers of another say nothing. ``since`` is the number asked about, ``next``
    the one to ask about then. ``more`` says that there is more already: a reader vouches for what it knows
    once it has read that, too.
    """

    log: str
    since: int
    next: int
    covers_from_ms: int
    known_ms: int
    entries: tuple[LogEntry, ...] = ()
    more: bool = False

    def __str__(self) -> str:
        """Write it as JSON."""
        told = [told_of(entry) for entry in self.entries]
        members = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({**members, "entries": told}, separators=(",", ":"))


def parse_page(text: str) -> Page:
    """Read a page; raises :class:`UnreadableEntry`."""
    read = read_table(text)
    more = read.get("more")
    since, after = (number_of(read, name, MAX_MOMENT_MS) for name in ("since", "next"))
    if not isinstance(more, bool) or after < since:
        raise UnreadableEntry(DOES_NOT_FIT.format("page", text))
    covers_from_ms, known_ms = (
        number_of(read, name, MAX_MOMENT_MS) for name in ("covers_from_ms", "known_ms")
    )
    entries = tuple(parse_entries(read.get("entries")))
    return Page(text_of(read, "log", 80), since, after, covers_from_ms, known_ms, entries, more)


@dataclass(frozen=True, slots=True)
class LogState:
    """How a log is.

    ``next`` is the number of its last entry; it keeps ``entries``. It vouches for what was born since
    ``covers_from_ms``, as of ``known_ms``. ``readers`` are the locations that read, with the milliseconds
    since they asked last; ``switches`` are those that are on.
    """

    log: str
    next: int
    covers_from_ms: int
    known_ms: int
    entries: int
    readers: Mapping[str, int]
    switches: tuple[Switch, ...] = ()

    def __str__(self) -> str:
        """Write it as JSON."""
        told = [told_of(switch) for switch in self.switches]
        members = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({**members, "readers": dict(self.readers), "switches": told})


def parse_state(text: str | bytes) -> LogState:
    """Read the state of a log; raises :class:`UnreadableEntry`."""
    read = read_table(text)
    readers, switches = as_table(read.get("readers")), parse_entries(read.get("switches"))
    if not all(isinstance(switch, Switch) for switch in switches):
        raise UnreadableEntry(DOES_NOT_FIT.format("state", text))
    number, covers_from_ms, known_ms, entries = (
        number_of(read, name, MAX_MOMENT_MS) for name in ("next", "covers_from_ms", "known_ms", "entries")
    )
    asked = {name: number_of(readers, name, MAX_MOMENT_MS) for name in readers}
    on = tuple(switch for switch in switches if isinstance(switch, Switch))
    return LogState(text_of(read, "log", 80), number, covers_from_ms, known_ms, entries, asked, on)


def state_of_all(shards: Sequence[LogState]) -> LogState:
    """Return the states of all shards as one: it vouches for what each of them does."""
    first, *others = shards
    if not others:
        return first
    readers: dict[str, int] = {}
    for each in shards:
        for name, asked_ms in each.readers.items():
            readers[name] = min(asked_ms, readers.get(name, asked_ms))
    return LogState(
        first.log,
        sum(each.next for each in shards),
        max(each.covers_from_ms for each in shards),
        min(each.known_ms for each in shards),
        sum(each.entries for each in shards),
        readers,
        first.switches,
    )


@dataclass(frozen=True, slots=True)
class Visibility:
    """Whether every location that reads honours some entries.

    ``unknown`` lists the ids that the log hasn't learnt of; ``behind`` the locations, of ``readers`` in all,
    that read lately and not yet all of them. Of the ids ``everywhere`` lists those that belong to all shards.
    """

    unknown: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    readers: int = 0
    everywhere: tuple[str, ...] = ()

    @property
    def is_visible(self) -> bool:
        """Whether nobody is left to wait for."""
        return not (self.unknown or self.behind)

    def __str__(self) -> str:
        """Write it as JSON."""
        members = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({"visible": self.is_visible, **members}, separators=(",", ":"))


def parse_visibility(text: str) -> Visibility:
    """Read the answer to the question; raises :class:`UnreadableEntry`."""
    read = read_table(text)
    unknown, behind, everywhere = read.get("unknown"), read.get("behind"), read.get("everywhere", [])
    if not (are_texts(unknown) and are_texts(behind) and are_texts(everywhere)):
        raise UnreadableEntry(DOES_NOT_FIT.format("answer", text))
    readers = number_of(read, "readers", MAX_MOMENT_MS)
    return Visibility(tuple(unknown), tuple(behind), readers, tuple(everywhere))


def all_visible(shards: Sequence[Visibility]) -> Visibility:
    """Return what the answers of all shards come to: an id is known where it belongs."""
    if len(shards) == 1:
        return shards[0]
    everywhere = {entry_id for each in shards for entry_id in each.everywhere}
    counts = Counter(entry_id for each in shards for entry_id in each.unknown)
    unknown = (entry_id for entry_id, n in counts.items() if n == len(shards) or entry_id in everywhere)
    behind = dict.fromkeys(name for each in shards for name in each.behind)
    readers = max((each.readers for each in shards), default=0)
    return Visibility(tuple(unknown), tuple(behind), readers)
