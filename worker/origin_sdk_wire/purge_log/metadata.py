"""An entry of the purge log as the metadata of its key, written and read."""

import json
from collections.abc import Iterable, Mapping, Sequence

from origin_sdk_wire.errors import UnreadableEntry
from origin_sdk_wire.marks import is_index
from origin_sdk_wire.purge_log.entries import (
    MAX_NAME_BYTES,
    MAX_STALE_SECONDS,
    MAX_SWITCH_SECONDS,
    LogEntry,
    Purged,
    Switch,
    SwitchKind,
    entry_key,
    logged_name,
)
from origin_sdk_wire.purge_log.members import (
    DOES_NOT_FIT,
    ID,
    MAX_MOMENT_MS,
    are_texts,
    as_table,
    number_of,
    text_of,
)
from origin_sdk_wire.record import MAX_METADATA_BYTES
from origin_sdk_wire.seals import SEAL_BYTES, StoreKey, authenticated

__all__ = [
    "MAX_ENTRIES_PAGE",
    "MAX_NOTE_CHARACTERS",
    "metadata_of",
    "metadata_text",
    "parse_entries",
    "parse_entry",
    "purged",
    "sealed_metadata",
    "told_of",
]

MAX_NOTE_CHARACTERS = 64
"""Who and why are cut to this."""
MAX_ENTRIES_PAGE = 1000
"""More entries don't fit into a page."""
_MAX_NAMES = 64
"""More names than fit into an entry."""


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


def metadata_of(entry: LogEntry) -> dict[str, object]:
    """Return an entry as the metadata of its key; the value is empty."""
    notes = {"by": _note(entry.by), "why": _note(entry.why)}
    if isinstance(entry, Purged):
        told: dict[str, object] = {"at": entry.moment_ms, "names": list(entry.names)}
        told |= {"hard": True} if entry.hard else {}
    else:
        told = {"at": entry.moment_ms, "switch": entry.kind.value, "until": entry.until_ms}
        told |= {name: value for name, value in (("rule", entry.rule), ("seconds", entry.seconds)) if value}
    return told | {name: note for name, note in notes.items() if note}


def told_of(entry: LogEntry) -> dict[str, object]:
    """Return an entry as it is told of: its metadata and its id."""
    return {"id": entry.id, **metadata_of(entry)}


def metadata_text(entry: LogEntry) -> str:
    """Return the metadata as JSON."""
    return json.dumps(metadata_of(entry), separators=(",", ":"))


def sealed_metadata(entry: LogEntry, keys: Sequence[StoreKey]) -> dict[str, object]:
    """Return the metadata as they are to lie under the entry's key: with keys authenticated by the first."""
    metadata = metadata_of(entry)
    return authenticated(keys[0], entry_key(entry), metadata) if keys else metadata


def parse_entry(entry_id: str, metadata: object) -> LogEntry:
    """Read an entry; raises :class:`UnreadableEntry`. Members that aren't known are ignored."""
    if not ID.fullmatch(entry_id):
        raise UnreadableEntry(DOES_NOT_FIT.format("id", entry_id))
    if not isinstance(metadata, Mapping):
        raise UnreadableEntry(DOES_NOT_FIT.format("metadata", metadata))
    moment_ms = number_of(metadata, "at", MAX_MOMENT_MS)
    by, why = text_of(metadata, "by", MAX_NOTE_CHARACTERS), text_of(metadata, "why", MAX_NOTE_CHARACTERS)
    if "switch" in metadata:
        kind = metadata["switch"]
        if kind not in tuple(SwitchKind):
            raise UnreadableEntry(DOES_NOT_FIT.format("switch", kind))
        until_ms = number_of(metadata, "until", moment_ms + MAX_SWITCH_SECONDS * 1000)
        seconds = number_of(metadata, "seconds", MAX_STALE_SECONDS) if "seconds" in metadata else 0
        rule = text_of(metadata, "rule", MAX_NAME_BYTES)
        if rule and kind == SwitchKind.PAUSE:
            raise UnreadableEntry(DOES_NOT_FIT.format("rule", rule))
        return Switch(entry_id, moment_ms, SwitchKind(kind), until_ms, rule, seconds, by, why)
    names, hard = metadata.get("names"), metadata.get("hard", False)
    if not (are_texts(names) and 0 < len(names) <= _MAX_NAMES and all(map(_is_name, names))):
        raise UnreadableEntry(DOES_NOT_FIT.format("names", names))
    if not isinstance(hard, bool):
        raise UnreadableEntry(DOES_NOT_FIT.format("hard", hard))
    return Purged(entry_id, moment_ms, tuple(names), hard, by, why)


def parse_entries(told: object) -> list[LogEntry]:
    """Read a list of metadata that have an ``id`` each; raises :class:`UnreadableEntry`."""
    if not isinstance(told, list) or len(told) > MAX_ENTRIES_PAGE:
        raise UnreadableEntry(DOES_NOT_FIT.format("entries", told))
    return [parse_entry(text_of(each, "id", 80), each) for each in map(as_table, told)]


def _is_name(name: str) -> bool:
    return 0 < len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES and not is_index(name)


def _note(text: str) -> str:
    printable = "".join(character if " " <= character <= "~" else "?" for character in text)
    return printable[:MAX_NOTE_CHARACTERS]


def _size(value: object) -> int:
    """Return the bytes of a value as JSON, however its characters are escaped."""
    return len(json.dumps(value))
