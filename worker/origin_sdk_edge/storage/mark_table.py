"""The purge marks that this isolate knows, and how lately it read them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf

from origin_sdk_edge.policy.decision import VALID, Invalidity, Lookup
from origin_sdk_edge.storage.log_knowledge import LogKnowledge
from origin_sdk_edge.storage.memory import Memory, Table
from origin_sdk_wire.key import CUT, Target
from origin_sdk_wire.marks import (
    EVERYTHING,
    SHARED,
    Lane,
    Mark,
    group_mark,
    index_of,
    indexed_names,
    is_index,
    lane_name,
    shared_names,
)
from origin_sdk_wire.purge_log.entries import Purged, logged_name
from origin_sdk_wire.record import Record

__all__ = ["MarkTable", "Wanted", "group_lane"]

_CLAIM_MS = 1000
_SPREAD_MS = 60_000
"""So long KV may take to show a write everywhere: what was read shortly before may not have told of it."""
_LEAST_BYTES = 512 * 1024
"""Both lanes of as many groups as a response may have have to be known at the same time."""
_SHARED = lane_name(SHARED, Lane.SOFT)
_GROUP = lane_name("group/", Lane.SOFT)[1:]
_SHORT = 48
"""A lane of so few characters is within the bytes to which the log cuts names."""

Wanted = tuple[str, int]
"""A lane of a mark, and the moment since which it has to have been read: that of what told of it."""


@dataclass(slots=True)
class _Known:
    moment_ms: int = 0
    read_ms: int = 0
    claimed_ms: int = 0
    moved_ms: int = 0
    """When this isolate saw it move."""
    before_ms: int = 0
    """The moment that it had before purges were paused, if it moved since."""
    is_before_read: bool = False
    """Whether the store said so, and not the purge log alone."""
    validate_ms: int = 0
    """The moment of the last write through this isolate that made all that is older stale."""


_UNKNOWN = _Known()


class MarkTable:
    """Marks by lane and name, as :func:`origin_sdk_wire.marks.lane_name` writes them.

    ``generation`` moves whenever one of them does, so that decisions made before can be told apart.
    ``on_move`` is called with each mark that is read and tells of a purge since it was last known what was
    purged: its name, lane and value, and when it was read.
    """

    def __init__(self, interval_ms: int, memory: Memory) -> None:
        self.interval_ms = interval_ms
        self.generation = 0
        self.log = LogKnowledge()
        self.paused_ms: float = inf
        """Purges since this moment don't count yet."""
        self.on_move: Callable[[str, Lane, Mark, int], None] = _nobody_minds
        self._known: Table[_Known] = memory.table(1 / 8, _LEAST_BYTES)
        self._known.on_forget = self._note_forgotten
        self._shared = _Known()
        self._shared_before_ms = 0
        """When the shared mark was read the time before the last."""
        self._forgotten_ms = 0
        self._direct_ms = 0
        """The moment of the last purge that is known, but for those of groups alone."""

    @property
    def forgotten_ms(self) -> int:
        """The latest moment of a mark that was known, and for which there was no room."""
        return self._forgotten_ms

    # What is known of a stored response

    def is_untouched(self, groups: Iterable[str], birth_ms: int, oldest_ms: int) -> bool:
        """Whether nothing of a response was purged since its birth, as known at ``oldest_ms`` or later.

        The short way of :meth:`verdict_as_of` for what is mostly so.
        """
        shared, known = self._shared, self._known
        if birth_ms >= self.log.since_ms and self.log.vouches(birth_ms, oldest_ms):
            lanes = map(group_lane, groups)
            return self._direct_ms < birth_ms and all(self._get(lane).moment_ms < birth_ms for lane in lanes)
        if shared.moment_ms >= birth_ms or shared.read_ms < oldest_ms:
            return False
        for group in groups:
            mark = known.get(_slot_of(group_lane(group)))
            if mark is None or mark.moment_ms >= birth_ms or mark.read_ms < oldest_ms:
                return False
        return True

    def is_purged(self, groups: Iterable[str], birth_ms: int, oldest_ms: int) -> bool | None:
        """Whether any of ``groups`` was purged at ``birth_ms`` or since, as known at ``oldest_ms`` or later.

        ``None`` if it has to be read first.
        """
        marks = [self._get(group_lane(group)) for group in groups]
        if any(mark.moment_ms and mark.moment_ms >= birth_ms for mark in marks):
            return True
        if self.log.vouches(birth_ms, oldest_ms):
            return False
        return None if any(mark.read_ms < oldest_ms for mark in marks) else False

    def deciding(self, target: Target, record: Record) -> list[Wanted]:
        """Return the lanes that have to be known to decide on a stored response of ``target``.

        What seldom moves tells of the rest: beyond the shared mark and the groups' soft lanes there are more
        only where one of these covers the response.
        """
        wanted: list[Wanted] = [(_SHARED, 0)]
        for group in record.groups:
            self._add(wanted, group_mark(group), 0, record)
        if self._shared.moment_ms >= record.birth_ms:
            # It lies ahead: seen to move before the birth, it tells of no purge since.
            since_ms = self._shared.moved_ms if self._shared.moved_ms >= record.birth_ms else 0
            for name in shared_names(target, has_groups=bool(record.groups)):
                index = self._add(wanted, name, since_ms, record)
                if index is not None and is_index(name):
                    for told in indexed_names(name, target, record.groups):
                        self._add(wanted, told, index.moved_ms, record)
        return wanted

    def _add(self, wanted: list[Wanted], name: str, since_ms: int, record: Record) -> _Known | None:
        """Add a mark's soft lane, and the hard one where that covers the response; return it then."""
        soft = lane_name(name, Lane.SOFT)
        wanted.append((soft, since_ms))
        mark = self._known.get(_slot_of(soft))
        if mark is None or mark.moment_ms < record.birth_ms:
            return None
        if not is_index(name):
            wanted.append((lane_name(name, Lane.HARD), mark.moved_ms))
        return mark

    def verdict(self, lookup: Lookup, record: Record) -> Invalidity:
        """Return since when a stored response is stale or gone by the marks that are known."""
        if self.is_untouched(record.groups, record.birth_ms, 0):
            return VALID
        return self._verdict_by(self.deciding(lookup.request.target, record), record.birth_ms)

    def verdict_as_of(self, lookup: Lookup, record: Record, oldest_ms: int) -> Invalidity | None:
        """Return the verdict if all purges up to ``oldest_ms`` are known; ``None`` if marks must be read."""
        if self.is_untouched(record.groups, record.birth_ms, oldest_ms):
            return VALID
        wanted = self.deciding(lookup.request.target, record)
        if self._known_until(wanted, record.birth_ms) < oldest_ms:
            return None
        return self._verdict_by(wanted, record.birth_ms)

    def _verdict_by(self, wanted: Iterable[Wanted], birth_ms: int) -> Invalidity:
        # The indexes only say where to look: they cover what this response has no part in, too.
        return self.invalidity([lane for lane, _ in wanted if not is_index(lane[2:])], birth_ms)

    def invalidity(self, lanes: Iterable[str], birth_ms: int) -> Invalidity:
        """Return since when a response of ``birth_ms`` is stale or gone by these lanes."""
        soft_ms = hard_ms = validate_ms = 0
        for lane in lanes:
            mark = self._get(lane)
            moment_ms = self._counting_ms(mark, birth_ms)
            if moment_ms < birth_ms:
                continue
            validate_ms = max(validate_ms, mark.validate_ms)
            if lane.startswith(Lane.HARD):
                hard_ms = max(hard_ms, moment_ms)
            else:
                soft_ms = max(soft_ms, moment_ms)
        if not (soft_ms or hard_ms):
            return VALID
        return Invalidity(soft_ms, hard_ms, must_validate=validate_ms >= birth_ms)

    def _counting_ms(self, mark: _Known, birth_ms: int) -> int:
        """Return the moment of a mark that counts: while purges are paused, the last one before.

        Of a mark that was first read since then that isn't known, but by the log of what it vouches for. A
        write through this isolate counts anyway.
        """
        if mark.moment_ms < self.paused_ms or mark.validate_ms >= birth_ms:
            return mark.moment_ms
        is_known = mark.is_before_read or birth_ms >= self.log.since_ms
        return mark.before_ms if is_known else mark.moment_ms

    def known_until(self, target: Target, record: Record) -> int:
        """Return the time up to which all purges of a response are known.

        It can't be older than the response itself, unless a mark was known that is forgotten now; or unless
        it is known that there is something to be read.
        """
        return self._known_until(self.deciding(target, record), record.birth_ms)

    def _known_until(self, wanted: Sequence[Wanted], birth_ms: int) -> int:
        by_log_ms = int(self.log.as_of_ms) if birth_ms >= self.log.since_ms else 0
        read_ms = [max(self._get(lane).read_ms, by_log_ms) for lane, _ in wanted]
        if any(read < since_ms for read, (_, since_ms) in zip(read_ms, wanted, strict=True)):
            return 0
        oldest_ms = min(read_ms)
        if not oldest_ms and birth_ms <= self._forgotten_ms:
            return 0
        return max(oldest_ms, birth_ms)

    def due_ahead(self, target: Target, record: Record, now_ms: int, share: float) -> list[str]:
        """Return the lanes of a response in use that are to be read again before they are outdated.

        None while all its purges are known up to ``share`` of the interval ago; else those that were read
        longer than half of that ago, so that they are read together.
        """
        oldest_ms = now_ms - int(self.interval_ms * share)
        if self.is_untouched(record.groups, record.birth_ms, oldest_ms):
            return []
        wanted = self.deciding(target, record)
        if self._known_until(wanted, record.birth_ms) >= oldest_ms:
            return []
        return self.outdated(wanted, now_ms, share / 2)

    def outdated(self, wanted: Iterable[Wanted], now_ms: int, share: float = 1.0) -> list[str]:
        """Return the lanes that were read longer than ``share`` of the interval ago.

        And those that weren't since something told of them: but what is read after ``now_ms``, when the
        request came, will do for it. Or it would never see the end of it where others purge all the time.
        """
        oldest_ms = now_ms - int(self.interval_ms * share)
        return [
            lane
            for lane, since_ms in wanted
            if self._get(lane).read_ms < max(oldest_ms, min(since_ms, now_ms))
        ]

    def shared_moment_ms(self) -> int:
        """Return the moment of the shared mark, as far as it is known."""
        return self._shared.moment_ms

    # What is learnt

    def claim(self, lanes: Iterable[str], now_ms: int) -> list[str]:
        """Return the lanes that nobody is about to read, and claim them: one reader is enough."""
        free = [lane for lane in lanes if self._get(lane).claimed_ms < now_ms - _CLAIM_MS]
        for lane in free:
            self._entry(lane).claimed_ms = now_ms
        return free

    def learn(self, lane: str, moment_ms: int, read_ms: int, purge_id: str = "") -> None:
        """Take in what the store holds: 0 for no mark. A mark never moves back."""
        mark = self._entry(lane)
        if lane == _SHARED:
            self._shared_before_ms = mark.read_ms
        elif moment_ms > mark.moment_ms and (mark.read_ms or self._is_news(moment_ms)):
            self.on_move(lane[2:], Lane(lane[0]), Mark(moment_ms, purge_id), read_ms)
        self._advance(lane, mark, moment_ms, read_ms)
        mark.read_ms = max(mark.read_ms, read_ms)
        mark.claimed_ms = 0

    def learn_purged(self, purged: Purged, known_ms: int, *, is_news: bool) -> None:
        """Take in an entry of the purge log, which was known there at ``known_ms``.

        It says at once what marks tell one after the other, and so covers older responses, too.
        """
        for name in map(_whole, purged.names):
            soft, hard = lane_name(name, Lane.SOFT), lane_name(name, Lane.HARD)
            if is_news and purged.moment_ms > (self._known.get(soft) or _UNKNOWN).moment_ms:
                self.on_move(name, purged.lane, Mark(purged.moment_ms, purged.id), known_ms)
            index = index_of(name)
            moved = [
                soft,
                *([hard] if purged.hard else ()),
                *([lane_name(index, Lane.SOFT)] if index else ()),
            ]
            for slot in moved:
                self._advance(slot, self._slot(slot), purged.moment_ms, known_ms)
            if index:
                self._advance(_SHARED, self._shared, purged.moment_ms, known_ms)

    def _is_news(self, moment_ms: int) -> bool:
        """Whether a mark that is read for the first time can only have moved since nothing told of it.

        Who has only just begun to read sees old purges, too.
        """
        return 0 < self._shared_before_ms < moment_ms + _SPREAD_MS

    def write(self, name: str, lane: Lane, moment_ms: int, *, must_validate: bool = False) -> None:
        """Take in a purge by this isolate, before it is in the store."""
        lanes = {lane_name(name, Lane.SOFT)} | ({lane_name(name, lane)} if not is_index(name) else set())
        for own in lanes:
            mark = self._entry(own)
            if must_validate:
                mark.validate_ms = max(mark.validate_ms, moment_ms)
            self._advance(own, mark, moment_ms, moment_ms)

    def _get(self, lane: str) -> _Known:
        return self._shared if lane == _SHARED else (self._known.get(_slot_of(lane)) or _UNKNOWN)

    def _entry(self, lane: str) -> _Known:
        return self._slot(_slot_of(lane))

    def _slot(self, slot: str) -> _Known:
        if slot == _SHARED:
            return self._shared
        mark = self._known.get(slot) or _Known()
        self._known.set(slot, mark)
        return mark

    def _note_forgotten(self, mark: _Known) -> None:
        self._forgotten_ms = max(self._forgotten_ms, mark.moment_ms)
        self.log.forget_before(mark.moment_ms)

    def _advance(self, lane: str, mark: _Known, moment_ms: int, now_ms: int) -> None:
        if not (lane.startswith(_GROUP, 1) or mark is self._shared):
            self._direct_ms = max(self._direct_ms, moment_ms)
        if moment_ms >= self.paused_ms > mark.moment_ms:
            mark.before_ms, mark.is_before_read = mark.moment_ms, mark.read_ms > 0
        if self.paused_ms > moment_ms > mark.before_ms:
            mark.before_ms = moment_ms
        if moment_ms > mark.moment_ms:
            mark.moment_ms = moment_ms
            mark.moved_ms = max(mark.moved_ms, now_ms)
            self.generation += 1


@lru_cache(maxsize=4096)
def group_lane(group: str) -> str:
    """Return the soft lane of a group, which tells of each purge of it."""
    return lane_name(group_mark(group), Lane.SOFT)


def _slot_of(lane: str) -> str:
    """Return the name under which a lane is known here: cut as in entries of the log, which have no more."""
    if len(lane) <= _SHORT and CUT not in lane:
        return lane
    return lane[:2] + logged_name(lane[2:])


def _whole(name: str) -> str:
    """Return a logged name, or everything in place of one whose host is cut: no index can be told of it."""
    return EVERYTHING if CUT in index_of(name) else name


def _nobody_minds(_name: str, _lane: Lane, _mark: Mark, _read_ms: int) -> None:
    """Nobody counts them."""
