"""Drainers: claim, deliver, settle, again. One for threads, one for asyncio; several at once are safe."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Self

from origin_sdk._cloudflare.exchange import Retries
from origin_sdk._edge.async_client import AsyncPurgeClient
from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.options import PublishArguments
from origin_sdk._process.audit import AuditEvent, Auditor
from origin_sdk._process.clock import Clock, SystemClock
from origin_sdk._values.errors import OriginSdkError
from origin_sdk._values.receipt import Receipt
from origin_sdk.outbox._delivery.attempt import BACKOFF, Act, Publish, Send, Unexpected, deliver
from origin_sdk.outbox._delivery.layers import AsyncLayer, Layer, insisting, tell, tell_async
from origin_sdk.outbox._delivery.renderers import CanRender, Renderers, Rendition
from origin_sdk.outbox._stores.entries import Claim, End, Entry, Settlement, State, Verdict
from origin_sdk.outbox._stores.ports import AsyncOutbox, Outbox

__all__ = ["AsyncDrainer", "Drainer", "Pace", "Round"]

_log = logging.getLogger("origin_sdk.outbox")
_PRUNE_SECONDS = 3600.0


@dataclass(frozen=True)
class Pace:
    """How a drainer works.

    It holds ``limit`` entries at once for ``lease_seconds``, half of which one purge may take; so long is
    delayed what a drainer held that died. It looks every ``poll_seconds``, or when woken, and forgets what
    ended ``keep_seconds`` ago.
    """

    limit: int = 10_000
    lease_seconds: float = 120.0
    poll_seconds: float = 1.0
    keep_seconds: float = 7 * 86400.0
    backoff: Retries = BACKOFF


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did.

    ``lag_seconds`` is the longest time from a commit to its delivery. When a transaction was committed no
    table says; that it was after the drainer's last look bounds it, so that the lag may be told too long by
    one ``poll_seconds``, and by the rest of the transaction where no look came between.
    """

    claimed: int = 0
    done: int = 0
    failed: int = 0
    dead: int = 0
    lag_seconds: float = 0.0


@dataclass
class _Drain:
    """What both drainers share: everything but waiting."""

    pace: Pace
    clock: Clock
    render: CanRender
    audit: Auditor | None = None
    on_round: Callable[[Round], None] | None = None
    _empty_at: float = field(default=0.0, init=False)
    """When it last saw nothing left: what is tried for the first time was committed later."""

    @property
    def send_seconds(self) -> float:
        return self.pace.lease_seconds / 2

    def until(self, now: float) -> float:
        return now + self.pace.lease_seconds

    def is_due(self, due: float | None, now: float) -> bool:
        """Return whether the next entry is due at ``now``, and note when none is."""
        if due is None or due > now:
            self._empty_at = now
            return False
        return True

    def finish(self, claim: Claim, settlement: Settlement, claimed_at: float) -> Round:
        """Count, log and audit a settled round."""
        counts = dict.fromkeys(State, 0)
        for entry in claim.entries:
            verdict = settlement.others.get(entry.id, settlement.rest)
            counts[verdict.state] += 1
            if verdict.state is State.DEAD:
                _log.error("entry %s is dead, see `origin-sdk outbox`: %s", entry.id, verdict.result)
            if self.audit:
                self.audit(_audited(entry, verdict))
        if counts[State.WAITING]:
            _log.warning(
                "%d entries wait for the next try: %s", counts[State.WAITING], settlement.rest.result
            )
        lag = self.clock.now() - min(self._committed_at(entry) for entry in claim.entries)
        if len(claim.entries) < self.pace.limit:
            self._empty_at = claimed_at
        made = Round(
            len(claim.entries), counts[State.DONE], counts[State.WAITING], counts[State.DEAD], max(0.0, lag)
        )
        if self.on_round:
            self.on_round(made)
        return made

    def _committed_at(self, entry: Entry) -> float:
        """Return the earliest moment at which an entry can have been committed."""
        return entry.recorded_at if entry.attempts > 1 else max(entry.recorded_at, self._empty_at)

    def patience(self, due: float | None) -> float:
        """Return how long to wait where the next entry is due at ``due``."""
        if due is None:
            return self.pace.poll_seconds
        return min(self.pace.poll_seconds, max(0.0, due - self.clock.now()))


def _publication(rendition: Rendition, born: datetime, after: Receipt) -> PublishArguments:
    return {
        "status": rendition.status,
        "headers": rendition.headers,
        "groups": rendition.groups,
        "born": born,
        "after": after,
    }


def _audited(entry: Entry, verdict: Verdict) -> AuditEvent:
    return AuditEvent(
        datetime.fromtimestamp(verdict.at, UTC),
        "deliver",
        entry.actor,
        verdict.state.value,
        {"entry": entry.id, "reason": entry.reason, "payload": entry.payload, "result": verdict.result},
    )


@dataclass
class Drainer:
    """Delivers what an outbox holds, in the calling thread or in one of its own.

    ::

        with Drainer(outbox, client):      # a daemon thread, until the block ends
            serve()

    ``wake`` makes it look at once; without, it looks every ``pace.poll_seconds``. ``layers`` are caches in
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
        """Look at once: there is something new."""
        self._awake.set()

    def run(self) -> None:
        """Drain until :meth:`stop` is called; a failing store is tried again, never raised."""
        failures, prune_at = 0, 0.0
        while not self._stopping.is_set():
            self._awake.clear()
            try:
                now = self.clock.now()
                if now >= prune_at:
                    while self.outbox.prune(now - self.pace.keep_seconds):
                        pass  # a part at a time
                    prune_at = now + _PRUNE_SECONDS
                self.drain()
                patience, failures = self._drain.patience(self.outbox.next_due()), 0
            except Exception:  # noqa: BLE001 - a drainer outlives whatever its store raises
                _log.exception("the outbox can't be drained; it is tried again")
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
            now = self.clock.now()
            if not self._drain.is_due(self.outbox.next_due(), now):
                break
            if not (made := self.drain_once()).claimed:
                break
            rounds.append(made)
        return tuple(rounds)

    def drain_once(self) -> Round:
        """Deliver one claim."""
        now = self.clock.now()
        claim = self.outbox.claim(self.pace.limit, now, self._drain.until(now))
        if not claim.entries:
            return Round()
        settlement = self._deliver(claim)
        self.outbox.settle(claim, settlement)
        return self._drain.finish(claim, settlement, now)

    def _deliver(self, claim: Claim) -> Settlement:
        flow = deliver(claim, self.clock.fraction(), self.pace.backoff)
        try:
            act = next(flow)
            while True:
                try:
                    answer = self._do(act)
                except OriginSdkError as error:
                    act = flow.throw(error)
                except Exception as error:  # noqa: BLE001 - one entry must not hold up the others
                    _log.exception("a delivery failed in an unexpected way")
                    act = flow.throw(Unexpected(error))
                else:
                    act = flow.send(answer)
        except StopIteration as end:
            ends: Mapping[str, End] = end.value
            return Settlement.of(ends, self.clock.now())

    def _do(self, act: Act) -> Receipt | str:
        match act:
            case Send(purge):
                with insisting(is_told=tell(self.layers, purge)):
                    # Another drainer's mark must not be taken back because this machine's clock is slow.
                    self.client.learn_clock()
                    return self.client.send(purge, timeout=self._drain.send_seconds)
            case Publish(republish, after):
                born = self.client.now()
                rendition = self.render(republish)
                arguments = _publication(rendition, born, after)
                seconds = self._drain.send_seconds
                published = self.client.publish(republish.url, rendition.body, timeout=seconds, **arguments)
                return f"published {published.key}"


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
        """Look at once: there is something new. To be called in the event loop's thread."""
        self._awake.set()

    async def run(self) -> None:
        """Drain until :meth:`stop` is called; a failing store is tried again, never raised."""
        self._awake = asyncio.Event()  # belongs to the event loop that first waits for it
        failures, prune_at = 0, 0.0
        while not self._is_stopping:
            self._awake.clear()
            try:
                now = self.clock.now()
                if now >= prune_at:
                    while await self.outbox.prune(now - self.pace.keep_seconds):
                        pass  # a part at a time
                    prune_at = now + _PRUNE_SECONDS
                await self.drain()
                patience, failures = self._drain.patience(await self.outbox.next_due()), 0
            except Exception:  # noqa: BLE001 - a drainer outlives whatever its store raises
                _log.exception("the outbox can't be drained; it is tried again")
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
            now = self.clock.now()
            if not self._drain.is_due(await self.outbox.next_due(), now):
                break
            if not (made := await self.drain_once()).claimed:
                break
            rounds.append(made)
        return tuple(rounds)

    async def drain_once(self) -> Round:
        """Deliver one claim."""
        now = self.clock.now()
        claim = await self.outbox.claim(self.pace.limit, now, self._drain.until(now))
        if not claim.entries:
            return Round()
        settlement = await self._deliver(claim)
        await self.outbox.settle(claim, settlement)
        return self._drain.finish(claim, settlement, now)

    async def _deliver(self, claim: Claim) -> Settlement:
        flow = deliver(claim, self.clock.fraction(), self.pace.backoff)
        try:
            act = next(flow)
            while True:
                try:
                    answer = await self._do(act)
                except OriginSdkError as error:
                    act = flow.throw(error)
                except Exception as error:  # noqa: BLE001 - one entry must not hold up the others
                    _log.exception("a delivery failed in an unexpected way")
                    act = flow.throw(Unexpected(error))
                else:
                    act = flow.send(answer)
        except StopIteration as end:
            ends: Mapping[str, End] = end.value
            return Settlement.of(ends, self.clock.now())

    async def _do(self, act: Act) -> Receipt | str:
        match act:
            case Send(purge):
                with insisting(is_told=await tell_async(self.layers, purge)):
                    await self.client.learn_clock()  # see Drainer
                    return await self.client.send(purge, timeout=self._drain.send_seconds)
            case Publish(republish, after):
                born = self.client.now()
                rendition = await asyncio.to_thread(self.render, republish)
                arguments = _publication(rendition, born, after)
                seconds = self._drain.send_seconds
                published = await self.client.publish(
                    republish.url, rendition.body, timeout=seconds, **arguments
                )
                return f"published {published.key}"
