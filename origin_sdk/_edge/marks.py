"""The marks in KV: the latest purge of each target."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from origin_sdk._cloudflare.kv import ListedKey
from origin_sdk._edge.purge import Operation
from origin_sdk._edge.seals import ClientSeals
from origin_sdk_wire.bounds import LATEST_MS
from origin_sdk_wire.marks import MARK_PREFIX, Lane, is_index, is_shared
from origin_sdk_wire.seals import without_seal

__all__ = ["MarkEntry", "moment_of", "read_marks_page"]


@dataclass(frozen=True, slots=True)
class MarkEntry:
    """A mark in KV: the latest purge of ``target``.

    ``by`` is ``edge`` where the Worker itself wrote it, and ``purge_id`` then says why. ``is_forged`` says
    that nobody wrote it who has the keys of the store: the Worker doesn't count it.
    """

    target: str
    kind: str
    moment: datetime | None
    purge_id: str = ""
    by: str = ""
    why: str = ""
    expires_at: datetime | None = None
    is_forged: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        values = {name: getattr(self, name) for name in self.__slots__}
        for name in ("moment", "expires_at"):
            values[name] = values[name].isoformat() if values[name] else None
        return values


_LANES = {"s": "soft", "h": "hard"}


async def read_marks_page(operation: Operation, cursor: str) -> tuple[list[MarkEntry], str]:
    """Return one page of the marks and the cursor of the next, or ``""``."""
    listed, cursor = await operation.namespace.page(operation.exchange, MARK_PREFIX, cursor)
    seals = operation.seals
    bare = [key.name for key in listed if seals.keys or not isinstance(key.metadata, dict)]
    values = (await operation.namespace.read_texts(operation.exchange, bare)) if bare else {}
    return [
        replace(entry, is_forged=_is_forged(seals, key, values.get(key.name, "")))
        for key in listed
        for entry in [_entry(key.name, key.metadata, values.get(key.name, ""), key.expiration)]
        if not (is_shared(key.name) or _is_hard_too(key.name, key.metadata))
    ], cursor


def _is_forged(seals: ClientSeals, key: ListedKey, value: str) -> bool:
    if not seals.keys:
        return False
    is_noted = isinstance(key.metadata, dict)
    if is_noted and seals.opened_metadata(key.name, key.metadata, value.encode()) is None:
        return True
    return seals.opened_text(key.name, value) is None


def _is_hard_too(name: str, metadata: object) -> bool:
    """Whether a key in the soft lane says what another in the hard one does."""
    lane, _, target = name.removeprefix(MARK_PREFIX).partition("/")
    is_hard = isinstance(metadata, dict) and metadata.get("hard") is True
    return lane == Lane.SOFT and is_hard and not is_index(target)


def _entry(name: str, metadata: object, value: str, expiration: int | None) -> MarkEntry:
    lane, _, target = name.removeprefix(MARK_PREFIX).partition("/")
    known = metadata if isinstance(metadata, dict) else _from_value(value)
    at = known.get("at")
    return MarkEntry(
        target=target,
        kind=_LANES.get(lane, lane),
        moment=moment_of(at) if isinstance(at, int) and at >= 0 else None,
        purge_id=str(known.get("id", "")),
        by=str(known.get("by", "")),
        why=str(known.get("why", "")),
        expires_at=None if expiration is None else datetime.fromtimestamp(expiration, UTC),
    )


def moment_of(at_ms: int) -> datetime:
    """Return a moment that lies in KV, where anything may be written, as a date: the last one at most."""
    return datetime.fromtimestamp(min(at_ms, LATEST_MS) / 1000, UTC)


def _from_value(value: str) -> dict[str, Any]:
    moment, _, purge_id = without_seal(value).partition(" ")
    return {"at": int(moment), "id": purge_id} if moment.isdigit() else {}
