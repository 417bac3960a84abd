"""The purge log: an entry for each purge, where readers find what is new without reading each mark.

Marks are the truth. The log says the same in another order: by time, not by name. Whoever writes marks writes
the purge's *entries*, too, in the same bulk request, each under a key of its own that no other write can take
back::

    p2/29929080/20261128T120000-1f0c    {"at": 1795744800000, "names": ["group/product-17"]}

The number is the minute of the entry's moment, so that the newest can be listed; the metadata is the entry,
so that a list shows it all. Names that don't fit go into further ones, with ``.1``, ``.2`` behind the id. A
later try of the same write carries a later moment: of two entries of one id the later counts.

A *switch* is an entry, too: what the cache does differently until a time, with who said so and why.

One place, a Durable Object, numbers the entries as it learns of them, and answers readers with a *page* of
what is new since a number. A page vouches for what it doesn't show: no other purge has a moment at or after
``covers_from_ms``, as surely as a reader of all marks would know it who read them at ``known_ms``.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, TypeGuard

from origin_sdk_wire.errors import UnreadableEntry
from origin_sdk_wire.key import CUT, fit, hostname_of
from origin_sdk_wire.marks import PURGE_LOG_PREFIX, Lane, is_index, scope_of
from origin_sdk_wire.record import MAX_METADATA_BYTES
from origin_sdk_wire.seals import SEAL_BYTES, StoreKey, authenticated
from origin_sdk_wire.strict_json import shallow

__all__ = [
    "ENTRY_SECONDS",
    "MAX_ENTRIES_PAGE",
    "MAX_NAME_BYTES",
    "MAX_NOTE_CHARACTERS",
    "MAX_STALE_SECONDS",
    "MAX_SWITCH_SECONDS",
    "MAX_WINDOW_SECONDS",
    "Entry",
    "LogState",
    "Page",
    "Purged",
    "Shard",
    "Switch",
    "SwitchKind",
    "Visibility",
    "all_visible",
    "entry_key",
    "id_of",
    "listing_prefixes",
    "logged_name",
    "metadata_of",
    "metadata_text",
    "minute_end_ms",
    "parse_entries",
    "parse_entry",
    "parse_page",
    "parse_question",
    "parse_sealed_by",
    "parse_state",
    "parse_told",
    "parse_visibility",
    "purged",
    "sealed_metadata",
    "shard_of",
    "shards_of",
    "state_of_all",
    "told_of",
]

MAX_WINDOW_SECONDS = 86_400
"""The longest history that a log answers from."""
ENTRY_SECONDS = MAX_WINDOW_SECONDS + 7200
"""For how long KV keeps an entry: longer than any log may look back for it."""
MAX_SWITCH_SECONDS = MAX_WINDOW_SECONDS
"""A switch is over a day after it was set at the latest, and is then no longer in the log."""
MAX_STALE_SECONDS = 365 * 86_400
"""The widest windows that a switch raises to, as those of a rule."""
MAX_NAME_BYTES = 192
"""A longer name is cut as a long key is. So one fits into an entry, however JSON escapes it."""
MAX_NOTE_CHARACTERS = 64
"""Who and why are cut to this."""
MAX_ENTRIES_PAGE = 1000
"""More entries don't fit into a page."""

_MINUTE_MS = 60_000
_DECADE = 10
"""Minutes whose keys are listed by one prefix."""
_MAX_MOMENT_MS = 10**15
_MAX_NAMES = 64
"""More names than fit into an entry."""
_ID = re.compile(r"[A-Za-z0-9._~-]{1,80}")
_KEY = re.compile(rf"{PURGE_LOG_PREFIX}([0-9]{{8}})/([A-Za-z0-9._~-]{{1,80}})")
_DOES_NOT_FIT = "{} = {!r:.80}: not what an entry of the purge log has there"


class SwitchKind(StrEnum):
    """What a switch does while it lasts."""

    BYPASS = "bypass"
    """What the rule matches, or everything, is neither stored nor answered from the cache."""
    PAUSE = "pause"
    """Purges since the switch take effect when it ends: an origin in trouble isn't asked for all at once.

    It is for everything.
    """
    STALE = "stale"
    """Stale responses may be served for ``seconds``, as by both windows of a rule, if these aren't longer."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge covered: responses whose birth isn't after ``moment_ms``, under any of ``names``.

    ``names`` are names of marks as :func:`logged_name` writes them.
    """

    id: str
    moment_ms: int
    names: tuple[str, ...]
    hard: bool = False
    by: str = ""
    why: str = ""

    @property
    def lane(self) -> Lane:
        """How it acts on what is older."""
        return Lane.HARD if self.hard else Lane.SOFT


@dataclass(frozen=True, slots=True)
class Switch:
    """What is done differently from ``moment_ms`` on, and before ``until_ms``.

    ``rule`` names a rule; empty, it holds for everything. ``seconds`` belongs to :attr:`SwitchKind.STALE`. Of
    the same kind and rule the latest counts: one that is over when it begins takes the one before it back.
    """

    id: str
    moment_ms: int
    kind: SwitchKind
    until_ms: int
    rule: str = ""
    seconds: int = 0
    by: str = ""
    why: str = ""

    @property
    def place(self) -> tuple[SwitchKind, str]:
        """What it takes the place of: another of the same."""
        return self.kind, self.rule

    def is_on(self, now_ms: int) -> bool:
        """Whether it lasts still."""
        return now_ms < self.until_ms


Entry: TypeAlias = Purged | Switch


# Shards


@dataclass(frozen=True, slots=True)
class Shard:
    """One of the places that hold a log: that of a part of the hosts. Among ``of`` it has the ``number``."""

    number: int = 0
    of: int = 1

    def holds(self, entry: Entry) -> bool:
        """Whether an entry belongs there: what isn't about one host alone belongs everywhere."""
        return self.number in shards_of(entry, self.of)


def shard_of(host: str, of: int) -> int:
    """Return the number of the shard of a host's purges, whatever the port."""
    if of == 1:
        return 0
    octets = hashlib.sha256(hostname_of(host).encode("utf-8", "replace")).digest()
    return int.from_bytes(octets[:4], "big") % of


def shards_of(entry: Entry, of: int) -> frozenset[int]:
    """Return the numbers of the shards to which an entry belongs."""
    everywhere = frozenset(range(of))
    if of == 1 or isinstance(entry, Switch):
        return everywhere
    hosts = set(map(_host_of, entry.names))
    return everywhere if "" in hosts else frozenset(shard_of(host, of) for host in hosts)


def _host_of(name: str) -> str:
    """Return the host that a mark's name is about; empty for several, and for one that is cut."""
    scope = scope_of(name)
    host = scope.host.partition("?")[0] if scope else ""
    return "" if CUT in host else host


# Keys


def entry_key(entry: Entry) -> str:
    """Return the KV key of an entry."""
    return f"{PURGE_LOG_PREFIX}{entry.moment_ms // _MINUTE_MS:08d}/{entry.id}"


def id_of(key: str) -> str:
    """Return the id of the entry under a key; raises :class:`UnreadableEntry` for a key of another kind."""
    found = _KEY.fullmatch(key)
    if not found:
        raise UnreadableEntry(_DOES_NOT_FIT.format("key", key))
    return found[2]


def minute_end_ms(key: str) -> int:
    """Return when the minute is over in which an entry's moment lies; 0 for a key of another kind."""
    found = _KEY.fullmatch(key)
    return (int(found[1]) + 1) * _MINUTE_MS if found else 0


def listing_prefixes(since_ms: int, until_ms: int) -> Iterator[str]:
    """Name the prefixes whose lists hold all entries of these moments, the newest first.

    Ten minutes have one. A list of them may hold some entries that are older or younger.
    """
    first, last = (moment_ms // _MINUTE_MS // _DECADE for moment_ms in (since_ms, until_ms))
    for decade in range(last, first - 1, -1):
        yield f"{PURGE_LOG_PREFIX}{decade:07d}"


def logged_name(name: str) -> str:
    """Return a mark's name as entries have it: cut to 192 bytes, with a digest, if it is longer."""
    return fit(name, MAX_NAME_BYTES)


# Entries


def purged(
    purge_id: str,
    moment_ms: int,
    names: Iterable[str],
    *,
    hard: bool = False,
    by: str = "",
    why: str = "",
    is_sealed: bool = False,
) -> list[Purged]:
    """Return the entries of a purge of marks' ``names``; several, where one can't hold all of them.

    With ``is_sealed`` each leaves room for a seal.
    Indexes have no place among them: a reader of the log needs not be told where to look.
    """
    told = dict.fromkeys(logged_name(name) for name in names if not is_index(name))
    by, why = _note(by), _note(why)
    parts: list[list[str]] = [[]]
    most_bytes = MAX_METADATA_BYTES - (SEAL_BYTES if is_sealed else 0)
    room = most_bytes - _size(metadata_of(Purged(purge_id, moment_ms, (), hard, by, why)))
    left = room
    for name in told:
        size = _size(name) + 2  # ", "
        if size > left or len(parts[-1]) == _MAX_NAMES:
            parts.append([])
            left = room
        parts[-1].append(name)
        left -= size
    return [
        Purged(f"{purge_id}.{number}" if number else purge_id, moment_ms, tuple(part), hard, by, why)
        for number, part in enumerate(parts)
        if part
    ]


def metadata_of(entry: Entry) -> dict[str, object]:
    """Return an entry as the metadata of its key; the value is empty."""
    notes = {"by": _note(entry.by), "why": _note(entry.why)}
    if isinstance(entry, Purged):
        told: dict[str, object] = {"at": entry.moment_ms, "names": list(entry.names)}
        told |= {"hard": True} if entry.hard else {}
    else:
        told = {"at": entry.moment_ms, "switch": entry.kind.value, "until": entry.until_ms}
        told |= {name: value for name, value in (("rule", entry.rule), ("seconds", entry.seconds)) if value}
    return told | {name: note for name, note in notes.items() if note}


def told_of(entry: Entry) -> dict[str, object]:
    """Return an entry as it is told of: its metadata and its id."""
    return {"id": entry.id, **metadata_of(entry)}


def metadata_text(entry: Entry) -> str:
    """Return the metadata as JSON."""
    return json.dumps(metadata_of(entry), separators=(",", ":"))


def sealed_metadata(entry: Entry, keys: Sequence[StoreKey]) -> dict[str, object]:
    """Return the metadata as they are to lie under the entry's key: with keys authenticated by the first."""
    metadata = metadata_of(entry)
    return authenticated(keys[0], entry_key(entry), metadata) if keys else metadata


def parse_entry(entry_id: str, metadata: object) -> Entry:
    """Read an entry; raises :class:`UnreadableEntry`. Members that aren't known are ignored."""
    if not _ID.fullmatch(entry_id):
        raise UnreadableEntry(_DOES_NOT_FIT.format("id", entry_id))
    if not isinstance(metadata, Mapping):
        raise UnreadableEntry(_DOES_NOT_FIT.format("metadata", metadata))
    moment_ms = _number(metadata, "at", _MAX_MOMENT_MS)
    by, why = _text(metadata, "by", MAX_NOTE_CHARACTERS), _text(metadata, "why", MAX_NOTE_CHARACTERS)
    if "switch" in metadata:
        kind = metadata["switch"]
        if kind not in tuple(SwitchKind):
            raise UnreadableEntry(_DOES_NOT_FIT.format("switch", kind))
        until_ms = _number(metadata, "until", moment_ms + MAX_SWITCH_SECONDS * 1000)
        seconds = _number(metadata, "seconds", MAX_STALE_SECONDS) if "seconds" in metadata else 0
        rule = _text(metadata, "rule", MAX_NAME_BYTES)
        if rule and kind == SwitchKind.PAUSE:
            raise UnreadableEntry(_DOES_NOT_FIT.format("rule", rule))
        return Switch(entry_id, moment_ms, SwitchKind(kind), until_ms, rule, seconds, by, why)
    names, hard = metadata.get("names"), metadata.get("hard", False)
    if not (_are_texts(names) and 0 < len(names) <= _MAX_NAMES and all(map(_is_name, names))):
        raise UnreadableEntry(_DOES_NOT_FIT.format("names", names))
    if not isinstance(hard, bool):
        raise UnreadableEntry(_DOES_NOT_FIT.format("hard", hard))
    return Purged(entry_id, moment_ms, tuple(names), hard, by, why)


def parse_entries(told: object) -> list[Entry]:
    """Read a list of metadata that have an ``id`` each; raises :class:`UnreadableEntry`."""
    if not isinstance(told, list) or len(told) > MAX_ENTRIES_PAGE:
        raise UnreadableEntry(_DOES_NOT_FIT.format("entries", told))
    return [parse_entry(_text(each, "id", 80), each) for each in told if _is_table(each)]


def parse_told(body: bytes) -> list[Entry]:
    """Read the body of a request that tells of entries; raises :class:`UnreadableEntry`."""
    return parse_entries(_table(body).get("entries"))


def parse_sealed_by(body: bytes) -> str | None:
    """Return by which key of the store is sealed what a client tells of, "" for none; ``None`` if unsaid."""
    sealed_by = _table(body).get("sealed_by")
    return sealed_by if isinstance(sealed_by, str) else None


def parse_question(body: bytes) -> tuple[str, ...]:
    """Read the ids that a request asks about; raises :class:`UnreadableEntry`."""
    ids = _table(body).get("ids")
    if not (_are_texts(ids) and 0 < len(ids) <= MAX_ENTRIES_PAGE and all(map(_ID.fullmatch, ids))):
        raise UnreadableEntry(_DOES_NOT_FIT.format("ids", ids))
    return tuple(ids)


def _is_name(name: str) -> bool:
    return 0 < len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES and not is_index(name)


def _note(text: str) -> str:
    printable = "".join(character if " " <= character <= "~" else "?" for character in text)
    return printable[:MAX_NOTE_CHARACTERS]


def _size(value: object) -> int:
    """Return the bytes of a value as JSON, however its characters are escaped."""
    return len(json.dumps(value))


# Pages


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
    entries: tuple[Entry, ...] = ()
    more: bool = False

    def __str__(self) -> str:
        """Write it as JSON."""
        told = [told_of(entry) for entry in self.entries]
        members = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({**members, "entries": told}, separators=(",", ":"))


def parse_page(text: str) -> Page:
    """Read a page; raises :class:`UnreadableEntry`."""
    read = _table(text)
    more = read.get("more")
    since, after = (_number(read, name, _MAX_MOMENT_MS) for name in ("since", "next"))
    if not isinstance(more, bool) or after < since:
        raise UnreadableEntry(_DOES_NOT_FIT.format("page", text))
    covers_from_ms, known_ms = (
        _number(read, name, _MAX_MOMENT_MS) for name in ("covers_from_ms", "known_ms")
    )
    entries = tuple(parse_entries(read.get("entries")))
    return Page(_text(read, "log", 80), since, after, covers_from_ms, known_ms, entries, more)


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
    read = _table(text)
    readers, switches = read.get("readers"), parse_entries(read.get("switches"))
    if not _is_table(readers) or not all(isinstance(switch, Switch) for switch in switches):
        raise UnreadableEntry(_DOES_NOT_FIT.format("state", text))
    number, covers_from_ms, known_ms, entries = (
        _number(read, name, _MAX_MOMENT_MS) for name in ("next", "covers_from_ms", "known_ms", "entries")
    )
    asked = {name: _number(readers, name, _MAX_MOMENT_MS) for name in readers}
    on = tuple(switch for switch in switches if isinstance(switch, Switch))
    return LogState(_text(read, "log", 80), number, covers_from_ms, known_ms, entries, asked, on)


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
    read = _table(text)
    unknown, behind, everywhere = read.get("unknown"), read.get("behind"), read.get("everywhere", [])
    if not (_are_texts(unknown) and _are_texts(behind) and _are_texts(everywhere)):
        raise UnreadableEntry(_DOES_NOT_FIT.format("answer", text))
    readers = _number(read, "readers", _MAX_MOMENT_MS)
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


# Reading


def _table(text: str | bytes) -> Mapping[str, object]:
    try:
        read = json.loads(shallow(text if isinstance(text, str) else text.decode()))
    except ValueError as error:
        raise UnreadableEntry(_DOES_NOT_FIT.format("text", text)) from error
    if not _is_table(read):
        raise UnreadableEntry(_DOES_NOT_FIT.format("text", text))
    return read


def _is_table(value: object) -> TypeGuard[Mapping[str, object]]:
    if not isinstance(value, dict):
        raise UnreadableEntry(_DOES_NOT_FIT.format("entry", value))
    return True


def _are_texts(value: object) -> TypeGuard[Sequence[str]]:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _number(table: Mapping[str, object], name: str, most: int) -> int:
    value = table.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise UnreadableEntry(_DOES_NOT_FIT.format(name, value))
    return value


def _text(table: Mapping[str, object], name: str, most: int) -> str:
    value = table.get(name, "")
    if not isinstance(value, str) or len(value) > most:
        raise UnreadableEntry(_DOES_NOT_FIT.format(name, value))
    return value
