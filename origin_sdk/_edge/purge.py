"""A purge: write marks, and if asked delete what they cover."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain

from origin_sdk._cloudflare.effects import Call, Progress
from origin_sdk._cloudflare.exchange import Exchange
from origin_sdk._cloudflare.kv import MAX_BATCH_PAIRS, Namespace, Pair, Unwritten, batches
from origin_sdk._edge.purge_log import LogClient, pair_of, placeholder_of, tell
from origin_sdk._edge.seals import UNSEALED, ClientSeals
from origin_sdk._edge.stored_responses import Coverage, Listing, bodies
from origin_sdk._process.clock import Clock
from origin_sdk._values.errors import OriginSdkError, RequestRejected
from origin_sdk._values.receipt import PartialPurgeError, Receipt
from origin_sdk._values.settings import Settings
from origin_sdk._values.targets import Purge
from origin_sdk_wire.bounds import purge_bound_seconds
from origin_sdk_wire.marks import SHARED_AHEAD_MS, SHARED_RENEWAL_MS, Mark, is_shared, mark_key, value_of
from origin_sdk_wire.purge_log.entries import Purged, logged_name
from origin_sdk_wire.purge_log.metadata import purged
from origin_sdk_wire.rules import KeyRule

__all__ = ["Operation", "SharedMark", "delete_covered", "learn_clock", "purge", "purge_id", "tell_again"]

_log = logging.getLogger("origin_sdk")

CLOUDFLARE_MARGIN_SECONDS = 2.0
"""How far a mark's moment lies ahead of the clock.

A second that ``Date`` doesn't show, and one by which Cloudflare's machines may differ. A response fetched in
this time after a purge is fetched once more.
"""

MACHINES_MARGIN_SECONDS = 1.0
"""By how much the clocks of Cloudflare's machines may differ."""
_SKEW_TOLERANCE_SECONDS = 1.0
_MARK_BYTES = 1400
"""More than one mark takes in a bulk write: key, moment, id, actor and reason."""
_ENTRY_BYTES = 1500
"""More than one entry of the purge log takes."""

_NOTE_BYTES = 200


@dataclass
class SharedMark:
    """What a client knows of the mark that most purges write: its moment, when it wrote it last."""

    moment_ms: int = 0


@dataclass
class Operation:
    """What every flow of one call to a client needs."""

    exchange: Exchange
    namespace: Namespace
    settings: Settings
    rules: Sequence[KeyRule] = ()
    shared: SharedMark = field(default_factory=SharedMark)
    log: LogClient | None = None
    """The purge log; ``None`` where the Worker has none, as far as is known."""
    seals: ClientSeals = UNSEALED

    @property
    def clock(self) -> Clock:
        """The clock of this machine."""
        return self.exchange.clock

    @property
    def margin_seconds(self) -> float:
        """How far moments lie ahead: not at all where the Worker's clock is this machine's."""
        return (
            CLOUDFLARE_MARGIN_SECONDS if self.exchange.skew.is_known or self.settings.is_cloudflare else 0.0
        )

    def cloudflare_now(self) -> float:
        """Return Cloudflare's time, as far as it is known, in seconds since the epoch."""
        return self.clock.now() + self.exchange.skew.seconds

    def mark_moment(self) -> float:
        """Return a moment for a mark that is written now: not before any time that replies leave open."""
        latest = self.clock.now() + self.exchange.skew.most_seconds + MACHINES_MARGIN_SECONDS
        return max(self.cloudflare_now() + self.margin_seconds, latest)


async def learn_clock(operation: Operation) -> None:
    """Have the API tell its time, if no reply of it has come yet."""
    if not operation.exchange.skew.has_asked:
        await operation.exchange.send(Call("GET", f"{operation.namespace.url}/values/clock"))


def purge_id(now: float, token: str) -> str:
    """Return an id that sorts by time."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}-{token}"


@dataclass
class _Marking:
    """The marks of one purge being written."""

    operation: Operation
    purge: Purge
    id: str
    entries: Mapping[str, Purged] = field(default_factory=dict)
    """What goes into the purge log, by what it is asked for by."""
    written: list[str] = field(default_factory=list)
    moments_ms: list[int] = field(default_factory=list)
    """Those of all tries: one that was given up on may be carried out last, so that any may hold."""
    _skew: float = 0.0
    _lead_seconds: float = 0.0

    def pairs(self, keys: Sequence[str]) -> list[Pair]:
        """Return what to write now.

        A try that comes later carries a later moment, so that it takes nothing back.
        """
        operation = self.operation
        self._skew = operation.exchange.skew.seconds
        moment = operation.mark_moment()
        self._lead_seconds, moment_ms = moment - operation.clock.now(), round(moment * 1000)
        self.moments_ms.append(moment_ms)
        mark, metadata, entries = Mark(moment_ms, self.id), self._metadata(moment_ms), self.entries
        return [
            pair_of(entries[key], moment_ms, operation.seals)
            if key in entries
            else self._pair(key, mark, metadata)
            for key in keys
        ]

    def _pair(self, key: str, mark: Mark, metadata: Mapping[str, object]) -> Pair:
        seals, seconds = self.operation.seals, self.operation.settings.mark_seconds
        value = seals.text(key, value_of(key, mark))
        return Pair(key, value, seconds, seals.metadata(key, metadata, value.encode()))

    @property
    def marks(self) -> tuple[str, ...]:
        """The keys of the marks that are written."""
        entries = self.entries
        return tuple(key for key in self.written if key not in entries) if entries else tuple(self.written)

    @property
    def earliest_ms(self) -> int:
        """What each mark covers at least."""
        return min(self.moments_ms, default=0)

    @property
    def latest_ms(self) -> int:
        """What no mark goes beyond."""
        return max(self.moments_ms, default=0)

    @property
    def logged(self) -> list[Purged]:
        """The entries that are written, with the latest moment of all: it covers what each of them does."""
        written = (self.entries[key] for key in self.written if key in self.entries)
        return [replace(entry, moment_ms=self.latest_ms) for entry in written]

    def _may_be_wrong(self) -> bool:
        """Whether the reply showed a clock by which the moment is wrong, or may be before that of the write.

        A reply that takes long leaves open by how much a clock is slow.
        """
        skew = self.operation.exchange.skew
        lead = max(self._lead_seconds, CLOUDFLARE_MARGIN_SECONDS)
        return abs(skew.seconds - self._skew) > _SKEW_TOLERANCE_SECONDS or skew.most_seconds > lead

    def _metadata(self, moment_ms: int) -> dict[str, object]:
        """Return what the audit shows; the Worker doesn't read it."""
        metadata: dict[str, object] = {"at": moment_ms, "id": self.id}
        if self.operation.settings.actor:
            metadata["by"] = _note(self.operation.settings.actor)
        if self.purge.reason:
            metadata["why"] = _note(self.purge.reason)
        if self.purge.hard:
            metadata["hard"] = True
        return metadata

    async def write(self, keys: Sequence[str]) -> list[str]:
        """Write one batch; return the keys that Cloudflare didn't take in spite of all tries."""
        exchange, namespace = self.operation.exchange, self.operation.namespace
        earlier_tries = len(self.moments_ms)
        try:
            await namespace.write(exchange, keys, self.pairs)
            if self._may_be_wrong():
                del self.moments_ms[earlier_tries:]
                await exchange.pause(1.0)
                await namespace.write(exchange, keys, self.pairs)
        except Unwritten as error:
            failed = set(error.keys)
            self.written += [key for key in keys if key not in failed]
            if error.__cause__:
                raise
            return list(error.keys)
        self.written += keys
        return []


def _note(text: str) -> str:
    """Return what fits a mark's metadata twice, however it is escaped: too much would spoil the batch."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode()[:_NOTE_BYTES].decode("utf-8", "ignore")


async def purge(operation: Operation, purge: Purge) -> Receipt:
    """Write the marks of ``purge`` and, for ``delete``, remove what they cover.

    Raises :class:`PartialPurgeError` if some marks are written and others not, and what the API answered if
    none is.
    """
    id_ = purge_id(operation.clock.now(), operation.clock.token())
    entries = {placeholder_of(entry): entry for entry in _entries(operation, purge, id_)}
    if entries:
        # An entry that a clock ahead of Cloudflare's wrote can't be overwritten by one that is right.
        await learn_clock(operation)
    marking = _Marking(operation, purge, id_, entries)
    shared_ms = operation.shared.moment_ms - round(operation.mark_moment() * 1000)
    marks = [
        key for key in purge.marks(operation.rules) if not (is_shared(key) and shared_ms >= SHARED_RENEWAL_MS)
    ]
    missing: list[str] = []
    cause: BaseException | None = None
    sizes = chain(((mark, _MARK_BYTES) for mark in marks), ((key, _ENTRY_BYTES) for key in entries))
    for batch in batches(sizes):
        try:
            missing += await marking.write(batch)
        except OriginSdkError as error:
            cause = error.__cause__ if isinstance(error, Unwritten) else error
            if not isinstance(cause, RequestRejected):
                break
        if len(marks) > MAX_BATCH_PAIRS:
            await Progress(min(len(marking.written), len(marks)), len(marks))
    told = await tell(operation.exchange, operation.log, marking.logged) if entries else None
    if missing or cause:
        raise _incomplete(operation, marking, marks, cause)
    if any(map(is_shared, marks)):
        operation.shared.moment_ms = marking.earliest_ms + SHARED_AHEAD_MS
    receipt = _receipt(operation, marking, told=told)
    if not purge.delete:
        return receipt
    return await _deleting(operation, marking, receipt)


def _entries(operation: Operation, purge: Purge, id_: str) -> Sequence[Purged]:
    """Return what a purge writes into the log, if there is one; raises :class:`OutOfScope`."""
    if operation.log is None:
        return ()
    made = purged(
        id_,
        round(operation.mark_moment() * 1000),
        purge.names(operation.rules),
        hard=purge.hard,
        by=operation.settings.actor,
        why=purge.reason,
        is_sealed=bool(operation.seals.keys),
    )
    operation.log.check(made)
    return made


async def tell_again(operation: Operation, receipt: Receipt) -> Receipt:
    """Tell the log once more of a purge; return its receipt, with how that ended."""
    moment_ms = round(receipt.latest_moment.timestamp() * 1000)
    made = _entries(operation, receipt.purge, receipt.id)
    entries = [replace(entry, moment_ms=moment_ms) for entry in made if entry.id in receipt.log]
    return replace(receipt, told=await tell(operation.exchange, operation.log, entries))


async def _deleting(operation: Operation, marking: _Marking, receipt: Receipt) -> Receipt:
    try:
        deleted = await delete_covered(operation, marking.purge)
    except OriginSdkError as error:
        raise PartialPurgeError(
            f"purge {marking.id}: all marks are written, so that nothing purged is served, but not all of it "
            f"is deleted ({error}); send `remaining` again",
            receipt,
            marking.purge,
        ) from error
    return replace(receipt, deleted=deleted, requests=operation.exchange.requests)


def _receipt(operation: Operation, marking: _Marking, *, told: bool | None = None) -> Receipt:
    bound = timedelta(seconds=purge_bound_seconds(operation.settings.mark_interval))
    return Receipt(
        id=marking.id,
        purge=marking.purge,
        marks=marking.marks,
        requests=operation.exchange.requests,
        moment=datetime.fromtimestamp(marking.earliest_ms / 1000, UTC),
        latest_moment=datetime.fromtimestamp(marking.latest_ms / 1000, UTC),
        visible_by=datetime.fromtimestamp(operation.cloudflare_now(), UTC) + bound,
        log=tuple(entry.id for entry in marking.logged) if marking.entries else (),
        told=told,
    )


def _incomplete(
    operation: Operation, marking: _Marking, marks: Sequence[str], reason: BaseException | None
) -> OriginSdkError:
    written = set(marking.written)
    unwritten = (mark for mark in marks if mark not in written)
    missing = dict.fromkeys(chain(unwritten, _unlogged(operation, marking, written)))
    if not written and isinstance(reason, OriginSdkError):
        return reason
    why = str(reason) if reason else "Cloudflare didn't confirm them"
    error = PartialPurgeError(
        f"purge {marking.id}: {len(missing)} of {len(marks)} marks aren't written ({why}); send "
        "`remaining` again",
        _receipt(operation, marking),
        marking.purge.only(missing, operation.rules),
    )
    error.__cause__ = reason
    return error


def _unlogged(operation: Operation, marking: _Marking, written: AbstractSet[str]) -> Iterator[str]:
    """Yield the marks that a reader of the log alone would not know of."""
    unlogged = {name for key, entry in marking.entries.items() if key not in written for name in entry.names}
    purge = marking.purge
    for name in purge.names(operation.rules) if unlogged else ():
        if logged_name(name) in unlogged:
            yield mark_key(name, purge.lane)


async def delete_covered(operation: Operation, purge: Purge) -> int:
    """Delete every stored response that ``purge`` covers; return how many keys that were.

    Bounded in memory.
    """
    doomed: list[str] = []
    deleted = 0
    coverage = Coverage(purge, operation.rules)
    listing = Listing(operation.exchange, operation.namespace, coverage, operation.seals)
    while not listing.is_done:
        for stored in await listing.next_page():
            doomed += stored.keys
        deleted += await _delete_full_batches(operation, doomed)
        await Progress(deleted + len(doomed))
    if purge.everything:
        deleted += await _delete_bodies(operation, doomed)
    deleted += await _delete_batch(operation, doomed)
    return deleted


async def _delete_bodies(operation: Operation, doomed: list[str]) -> int:
    cursor, deleted = "", 0
    while True:
        keys, cursor = await bodies(operation.exchange, operation.namespace, cursor)
        doomed += keys
        deleted += await _delete_full_batches(operation, doomed)
        if not cursor:
            return deleted


async def _delete_full_batches(operation: Operation, doomed: list[str]) -> int:
    deleted = 0
    while len(doomed) >= MAX_BATCH_PAIRS:
        deleted += await _delete_batch(operation, doomed)
    return deleted


async def _delete_batch(operation: Operation, doomed: list[str]) -> int:
    batch, doomed[:] = doomed[:MAX_BATCH_PAIRS], doomed[MAX_BATCH_PAIRS:]
    if batch:
        await operation.namespace.delete(operation.exchange, batch)
    return len(batch)
