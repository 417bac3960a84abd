"""Drainers: claim, deliver, settle, repeat. One for threads, one for asyncio; several may run together."""

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Self

from origin_sdk._cloudflare.exchange import Retries
from origin_sdk._edge.async_client import AsyncPurgeClient
from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.options import PublishArguments
from origin_sdk._flow import AnyStep, drive, drive_async
from origin_sdk._process.audit import AuditEvent, Auditor
from origin_sdk._process.clock import Clock, SystemClock
from origin_sdk._process.forks import renew_after_fork
from origin_sdk._process.spans import Span, span
from origin_sdk._values.errors import InvalidSettings, OriginSdkError
from origin_sdk._values.receipt import Receipt
from origin_sdk.outbox._delivery.attempt import BACKOFF, Publish, Send, Unexpected, deliver
from origin_sdk.outbox._delivery.layers import AsyncLayer, Layer, insisting, tell, tell_async
from origin_sdk.outbox._delivery.renderers import CanRender, Renderers, Rendition
from origin_sdk.outbox._stores.entries import Claim, End, Entry, Settlement, State
from origin_sdk.outbox._stores.ports import HORIZON_SECONDS, AsyncOutbox, Outbox

__all__ = ["AsyncDrainer", "Drainer", "Pace", "Round"]

_log = logging.getLogger("origin_sdk.outbox")
_PRUNE_SECONDS = 3600.0


@dataclass(frozen=True)
class Pace:
    """How a drainer works.

    It holds up to ``limit`` entries for ``lease_seconds``, half of which one purge may take; so long is
    delayed what a drainer held that died. It looks every ``poll_seconds``, or when woken, and forgets what
    ended ``keep_seconds`` ago.
    """

    limit: int = 10_000
    lease_seconds: float = 120.0
    poll_seconds: float = 1.0
    keep_seconds: float = 7 * 86400.0
    backoff: Retries = BACKOFF

    def __post_init__(self) -> None:
        """Check that a store can tell a lease or a delay from a moment of a clock that was set back."""
        for name, seconds in (
            ("lease_seconds", self.lease_seconds),
            ("backoff.longest_seconds", self.backoff.longest_seconds),
        ):
            if not 0 < seconds <= HORIZON_SECONDS:
                raise InvalidSettings(f"{name}={seconds:g}: give from 0 to {HORIZON_SECONDS:g} seconds")


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did.

    ``lag_seconds`` is the longest time from a commit to its delivery, by the store's clock alone. When a
    transaction was committed no table says; that it was after the drainer's last look bounds it, so that the
    lag may be told too long by one ``poll_seconds``, and by the rest of the transaction where no look came
    between.
    """

    claimed: int = 0
    done: int = 0
    failed: int = 0
    dead: int = 0
    lag_seconds: float = 0.0
    untold: int = 0
    """Purges that the purge log couldn't be told of: it finds them in KV, and they are seen later."""


@dataclass
class _Drain:
    """What both drainers share: everything but waiting."""

    pace: Pace
    clock: Clock
    render: CanRender
    audit: Auditor | None = None
    on_round: Callable[[Round], None] | None = None
    _empty_at: float = field(default=-math.inf, init=False)
    """When it last saw nothing left, monotonic: what is tried for the first time was committed later."""
    _untold: int = field(default=0, init=False)

    @property
    def send_seconds(self) -> float:
        return self.pace.lease_seconds / 2

    def is_due(self, due_in: float | None, looked_at: float) -> bool:
        """Return whether the next entry is due, and note where none is at which monotonic moment that was."""
        if due_in is None or due_in > 0:
            self._empty_at = looked_at
            return False
        return True

    def finish(self, claim: Claim, settlement: Settlement, claimed_at: float) -> Round:
        """Count, log and audit a settled round; ``claimed_at`` is monotonic."""
        elapsed = self.clock.monotonic() - claimed_at
        counts = dict.fromkeys(State, 0)
        for entry in claim.entries:
            end = settlement.others.get(entry.id, settlement.rest)
            counts[end.state] += 1
            if end.state is State.DEAD:
                _log.error("entry %s is dead, see `origin-sdk outbox`: %s", entry.id, end.result)
            if self.audit:
                self.audit(_audited(entry, end, claim.at + elapsed))
        if counts[State.WAITING]:
            _log.warning(
                "%d entries wait for the next try: %s", counts[State.WAITING], settlement.rest.result
            )
        lag = elapsed + max(self._waited(entry, claim, claimed_at) for entry in claim.entries)
        if len(claim.entries) < self.pace.limit:
            self._empty_at = claimed_at
        untold, self._untold = self._untold, 0
        done, waiting, dead = counts[State.DONE], counts[State.WAITING], counts[State.DEAD]
        made = Round(len(claim.entries), done, waiting, dead, lag, untold)
        if self.on_round:
            self.on_round(made)
        return made

    def sent(self, receipt: Receipt) -> Receipt:
        """Count a purge that the log isn't told of."""
        self._untold += receipt.told is False
        return receipt

    def _waited(self, entry: Entry, claim: Claim, claimed_at: float) -> float:
        """Return the longest time for which an entry can have been committed when it was claimed."""
        seconds = claim.at - entry.recorded_at
        since_look = claimed_at - self._empty_at if entry.attempts == 1 else math.inf
        if seconds < 0:  # the store's clock was set back since
            return since_look if since_look < math.inf else 0.0
        return min(seconds, since_look)

    def patience(self, due_in: float | None) -> float:
        """Return how long to wait where the next entry is due in so many seconds."""
        return self.pace.poll_seconds if due_in is None else min(self.pace.poll_seconds, due_in)


@contextmanager
def _unexpected_named() -> Iterator[None]:
    """Raise :class:`Unexpected` for what isn't this package's: one entry must not hold up the others."""
    try:
        yield
    except OriginSdkError:
        raise
    except Exception as error:
        _log.exception("a delivery failed unexpectedly")
        raise Unexpected(error) from error


def _publication(rendition: Rendition, born: datetime, after: Receipt) -> PublishArguments:
    return {
        "status": rendition.status,
        "headers": rendition.headers,
        "groups": rendition.groups,
        "born": born,
        "after": after,
    }


def _noted(traced: Span, made: Round) -> Round:
    """Say in a span what a round did."""
    for name in ("done", "failed", "dead"):
        traced.note(f"outbox.{name}", getattr(made, name))
    traced.note("outbox.lag", round(made.lag_seconds, 3))
    if made.failed or made.dead:
        traced.fail(f"{made.failed} entries wait for the next try, {made.dead} are dead")
    return made


def _audited(entry: Entry, end: End, at: float) -> AuditEvent:
    return AuditEvent(
        datetime.fromtimestamp(at, UTC),
        "deliver",
        entry.actor,
        end.state.value,
        {"entry": entry.id, "reason": entry.reason, "payload": entry.payload, "result": end.result},
    )


@dataclass(eq=False)
class Drainer:
    """Delivers what an outbox holds, in the calling thread or in one of its own.

    ::

        with Drainer(outbox, client):      # a daemon thread, until the block ends
            serve()

    ``wake`` makes it poll now; otherwise it polls every ``pace.poll_seconds``. ``layers`` are caches in
    which the groups that are purged are invalidated first.
    """

    outbox: Outbox
    client: PurgeClient
    pace: Pace = field(default_factory=Pace)
    render: CanRender = field(default_factory=Renderers)
    clock: Clock = field(default_factory=SystemClock)
    audit: Auditor | None = None
    on_round: Callable[[Round], None] | None = None
    layers: Sequence[Layer] = ()
    _awake: Event = field(default_factory=Event, init=False, repr=False)
    _stopping: Event = field(default_factory=Event, init=False, repr=False)
    _thread: Thread | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Gather what both drainers share."""
        self._drain = _Drain(self.pace, self.clock, self.render, self.audit, self.on_round)
        renew_after_fork(self)

    def renew(self) -> None:
        """Start over in a forked process, stopped: the thread isn't there, and may have held a lock."""
        self._awake, self._stopping, self._thread = Event(), Event(), None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Drain in a daemon thread."""
        self._stopping.clear()
        self._thread = Thread(target=self.run, name="origin-sdk-drainer", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 30.0) -> None:
        """End the thread after its round; what is left stays in the outbox."""
        self._stopping.set()
        self._awake.set()
        if self._thread:
            self._thread.join(seconds)
            self._thread = None

    def wake(self) -> None:
        """Poll now: there is something new."""
        self._awake.set()

    def run(self) -> None:
        """Drain until :meth:`stop` is called; a failing store is tried again, never raised."""
        failures, prune_at = 0, -math.inf
        while not self._stopping.is_set():
            self._awake.clear()
            try:
                now = self.clock.monotonic()
                if now >= prune_at:
                    while self.outbox.prune(self.pace.keep_seconds):
                        pass  # a part at a time
                    prune_at = now + _PRUNE_SECONDS
                self.drain()
                patience, failures = self._drain.patience(self.outbox.due_in()), 0
            except Exception:  # noqa: BLE001 - a drainer outlives whatever its store raises
                _log.exception("the outbox can't be drained; it will be retried")
                patience, failures = (
                    self.pace.backoff.delay(min(failures, 60), self.clock.fraction()),
                    failures + 1,
                )
            if not self._stopping.is_set():
                self._awake.wait(patience)

    def drain(self) -> tuple[Round, ...]:
        """Deliver everything that is due now, and return the rounds that it took."""
        rounds: list[Round] = []
        while not self._stopping.is_set():
            now = self.clock.monotonic()
            if not self._drain.is_due(self.outbox.due_in(), now):
                break
            if not (made := self.drain_once()).claimed:
                break
            rounds.append(made)
        return tuple(rounds)

    def drain_once(self) -> Round:
        """Deliver one claim."""
        now = self.clock.monotonic()
        claim = self.outbox.claim(self.pace.limit, self.pace.lease_seconds)
        if not claim.entries:
            return Round()
        with span("outbox drain", outbox_entries=len(claim.entries)) as traced:
            settlement = self._deliver(claim)
            self.outbox.settle(claim, settlement)
            return _noted(traced, self._drain.finish(claim, settlement, now))

    def _deliver(self, claim: Claim) -> Settlement:
        flow = deliver(claim, self.clock.fraction(), self.pace.backoff)
        return Settlement.of(drive(flow, self._attempt))

    def _attempt(self, step: AnyStep) -> Receipt | str:
        with _unexpected_named():
            return self._do(step)

    def _do(self, step: AnyStep) -> Receipt | str:
        match step:
            case Send(purge):
                with insisting(is_told=tell(self.layers, purge)):
                    # Another drainer's mark must not be taken back because this machine's clock is slow.
                    self.client.learn_clock()
                    receipt = self.client.send(purge, timeout=self._drain.send_seconds)
                    # Once more: a Worker that is deployed just now answers a moment later.
                    return self._drain.sent(self.client.tell(receipt) if receipt.told is False else receipt)
            case Publish(republish, after):
                born = self.client.now()
                rendition = self.render(republish)
                arguments = _publication(rendition, born, after)
                seconds = self._drain.send_seconds
                published = self.client.publish(republish.url, rendition.body, timeout=seconds, **arguments)
                return f"published {published.key}"
        raise TypeError(f"{step!r} is no step of a delivery")


@dataclass
class AsyncDrainer:
    """:class:`Drainer` as a task: ``async with AsyncDrainer(outbox, client): ...``.

    A store that isn't asynchronous goes in as ``InThreads(outbox)``. Renderers run in threads.
    """

    outbox: AsyncOutbox
    client: AsyncPurgeClient
    pace: Pace = field(default_factory=Pace)
    render: CanRender = field(default_factory=Renderers)
    clock: Clock = field(default_factory=SystemClock)
    audit: Auditor | None = None
    on_round: Callable[[Round], None] | None = None
    layers: Sequence[AsyncLayer] = ()
    _awake: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False, repr=False)
    _is_stopping: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        """Gather what both drainers share."""
        self._drain = _Drain(self.pace, self.clock, self.render, self.audit, self.on_round)

    async def __aenter__(self) -> Self:
        self._is_stopping = False
        self._task = asyncio.create_task(self.run(), name="origin-sdk-drainer")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End the task after its round; what is left stays in the outbox."""
        self._is_stopping = True
        self._awake.set()
        if self._task:
            await self._task
            self._task = None

    def wake(self) -> None:
        """Poll now: there is something new. Call it in the event loop's thread."""
        self._awake.set()

    async def run(self) -> None:
        """Drain until :meth:`stop` is called; a failing store is tried again, never raised."""
        self._awake = asyncio.Event()  # belongs to the event loop that first waits for it
        failures, prune_at = 0, -math.inf
        while not self._is_stopping:
            self._awake.clear()
            try:
                now = self.clock.monotonic()
                if now >= prune_at:
                    while await self.outbox.prune(self.pace.keep_seconds):
                        pass  # a part at a time
                    prune_at = now + _PRUNE_SECONDS
                await self.drain()
                patience, failures = self._drain.patience(await self.outbox.due_in()), 0
            except Exception:  # noqa: BLE001 - a drainer outlives whatever its store raises
                _log.exception("the outbox can't be drained; it will be retried")
                patience, failures = (
                    self.pace.backoff.delay(min(failures, 60), self.clock.fraction()),
                    failures + 1,
                )
            if not self._is_stopping:
                await self._wait(patience)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            pass

    async def drain(self) -> tuple[Round, ...]:
        """Deliver everything that is due now, and return the rounds that it took."""
        rounds: list[Round] = []
        while not self._is_stopping:
            now = self.clock.monotonic()
            if not self._drain.is_due(await self.outbox.due_in(), now):
                break
            if not (made := await self.drain_once()).claimed:
                break
            rounds.append(made)
        return tuple(rounds)

    async def drain_once(self) -> Round:
        """Deliver one claim."""
        now = self.clock.monotonic()
        claim = await self.outbox.claim(self.pace.limit, self.pace.lease_seconds)
        if not claim.entries:
            return Round()
        with span("outbox drain", outbox_entries=len(claim.entries)) as traced:
            settlement = await self._deliver(claim)
            await self.outbox.settle(claim, settlement)
            return _noted(traced, self._drain.finish(claim, settlement, now))

    async def _deliver(self, claim: Claim) -> Settlement:
        flow = deliver(claim, self.clock.fraction(), self.pace.backoff)
        return Settlement.of(await drive_async(flow, self._attempt))

    async def _attempt(self, step: AnyStep) -> Receipt | str:
        with _unexpected_named():
            return await self._do(step)

    async def _do(self, step: AnyStep) -> Receipt | str:
        match step:
            case Send(purge):
                with insisting(is_told=await tell_async(self.layers, purge)):
                    await self.client.learn_clock()  # see Drainer
                    receipt = await self.client.send(purge, timeout=self._drain.send_seconds)
                    return self._drain.sent(
                        await self.client.tell(receipt) if receipt.told is False else receipt
                    )
            case Publish(republish, after):
                born = self.client.now()
                rendition = await asyncio.to_thread(self.render, republish)
                arguments = _publication(rendition, born, after)
                seconds = self._drain.send_seconds
                published = await self.client.publish(
                    republish.url, rendition.body, timeout=seconds, **arguments
                )
                return f"published {published.key}"
        raise TypeError(f"{step!r} is no step of a delivery")
