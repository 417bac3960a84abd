"""Which of the responses of a URL a request selects, by what earlier ones varied by (RFC 9111 4.1)."""

from dataclasses import dataclass, replace

from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.selection import nominated
from origin_sdk_edge.storage.memory import Entry, Table
from origin_sdk_edge.storage.tiers import Tiers
from origin_sdk_wire.key import variant_key
from origin_sdk_wire.record import MAX_INDEX_SETS, Index, Record
from origin_sdk_wire.search_variance import is_of_query
from origin_sdk_wire.vary import selecting_values

__all__ = ["Variants", "variant"]

_NONE_NOMINATED = ("",)


@dataclass(frozen=True, slots=True)
class _KnownIndex:
    """An index, and until when it is sure to be in KV, written by this isolate; 0 for unknown."""

    index: Index | None = None
    written_until_ms: int = 0


_UNKNOWN = _KnownIndex()


def variant(lookup: Lookup, names: tuple[str, ...]) -> str:
    """Return the key under which a response lies that nominates ``names``."""
    if not (names or lookup.parts):
        return lookup.key
    return variant_key(lookup.key, [*lookup.parts, *selecting_values(names, lookup.selecting_fields)])


class Variants:
    """The indexes of this isolate. They are remembered apart from memory, which may let go of them."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._indexes: Table[_KnownIndex] = tiers.memory.table(1 / 32)

    def index_at(self, key: str) -> Index | None:
        """Return the index of a record key, if any response under it varies."""
        item = self._tiers.memory.get(key)
        index = item if isinstance(item, Index) else (self._indexes.get(key) or _UNKNOWN).index
        return index if index and index.sets else None

    def names(self, record: Record, index: Index | None) -> tuple[str, ...]:
        """Return the selecting header fields of a response; where it nominates none, what others did counts.

        RFC 9111 section 4.1: some resources mistakenly omit Vary from their default response. In the safe
        profile it answers only requests like its own; by the RFC all whom no other response fits.
        """
        names = nominated(record)
        of_query = tuple(filter(is_of_query, names))
        if index is None or len(of_query) < len(names):
            return names
        if not self._tiers.settings.is_safe:
            return names or _NONE_NOMINATED
        others = (name for name in index.names if not is_of_query(name))
        return tuple(sorted({*of_query, *others}))

    def learn(self, key: str, index: Index) -> None:
        """Remember an index, apart from memory."""
        known = self._indexes.get(key) or _UNKNOWN
        self._indexes.set(key, known if known.index == index else _KnownIndex(index))

    def with_unwritten(self, key: str, read: Index) -> Index:
        """Return an index as it was read, with what this isolate knows and KV doesn't show yet."""
        known = (self._indexes.get(key) or _UNKNOWN).index or Index(())
        others = (names for names in read.sets if names not in known.sets)
        index = Index((*known.sets, *others)[:MAX_INDEX_SETS])
        self.learn(key, index)
        return index

    def unwritten(self, key: str, now_ms: int) -> Index | None:
        """Return the index of ``key`` if this isolate doesn't know it to be in KV after ``now_ms``."""
        known = self._indexes.get(key) or _UNKNOWN
        return None if known.written_until_ms > now_ms else known.index

    def note_written(self, key: str, index: Index, until_ms: int) -> None:
        """Remember until when an index is in KV, unless it has changed since."""
        known = self._indexes.get(key) or _UNKNOWN
        if known.index is index:
            self._indexes.set(key, replace(known, written_until_ms=max(1, until_ms)))

    def is_selected(self, lookup: Lookup, entry: Entry) -> bool:
        """Whether ``lookup`` selects this very response."""
        index = self.index_at(variant(lookup, ()))
        return entry.key == variant(lookup, self.names(entry.record, index))

    def expected_key(self, lookup: Lookup) -> str:
        """Return the key of the response that ``lookup`` most likely gets, by what earlier ones varied by."""
        base = variant(lookup, ())
        index = self.index_at(base)
        return variant(lookup, index.sets[0]) if index else base
