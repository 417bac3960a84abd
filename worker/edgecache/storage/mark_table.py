"""The purge marks that this isolate knows, and how lately it read them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cachewire.marks import Lane, indexed_marks
from cachewire.record import Record
from edgecache.policy.decision import VALID, Invalidity, Lookup, mark_names
from edgecache.storage.memory import Memory, Table

__all__ = ["MarkTable"]

_FAR_FUTURE_MS = 2**62
_CLAIM_MS = 1000


@dataclass(slots=True)
class _Known:
    soft_ms: int = 0
    hard_ms: int = 0
    read_ms: int = 0
    claimed_ms: int = 0
    moved_ms: int = 0
    """When this isolate saw it move."""
    validate_ms: int = 0
    """The moment of the last write through this isolate that made all that is older stale."""


class MarkTable:
    """Marks by name.

    ``generation`` moves whenever one of them does, so that decisions made before can be told apart.
    ``on_move`` is called with each mark that was known and is read with a later moment: its name, lane and
    moment, and when it was read.
    """

    def __init__(self, interval_ms: int, memory: Memory) -> None:
        self.interval_ms = interval_ms
        self.generation = 0
        self.on_move: Callable[[str, Lane, int, int], None] = _nobody_minds
        self._known: Table[_Known] = memory.table(1 / 8)
        self._known.on_forget = self._note_forgotten
        self._forgotten_ms = 0

    def deciding(self, lookup: Lookup, record: Record) -> Sequence[str]:
        """Return the names whose marks have to be known to decide on a stored response.

        Those of its path's prefixes, and of its host's groups, only once an index tells of any such purge.
        """
        names = mark_names(lookup, record)
        for index, told in indexed_marks(lookup.request.target, record.groups):
            if self._is_touched(index, record):
                names = (*names, *told)
        return names

    def _is_touched(self, index: str, record: Record) -> bool:
        return self.invalidity((index,), record.birth_ms) is not VALID

    def verdict(self, lookup: Lookup, record: Record) -> Invalidity:
        """Return since when a stored response is stale or gone by the marks that are known."""
        indexes = {index for index, _ in indexed_marks(lookup.request.target, record.groups)}
        names = (name for name in self.deciding(lookup, record) if name not in indexes)
        return self.invalidity(names, record.birth_ms)

    def moved_at(self, lookup: Lookup, record: Record) -> int:
        """Return when an index was seen to tell of a purge that may cover a response; 0 if none does.

        What it tells of is known only if it was read since.
        """
        indexes = (index for index, _ in indexed_marks(lookup.request.target, record.groups))
        marks = [mark for index in indexes if (mark := self._known.get(index))]
        return max((mark.moved_ms for mark in marks if _covers(mark, record.birth_ms)), default=0)

    def known_until(self, lookup: Lookup, record: Record) -> int:
        """Return the time up to which all purges of a response are known, as :meth:`known_at` does."""
        names, moved_ms = self.deciding(lookup, record), self.moved_at(lookup, record)
        is_missing = moved_ms and self.outdated(names, 0, since_ms=moved_ms)
        return 0 if is_missing else self.known_at(names, record.birth_ms)

    def outdated(self, names: Iterable[str], now_ms: int, share: float = 1.0, since_ms: int = 0) -> list[str]:
        """Return the names whose marks were read longer than ``share`` of the interval ago.

        Or before ``since_ms``.
        """
        oldest_ms, known = max(now_ms - int(self.interval_ms * share), since_ms), self._known
        return [name for name in names if (mark := known.get(name)) is None or mark.read_ms < oldest_ms]

    def claim(self, names: Iterable[str], now_ms: int) -> list[str]:
        """Return the names that nobody is about to read, and claim them: one reader is enough."""
        free = [
            name
            for name in names
            if (mark := self._known.get(name)) is None or mark.claimed_ms < now_ms - _CLAIM_MS
        ]
        for name in free:
            self._entry(name).claimed_ms = now_ms
        return free

    def learn(self, name: str, soft_ms: int, hard_ms: int, read_ms: int) -> None:
        """Take in what the store holds for ``name``: 0 for no mark. A mark never moves back."""
        mark = self._entry(name)
        if mark.read_ms and (soft_ms > mark.soft_ms or hard_ms > mark.hard_ms):
            is_hard = hard_ms > mark.hard_ms
            self.on_move(name, Lane.HARD if is_hard else Lane.SOFT, hard_ms if is_hard else soft_ms, read_ms)
        mark.read_ms = max(mark.read_ms, read_ms)
        mark.claimed_ms = 0
        self._advance(mark, soft_ms, hard_ms, read_ms)

    def write(self, name: str, lane: Lane, moment_ms: int, *, must_validate: bool = False) -> None:
        """Take in a mark that this isolate is about to write."""
        mark = self._entry(name)
        if must_validate:
            mark.validate_ms = max(mark.validate_ms, moment_ms)
        soft_ms, hard_ms = (moment_ms, 0) if lane is Lane.SOFT else (0, moment_ms)
        self._advance(mark, soft_ms, hard_ms, moment_ms)

    def _entry(self, name: str) -> _Known:
        mark = self._known.get(name) or _Known()
        self._known.set(name, mark)
        return mark

    def _note_forgotten(self, mark: _Known) -> None:
        self._forgotten_ms = max(self._forgotten_ms, mark.soft_ms, mark.hard_ms)

    def _advance(self, mark: _Known, soft_ms: int, hard_ms: int, now_ms: int) -> None:
        if soft_ms > mark.soft_ms or hard_ms > mark.hard_ms:
            mark.soft_ms, mark.hard_ms = max(soft_ms, mark.soft_ms), max(hard_ms, mark.hard_ms)
            mark.moved_ms = max(mark.moved_ms, now_ms)
            self.generation += 1

    def known_at(self, names: Iterable[str], birth_ms: int) -> int:
        """Return the time up to which all purges of a response are known.

        It can't be older than the response itself, unless a mark was known that is forgotten now.
        """
        known, oldest_ms = self._known, _FAR_FUTURE_MS
        for name in names:
            mark = known.get(name)
            if mark is None or not mark.read_ms:
                return birth_ms if birth_ms > self._forgotten_ms else 0
            oldest_ms = min(oldest_ms, mark.read_ms)
        return max(oldest_ms, birth_ms)

    def invalidity(self, names: Iterable[str], birth_ms: int) -> Invalidity:
        """Return since when a response of ``birth_ms`` is stale or gone by the marks that are known."""
        soft_ms = hard_ms = validate_ms = 0
        for name in names:
            mark = self._known.get(name)
            if mark and _covers(mark, birth_ms):
                soft_ms, hard_ms = max(soft_ms, mark.soft_ms), max(hard_ms, mark.hard_ms)
                validate_ms = max(validate_ms, mark.validate_ms)
        if not (soft_ms or hard_ms):
            return VALID
        return Invalidity(
            soft_ms if soft_ms >= birth_ms else 0,
            hard_ms if hard_ms >= birth_ms else 0,
            must_validate=validate_ms >= birth_ms,
        )


def _nobody_minds(_name: str, _lane: Lane, _moment_ms: int, _read_ms: int) -> None:
    """Nobody wants to know."""


def _covers(mark: _Known, birth_ms: int) -> bool:
    return mark.soft_ms >= birth_ms or mark.hard_ms >= birth_ms
